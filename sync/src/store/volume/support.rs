//! A volume for tests: on an embedded engine, with its blocks in a directory or in memory.

use farshore_blocks::{
    BlockKey, BlockReader, BlockStore, BlockWriter, ReaderOptions, StoreOptions, StoreOrigin, StoreUrl, WriterOptions,
};
use farshore_meta::engine::{Durability, EmbeddedEngine, EmbeddedOptions};
use farshore_meta::{Compression, NewVolume, Region, Settings, UnixTime};
use farshore_proto::RegionId;

use super::*;

pub(crate) const BLOCK_BYTES: u32 = 64 << 10;

/// A volume in a directory that goes with it.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) store: VolumeStore,
    pub(crate) volume: Arc<Volume>,
    pub(crate) directory: tempfile::TempDir,
}

pub(crate) fn settings(store: &str) -> Settings {
    Settings {
        volume_id: VolumeId::from_random([1; 16]),
        name: "test".into(),
        store: store.into(),
        block_key: [2; 32],
        block_bytes: BLOCK_BYTES,
        inline_bytes: 4096,
        compression: Compression::None,
    }
}

pub(crate) fn engine_options() -> EmbeddedOptions {
    EmbeddedOptions { durability: Durability::Os, ..EmbeddedOptions::default() }
}

pub(crate) async fn formatted(directory: &std::path::Path) -> Arc<Region> {
    let engine = EmbeddedEngine::create(directory.join("meta"), &engine_options()).unwrap();
    let now = UnixTime { seconds: 1, nanos: 0 };
    let (region_id, settings) = (RegionId::from_random([3; 16]), settings("mem://"));
    let new = NewVolume { settings, region_id, incarnation_random: [4; 12], uid: 0, gid: 0, now };
    Arc::new(farshore_meta::format(Arc::new(engine), &new).await.unwrap())
}

pub(crate) fn serve(region: Arc<Region>, url: &StoreUrl) -> Arc<Volume> {
    let settings = settings("mem://");
    let key = BlockKey::new(settings.block_key);
    let options = StoreOptions { create_directory: true, deferred_sync: true, ..StoreOptions::default() };
    let store = BlockStore::open(url, settings.volume_id, key.clone(), &options).unwrap();
    let origin = Arc::new(StoreOrigin::new(store.clone()));
    let blocks = BlockReader::new(key, None, vec![origin], &ReaderOptions::default());
    let writer = BlockWriter::new(store, None, &WriterOptions::default());
    Volume::start(region, &settings, blocks, Some(writer), farshore_volume::VolumeOptions::default())
}

pub(crate) fn options(path: &str) -> VolumeOptions {
    VolumeOptions {
        name: "farshore://meta".to_owned(),
        path: path.as_bytes().to_vec(),
        volume_id: VolumeId::from_random([1; 16]),
        owner: Owner { uid: 7, gid: 8 },
        make: true,
    }
}

pub(crate) async fn scratch() -> Scratch {
    let directory = tempfile::tempdir().unwrap();
    let url = StoreUrl::directory(&directory.path().join("blocks")).unwrap();
    let volume = serve(formatted(directory.path()).await, &url);
    let store = VolumeStore::open(Arc::clone(&volume), &options("")).await.unwrap();
    Scratch { store, volume, directory }
}
