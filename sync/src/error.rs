//! The errors of stores, and what the one who meets them should do.

use std::time::Duration;

use thiserror::Error;

use crate::key::{Key, KeyError};

/// The result of a store's operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Why a store did not do what it was asked.
///
/// Messages hold no secret: no credentials, no signed address.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// The store could not be reached, failed (5xx), or a body stalled or ended early.
    #[error("{store} cannot {action}: {reason}")]
    Unavailable {
        /// The store.
        store: String,
        /// What was tried, as in "list" or "read `key`".
        action: String,
        /// What happened.
        reason: String,
        /// When the store wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The store asks for fewer requests (429, 503 `SlowDown`).
    #[error("{store} asks to slow down")]
    Throttled {
        /// The store.
        store: String,
        /// When the store wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The object is not in the state that was asked for, or a condition of a write does not hold.
    #[error("{key} changed: {what}")]
    Changed {
        /// The object.
        key: Key,
        /// What is another.
        what: String,
    },
    /// There is no such object, upload or bucket.
    #[error("{what} is not in {store}")]
    Missing {
        /// The store.
        store: String,
        /// What is not there.
        what: String,
    },
    /// These credentials may not do this.
    #[error("{store} refuses to {action}: {reason}; check the credentials and permissions")]
    Refused {
        /// The store.
        store: String,
        /// What was tried.
        action: String,
        /// What it answered.
        reason: String,
    },
    /// The store cannot do this at all.
    #[error("{store} cannot {what}")]
    Unsupported {
        /// The store.
        store: String,
        /// What was asked of it.
        what: String,
    },
    /// The store cannot hold this key, or not beside another one.
    #[error("{store} cannot hold {key}: {reason}")]
    Unholdable {
        /// The store.
        store: String,
        /// The key.
        key: Key,
        /// Why.
        reason: String,
    },
    /// Bytes or an answer that cannot be right: a checksum or a length differs, a listing is out of order.
    #[error("{store}: {what} is damaged: {reason}")]
    Corrupt {
        /// The store.
        store: String,
        /// An object or an answer.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A request that no store of this kind could carry out; also a wrong address or setting.
    #[error("{what}: {reason}")]
    Invalid {
        /// The request or setting.
        what: String,
        /// What is wrong and what is expected.
        reason: String,
    },
    /// The store has no room left, or a quota is reached.
    #[error("{store} is full; free space there or raise its quota")]
    Full {
        /// The store.
        store: String,
    },
    /// What was written may never be on disk. A disk tells of it once, so it is not asked again.
    #[error(
        "{store} lost some of what was written: {reason}; mend the disk, mount it anew, and run again with --checksum"
    )]
    Undurable {
        /// The store.
        store: String,
        /// What the disk said.
        reason: String,
    },
    /// Something that sync's own code must hold did not hold.
    #[error("{what}; this is an error in farshore, please report it")]
    Bug {
        /// What did not hold.
        what: String,
    },
}

/// What the one who meets an error should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Do the same again after a pause, at least as long as this.
    Retry(Option<Duration>),
    /// Do the same again with fewer requests at once, after a pause at least as long as this.
    SlowDown(Option<Duration>),
    /// Look at the object anew and decide again.
    LookAgain,
    /// It is gone: at the source there is nothing to copy, at the target nothing to delete.
    Gone,
    /// Report this object and go on with others.
    Report,
    /// Stop: nothing else would fare better until a person acts.
    Stop,
}

impl StoreError {
    /// What the caller should do.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Unavailable { retry_after, .. } => Remedy::Retry(*retry_after),
            Self::Throttled { retry_after, .. } => Remedy::SlowDown(*retry_after),
            // A body that was damaged on its way is whole the next time; what stays damaged is reported after retries.
            Self::Corrupt { .. } => Remedy::Retry(None),
            Self::Changed { .. } => Remedy::LookAgain,
            Self::Missing { .. } => Remedy::Gone,
            Self::Refused { .. } | Self::Unsupported { .. } | Self::Unholdable { .. } | Self::Invalid { .. } => {
                Remedy::Report
            }
            Self::Full { .. } | Self::Undurable { .. } | Self::Bug { .. } => Remedy::Stop,
        }
    }

    /// A short word for reports and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Throttled { .. } => "throttled",
            Self::Changed { .. } => "changed",
            Self::Missing { .. } => "missing",
            Self::Refused { .. } => "refused",
            Self::Unsupported { .. } => "unsupported",
            Self::Unholdable { .. } => "unholdable",
            Self::Corrupt { .. } => "corrupt",
            Self::Invalid { .. } => "invalid",
            Self::Full { .. } => "full",
            Self::Undurable { .. } => "undurable",
            Self::Bug { .. } => "bug",
        }
    }

    /// Whether it says that this object is not there, rather than its bucket.
    pub(crate) fn is_absence_of(&self, key: &Key) -> bool {
        matches!(self, Self::Missing { what, .. } if *what == key.to_string())
    }

    /// A failure that may pass.
    pub fn unavailable(store: &str, action: impl Into<String>, reason: &(impl ToString + ?Sized)) -> Self {
        let (store, action, reason) = (store.to_owned(), action.into(), reason.to_string());
        Self::Unavailable { store, action, reason, retry_after: None }
    }

    /// An object in another state than was asked for.
    pub fn changed(key: &Key, what: impl Into<String>) -> Self {
        Self::Changed { key: key.clone(), what: what.into() }
    }

    /// What is not there.
    pub fn missing(store: &str, what: &(impl ToString + ?Sized)) -> Self {
        Self::Missing { store: store.to_owned(), what: what.to_string() }
    }

    /// What the store cannot do.
    pub fn unsupported(store: &str, what: impl Into<String>) -> Self {
        Self::Unsupported { store: store.to_owned(), what: what.into() }
    }

    /// A key that the store cannot hold.
    pub fn unholdable(store: &str, key: &Key, reason: impl Into<String>) -> Self {
        Self::Unholdable { store: store.to_owned(), key: key.clone(), reason: reason.into() }
    }

    /// What cannot be right.
    pub fn corrupt(store: &str, what: &(impl ToString + ?Sized), reason: impl Into<String>) -> Self {
        Self::Corrupt { store: store.to_owned(), what: what.to_string(), reason: reason.into() }
    }

    /// A wrong request or setting.
    pub fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), reason: reason.into() }
    }

    /// What sync's own code did not hold.
    pub fn bug(what: impl Into<String>) -> Self {
        Self::Bug { what: what.into() }
    }
}

impl From<KeyError> for StoreError {
    fn from(error: KeyError) -> Self {
        Self::invalid("a key", error.to_string())
    }
}
