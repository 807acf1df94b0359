//! How a volume is mounted.

use std::time::{Duration, SystemTime};

use farshore_meta::UnixTime;

/// Most reader threads that pay: more only contend for the kernel's queue.
const MAX_DEFAULT_THREADS: usize = 4;

/// What the kernel may cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePolicy {
    /// Everything, for ever: every change of the volume goes through this mount.
    Sole,
    /// Everything, until [`Invalidator::invalidate`](crate::Invalidator::invalidate) is told of a change.
    Followed,
    /// Names and attributes for this long: others change the volume, and nobody tells.
    Brief(Duration),
}

/// How a volume is mounted; read once, by the command.
#[derive(Debug, Clone)]
pub struct MountOptions {
    /// What the kernel may cache.
    pub cache: CachePolicy,
    /// Threads that read requests from the kernel.
    pub threads: usize,
    /// Other users may enter. Without root, `/etc/fuse.conf` must allow it.
    pub allow_other: bool,
    /// Mount over a directory that has entries, which are hidden meanwhile.
    pub allow_non_empty: bool,
    /// Longest that a request waits, but for those below.
    pub deadline: Duration,
    /// Longest that a write, a flush or an fsync waits.
    pub write_deadline: Duration,
    /// Largest request and read-ahead, in bytes.
    pub request_bytes: u32,
    /// How long an unmount waits for those who still use the mount.
    pub unmount_grace: Duration,
    /// The time that `utimensat` takes for now.
    pub clock: fn() -> UnixTime,
}

impl MountOptions {
    /// The defaults, with the cache policy that the caller knows.
    pub fn new(cache: CachePolicy) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            cache,
            threads: cores.min(MAX_DEFAULT_THREADS),
            allow_other: rustix::process::geteuid().is_root(),
            allow_non_empty: false,
            deadline: Duration::from_mins(1),
            write_deadline: Duration::from_mins(10),
            request_bytes: 1 << 20,
            unmount_grace: Duration::from_secs(5),
            clock: system_time,
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place where a mount's default clock is read")]
fn system_time() -> UnixTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixTime { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() }
}
