//! Regions in directories of their own, publishers on loopback, and mirrors that follow them.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test uses its own part of this")]

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use farshore_blocks::{BlockError, BlockKey, BlockName, BlockPiece, GroupHashes, Origin, name_of};
use farshore_meta::engine::{Durability, EmbeddedEngine, EmbeddedOptions, Engine, KeyValue};
use farshore_meta::{
    Compression, DURABLE, FileKind, Ino, Name, NewInode, NewVolume, Region, Settings, Tree, UnixTime, format,
};
use farshore_proto::{RegionId, VolumeId};
use farshore_replicator::{
    Follower, FollowerHandle, FollowerOptions, Lineage, Publisher, PublisherOptions, Upstream, open_mirror,
    show_at_once,
};

pub const NOW: UnixTime = UnixTime { seconds: 1_000, nanos: 7 };
pub const KEY: [u8; 32] = [2; 32];
/// Longer than anything here takes on a busy machine.
pub const LONG: Duration = Duration::from_mins(1);

pub fn volume_id() -> VolumeId {
    VolumeId::from_random([1; 16])
}

pub fn engine(directory: &Path) -> Arc<dyn Engine> {
    let options = EmbeddedOptions { durability: Durability::Os, ..EmbeddedOptions::default() };
    let engine = if directory.exists() {
        EmbeddedEngine::open(directory, &options)
    } else {
        EmbeddedEngine::create(directory, &options)
    };
    Arc::new(engine.unwrap())
}

pub async fn primary(directory: &Path) -> Arc<Region> {
    volume(directory, volume_id(), "test").await
}

pub async fn volume(directory: &Path, volume_id: VolumeId, name: &str) -> Arc<Region> {
    let settings = Settings {
        volume_id,
        name: name.into(),
        store: "mem://".into(),
        block_key: KEY,
        block_bytes: 64 << 10,
        inline_bytes: 4096,
        compression: Compression::None,
    };
    let region_id = RegionId::from_random(rand::random());
    let incarnation_random = [4; 12];
    let new = NewVolume { settings, region_id, incarnation_random, uid: 0, gid: 0, now: NOW };
    Arc::new(format(engine(directory), &new).await.unwrap())
}

/// An origin that has the blocks it was given.
#[derive(Debug, Default)]
pub struct Blocks(pub std::collections::BTreeMap<BlockName, Bytes>);

impl Blocks {
    pub fn with(blocks: &[Bytes]) -> Self {
        let key = BlockKey::new(KEY);
        Self(blocks.iter().map(|block| (name_of(&key, block), block.clone())).collect())
    }
}

#[async_trait]
impl Origin for Blocks {
    async fn fetch(&self, name: BlockName, _: Range<u32>) -> Result<BlockPiece, BlockError> {
        let missing = || BlockError::Missing { name, place: "the test".into() };
        let block = self.0.get(&name).ok_or_else(missing)?;
        let hashes = GroupHashes::of(&BlockKey::new(KEY), block);
        Ok(BlockPiece { block_len: block.len() as u32, hashes, first_group: 0, data: block.clone() })
    }
}

pub fn options() -> PublisherOptions {
    PublisherOptions::at("127.0.0.1:0".parse().unwrap())
}

pub async fn publish(region: &Arc<Region>, lineage: Lineage) -> Publisher {
    let blocks = Arc::new(Blocks::default());
    Publisher::start(Arc::clone(region), blocks, lineage, &options()).await.unwrap()
}

pub fn upstream(publisher: &Publisher) -> Upstream {
    Upstream::new(&format!("http://{}", publisher.address()), None).unwrap()
}

/// A mirror that follows, not mounted.
pub struct Mirror {
    pub region: Arc<Region>,
    pub handle: FollowerHandle,
}

impl Mirror {
    pub async fn start(directory: &Path, upstream: &Upstream) -> Self {
        let region = Arc::new(open_mirror(engine(directory), upstream).await.unwrap());
        Self::follow(region, upstream)
    }

    pub fn follow(region: Arc<Region>, upstream: &Upstream) -> Self {
        let options = FollowerOptions { name: "a mirror".into(), seed: 5 };
        let (handle, applied) = Follower::start(Arc::clone(&region), upstream.clone(), options).unwrap();
        tokio::spawn(show_at_once(handle.clone(), applied));
        Self { region, handle }
    }

    pub async fn ready(&self) {
        tokio::time::timeout(LONG, self.handle.ready()).await.unwrap().unwrap();
    }

    /// Waits until everything that `upstream` holds now is visible here, and compares.
    pub async fn catches_up_with(&self, upstream: &Region) {
        let state = upstream.state().await.unwrap();
        self.handle.wait_visible(state.position, LONG).await.unwrap();
        assert_eq!(self.region.state().await.unwrap().digest, upstream.state().await.unwrap().digest);
        assert_eq!(rows(&self.region).await, rows(upstream).await);
    }

    /// Ends it and gives its engine free.
    pub async fn stop(self) {
        self.handle.stop().await;
        self.region.engine().close().await.unwrap();
    }
}

pub async fn rows(region: &Region) -> Vec<KeyValue> {
    region.page(DURABLE.0, DURABLE.1, usize::MAX).await.unwrap().rows
}

pub fn tree(region: &Arc<Region>) -> Tree {
    Tree::new(Arc::clone(region), 4096)
}

pub fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

pub fn file() -> NewInode {
    NewInode { kind: FileKind::File, mode: 0o640, uid: 1, gid: 2, rdev: 0, target: Bytes::new() }
}

/// Makes `count` inodes of some contents under the root, one commit each.
pub async fn make_files(region: &Arc<Region>, prefix: &str, count: usize) {
    let tree = tree(region);
    for number in 0..count {
        let target = Bytes::from(format!("contents of {prefix} {number}").repeat(20));
        let new = NewInode { kind: FileKind::Symlink, target, ..file() };
        let name = name(&format!("{prefix}-{number}"));
        tree.create(Ino::ROOT, &name, &new, NOW).await.unwrap();
    }
}

/// Returns once `done` holds of what the follower tells.
pub async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(LONG, async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what} did not come about");
}
