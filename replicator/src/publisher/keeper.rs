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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use farshore_meta::engine::{EmbeddedEngine, EmbeddedOptions};
    use farshore_meta::{
        Compression, FileKind, FsError, Ino, MirrorRecord, Name, NewInode, NewVolume, Settings, Tree, UnixTime, format,
    };
    use farshore_proto::{RegionId, VolumeId};

    use super::*;

    const OPTIONS: RetentionOptions = RetentionOptions { lease_ms: 10_000, keep_ms: 1_000 };
    const NOW: UnixTime = UnixTime { seconds: 0, nanos: 0 };

    async fn region(directory: &std::path::Path) -> Arc<Region> {
        let engine = EmbeddedEngine::create(directory.join("primary"), &EmbeddedOptions::default()).unwrap();
        let settings = Settings {
            volume_id: VolumeId::from_random([1; 16]),
            name: "kept".into(),
            store: "mem://".into(),
            block_key: [2; 32],
            block_bytes: 64 << 10,
            inline_bytes: 4096,
            compression: Compression::None,
        };
        let region_id = RegionId::from_random([3; 16]);
        let new = NewVolume { settings, region_id, incarnation_random: [4; 12], uid: 0, gid: 0, now: NOW };
        Arc::new(format(Arc::new(engine), &new).await.unwrap())
    }

    async fn commit(region: &Arc<Region>, name: &str) -> Position {
        let tree = Tree::new(Arc::clone(region), 4096);
        let new = NewInode { kind: FileKind::File, mode: 0o600, uid: 0, gid: 0, rdev: 0, target: Bytes::new() };
        tree.create(Ino::ROOT, &Name::new(name.as_bytes()).unwrap(), &new, NOW).await.unwrap();
        region.state().await.unwrap().position
    }

    async fn keeps(region: &Region, from: Position) -> bool {
        match region.interval(from, 1).await {
            Ok(_) => true,
            Err(FsError::LogTrimmed(_)) => false,
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn the_log_goes_when_no_mirror_needs_it_and_not_before() {
        let directory = tempfile::tempdir().unwrap();
        let region = region(directory.path()).await;
        let mut samples = Samples::default();
        let early = commit(&region, "early").await;
        let id = RegionId::from_random([5; 16]);
        let mirror = MirrorRecord { id, name: "m".into(), applied: early, visible: early, heard_unix_ms: 100_000 };
        region.put_mirror(&mirror).await.unwrap();
        let late = commit(&region, "late").await;
        for now in [100_000, 101_000, 110_000] {
            keep(&region, &mut samples, now, &OPTIONS).await.unwrap();
            assert!(keeps(&region, early).await, "its lease lives at {now}");
        }
        assert!(!keeps(&region, before_all()).await, "what no mirror needs has gone");

        keep(&region, &mut samples, 110_001, &OPTIONS).await.unwrap();
        assert!(region.mirrors().await.unwrap().is_empty(), "its lease has passed");
        assert!(!keeps(&region, early).await && keeps(&region, late).await);
    }
}
