//! `farshore status`: what a region is doing, for people and for scripts.

use std::path::Path;

use anyhow::Result;
use farshore_meta::{MirrorPhase, Region, Role, Settings};
use farshore_proto::Position;
use farshore_replicator::FollowerStatus;
use serde::{Deserialize, Serialize};

use crate::cli::{DurabilityArg, StatusArgs};
use crate::output::say;
use crate::{assembly, control_names, mounted, units};

/// What a region is doing. Its JSON form only grows: scripts read it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RegionStatus {
    /// The volume's name.
    pub(crate) volume: String,
    /// The volume's id.
    pub(crate) volume_id: String,
    /// The region's id.
    pub(crate) region_id: String,
    /// `primary` or `mirror`.
    pub(crate) role: String,
    /// What a mirror does now: `bootstrapping`, `following`, `disconnected`, `stopped`, ...
    pub(crate) phase: Option<String>,
    /// The region that a mirror follows.
    pub(crate) upstream: Option<String>,
    /// The newest position that is applied here; of a primary, that is committed.
    pub(crate) position: String,
    /// The state digest at `position`.
    pub(crate) digest: String,
    /// A mirror's newest position received from upstream.
    pub(crate) received: Option<String>,
    /// A mirror's newest position that every reader sees.
    pub(crate) visible: Option<String>,
    /// Everything committed upstream longer ago than this, in milliseconds, is visible here.
    pub(crate) staleness_ms: Option<f64>,
    /// What went wrong last, if it still matters.
    pub(crate) last_error: Option<String>,
    /// Rows that a bootstrap has copied.
    pub(crate) bootstrap_rows: Option<u64>,
    /// Times that a mirror has reached its upstream since it was started.
    pub(crate) connections: Option<u64>,
    /// Intervals, commits and bytes that a mirror has applied since it was started.
    pub(crate) applied: Option<Applied>,
    /// The address at which mirrors may follow.
    pub(crate) listen: Option<String>,
    /// Where the blocks are.
    pub(crate) store: String,
    /// Inodes in use.
    pub(crate) used_inodes: u64,
    /// Bytes in use.
    pub(crate) used_bytes: u64,
    /// The mirrors that follow this region.
    pub(crate) mirrors: Vec<MirrorStatus>,
    /// What the tiers of block caches did.
    pub(crate) cache: Option<CacheStatus>,
    /// The process that serves the region.
    pub(crate) pid: Option<u32>,
}

/// What a mirror has applied since it was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    pub(crate) intervals: u64,
    pub(crate) commits: u64,
    pub(crate) bytes: u64,
}

/// A mirror as the region that it follows knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MirrorStatus {
    pub(crate) name: String,
    pub(crate) region_id: String,
    pub(crate) applied: String,
    pub(crate) visible: String,
    /// Milliseconds since it last reported.
    pub(crate) heard_ms_ago: u64,
}

/// What the tiers of block caches did since the process was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CacheStatus {
    pub(crate) memory_hits: u64,
    pub(crate) disk_hits: u64,
    pub(crate) origin_fetches: u64,
    pub(crate) origin_bytes: u64,
    pub(crate) origin_failures: u64,
    pub(crate) corrupt_seen: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) disk_bytes: u64,
}

pub(crate) async fn run(args: &StatusArgs) -> Result<()> {
    let status = find(&args.region).await?;
    if args.json {
        say(&serde_json::to_string_pretty(&status)?);
    } else {
        print(&status);
    }
    Ok(())
}

async fn find(subject: &str) -> Result<RegionStatus> {
    let path = Path::new(subject);
    if mounted::answers(path) {
        let json = mounted::attribute(path, control_names::STATUS)?;
        return Ok(serde_json::from_str(&json)?);
    }
    let region = assembly::open_region(subject, DurabilityArg::Commit).await?;
    let status = of_region(&region).await;
    assembly::close(&region).await?;
    status
}

/// What the rows of a region say; what its process is doing is added by the process.
pub(crate) async fn of_region(region: &Region) -> Result<RegionStatus> {
    let settings = region.settings().await.ok();
    let state = region.state().await?;
    let usage = region.usage().await?;
    let phase = match region.role() {
        Role::Primary { .. } => None,
        Role::Mirror { .. } => Some(phase_name(&region.mirror_phase().await?)),
    };
    Ok(RegionStatus {
        role: if phase.is_none() { "primary" } else { "mirror" }.to_owned(),
        phase,
        region_id: region.id().to_string(),
        position: state.position.to_string(),
        digest: state.digest.to_string(),
        used_inodes: usage.inodes,
        used_bytes: usage.bytes,
        mirrors: mirrors(region).await?,
        ..of_settings(settings.as_ref())
    })
}

