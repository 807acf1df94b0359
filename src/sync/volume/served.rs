//! A volume whose region this process has open, or follows, and serves to its job.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use farshore_blocks::{BlockReader, BlockWriter, Origin, StoreOrigin, WriterOptions};
use farshore_meta::engine::{EngineError, EngineUrl};
use farshore_meta::{MirrorPhase, Region, Role, Settings};
use farshore_proto::Position;
use farshore_replicator::{
    Follower, FollowerHandle, FollowerOptions, FollowerPhase, Upstream, UpstreamOrigin, open_mirror, show_at_once,
};
use farshore_sync::store::StoreAddress;
use farshore_volume::Volume;

use super::overlap::overlap;
use super::unopened::unopened;
use super::{Use, VolumePlace};
use crate::assembly;
use crate::cli::{BlocksFrom, DurabilityArg, RegionArgs};
use crate::exit::{Exit, Failure};
use crate::mirror;
use crate::tls;

/// Memory for blocks that were read: a job reads each once, in order.
const MEMORY_BYTES: u64 = 32 << 20;
/// Bytes on their way to the volume's store.
const DIRTY_BYTES: u64 = 64 << 20;
/// How long a mirror may take to reach where its upstream was when the job began, before it is said.
const CATCH_UP_TOLD: Duration = Duration::from_secs(10);
/// And how often it is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A volume that is served to this process alone.
pub(in crate::sync) struct Served {
    pub(in crate::sync) region: Arc<Region>,
    pub(in crate::sync) volume: Arc<Volume>,
    pub(in crate::sync) settings: Settings,
    pub(in crate::sync) meta: EngineUrl,
    follower: Option<FollowerHandle>,
}

impl Served {
    /// Fails if a side that is no volume holds this one's blocks or metadata, or lies in them: it would be copied while
    /// it changes, or deleted.
    pub(in crate::sync) fn refuse_within(&self, place: &VolumePlace, other: &StoreAddress) -> Result<()> {
        let blocks: StoreAddress = self.settings.store.parse()?;
        let meta = place.directory().and_then(|path| path.to_str()).and_then(|path| path.parse().ok());
        for own in [Some(blocks), meta].into_iter().flatten() {
            if overlap(&own, other) {
                let message = format!("{} keeps its data in {own}, which overlaps {other}", place.name());
                return Err(Failure::error(Exit::Usage, message));
            }
        }
        Ok(())
    }

    /// Opens a volume; with an upstream it becomes or goes on as a mirror of that.
    pub(super) async fn open(place: &VolumePlace, use_as: Use) -> Result<Self> {
        match &place.upstream {
            Some(upstream) => Self::follow(place, upstream).await,
            None => Self::alone(place, use_as).await,
        }
    }

    /// Serves a region that no other process has open.
    async fn alone(place: &VolumePlace, use_as: Use) -> Result<Self> {
        let durability = DurabilityArg::Fsync;
        let options = assembly::engine_options(durability);
        let engine = place.meta.open(&options).await.map_err(|error| unopened(error, place, use_as))?;
        let region = Arc::new(Region::open(engine).await?);
        if matches!(region.role(), Role::Mirror { .. }) && region.mirror_phase().await? != MirrorPhase::Following {
            let message = format!("the mirror {} was not copied whole yet; give ?upstream=URL to go on", place.name());
            return Err(Failure::error(Exit::NoVolume, message));
        }
        let settings = region.settings().await?;
        let store = assembly::open_store(&settings, durability)?;
        let origin: Arc<dyn Origin> = Arc::new(StoreOrigin::new(store.clone()));
        let primary = matches!(region.role(), Role::Primary { .. });
        let writer = if primary && use_as != Use::Read {
            if use_as == Use::Write {
                store.probe().await?;
            }
            let compression = assembly::compression(settings.compression);
            Some(BlockWriter::new(store, None, &WriterOptions { compression, ..WriterOptions::default() }))
        } else {
            None
        };
        let blocks = assembly::block_reader(&settings, &region_args(), vec![origin])?;
        Ok(Self::start(place, region, settings, blocks, writer))
    }

    fn start(
        place: &VolumePlace,
        region: Arc<Region>,
        settings: Settings,
        blocks: BlockReader,
        writer: Option<BlockWriter>,
    ) -> Self {
        let options = farshore_volume::VolumeOptions { dirty_bytes: DIRTY_BYTES, ..Default::default() };
        let volume = Volume::start(Arc::clone(&region), &settings, blocks, writer, options);
        Self { region, volume, settings, meta: place.meta.clone(), follower: None }
    }

