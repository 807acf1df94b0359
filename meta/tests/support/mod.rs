//! A volume and a mirror of it, each on an embedded engine in a directory of its own.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test uses its own part of this")]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use farshore_meta::engine::{Durability, EmbeddedEngine, EmbeddedOptions, Engine};
use farshore_meta::{
    Bootstrap, Compression, FileKind, MirrorPhase, Name, NewInode, NewVolume, Region, Settings, Tree, UnixTime, format,
};
use farshore_proto::{RegionId, VolumeId};

pub const NOW: UnixTime = UnixTime { seconds: 1_000, nanos: 7 };

pub fn options() -> EmbeddedOptions {
    EmbeddedOptions { durability: Durability::Os, ..EmbeddedOptions::default() }
}

pub async fn primary(directory: &Path) -> Arc<Region> {
    primary_on(Arc::new(EmbeddedEngine::create(directory.join("primary"), &options()).unwrap())).await
}

pub async fn primary_on(engine: Arc<dyn Engine>) -> Arc<Region> {
    let settings = Settings {
        volume_id: VolumeId::from_random([1; 16]),
        name: "test".into(),
        store: "mem://".into(),
        block_key: [2; 32],
        block_bytes: 64 << 10,
        inline_bytes: 4096,
        compression: Compression::None,
    };
    let region_id = RegionId::from_random([3; 16]);
    let new = NewVolume { settings, region_id, incarnation_random: [4; 12], uid: 0, gid: 0, now: NOW };
    Arc::new(format(engine, &new).await.unwrap())
}

pub async fn mirror(directory: &Path, name: &str) -> Region {
    let engine: Arc<dyn Engine> = Arc::new(EmbeddedEngine::create(directory.join(name), &options()).unwrap());
    let id = RegionId::from_random([9; 16]);
    Region::create_mirror(engine, id, VolumeId::from_random([1; 16])).await.unwrap()
}

/// Copies the durable rows page by page; `between` runs after each page.
pub async fn bootstrap(upstream: &Region, mirror: &Region, mut between: impl AsyncFnMut()) {
    let mut state = match mirror.mirror_phase().await.unwrap() {
        MirrorPhase::New => Bootstrap::begin(upstream.state().await.unwrap().position),
        MirrorPhase::Bootstrapping(state) => state,
        MirrorPhase::Following => return,
    };
    while let Some(next) = state.next.clone() {
        let page = upstream.page(&next, farshore_meta::DURABLE.1, 2_000).await.unwrap();
        state.settled_at = state.settled_at.max(page.read_at);
        state.next = (!page.last).then_some(page.next);
        mirror.copy_page(&page.rows, &state).await.unwrap();
        between().await;
    }
}

/// Applies intervals until the mirror has all that its upstream has.
pub async fn catch_up(upstream: &Region, mirror: &Region, target_bytes: usize) {
    loop {
        let from = mirror.state().await.unwrap().position;
        let interval = upstream.interval(from, target_bytes).await.unwrap();
        mirror.apply(&interval).await.unwrap();
        if interval.digest.is_some() {
            return;
        }
    }
}

pub fn tree(region: &Arc<Region>) -> Tree {
    Tree::new(Arc::clone(region), 4096)
}

pub fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

pub fn new(kind: FileKind) -> NewInode {
    NewInode { kind, mode: 0o750, uid: 1, gid: 2, rdev: 0, target: Bytes::new() }
}
