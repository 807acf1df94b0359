//! What can go wrong in an engine, and what its caller should do about it.

use std::path::PathBuf;
use std::sync::Arc;

/// What a caller should do with a failed transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Nothing of it happened: run it again from its beginning.
    Retry,
    /// It may have happened: find out, then run it again if it did not.
    FindOut,
    /// Running it again will not help.
    GiveUp,
}

/// An engine's error. Cheap to clone, because one failed group commit fails many callers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// What the transaction read was changed by another commit.
    #[error("the transaction conflicts with another one")]
    Conflict,
    /// The transaction outlived `MAX_TRANSACTION_AGE_MS`.
    #[error("the transaction is too old")]
    TooOld,
    /// The connection was lost while the commit was under way.
    #[error("it is not known whether the transaction was committed")]
    CommitUnknown,
    /// The engine cannot be reached now.
    #[error("the engine {url} does not answer: {reason}")]
    Unavailable {
        /// The engine's URL.
        url: String,
        /// What was seen.
        reason: String,
    },
    /// A key, a value or the whole transaction is larger than every engine allows.
    #[error("{what} of {bytes} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// "a key", "a value" or "a transaction".
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit it passed.
        limit: usize,
    },
    /// A key that no engine takes.
    #[error("a key is not allowed: {reason}")]
    BadKey {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A new engine was to be created where something is already.
    #[error("no engine was created at {}: {reason}", path.display())]
    Exists {
        /// The path that was looked at.
        path: PathBuf,
        /// What is there, and the way out.
        reason: String,
    },
    /// Another process has the embedded engine open.
    #[error("{} is in use by process {owner}; stop that process or use its mount", path.display())]
    Owned {
        /// The engine's directory.
        path: PathBuf,
        /// What the owner wrote about itself: its process id and command.
        owner: String,
    },
    /// There is no engine at the path.
    #[error("there is no engine at {}; create a volume there with `farshore format`", path.display())]
    Missing {
        /// The path that was looked at.
        path: PathBuf,
    },
    /// The engine's files do not hold what they must.
    #[error("the engine at {} is damaged: {reason}", path.display())]
    Damaged {
        /// The engine's directory.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A write or fsync failed earlier; nothing is accepted until the engine is opened again.
    #[error("the engine stopped after a failed write ({reason}); free space or mend the disk, then start again")]
    Poisoned {
        /// The first failure.
        reason: String,
    },
    /// The engine was closed.
    #[error("the engine is closed")]
    Closed,
    /// The URL names no engine that this build has.
    #[error("{reason}")]
    BadUrl {
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// The disk or the engine's library failed.
    #[error("the engine at {place} failed: {source}")]
    Failed {
        /// The engine's directory or URL.
        place: String,
        /// The library's error.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl EngineError {
    /// What a caller should do with the transaction that got this error.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Conflict | Self::TooOld => Advice::Retry,
            Self::CommitUnknown => Advice::FindOut,
            Self::Unavailable { .. }
            | Self::TooLarge { .. }
            | Self::BadKey { .. }
            | Self::Exists { .. }
            | Self::Owned { .. }
            | Self::Missing { .. }
            | Self::Damaged { .. }
            | Self::Poisoned { .. }
            | Self::Closed
            | Self::BadUrl { .. }
            | Self::Failed { .. } => Advice::GiveUp,
        }
    }
}
