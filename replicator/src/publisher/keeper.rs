//! The task that looks after the log: it evicts mirrors whose lease has passed and trims what
//! nobody needs. `retention` decides; this does it.

use std::sync::Arc;

use farshore_meta::{Region, Result};
use farshore_proto::Position;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::follow::{before_all, unix_ms};
use super::options::{KEEP_EVERY, TRIM_STEP_BYTES};
use crate::retention::{self, RetentionOptions, Samples};

/// Keeps the log of `region` until told to stop.
pub(crate) async fn run(region: Arc<Region>, options: RetentionOptions, mut stopping: watch::Receiver<bool>) {
    let mut samples = Samples::default();
    let mut ticks = interval(KEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        if let Err(error) = keep(&region, &mut samples, unix_ms(), &options).await {
            tracing::warn!(%error, "the change log was not trimmed; it is tried again");
        }
    }
}

/// Does once what is due at `now_unix_ms`.
async fn keep(region: &Region, samples: &mut Samples, now_unix_ms: u64, options: &RetentionOptions) -> Result<()> {
    samples.note(now_unix_ms, region.state().await?.position, options);
    let plan = retention::decide(&region.mirrors().await?, samples, now_unix_ms, options);
    for mirror in &plan.evict {
        if region.evict_mirror(mirror).await? {
            tracing::warn!(mirror = %mirror.id, name = mirror.name, "a mirror was not heard of for longer than its \
                lease and is evicted; it must bootstrap anew");
        }
    }
    match plan.trim_to {
        Some(wanted) => trim(region, wanted).await,
        None => Ok(()),
    }
}

/// Trims up to `wanted` in steps, each a transaction of bounded size.
async fn trim(region: &Region, wanted: Position) -> Result<()> {
    let mut begin = region.trim_log(before_all()).await?;
    while begin < wanted {
        let step = region.interval(begin, TRIM_STEP_BYTES).await?.to.min(wanted);
        let reached = region.trim_log(step).await?;
        if reached <= begin {
            break;
        }
        begin = reached;
    }
    Ok(())
}
