//! The journal: what a job must not forget. It hands out ranges, hears what is settled in them, and keeps the job's
//! counts, failures, planned deletions and uploads in parts.
//!
//! The contract of all implementations:
//! - The ranges that are not finished, claimed or not, never overlap; with what is settled they make up the job's
//!   range. A new job has one range: all of it.
//! - Each call takes effect whole or not at all, and survives the process (unless the journal is one of memory) when
//!   it returns. A call that was interrupted may have taken effect; ranges carry a fence, so a repeated or late
//!   `settle` or `split` of a claim that moved on gives `Lost` and does nothing.
//! - The upper part of a range is given away by `split` only at a place inside of it; elsewhere nothing is, and the
//!   claim stays as it was. A settlement that cannot be (a frontier that goes back, deletions outside of what was
//!   settled or not in order, more than `MAX_SETTLED_BYTES`) is refused as `Invalid`.
//! - A claim that is not renewed within its lease (by `settle`, `split` or `renew`) can be given to another worker,
//!   from its frontier on. Ranges claimed by a process that is gone are given out again. A worker's name is its own,
//!   and it works on one range at a time: if it asks for another, its last claim was lost on the way to it.
//! - Deletions are handed out in descending order of keys, and only once every range is finished; before that,
//!   asking for them is `Invalid`.
//! - What was recorded for a manifest is handed out in ascending order of keys, each key once, and only once every range
//!   is finished.
//! - What comes of deletions is counted in the step that forgets them, so that a deletion that is repeated after a kill
//!   is counted once.
//! - Several uploads of one key may be under way, when workers took over from each other. `upload_of` gives the one
//!   that was begun last; all stay in `uploads` until they are ended, so none is forgotten in the store.
//! - Uploads whose parts several workers send have a contract of their own: `shared_uploads.rs`.

mod backup;
mod codec;
#[cfg(any(test, feature = "contract"))]
#[expect(clippy::unwrap_used, reason = "the suite panics at the first thing that is not as it must be")]
pub mod contract;
mod engine;
mod memory;
mod pages;
#[cfg(test)]
mod parts_simulation;
mod range;
mod shared_uploads;
#[cfg(test)]
mod simulation;
mod spool;

use std::fmt::{self, Debug};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

pub(crate) use backup::BackupUploads;
pub use engine::{Clock, EngineJournal, JournalOptions, Ranges, Sharing};
pub(crate) use engine::{
    decode_deletions, decode_failure, decode_part, decode_recorded, decode_upload, encode_deletions, encode_failure,
    encode_part, encode_recorded, encode_upload,
};
pub use memory::MemoryJournal;
pub use shared_uploads::{ClaimedPart, PartClaim, SharedUploads};
pub use spool::DeletionSpool;

use crate::counts::Counts;
use crate::digest::PartDigest;
use crate::entry::Identity;
use crate::key::Key;
use crate::key_range::KeyRange;
use crate::manifest::Recorded;
use crate::store::{StoredPart, Upload};

/// Why deletions are not handed out.
const DELETIONS_TOO_EARLY: &str = "deletions were asked for before all ranges were finished";
/// Why the manifest is not handed out.
const RECORDED_TOO_EARLY: &str = "the manifest was asked for before all ranges were finished";
/// Why a job is not finished.
const FINISHED_TOO_EARLY: &str = "the job was called finished before all its ranges were";

/// The result of a journal's call.
pub type Result<T> = std::result::Result<T, JournalError>;

/// Why a journal did not do what it was asked.
#[derive(Debug, Clone, Error)]
pub enum JournalError {
    /// The claim is no longer this worker's; the work on its range must end.
    #[error("the claim on the range was lost; another worker goes on with it")]
    Lost,
    /// The journal is that of another job.
    #[error(
        "the journal belongs to another job ({there}); give this one its own, or remove that one if it is not needed"
    )]
    OtherJob {
        /// That job, as it was described.
        there: String,
    },
    /// The journal was told what cannot be.
    #[error("the journal was told what cannot be: {reason}; this is a bug, please report it")]
    Invalid {
        /// What was wrong.
        reason: String,
    },
    /// Something else is where the journal should be.
    #[error("{place} holds something else than a journal; give the journal a place of its own")]
    NoJournal {
        /// Where it should be.
        place: String,
    },
    /// A part of the journal was written by another version of Farshore.
    #[error(
        "the journal's {what} has format {found} and this build knows {known}; go on with the version of farshore \
         that began the job, or remove the journal and begin again"
    )]
    OtherFormat {
        /// The part.
        what: &'static str,
        /// Its version.
        found: u8,
        /// This build's version.
        known: u8,
    },
    /// A part of the journal is not what was written.
    #[error("the journal's {what} is damaged: {why}; remove the journal and begin again, no copied object is lost")]
    Damaged {
        /// The part.
        what: &'static str,
        /// What was found.
        why: String,
    },
    /// The one who has the journal does not answer, or says no.
    #[error("{0}")]
    Remote(String),
    /// The journal could not be read or written.
    #[error("the journal cannot {action}: {reason}")]
    Failed {
        /// What was tried.
        action: String,
        /// Why it failed.
        reason: String,
    },
}

/// What a job is. Journals of jobs that differ in it do not go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobIdentity {
    /// A hash of all that decides what the job does: both stores, range, filters, policy.
    pub fingerprint: [u8; 32],
    /// For a person.
    pub description: String,
    /// The keys that the job is about.
    pub range: KeyRange,
}

/// How an opened journal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// Nothing was done yet.
    New,
    /// The job goes on; this much was settled.
    Resumed(Counts),
    /// The job was finished. To do it again, begin with a new journal.
    Finished(Counts),
}

/// One of several workers, by a name of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub String);

