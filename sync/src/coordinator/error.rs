//! What can go wrong between a coordinator and its workers, each with what a person should do about it.

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

use crate::journal::JournalError;

/// The result of a call between them.
pub type Result<T> = std::result::Result<T, CoordinatorError>;

/// Why a coordinator cannot serve, or a worker cannot work for it.
#[derive(Debug, Clone, Error)]
pub enum CoordinatorError {
    /// The address cannot be listened at.
    #[error("cannot listen at {address}: {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        reason: String,
    },
    /// Whoever reaches the port could read the job and spoil it.
    #[error(
        "{address} is not this machine alone and there is no TLS: give --tls-cert, --tls-key and --tls-ca, \
         or --insecure if the network between is trusted"
    )]
    Insecure {
        /// The address.
        address: String,
    },
    /// The coordinator's address makes no sense.
    #[error("coordinator {address:?}: {reason}; give HOST:PORT, http://HOST:PORT or https://HOST:PORT")]
    BadAddress {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate or key cannot be used, or the other side's is not trusted.
    #[error("TLS with {address}: {reason}; check the certificates, and that both sides use TLS")]
    Tls {
        /// With whom.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// A token cannot be used.
    #[error("the token {place} {reason}")]
    Token {
        /// Its file.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The coordinator does not answer.
    #[error(
        "the coordinator {address} did not answer for {waited:?}: {reason}; its journal remembers what was done, \
         so start it again with the same command, and then this worker"
    )]
    Unreachable {
        /// Its address.
        address: String,
        /// For how long it was tried.
        waited: Duration,
        /// What failed.
        reason: String,
    },
    /// The coordinator says no.
    #[error("the coordinator {address} refuses: {reason}")]
    Refused {
        /// Its address.
        address: String,
        /// Its answer.
        reason: String,
    },
    /// The coordinator sent what none sends.
    #[error("the coordinator {address} sent what cannot be used: {reason}")]
    Malformed {
        /// Its address.
        address: String,
        /// What was wrong.
        reason: String,
    },
}

impl From<CoordinatorError> for JournalError {
    fn from(error: CoordinatorError) -> Self {
        Self::Remote(error.to_string())
    }
}
