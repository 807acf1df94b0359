//! How a publisher is set up, and every bound on what its callers can make it hold.

use std::net::SocketAddr;
use std::time::Duration;

use crate::retention::RetentionOptions;
use crate::tls::TlsOptions;

/// How a publisher listens and keeps the log. Plain settings.
#[derive(Debug, Clone)]
pub struct PublisherOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Mutual TLS; without it only loopback may be listened at, unless `insecure`.
    pub tls: Option<TlsOptions>,
    /// Listen beyond loopback without TLS.
    pub insecure: bool,
    /// How long the log is kept.
    pub retention: RetentionOptions,
}

impl PublisherOptions {
    /// The defaults, at this address.
    pub fn at(listen: SocketAddr) -> Self {
        Self { listen, tls: None, insecure: false, retention: RetentionOptions::default() }
    }
}

/// An interval is sent at least this often, empty if need be, so that a mirror can tell a quiet
/// upstream from a dead one.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);
/// A mirror's progress is written to the engine at most this often: it is a commit.
pub(crate) const RECORD_EVERY: Duration = Duration::from_secs(1);
/// A mirror that makes no progress because there is none to make is noted this often.
pub(crate) const HEARD_EVERY: Duration = Duration::from_secs(10);
/// How often the log's retention is looked after.
pub(crate) const KEEP_EVERY: Duration = Duration::from_secs(10);
/// Log trimmed by one transaction, in bytes: an embedded engine deletes a range row by row.
pub(crate) const TRIM_STEP_BYTES: usize = 4 << 20;
/// Most mirrors registered at once; each holds the log back and is read at every trim.
pub(crate) const MAX_MIRRORS: usize = 1_000;
/// Most followers served at once; each holds up to three intervals.
pub(crate) const MAX_FOLLOWERS: usize = 256;
/// Most snapshots served at once; each holds a few pages.
pub(crate) const MAX_SNAPSHOTS: usize = 64;
/// Most fetches of blocks served at once; each holds up to one block.
pub(crate) const MAX_FETCHES: usize = 64;
/// Most streams of one connection: a mirror needs one to follow and a few dozen for blocks.
pub(crate) const MAX_STREAMS: u32 = 256;
/// Longest request: a key range of a snapshot, with room.
pub(crate) const MAX_REQUEST_BYTES: usize = 64 << 10;
/// Bytes of a block in one message: small enough that other streams get their turn between.
pub(crate) const PIECE_BYTES: usize = 1 << 20;
/// How long a follower may take to say from where.
pub(crate) const START_WITHIN: Duration = Duration::from_secs(10);
/// A connection that answers no ping for this long after one is cut.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a connection is pinged.
pub(crate) const KEEPALIVE_EVERY: Duration = Duration::from_secs(4);
/// How long a stopping publisher waits for its streams to end.
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(5);
