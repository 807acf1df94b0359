//! Sync: copies and compares any store with any other, in constant memory, and proves it.
//!
//! Safety: no object is called right whose bytes were not checksummed on their way, and nothing is deleted on the
//! word of a listing that was not whole, in order and without error on both sides. Names, listings and bodies are
//! input: they give errors, never panics. `docs/design/0003-sync.md` says why things are as they are.
//! Read `key.rs`, `key_range.rs` and `entry.rs` first, then `store/mod.rs`, which is the contract of all stores, then
//! the decisions `merge.rs`, `plan.rs`, `split.rs`, `frontier.rs` and `gate.rs`, and last `copy/` and `job/`, which act, and `coordinator/`, which shares a job.

mod allowance;
mod attributes;
mod budget;
mod checksum;
pub mod coordinator;
mod copy;
mod counts;
mod digest;
mod entry;
mod error;
mod filter;
pub mod follow;
mod frontier;
mod gate;
mod job;
pub mod journal;
mod key;
mod key_escape;
mod key_range;
mod likeness;
pub mod limits;
pub mod manifest;
mod merge;
mod origin;
mod outcome;
mod pace;
mod parts;
mod plan;
mod policy;
mod posix_metadata;
mod rates;
mod retry;
mod schedule;
mod selection;
mod split;
mod storage_class;
pub mod store;
mod timestamp;
mod verdict;
mod waiting;

pub use allowance::{Allowance, Amounts};
pub use attributes::{AttributeKind, AttributeSet, Attributes, ContentHeaders, Grant, Grantee, Permission, Posix};
pub use checksum::{Agreement, Algorithm, Checksum, Checksums, Scope};
pub use copy::{Backup, CopyOptions, Verify};
pub use counts::Counts;
pub use digest::{Extra, Hasher, PartDigest, checksum_of, combine};
pub use entry::{Access, ETag, Entry, FileId, Identity, Kind, Object, OriginNote, VersionId};
pub use error::{Remedy, Result, StoreError};
pub use filter::{Filter, FilterError, FilterSpec, Rule, Shard};
pub use frontier::{Ended, Frontier, Ticket};
pub use gate::{Closed, DeletionPolicy, ListingFacts, MaxDelete, may_delete};
pub use job::{Job, JobError, JobOptions, Summary, Whole, Worked};
pub use key::{Key, KeyError};
pub use key_range::{KeyRange, place_after};
pub use merge::{Merge, Pair, Side, Step};
pub use origin::Origin;
pub use outcome::{Observer, Outcome, Silent, What};
pub use pace::{Concurrency, Pace, PaceLimits};
pub use parts::Cut;
pub use plan::{Conflict, Decision, decide};
pub use policy::{Compare, CompareAttributes, ComparePolicy, Directories, Metadata, PairCapabilities, Write};
pub use posix_metadata::TimeForm;
pub use rates::{Rates, WallClock};
pub use retry::{Dice, RetryPolicy};
pub use schedule::{Schedule, WeekMinute};
pub use selection::Selection;
pub use split::{Split, Splitter};
pub use store::Store;
pub use timestamp::Timestamp;
pub use verdict::{CopyReason, Skip};
