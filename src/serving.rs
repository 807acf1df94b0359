//! A region being served: its parts while the process runs, and their end in the right order.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use farshore_blocks::BlockReader;
use farshore_meta::Region;
use farshore_mount::{CachePolicy, Mount, MountOptions};
use farshore_proto::Position;
use farshore_replicator::FollowerHandle;
use farshore_volume::Volume;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::control::RegionControl;
use crate::guard::Guarded;
use crate::status::{self, RegionStatus};

/// How often a primary that is waited for is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A region and what serves it.
pub(crate) struct Serving {
    pub(crate) region: Arc<Region>,
    pub(crate) blocks: BlockReader,
    /// A mirror's follower.
    pub(crate) follower: Option<FollowerHandle>,
    /// Where mirrors may follow, once that is known.
    pub(crate) listen: OnceLock<SocketAddr>,
}

impl Serving {
    /// The position of everything that is readable here.
    pub(crate) async fn token(&self) -> Result<String> {
        Ok(self.visible().await?.to_string())
    }

    async fn visible(&self) -> Result<Position> {
        match &self.follower {
            Some(follower) => follower.status().visible.context("nothing is visible here yet"),
            None => Ok(self.region.state().await?.position),
        }
    }

    /// Waits until everything up to `position` is readable here; false when `timeout` passed first.
    pub(crate) async fn wait(&self, position: Position, timeout: Duration) -> Result<bool> {
        if let Some(follower) = &self.follower {
            return Ok(follower.wait_visible(position, timeout).await.is_ok());
        }
        let reached = async {
            while self.visible().await? < position {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Ok::<_, anyhow::Error>(())
        };
        tokio::time::timeout(timeout, reached).await.map_or(Ok(false), |reached| reached.map(|()| true))
    }

    /// What the region is doing.
    pub(crate) async fn status(&self) -> Result<RegionStatus> {
        let mut found = status::of_region(&self.region).await?;
        found.cache = Some(status::of_cache(&self.blocks));
        found.listen = self.listen.get().map(ToString::to_string);
        found.pid = Some(std::process::id());
        if let Some(follower) = &self.follower {
            status::add_follower(&mut found, &follower.status());
        }
        Ok(found)
    }
}

/// A mount, and the process that frees it if this one is killed and cannot end.
pub(crate) struct Mounted {
    pub(crate) mount: Mount,
    guard: Guarded,
}

/// Mounts a volume, off the runtime's own threads.
pub(crate) async fn mount(
    serving: &Arc<Serving>,
    volume: &Arc<Volume>,
    dir: &Path,
    cache: CachePolicy,
) -> Result<Mounted> {
    let (volume, dir) = (Arc::clone(volume), std::path::absolute(dir)?);
    let control = Arc::new(RegionControl(Arc::clone(serving)));
    let runtime = tokio::runtime::Handle::current();
    let options = MountOptions::new(cache);
    let mounted = tokio::task::spawn_blocking(move || Mount::start(volume, &dir, options, control, runtime));
    let mount = mounted.await.context("the thread that mounts panicked")??;
    let guard = Guarded::start(&mount)?;
    Ok(Mounted { mount, guard })
}

/// The signals that ask this process to end. From `listen` on they no longer kill it.
pub(crate) struct EndSignals(Vec<Signal>);

impl EndSignals {
    /// To be called before the process has anything that a sudden end would leave behind.
    pub(crate) fn listen() -> Result<Self> {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        let signals = kinds.into_iter().map(signal).collect::<std::io::Result<_>>();
        Ok(Self(signals.context("cannot listen for signals")?))
    }

    /// Returns when one has come since `listen`.
    pub(crate) async fn come(&mut self) {
        let (first, _, _) = futures::future::select_all(self.0.iter_mut().map(|signal| Box::pin(signal.recv()))).await;
        if first.is_some() {
            tracing::info!("asked to end");
        }
    }
}

/// Unmounts, off the runtime's own threads.
pub(crate) async fn unmount(mounted: Mounted) -> Result<()> {
    let Mounted { mount, guard } = mounted;
    let unmounted = tokio::task::spawn_blocking(move || mount.unmount());
    let unmounted = unmounted.await.context("the thread that unmounts panicked")?;
    drop(guard);
    Ok(unmounted?)
}
