//! Volumes on real engines and stores, mounted for real.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part of it, and a failure is the test's")]

pub(crate) mod held_engine;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use farshore_blocks::{
    BlockKey, BlockReader, BlockStore, BlockWriter, ReaderOptions, StoreOptions, StoreOrigin, StoreUrl, WriterOptions,
};
use farshore_meta::engine::{EmbeddedEngine, EmbeddedOptions, Engine};
use farshore_meta::{Bootstrap, Compression, DURABLE, DurableKey, NewVolume, Region, Role, Settings, UnixTime, format};
use farshore_mount::{CachePolicy, Control, Mount, MountOptions, NoControl};
use farshore_proto::{Position, RegionId, VolumeId};
use farshore_volume::{Volume, VolumeOptions};
use held_engine::HeldEngine;
use tokio::runtime::Runtime;

pub(crate) const BLOCK_BYTES: u32 = 64 << 10;
const PAGE_BYTES: usize = 1 << 20;

fn settings() -> Settings {
    Settings {
        volume_id: VolumeId::from_random([1; 16]),
        name: "mounted".into(),
        store: "file://".into(),
        block_key: [2; 32],
        block_bytes: BLOCK_BYTES,
        inline_bytes: 4096,
        compression: Compression::None,
    }
}

/// A volume and the directory that all its regions live under.
pub(crate) struct Home {
    pub(crate) runtime: Runtime,
    pub(crate) volume: Arc<Volume>,
    pub(crate) engine: Arc<HeldEngine>,
    directory: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        assert!(
            Path::new("/dev/fuse").exists(),
            "these tests mount, which needs /dev/fuse: load the module `fuse` or give the container that device"
        );
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (volume, engine) = runtime.block_on(primary(directory.path()));
        Self { runtime, volume, engine, directory }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn mount_point(&self, name: &str) -> PathBuf {
        let dir = self.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        dir
    }

    pub(crate) fn start(
        &self,
        dir: &Path,
        volume: &Arc<Volume>,
        cache: CachePolicy,
        control: Arc<dyn Control>,
    ) -> Mount {
        self.start_with(dir, volume, MountOptions::new(cache), control)
    }

    pub(crate) fn start_with(
        &self,
        dir: &Path,
        volume: &Arc<Volume>,
        options: MountOptions,
        control: Arc<dyn Control>,
    ) -> Mount {
        Mount::start(Arc::clone(volume), dir, options, control, self.runtime.handle().clone()).unwrap()
    }
}

/// A primary, mounted.
pub(crate) struct Mounted {
    pub(crate) mount: Option<Mount>,
    pub(crate) dir: PathBuf,
    pub(crate) home: Home,
}

impl Mounted {
    pub(crate) fn new() -> Self {
        Self::with_control(Arc::new(NoControl))
    }

    pub(crate) fn with_control(control: Arc<dyn Control>) -> Self {
        Self::with_options(MountOptions::new(CachePolicy::Sole), control)
    }

    pub(crate) fn with_options(options: MountOptions, control: Arc<dyn Control>) -> Self {
        let home = Home::new();
        let dir = home.mount_point("primary");
        let mount = home.start_with(&dir, &home.volume, options, control);
        Self { mount: Some(mount), dir, home }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Unmounts and mounts again, so that nothing comes from the kernel's caches.
    pub(crate) fn remount(&mut self) {
        self.mount.take().unwrap().unmount().unwrap();
        let control = Arc::new(NoControl);
        self.mount = Some(self.home.start(&self.dir, &self.home.volume, CachePolicy::Sole, control));
    }
}

fn start(directory: &Path, region: Region) -> Arc<Volume> {
    let settings = settings();
    let url = StoreUrl::directory(&directory.join("store")).unwrap();
    let key = BlockKey::new(settings.block_key);
    let options = StoreOptions { create_directory: true, deferred_sync: true, ..StoreOptions::default() };
    let store = BlockStore::open(&url, settings.volume_id, key.clone(), &options).unwrap();
    let origin = Arc::new(StoreOrigin::new(store.clone()));
    let blocks = BlockReader::new(key, None, vec![origin], &ReaderOptions::default());
    let primary = matches!(region.role(), Role::Primary { .. });
    let writer = primary.then(|| BlockWriter::new(store, Some(blocks.memory()), &WriterOptions::default()));
    Volume::start(Arc::new(region), &settings, blocks, writer, VolumeOptions::default())
}

fn create_engine(directory: &Path) -> Arc<HeldEngine> {
    let engine = EmbeddedEngine::create(directory, &EmbeddedOptions::default()).unwrap();
    Arc::new(HeldEngine::new(Arc::new(engine)))
}

async fn primary(directory: &Path) -> (Arc<Volume>, Arc<HeldEngine>) {
    let engine = create_engine(&directory.join("meta"));
    let new = NewVolume {
        settings: settings(),
        region_id: RegionId::from_random([3; 16]),
        incarnation_random: [4; 12],
        uid: 0,
        gid: 0,
        now: UnixTime { seconds: 1, nanos: 0 },
    };
    let region = format(Arc::clone(&engine) as Arc<dyn Engine>, &new).await.unwrap();
    (start(directory, region), engine)
}

/// A mirror of a home's volume, mounted, which follows when it is told to.
pub(crate) struct Mirror {
    pub(crate) mount: Option<Mount>,
    pub(crate) dir: PathBuf,
    pub(crate) volume: Arc<Volume>,
    pub(crate) engine: Arc<HeldEngine>,
    at: Position,
}

impl Mirror {
    pub(crate) fn new(home: &Home) -> Self {
        let engine = create_engine(&home.path().join("mirror-meta"));
        let (volume, at) = home.runtime.block_on(mirror(home, Arc::clone(&engine) as Arc<dyn Engine>));
        let dir = home.mount_point("mirror");
        let mount = home.start(&dir, &volume, CachePolicy::Followed, Arc::new(NoControl));
        Self { mount: Some(mount), dir, volume, engine, at }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Applies what the primary has committed; the kernel is told by `show`.
    pub(crate) fn apply(&mut self, home: &Home) -> Vec<DurableKey> {
        let interval = home.runtime.block_on(home.volume.region().interval(self.at, usize::MAX)).unwrap();
        self.at = home.runtime.block_on(self.volume.region().apply(&interval)).unwrap();
        let changes = interval.commits.iter().flat_map(|commit| &commit.changes);
        changes.map(|change| DurableKey::parse(&change.key).unwrap()).collect()
    }

    pub(crate) fn show(&self, changed: &[DurableKey]) {
        self.mount.as_ref().unwrap().invalidator().invalidate(changed);
    }

    /// Applies and shows what the primary has committed.
    pub(crate) fn follow(&mut self, home: &Home) {
        let changed = self.apply(home);
        self.show(&changed);
    }
}

async fn mirror(home: &Home, engine: Arc<dyn Engine>) -> (Arc<Volume>, Position) {
    let id = RegionId::from_random([5; 16]);
    let region = Region::create_mirror(engine, id, settings().volume_id).await.unwrap();
    let upstream = home.volume.region();
    let mut bootstrap = Bootstrap::begin(upstream.state().await.unwrap().position);
    while let Some(next) = bootstrap.next.take() {
        let page = upstream.page(&next, DURABLE.1, PAGE_BYTES).await.unwrap();
        bootstrap.settled_at = page.read_at;
        bootstrap.next = (!page.last).then_some(page.next);
        region.copy_page(&page.rows, &bootstrap).await.unwrap();
    }
    (start(home.path(), region), bootstrap.pinned)
}
