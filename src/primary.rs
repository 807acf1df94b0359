//! `farshore mount` and `farshore serve`: a primary region, mounted or only published.

use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, bail};
use farshore_blocks::{BlockKey, Origin, StoreOrigin};
use farshore_mount::{CachePolicy, Mount};
use farshore_replicator::{Lineage, Publisher, PublisherOptions, ServedBlocks};

use crate::assembly::{self, Primary};
use crate::cli::{MountArgs, ServeArgs, TlsArgs};
use crate::exit::{Exit, Failure};
use crate::output::note;
use crate::serving::{self, EndSignals, Serving};
use crate::{background, tls};

pub(crate) fn mount(args: &MountArgs) -> Result<()> {
    if args.process.foreground || args.process.background_child {
        return crate::block_on(run(args));
    }
    let (log, pid) = background::start(&args.process, &std::path::absolute(&args.dir)?)?;
    note(&format!("mounted on {} by process {pid}; its log is {}", args.dir.display(), log.display()));
    Ok(())
}

async fn run(args: &MountArgs) -> Result<()> {
    if args.process.background_child {
        background::detach();
    }
    let Primary { region, volume, blocks, origin } = assembly::primary(&args.meta, &args.region).await?;
    let serving = Arc::new(Serving { region: Arc::clone(&region), blocks, follower: None, listen: OnceLock::new() });
    let publisher = publish(&serving, origin, Lineage::primary(), args.listen.as_deref(), &args.tls).await?;
    let signals = EndSignals::listen()?;
    let mounted = serving::mount(&serving, &volume, &args.dir, CachePolicy::Sole).await?;
    background::report_ready();
    until_ended(&mounted.mount, signals).await;
    serving::unmount(mounted).await?;
    if let Some(publisher) = publisher {
        publisher.stop().await;
    }
    volume.shut_down().await.context("not everything that was written could be stored")?;
    assembly::close(&region).await
}

/// Returns when the process is asked to end, or the mount was taken away.
pub(crate) async fn until_ended(mount: &Mount, mut signals: EndSignals) {
    tokio::select! {
        () = signals.come() => {}
        () = mount.wait() => tracing::info!("the mount was taken away"),
    }
}

/// Starts the publisher of a region, if there is an address to listen at.
pub(crate) async fn publish(
    serving: &Arc<Serving>,
    origin: Arc<dyn Origin>,
    lineage: Lineage,
    listen: Option<&str>,
    args: &TlsArgs,
) -> Result<Option<Publisher>> {
    let Some(listen) = listen else { return Ok(None) };
    let mut options = PublisherOptions::at(resolve(listen).await?);
    options.tls = tls::read(args)?;
    options.insecure = args.insecure;
    let key = BlockKey::new(serving.region.settings().await?.block_key);
    let blocks = Arc::new(ServedBlocks::new(serving.blocks.clone(), key, origin));
    let publisher = Publisher::start(Arc::clone(&serving.region), blocks, lineage, &options).await?;
    serving.listen.get_or_init(|| publisher.address());
    Ok(Some(publisher))
}

async fn resolve(listen: &str) -> Result<std::net::SocketAddr> {
    let found = tokio::net::lookup_host(listen).await;
    match found.ok().and_then(|mut addresses| addresses.next()) {
        Some(address) => Ok(address),
        None => bail!(Failure::error(Exit::Usage, format!("{listen:?} is no address to listen at; give HOST:PORT"))),
    }
}

pub(crate) async fn serve(args: &ServeArgs) -> Result<()> {
    let durability = assembly::primary_durability(&args.region);
    let region = assembly::open_primary(&args.meta, durability).await?;
    let settings = region.settings().await?;
    let store = assembly::open_store(&settings, durability)?;
    let origin: Arc<dyn Origin> = Arc::new(StoreOrigin::new(store));
    let blocks = assembly::block_reader(&settings, &args.region, vec![Arc::clone(&origin)])?;
    let serving = Arc::new(Serving { region: Arc::clone(&region), blocks, follower: None, listen: OnceLock::new() });
    let publisher = publish(&serving, origin, Lineage::primary(), Some(&args.listen), &args.tls).await?;
    if let Some(address) = serving.listen.get() {
        note(&format!("mirrors may follow at {address}"));
    }
    EndSignals::listen()?.come().await;
    if let Some(publisher) = publisher {
        publisher.stop().await;
    }
    assembly::close(&region).await
}
