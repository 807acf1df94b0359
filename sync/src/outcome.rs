//! What came of each key, as reports tell it, and who hears of it while a job runs.

use std::fmt::Debug;

use crate::key::Key;
use crate::merge::Side;
use crate::plan::Conflict;
use crate::verdict::CopyReason;

/// What came of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The key.
    pub key: Key,
    /// Its length in bytes at the source, or at the target if only that has it.
    pub size: u64,
    /// What came of it.
    pub what: What,
}

/// What came of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Copied and verified, or to be copied in a dry run.
    Copied {
        /// Why.
        reason: CopyReason,
        /// Whether the store copied it by itself.
        server_side: bool,
    },
    /// Its attributes were changed, or are to be changed in a dry run.
    Updated,
    /// Brought to the place for backups, or to be brought there in a dry run, before it is overwritten or deleted.
    BackedUp,
    /// Deleted, or to be deleted in a dry run.
    Deleted,
    /// Gone from the source when it was to be copied.
    Vanished,
    /// Left to a person.
    Conflict(Conflict),
    /// Not copied, compared or deleted.
    Failed {
        /// A short word for the kind of error.
        word: &'static str,
        /// What happened.
        reason: String,
    },
}

/// Hears of a job's progress. Calls come from many tasks and must not wait.
pub trait Observer: Send + Sync + Debug {
    /// Entries were listed on a side.
    fn listed(&self, side: Side, entries: u64) {
        let _ = (side, entries);
    }

    /// An object of so many bytes is to be copied.
    fn planned(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Bytes were read for a copy.
    fn copied_bytes(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Something came of a key. Keys that are equal are counted, not told.
    fn outcome(&self, outcome: &Outcome) {
        let _ = outcome;
    }

    /// A place could not be listed.
    fn unlisted(&self, side: Side, place: &str, reason: &str) {
        let _ = (side, place, reason);
    }
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
