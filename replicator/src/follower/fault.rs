//! Why a connection came to its end, sorted by what the follower does about it.

use tonic::{Code, Status};

use crate::error::ReplicatorError;
use crate::reason::Reason;

/// A connection's end.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It may pass: try again later.
    Passing(ReplicatorError),
    /// It will not: stop, and say so.
    Final(ReplicatorError),
    /// The upstream has no more of the log that is needed.
    LogTrimmed,
}

impl Fault {
    /// What a status from `upstream` means.
    pub(crate) fn of(status: &Status, upstream: &str) -> Self {
        let upstream = upstream.to_owned();
        let reason = status.message().to_owned();
        match Reason::of(status) {
            Some(Reason::LogTrimmed) => return Self::LogTrimmed,
            Some(Reason::Diverged) => return Self::Final(ReplicatorError::Diverged { reason }),
            Some(Reason::NotReady | Reason::NotRegistered | Reason::Loop | Reason::WrongVolume | Reason::Protocol) => {
                return Self::Passing(ReplicatorError::Refused { upstream, reason });
            }
            None => {}
        }
        Self::Passing(match status.code() {
            Code::OutOfRange => ReplicatorError::Malformed { upstream, reason },
            Code::Internal if reason.starts_with("failed to decode") => ReplicatorError::Malformed { upstream, reason },
            Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled | Code::DeadlineExceeded => {
                ReplicatorError::Unreachable { upstream, reason: with_cause(status) }
            }
            _ => ReplicatorError::Refused { upstream, reason },
        })
    }
}

/// A status with its causes: that of a connection that broke says little by itself.
fn with_cause(status: &Status) -> String {
    let mut text = status.message().to_owned();
    if let Some(source) = std::error::Error::source(status) {
        text = format!("{text}: {}", crate::tls::with_sources(source));
    }
    text
}
