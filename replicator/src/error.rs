//! Every failure of this crate, each with what a person should do about it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use farshore_meta::FsError;
use farshore_proto::{Position, RegionId, VolumeId};

/// What can go wrong between regions.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReplicatorError {
    /// The upstream's URL cannot be used.
    #[error("upstream url {url:?}: {reason}; give http://HOST:PORT, or https://HOST:PORT with TLS")]
    BadUpstream {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The upstream does not answer.
    #[error("cannot reach the upstream {upstream}: {reason}; check that it runs and listens there")]
    Unreachable {
        /// Its URL.
        upstream: String,
        /// What failed.
        reason: String,
    },
    /// The upstream answered that it will not serve this, at least not now.
    #[error("the upstream {upstream} refuses: {reason}")]
    Refused {
        /// Its URL.
        upstream: String,
        /// Its answer.
        reason: String,
    },
    /// The upstream sent what no upstream sends.
    #[error("the upstream {upstream} sent what cannot be used, and none of it was applied: {reason}")]
    Malformed {
        /// Its URL.
        upstream: String,
        /// What was wrong.
        reason: String,
    },
    /// The upstream speaks another version of the protocol.
    #[error(
        "the upstream {upstream} speaks protocol {theirs} and this build {ours}; \
         run the same version of farshore in both regions"
    )]
    Protocol {
        /// Its URL.
        upstream: String,
        /// The protocol of this build.
        ours: u32,
        /// The protocol of the upstream.
        theirs: u32,
    },
    /// The upstream serves another volume than this mirror's.
    #[error(
        "the upstream {upstream} serves the volume {name:?} ({found}), and this mirror is of the volume {expected}; \
         give the address of a region of that volume, or another META for a new mirror"
    )]
    WrongVolume {
        /// Its URL.
        upstream: String,
        /// What the upstream's volume is called.
        name: String,
        /// The upstream's volume.
        found: VolumeId,
        /// This mirror's volume.
        expected: VolumeId,
    },
    /// The upstream is this region, or follows it.
    #[error(
        "the upstream {upstream} is this region ({region}) itself or follows it; \
         give the address of the primary, or of a mirror that does not follow this one"
    )]
    SelfUpstream {
        /// Its URL.
        upstream: String,
        /// This region.
        region: RegionId,
    },
    /// The upstream no longer keeps the log that this mirror needs.
    #[error(
        "the upstream {upstream} no longer keeps the log after {position}: this mirror was away for longer than its \
         lease; remove its META and start it again to bootstrap anew"
    )]
    LogTrimmed {
        /// Its URL.
        upstream: String,
        /// Where this mirror stands.
        position: Position,
    },
    /// This mirror's rows are not those that its upstream had.
    #[error("{reason}")]
    Diverged {
        /// Where and how they differ, and what to do.
        reason: String,
    },
    /// A region was to be followed into that is no mirror.
    #[error("this region is the primary of its volume, which follows nobody; give another META for the mirror")]
    NotAMirror,
    /// Another process listens at the address.
    #[error("the address {address} is in use by another process; give another one, or stop that process")]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: Arc<std::io::Error>,
    },
    /// An address that others reach was to be listened at without TLS.
    #[error(
        "{address} can be reached from other machines and TLS is not set up; give a certificate, its key and the \
         authority of the mirrors' certificates, or --insecure to let everybody who reaches it read everything"
    )]
    Insecure {
        /// The address.
        address: SocketAddr,
    },
    /// The certificate, its key or the authority cannot be used.
    #[error("TLS cannot be set up: {reason}; check the certificate, its key and the authority")]
    Tls {
        /// What is wrong.
        reason: String,
    },
    /// A wait took longer than it may.
    #[error("{position} is not visible here after {} ms", after.as_millis())]
    TimedOut {
        /// What was waited for.
        position: Position,
        /// How long.
        after: Duration,
    },
    /// The follower was stopped.
    #[error("the follower was stopped")]
    Stopped,
    /// This region's own rows failed.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// The result of this crate's calls.
pub type Result<T, E = ReplicatorError> = std::result::Result<T, E>;