/// A range that a worker has claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedRange {
    /// The range's name in the journal.
    pub id: u64,
    /// Which claim of it this is; a later claim has a larger one.
    pub fence: u64,
    /// The keys that are not settled.
    pub range: KeyRange,
}

/// The answer to a worker that wants a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// This one.
    Range(ClaimedRange),
    /// None is free, but others work and may split theirs: ask again.
    Wait,
    /// Every range is finished.
    Finished,
}

/// What came of the keys below a frontier since the last one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// The new frontier: every key of the range below it is settled. None: all keys are, the range is finished.
    pub frontier: Option<Bytes>,
    /// What was counted.
    pub counts: Counts,
    /// What failed.
    pub failures: Vec<Failure>,
    /// What is to be deleted once the gate opens; in ascending order, within what was settled.
    pub deletions: Vec<Deletion>,
    /// What the manifest says of the target's objects; in ascending order, within what was settled.
    pub recorded: Vec<Recorded>,
}

/// A key that could not be brought to the target, or a place that could not be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The key or place, in the printable form of keys.
    pub place: String,
    /// A short word for the kind of error.
    pub word: String,
    /// What happened.
    pub reason: String,
}

/// An object of the target that the source does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Its key.
    pub key: Key,
    /// Its length in bytes.
    pub size: u64,
}

/// An upload in parts that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRecord {
    /// The upload.
    pub upload: Upload,
    /// The source's state that is copied. If the source is in another state by now, the upload is aborted.
    pub identity: Identity,
    /// The size of all parts but the last.
    pub part_bytes: u64,
    /// The parts that the store has.
    pub parts: Vec<FinishedPart>,
}

/// A part that the store has, and what was computed of it on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedPart {
    /// What the store told.
    pub stored: StoredPart,
    /// What was computed; none for parts that the store copied by itself.
    pub digest: Option<PartDigest>,
}

/// What workers ask of a journal and tell it. See the module for the contract.
#[async_trait]
pub trait WorkerJournal: SharedUploads + Send + Sync + Debug {
    /// How long a claim lives after its worker's last sign of life; none if it lives as long as this process.
    fn lease(&self) -> Option<Duration>;

    /// Whether it survives this process: then what it calls settled must be durable.
    fn outlives_process(&self) -> bool {
        true
    }

    /// Claims a range. A worker that asks has none: what it is noted to hold is given to it again.
    async fn claim(&self, worker: &WorkerId) -> Result<Claim>;

    /// Whether workers wait for ranges, so that one who has a large one should split it.
    async fn wants_ranges(&self) -> Result<bool>;

    /// Gives the keys of a claimed range from `at` on away: what is left of the claim.
    async fn split(&self, claimed: &ClaimedRange, at: &Bytes) -> Result<ClaimedRange>;

    /// Notes what is settled: what is left of the claim, none if the range is finished.
    async fn settle(&self, claimed: &ClaimedRange, settled: Settled) -> Result<Option<ClaimedRange>>;

    /// Keeps the claim although nothing was settled for a while.
    async fn renew(&self, claimed: &ClaimedRange) -> Result<()>;

    /// Gives the claim back, for another worker or a later attempt.
    async fn release(&self, claimed: &ClaimedRange) -> Result<()>;

    /// The upload for this key that is under way, with its parts.
    async fn upload_of(&self, key: &Key) -> Result<Option<UploadRecord>>;

    /// Notes an upload before its first part is sent; one without a name, before the store is asked to begin it.
    async fn begin_upload(&self, record: &UploadRecord) -> Result<()>;

    /// Notes a part that the store has.
    async fn finish_part(&self, upload: &Upload, part: &FinishedPart) -> Result<()>;

    /// Forgets an upload that was completed or aborted.
    async fn end_upload(&self, upload: &Upload) -> Result<()>;
}

/// A journal, for the one who has the job: it begins it, and ends it when the workers are done.
#[async_trait]
pub trait Journal: WorkerJournal {
    /// Begins the job or goes on with it.
    async fn open(&self, job: &JobIdentity) -> Result<Opened>;

    /// Whether every range is finished.
    async fn is_settled(&self) -> Result<bool>;

    /// All that was counted so far.
    async fn counts(&self) -> Result<Counts>;

    /// The failures after the first `skip`, at most `limit` of them, in the order in which they were noted.
    async fn failures(&self, skip: u64, limit: usize) -> Result<Vec<Failure>>;

    /// The last `limit` planned deletions below `before`, in descending order of keys.
    async fn deletions(&self, before: Option<&Key>, limit: usize) -> Result<Vec<Deletion>>;

    /// What was recorded for the manifest from this place on, in ascending order of keys: some of it, none at its end.
    async fn recorded(&self, from: &Bytes) -> Result<Vec<Recorded>>;

    /// Forgets planned deletions from this key on, because they were carried out or reported, and counts what came of
    /// them. Nothing is counted if none was left there: whoever forgot them counted.
    async fn end_deletions(&self, from: &Key, counts: Counts) -> Result<()>;

    /// Uploads that are under way, by key, after this key, without their parts: to be aborted when the job is at its
    /// end. About `limit` of them; all of the last key are there.
    async fn uploads(&self, after: Option<&Key>, limit: usize) -> Result<Vec<UploadRecord>>;

    /// Notes that all of the job is done, deletions included. All ranges must be finished.
    async fn finish(&self) -> Result<()>;
}

impl JournalError {
    /// What was told cannot be.
    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid { reason: reason.into() }
    }

    /// A failure of what the journal stands on.
    pub fn failed(action: impl Into<String>, reason: &(impl ToString + ?Sized)) -> Self {
        Self::Failed { action: action.into(), reason: reason.to_string() }
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
