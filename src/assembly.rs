//! Putting the parts of a region together: engine, region, blocks, volume.

use std::sync::Arc;

use anyhow::{Context, Result};
use farshore_blocks::{
    BlockKey, BlockReader, BlockStore, BlockWriter, DiskCache, DiskOptions, Origin, ReaderOptions, StoreOptions,
    StoreOrigin, StoreUrl, WriterOptions,
};
use farshore_meta::engine::{Durability, EmbeddedOptions, Engine, EngineUrl};
use farshore_meta::{Compression, Region, Role, Settings};
use farshore_volume::{Volume, VolumeOptions};

use crate::cli::{DurabilityArg, RegionArgs};
use crate::exit::{Exit, Failure};

/// The engine's options that the command line asks for.
pub(crate) fn engine_options(durability: DurabilityArg) -> EmbeddedOptions {
    let durability = match durability {
        DurabilityArg::Commit => Durability::Commit,
        DurabilityArg::Fsync => Durability::Os,
    };
    EmbeddedOptions { durability, ..EmbeddedOptions::default() }
}

/// Parses META.
pub(crate) fn engine_url(meta: &str) -> Result<EngineUrl> {
    Ok(meta.parse::<EngineUrl>()?)
}

/// Opens the engine and the region in it.
pub(crate) async fn open_region(meta: &str, durability: DurabilityArg) -> Result<Arc<Region>> {
    let engine = engine_url(meta)?.open(&engine_options(durability)).await?;
    Ok(Arc::new(Region::open(engine).await?))
}

/// Opens the engine and the primary region in it.
pub(crate) async fn open_primary(meta: &str, durability: DurabilityArg) -> Result<Arc<Region>> {
    let region = open_region(meta, durability).await?;
    match region.role() {
        Role::Primary { .. } => Ok(region),
        Role::Mirror { .. } => Err(Failure::error(
            Exit::Usage,
            format!("{meta} holds a mirror; serve it with `farshore mirror UPSTREAM --meta {meta} --mount DIR`"),
        )),
    }
}

/// The volume's store, with credentials from the environment.
pub(crate) fn open_store(settings: &Settings, durability: DurabilityArg) -> Result<BlockStore> {
    let url: StoreUrl = settings.store.parse()?;
    let deferred_sync = durability == DurabilityArg::Fsync;
    let options = StoreOptions { deferred_sync, ..StoreOptions::default() };
    let key = BlockKey::new(settings.block_key);
    Ok(BlockStore::open(&url, settings.volume_id, key, &options)?)
}

/// How reads of blocks go: memory, the disk cache if there is one, then the origins in order.
pub(crate) fn block_reader(
    settings: &Settings,
    args: &RegionArgs,
    origins: Vec<Arc<dyn Origin>>,
) -> Result<BlockReader> {
    let key = BlockKey::new(settings.block_key);
    let cache = args.cache_dir.as_ref().map(|directory| {
        let options = DiskOptions { budget_bytes: args.cache_size, ..DiskOptions::default() };
        DiskCache::open(directory, settings.volume_id, key.clone(), &options)
            .with_context(|| format!("cannot use the cache directory {}", directory.display()))
    });
    let cache = cache.transpose()?;
    let options = ReaderOptions { memory_bytes: args.memory, ..ReaderOptions::default() };
    Ok(BlockReader::new(key, cache, origins, &options))
}

/// What a primary does without a word on it: what every local filesystem does.
pub(crate) fn primary_durability(args: &RegionArgs) -> DurabilityArg {
    args.durability.unwrap_or(DurabilityArg::Fsync)
}

/// What a mirror does without a word on it: what it says to have, its upstream no longer keeps for it.
pub(crate) fn mirror_durability(args: &RegionArgs) -> DurabilityArg {
    args.durability.unwrap_or(DurabilityArg::Commit)
}

/// What serves a primary region: its volume, and its blocks for mirrors.
pub(crate) struct Primary {
    pub(crate) region: Arc<Region>,
    pub(crate) volume: Arc<Volume>,
    pub(crate) blocks: BlockReader,
    pub(crate) origin: Arc<dyn Origin>,
}

/// Puts a primary together and looks whether its store answers.
pub(crate) async fn primary(meta: &str, args: &RegionArgs) -> Result<Primary> {
    let durability = primary_durability(args);
    let region = open_primary(meta, durability).await?;
    let settings = region.settings().await?;
    let store = open_store(&settings, durability)?;
    store.probe().await?;
    let origin: Arc<dyn Origin> = Arc::new(StoreOrigin::new(store.clone()));
    let blocks = block_reader(&settings, args, vec![Arc::clone(&origin)])?;
    let options = WriterOptions { compression: compression(settings.compression), ..WriterOptions::default() };
    let writer = BlockWriter::new(store, Some(blocks.memory()), &options);
    let options = VolumeOptions::default();
    let volume = Volume::start(Arc::clone(&region), &settings, blocks.clone(), Some(writer), options);
    Ok(Primary { region, volume, blocks, origin })
}

pub(crate) fn compression(compression: Compression) -> farshore_blocks::Compression {
    match compression {
        Compression::None => farshore_blocks::Compression::None,
        Compression::Lz4 => farshore_blocks::Compression::Lz4,
        Compression::Zstd => farshore_blocks::Compression::Zstd,
    }
}

/// Closes a region's engine: what was committed is durable and another process may open it.
pub(crate) async fn close(region: &Region) -> Result<()> {
    let engine: &Arc<dyn Engine> = region.engine();
    Ok(engine.close().await?)
}
