//! What a follower is doing, for people and for scripts.

use std::fmt;
use std::time::Duration;

use farshore_meta::{Bootstrap, DurableKey};
use farshore_proto::Position;

use super::core::{Core, Counts, Stage, Standing};
use super::freshness::Basis;
use crate::error::ReplicatorError;

/// What a follower does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowerPhase {
    /// It reaches for its upstream for the first time.
    Connecting,
    /// It copies the upstream's rows.
    Bootstrapping,
    /// It has copied all rows and applies what was committed meanwhile, until the digest agrees.
    Replaying,
    /// It applies what the upstream commits, as it comes.
    Following,
    /// It has lost its upstream and tries again; what was applied is served.
    Disconnected,
    /// It has stopped for good, and says why; what was applied is served.
    Stopped,
}

impl fmt::Display for FollowerPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "connecting",
            Self::Bootstrapping => "bootstrapping",
            Self::Replaying => "replaying",
            Self::Following => "following",
            Self::Disconnected => "disconnected",
            Self::Stopped => "stopped",
        })
    }
}

/// How far a bootstrap has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BootstrapProgress {
    /// Rows copied since this process began.
    pub rows: u64,
    /// How much of the rows is copied, from 0 to 1: an estimate by the keys.
    pub fraction: f64,
}

/// A follower's state at one moment.
#[derive(Debug, Clone)]
pub struct FollowerStatus {
    /// What it does.
    pub phase: FollowerPhase,
    /// The URL of the region that it follows.
    pub upstream: String,
    /// The newest position that has come in.
    pub received: Option<Position>,
    /// The newest position that is durable here.
    pub applied: Option<Position>,
    /// The newest position that every reader sees.
    pub visible: Option<Position>,
    /// What the primary committed longer ago than this, in milliseconds, every reader sees; `None`
    /// while that is not known.
    pub staleness_ms: Option<f64>,
    /// What went wrong last, if it still matters.
    pub last_error: Option<ReplicatorError>,
    /// How far the bootstrap is, while there is one.
    pub bootstrap: Option<BootstrapProgress>,
    /// Intervals applied since this process began; small ones that were applied together are one.
    pub intervals: u64,
    /// Commits applied since this process began.
    pub commits: u64,
    /// Bytes of rows in those commits.
    pub bytes: u64,
    /// Times that the upstream sent what could not be used.
    pub malformed: u64,
    /// Times that a connection came about.
    pub connections: u64,
}

/// The core's state as its driver last published it. Times are since the follower's start.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) phase: FollowerPhase,
    pub(crate) received: Option<Position>,
    pub(crate) applied: Option<Position>,
    pub(crate) stopped: Option<ReplicatorError>,
    pub(crate) ready: bool,
    last_error: Option<ReplicatorError>,
    bootstrap: Option<BootstrapProgress>,
    fresh: Option<Basis>,
    counts: Counts,
}

impl View {
    pub(crate) fn of(core: &Core) -> Self {
        let stopped = match core.stage() {
            Stage::Stopped(error) => Some(error.clone()),
            _ => None,
        };
        Self {
            phase: phase_of(core),
            received: core.received(),
            applied: core.applied(),
            stopped,
            ready: matches!(core.standing(), Standing::Following(_)),
            last_error: core.last_error().cloned(),
            bootstrap: progress(core),
            fresh: core.freshness().visible_basis(),
            counts: core.counts(),
        }
    }

    pub(crate) fn error(&self) -> Option<&ReplicatorError> {
        self.last_error.as_ref()
    }

    pub(crate) fn status(&self, upstream: &str, visible: Option<Position>, now: Duration) -> FollowerStatus {
        FollowerStatus {
            phase: self.phase,
            upstream: upstream.to_owned(),
            // What is visible is told first by the mount, and only then by the core.
            received: self.received.max(visible),
            applied: self.applied.max(visible),
            visible,
            staleness_ms: self.fresh.map(|basis| basis.age(now).as_secs_f64() * 1_000.0),
            last_error: self.last_error.clone(),
            bootstrap: self.bootstrap,
            intervals: self.counts.intervals,
            commits: self.counts.commits,
            bytes: self.counts.bytes,
            malformed: self.counts.malformed,
            connections: self.counts.connections,
        }
    }
}

