//! `farshore mirror`: follows a region and, mounted, serves its tree read-only.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use farshore_blocks::{Origin, StoreOrigin};
use farshore_meta::engine::EngineError;
use farshore_meta::{Region, Role, Settings};
use farshore_mount::{CachePolicy, Invalidator};
use farshore_replicator::{
    Applied, Follower, FollowerHandle, FollowerOptions, ReplicatorError, Upstream, UpstreamOrigin, open_mirror,
    show_at_once,
};
use farshore_volume::{Volume, VolumeOptions};
use tokio::sync::mpsc;

use crate::assembly;
use crate::background;
use crate::cli::{BlocksFrom, MirrorArgs};
use crate::output::note;
use crate::primary::{publish, until_ended};
use crate::serving::{self, EndSignals, Serving};
use crate::tls;

pub(crate) fn run(args: &MirrorArgs) -> Result<()> {
    if args.process.foreground || args.process.background_child {
        return crate::block_on(follow(args));
    }
    let subject = args.mount.clone().unwrap_or_else(|| args.meta.clone().into());
    let (log, pid) = background::start(&args.process, &std::path::absolute(subject)?)?;
    let what = args.mount.as_ref().map_or("following".to_owned(), |dir| format!("mounted on {}", dir.display()));
    note(&format!("{what} by process {pid}; its log is {}", log.display()));
    Ok(())
}

async fn follow(args: &MirrorArgs) -> Result<()> {
    if args.process.background_child {
        background::detach();
    }
    let upstream = Upstream::new(&args.upstream, tls::read(&args.tls)?.as_ref())?;
    let region = Arc::new(open(args, &upstream).await?);
    refuse_wrong_upstream(&region, &upstream).await?;
    let options = FollowerOptions::named(args.name.clone().unwrap_or_else(host_name));
    let (follower, applied) = Follower::start(Arc::clone(&region), upstream.clone(), options)?;
    follower.ready().await?;
    let outcome = serve(args, &region, &upstream, &follower, applied).await;
    follower.stop().await;
    outcome.and(assembly::close(&region).await)
}

/// Opens the mirror's rows, or begins them.
async fn open(args: &MirrorArgs, upstream: &Upstream) -> Result<Region> {
    let url = assembly::engine_url(&args.meta)?;
    let options = assembly::engine_options(assembly::mirror_durability(&args.region));
    let engine = match url.open(&options).await {
        Err(EngineError::Missing { .. }) => {
            // Nothing is made for an upstream that is not there.
            upstream.describe().await?;
            url.create(&options).await?
        }
        opened => opened?,
    };
    open_mirror(engine, upstream).await.with_context(|| format!("cannot make a mirror of {}", args.meta))
}

/// Fails if the upstream answers and is not one that this mirror can follow. One that does not
/// answer may come back.
pub(crate) async fn refuse_wrong_upstream(region: &Region, upstream: &Upstream) -> Result<()> {
    let Role::Mirror { volume_id } = region.role() else { return Ok(()) };
    let Ok(described) = upstream.describe().await else { return Ok(()) };
    let url = upstream.url().to_owned();
    if described.volume_id != volume_id {
        let (name, found, expected) = (described.volume_name, described.volume_id, volume_id);
        return Err(ReplicatorError::WrongVolume { upstream: url, name, found, expected }.into());
    }
    if described.region_id == region.id() || described.upstreams.contains(&region.id()) {
        return Err(ReplicatorError::SelfUpstream { upstream: url, region: region.id() }.into());
    }
    Ok(())
}

async fn serve(
    args: &MirrorArgs,
    region: &Arc<Region>,
    upstream: &Upstream,
    follower: &FollowerHandle,
    applied: mpsc::Receiver<Applied>,
) -> Result<()> {
    let settings = region.settings().await?;
    let origins = origins(args, region, upstream, &settings)?;
    let first = origins.first().map(Arc::clone).expect("a mirror has an origin");
    let blocks = assembly::block_reader(&settings, &args.region, origins)?;
    let serving = Arc::new(Serving {
        region: Arc::clone(region),
        blocks: blocks.clone(),
        follower: Some(follower.clone()),
        listen: OnceLock::new(),
    });
    let publisher = publish(&serving, first, follower.lineage(), args.listen.as_deref(), &args.tls).await?;
    if publisher.is_some() {
        // Only now does a region answer that was told to follow itself.
        refuse_wrong_upstream(region, upstream).await?;
    }
    if let Some(dir) = &args.mount {
        let volume = Volume::start(Arc::clone(region), &settings, blocks, None, VolumeOptions::default());
        serve_mounted(&serving, &volume, dir, follower, applied).await?;
    } else {
        tokio::spawn(show_at_once(follower.clone(), applied));
        background::report_ready();
        EndSignals::listen()?.come().await;
    }
    if let Some(publisher) = publisher {
        publisher.stop().await;
    }
    Ok(())
}

async fn serve_mounted(
    serving: &Arc<Serving>,
    volume: &Arc<Volume>,
    dir: &Path,
    follower: &FollowerHandle,
    applied: mpsc::Receiver<Applied>,
) -> Result<()> {
    // A kernel that has nothing of this mount sees everything that was applied before it.
    let before = serving.region.state().await?.position;
    let signals = EndSignals::listen()?;
    let mounted = serving::mount(serving, volume, dir, CachePolicy::Followed).await?;
    follower.set_visible(before);
    show_to_kernel(mounted.mount.invalidator(), follower.clone(), applied)?;
    background::report_ready();
    until_ended(&mounted.mount, signals).await;
    serving::unmount(mounted).await
}

/// Has the kernel forget what every interval changed, in order, on a thread of its own: the
/// kernel may keep it waiting for readers.
fn show_to_kernel(
    invalidator: Invalidator,
    follower: FollowerHandle,
    mut applied: mpsc::Receiver<Applied>,
) -> Result<()> {
    let show = move || {
        while let Some(interval) = applied.blocking_recv() {
            invalidator.invalidate(&interval.changed);
            follower.set_visible(interval.to);
        }
    };
    std::thread::Builder::new().name("invalidator".to_owned()).spawn(show).context("cannot start a thread")?;
    Ok(())
}

fn origins(
    args: &MirrorArgs,
    region: &Region,
    upstream: &Upstream,
    settings: &Settings,
) -> Result<Vec<Arc<dyn Origin>>> {
    let from_upstream: Arc<dyn Origin> = Arc::new(UpstreamOrigin::new(upstream, settings.volume_id, region.id()));
    if args.blocks_from == BlocksFrom::Upstream {
        return Ok(vec![from_upstream]);
    }
    let store = assembly::open_store(settings, assembly::mirror_durability(&args.region))?;
    Ok(vec![Arc::new(StoreOrigin::new(store)), from_upstream])
}

pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