fn of_settings(settings: Option<&Settings>) -> RegionStatus {
    let Some(settings) = settings else { return RegionStatus::default() };
    RegionStatus {
        volume: settings.name.clone(),
        volume_id: settings.volume_id.to_string(),
        store: settings.store.clone(),
        ..RegionStatus::default()
    }
}

fn phase_name(phase: &MirrorPhase) -> String {
    let name = match phase {
        MirrorPhase::New => "new",
        MirrorPhase::Bootstrapping(_) => "bootstrapping",
        MirrorPhase::Following => "following",
    };
    name.to_owned()
}

async fn mirrors(region: &Region) -> Result<Vec<MirrorStatus>> {
    let now = unix_ms();
    let mirrors = region.mirrors().await?.into_iter().map(|mirror| MirrorStatus {
        name: mirror.name,
        region_id: mirror.id.to_string(),
        applied: mirror.applied.to_string(),
        visible: mirror.visible.to_string(),
        heard_ms_ago: now.saturating_sub(mirror.heard_unix_ms),
    });
    Ok(mirrors.collect())
}

fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// What the caches say.
pub(crate) fn of_cache(blocks: &farshore_blocks::BlockReader) -> CacheStatus {
    let stats = blocks.stats();
    CacheStatus {
        memory_hits: stats.memory_hits,
        disk_hits: stats.disk_hits,
        origin_fetches: stats.origin_fetches,
        origin_bytes: stats.origin_bytes,
        origin_failures: stats.origin_failures,
        corrupt_seen: stats.corrupt_seen,
        memory_bytes: stats.memory_bytes,
        disk_bytes: stats.disk_bytes,
    }
}

/// Adds what a mirror's follower is doing.
pub(crate) fn add_follower(status: &mut RegionStatus, follower: &FollowerStatus) {
    let token = |position: Option<Position>| position.map(|position| position.to_string());
    status.phase = Some(follower.phase.to_string());
    status.upstream = Some(follower.upstream.clone());
    status.received = token(follower.received);
    status.visible = token(follower.visible);
    status.staleness_ms = follower.staleness_ms;
    status.last_error = follower.last_error.as_ref().map(ToString::to_string);
    status.bootstrap_rows = follower.bootstrap.map(|bootstrap| bootstrap.rows);
    status.connections = Some(follower.connections);
    let (intervals, commits, bytes) = (follower.intervals, follower.commits, follower.bytes);
    status.applied = Some(Applied { intervals, commits, bytes });
}

fn print(status: &RegionStatus) {
    let phase = status.phase.as_ref().map_or(String::new(), |phase| format!(", {phase}"));
    say(&format!("{} of volume {} ({}){phase}", status.role, status.volume, status.volume_id));
    let mut rows = vec![("position", status.position.clone())];
    let named = [
        ("received", &status.received),
        ("visible", &status.visible),
        ("upstream", &status.upstream),
        ("listens at", &status.listen),
        ("last error", &status.last_error),
    ];
    rows.extend(named.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
    rows.push(("digest", status.digest.clone()));
    if let Some(ms) = status.staleness_ms {
        rows.push(("lag", format!("everything older than {} is visible", units::short_time(ms))));
    }
    rows.push(("in use", format!("{} inodes, {}", status.used_inodes, units::size(status.used_bytes))));
    rows.push(("store", status.store.clone()));
    if let Some(cache) = &status.cache {
        rows.push(("cache", describe_cache(cache)));
    }
    rows.extend(status.mirrors.iter().map(|mirror| {
        let heard = units::short_time(mirror.heard_ms_ago as f64);
        ("mirror", format!("{} ({}), heard of {heard} ago, at {}", mirror.name, mirror.region_id, mirror.applied))
    }));
    for (name, value) in rows {
        say(&format!("  {name:<11} {value}"));
    }
}

fn describe_cache(cache: &CacheStatus) -> String {
    format!(
        "{} in memory, {} on disk; {} reads from memory, {} from disk, {} fetches ({}) from the origin",
        units::size(cache.memory_bytes),
        units::size(cache.disk_bytes),
        cache.memory_hits,
        cache.disk_hits,
        cache.origin_fetches,
        units::size(cache.origin_bytes),
    )
}