fn phase_of(core: &Core) -> FollowerPhase {
    match (core.stage(), core.standing()) {
        (Stage::Stopped(_), _) => FollowerPhase::Stopped,
        (Stage::Copying, _) => FollowerPhase::Bootstrapping,
        (Stage::Following, Standing::Following(_)) => FollowerPhase::Following,
        (Stage::Following, _) => FollowerPhase::Replaying,
        _ if core.last_error().is_some() => FollowerPhase::Disconnected,
        _ => FollowerPhase::Connecting,
    }
}

fn progress(core: &Core) -> Option<BootstrapProgress> {
    let rows = core.counts().rows;
    match core.standing() {
        Standing::New => Some(BootstrapProgress { rows, fraction: 0.0 }),
        Standing::Copying(bootstrap) => {
            let fraction = fraction_of(bootstrap, core.upstream_inodes().unwrap_or(0));
            Some(BootstrapProgress { rows, fraction })
        }
        Standing::Replaying(_) => Some(BootstrapProgress { rows, fraction: 1.0 }),
        Standing::Following(_) => None,
    }
}

/// The share of the blocks' rows, which are copied first, among all: a guess, for they are about
/// as many as inodes, and an inode has two rows or three.
const BLOCKS_SHARE: f64 = 0.25;

/// How much of the rows lies before the bootstrap's next key. Blocks' names are spread evenly; inode
/// numbers are given out one after the other, so that about as many lie before one as it says.
fn fraction_of(bootstrap: &Bootstrap, inodes: u64) -> f64 {
    let Some(next) = &bootstrap.next else {
        return 1.0;
    };
    if let Some(name) = next.strip_prefix(b"DB") {
        return BLOCKS_SHARE * share_of_names(name);
    }
    let ino = match DurableKey::parse(next.strip_suffix(&[0]).unwrap_or(next)) {
        Ok(
            DurableKey::Attr(ino)
            | DurableKey::Contents(ino)
            | DurableKey::Entry(ino, _)
            | DurableKey::Extent(ino, _)
            | DurableKey::Symlink(ino)
            | DurableKey::Xattr(ino, _),
        ) => ino.0 as f64,
        _ if next.as_slice() > b"DJ".as_slice() => inodes as f64,
        _ => return 0.0,
    };
    let share = if inodes == 0 { 0.0 } else { (ino / inodes as f64).min(1.0) };
    BLOCKS_SHARE + (1.0 - BLOCKS_SHARE) * share
}

fn share_of_names(name: &[u8]) -> f64 {
    let mut first = [0; 4];
    first.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
    f64::from(u32::from_be_bytes(first)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use farshore_proto::{Incarnation, Position};

    use super::*;

    #[test]
    fn a_bootstraps_progress_grows_with_its_key() {
        let at = |next: Option<&[u8]>| {
            let pinned = Position::start_of(Incarnation::new(1, [0; 12]));
            fraction_of(&Bootstrap { pinned, next: next.map(<[u8]>::to_vec), settled_at: pinned }, 1_000)
        };
        let attr = |ino: u64| [b"DI".as_slice(), &ino.to_be_bytes(), b"a\0"].concat();
        let block = |first: u8| [b"DB".as_slice(), &[first; 32]].concat();
        let steps = [
            at(Some(b"D")),
            at(Some(&block(1))),
            at(Some(&block(200))),
            at(Some(&attr(1))),
            at(Some(&attr(500))),
            at(Some(&attr(5_000))),
        ];
        assert!(steps.windows(2).all(|pair| pair[0] < pair[1]), "{steps:?}");
        assert!(at(Some(b"DO")) >= steps[5] && at(None) > 0.999);
    }
}