    /// Serves a mirror that this process makes follow, as `farshore mirror` does, and that has all that its upstream
    /// had when it was asked.
    async fn follow(place: &VolumePlace, url: &str) -> Result<Self> {
        let upstream = Upstream::new(url, tls::read(&place.tls())?.as_ref())?;
        let described = upstream.describe().await?;
        let options = assembly::engine_options(DurabilityArg::Commit);
        let engine = match place.meta.open(&options).await {
            Err(EngineError::Missing { .. }) => place.meta.create(&options).await?,
            opened => opened.map_err(|error| unopened(error, place, Use::Read))?,
        };
        let opened = open_mirror(engine, &upstream).await;
        let region = Arc::new(opened.with_context(|| format!("cannot make a mirror of {}", place.name()))?);
        mirror::refuse_wrong_upstream(&region, &upstream).await?;
        let options = FollowerOptions::named(format!("sync on {}", mirror::host_name()));
        let (follower, applied) = Follower::start(Arc::clone(&region), upstream.clone(), options)?;
        tokio::spawn(show_at_once(follower.clone(), applied));
        follower.ready().await?;
        let settings = region.settings().await?;
        let from_upstream: Arc<dyn Origin> = Arc::new(UpstreamOrigin::new(&upstream, settings.volume_id, region.id()));
        let origins = match place.blocks_from {
            BlocksFrom::Upstream => vec![from_upstream],
            BlocksFrom::Store => {
                let store = assembly::open_store(&settings, DurabilityArg::Commit)?;
                vec![Arc::new(StoreOrigin::new(store)) as Arc<dyn Origin>, from_upstream]
            }
        };
        let blocks = assembly::block_reader(&settings, &region_args(), origins)?;
        let served = Self::start(place, region, settings, blocks, None);
        let served = Self { follower: Some(follower), ..served };
        served.reach(described.position).await?;
        Ok(served)
    }

    /// Waits until a mirror has everything up to a position of its upstream's.
    async fn reach(&self, position: Position) -> Result<()> {
        let begun = Instant::now();
        let mut told = false;
        while self.region.state().await?.position < position {
            self.expect_following()?;
            if !told && begun.elapsed() > CATCH_UP_TOLD {
                tracing::info!("waiting until the mirror has all that its upstream has");
                told = true;
            }
            self.changed(position, LOOK_AGAIN).await?;
        }
        Ok(())
    }

    /// Returns once the region may have moved on from where it was read to stand, or after some time.
    pub(in crate::sync) async fn changed(&self, unless_at: Position, within: Duration) -> Result<()> {
        let seen = self.region.engine_version().await?;
        if self.region.state().await?.position > unless_at {
            return Ok(());
        }
        let changed = tokio::time::timeout(within, self.region.changed_since(seen)).await;
        Ok(changed.unwrap_or(Ok(()))?)
    }

    /// Why a mirror has stopped to follow, if it has.
    ///
    /// # Errors
    /// What stopped it.
    pub(in crate::sync) fn expect_following(&self) -> Result<()> {
        let Some(status) = self.follower.as_ref().map(FollowerHandle::status) else { return Ok(()) };
        match status.last_error {
            Some(error) if status.phase == FollowerPhase::Stopped => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Fails if nothing can change in the volume while this process has it.
    pub(in crate::sync) fn expect_changes(&self) -> Result<()> {
        if self.follower.is_some() || !matches!(self.meta, EngineUrl::Embedded { .. }) {
            return Ok(());
        }
        let message = "nobody else can write to a volume that this command has open: to watch one in use, follow it with \
                       farshore://OTHER_META?upstream=http://HOST:PORT";
        Err(Failure::error(Exit::Usage, message))
    }

    /// Whether this process alone decides how long the log is kept.
    pub(in crate::sync) fn follows(&self) -> bool {
        self.follower.is_some()
    }

    /// Ends what is under way, makes it durable and gives META free.
    pub(super) async fn close(&self) -> Result<()> {
        let Self { region, volume, follower, .. } = self;
        if let Some(follower) = follower {
            follower.stop().await;
        }
        let outcome = volume.shut_down().await.context("not everything that was written could be stored");
        outcome.and(assembly::close(region).await)
    }
}

fn region_args() -> RegionArgs {
    RegionArgs { durability: None, cache_dir: None, cache_size: 0, memory: MEMORY_BYTES }
}
