//! The engine: an ordered, transactional key-value store with FoundationDB's semantics.
//!
//! The contract, which `contract.rs` tests on every implementation:
//! - A transaction reads at one snapshot, taken at its first read or at `read_version`: it
//!   sees every commit up to that version and none after, plus its own writes.
//! - `commit` succeeds only if no key or range that the transaction read serialisably was
//!   written by a commit after its snapshot; otherwise it fails with `Conflict` and nothing
//!   of it happened. Only what was truly read conflicts: a range read that stopped at its
//!   limit conflicts up to the last key it returned.
//! - Reads at `Isolation::Snapshot` and atomic adds cause no read conflict.
//! - A commit's version is larger than that of every commit that returned before it began.
//!   Versions are ordered and not dense. A transaction that wrote nothing commits nothing.
//! - When `commit` returns, the commit is as durable as the engine was opened to make it,
//!   and no other transaction has seen it before.
//! - The limits in `farshore_proto::limits` hold, on every engine alike.
//! - A row's key is not empty and does not begin with 0xFF; a commit of such a row fails with
//!   `BadKey`. A range may end at 0xFF or beyond and then ends with the last row.

#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod embedded;
mod error;
#[cfg(feature = "fdb")]
mod foundationdb;
mod limit;
mod url;

use async_trait::async_trait;
use bytes::Bytes;
use farshore_proto::Version;

pub use embedded::{Durability, EmbeddedEngine, EmbeddedOptions};
pub use error::{Advice, EngineError};
#[cfg(feature = "fdb")]
pub use foundationdb::FoundationDbEngine;
pub use url::EngineUrl;

/// The result of engine calls.
pub type Result<T> = std::result::Result<T, EngineError>;

/// Whether a read takes part in the conflict check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// The commit fails if what was read has changed since.
    Serialisable,
    /// What was read may change before the commit.
    Snapshot,
}

/// Which way a range read goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the first key on.
    Forward,
    /// From the last key back.
    Reverse,
}

/// A range of keys to read: `begin` inclusive, `end` exclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRead {
    /// First key of the range.
    pub begin: Vec<u8>,
    /// First key after the range.
    pub end: Vec<u8>,
    /// Most rows wanted.
    pub limit: usize,
    /// Stop once keys and values together have reached this many bytes; at least one row is returned.
    pub target_bytes: usize,
    /// Which way to go.
    pub direction: Direction,
}

impl RangeRead {
    /// A forward read of [begin, end) with neither limit.
    pub fn new(begin: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) -> Self {
        Self {
            begin: begin.into(),
            end: end.into(),
            limit: usize::MAX,
            target_bytes: usize::MAX,
            direction: Direction::Forward,
        }
    }

    /// A forward read of every key that starts with `prefix`.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let begin = prefix.into();
        let end = prefix_end(&begin);
        Self::new(begin, end)
    }

    /// The same read, of at most `limit` rows.
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// The same read, of about `target_bytes` bytes.
    #[must_use]
    pub fn target_bytes(self, target_bytes: usize) -> Self {
        Self { target_bytes, ..self }
    }

    /// Whether `page` is full after its last row, which made it `bytes` long.
    fn is_full(&self, page: &RangePage, bytes: usize) -> bool {
        page.rows.len() >= self.limit || (bytes >= self.target_bytes && !page.rows.is_empty())
    }

    /// The part of the range, [begin, end), that a read which gave `page` has looked at.
    fn seen(&self, page: &RangePage) -> (Vec<u8>, Vec<u8>) {
        let (begin, end) = (self.begin.clone(), self.end.clone());
        match (page.rows.last(), self.direction) {
            _ if !page.more => (begin, end),
            (None, _) => (begin.clone(), begin),
            (Some((last, _)), Direction::Forward) => (begin, [last, &[0][..]].concat()),
            (Some((last, _)), Direction::Reverse) => (last.to_vec(), end),
        }
    }

    /// The same read from the last key back.
    #[must_use]
    pub fn reverse(self) -> Self {
        Self { direction: Direction::Reverse, ..self }
    }
}

/// The first key after every key that starts with `prefix`; 0xFF when there is none.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let Some(last) = prefix.iter().rposition(|byte| *byte != u8::MAX) else {
        return vec![u8::MAX];
    };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    end
}

/// A row as an engine returns it.
pub type KeyValue = (Bytes, Bytes);

/// What a range read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangePage {
    /// The rows, in the direction of the read.
    pub rows: Vec<KeyValue>,
    /// Rows may remain in the range because a limit was reached.
    pub more: bool,
}

/// A store of rows; see the module's contract.
#[async_trait]
pub trait Engine: Send + Sync + std::fmt::Debug + 'static {
    /// Begins a transaction.
    async fn begin(&self) -> Result<Box<dyn Transaction>>;

    /// Returns once a commit after `seen` is there to be read; at once when one already is.
    /// It may also return early: the caller reads and compares.
    async fn changed_since(&self, seen: Version) -> Result<()>;

    /// True when a commit may fail with `CommitUnknown`: the caller then writes a row of its
    /// own in the transaction by which a retry can tell.
    fn commit_may_be_unknown(&self) -> bool;

    /// How a person names this engine.
    fn url(&self) -> String;

    /// Makes everything committed durable, whatever the durability it was opened with.
    async fn sync(&self) -> Result<()>;

    /// Returns once every commit up to `version` is durable, at once when all of them are.
    async fn sync_to(&self, version: Version) -> Result<()>;

    /// Finishes what is under way, makes it durable and gives the engine free for another
    /// process. Later calls fail with `Closed`.
    async fn close(&self) -> Result<()>;
}

/// One transaction; dropped without `commit`, nothing of it happens.
#[async_trait]
pub trait Transaction: Send {
    /// The version of the snapshot: the transaction sees exactly the commits up to it.
    async fn read_version(&mut self) -> Result<Version>;

    /// The value of `key`, with the transaction's own writes.
    async fn get(&mut self, key: &[u8], isolation: Isolation) -> Result<Option<Bytes>>;

    /// The rows of a range, with the transaction's own writes.
    async fn range(&mut self, read: &RangeRead, isolation: Isolation) -> Result<RangePage>;

    /// Puts a row.
    fn set(&mut self, key: &[u8], value: &[u8]);

    /// Deletes a row, if it is there.
    fn clear(&mut self, key: &[u8]);

    /// Deletes every row of [begin, end).
    fn clear_range(&mut self, begin: &[u8], end: &[u8]);

    /// Adds `operand` to the row's value, both little-endian integers of the operand's
    /// length, wrapping; an absent row counts as zero. Causes no read conflict.
    fn add(&mut self, key: &[u8], operand: &[u8]);

    /// Puts a row whose key is `prefix`, the commit's version (10 bytes), `suffix`.
    /// The transaction itself cannot read it.
    fn set_versionstamped(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]);

    /// Makes the commit fail if any key of [begin, end) has changed since the snapshot.
    fn add_read_conflict(&mut self, begin: &[u8], end: &[u8]);

    /// Commits; returns the commit's version, or the snapshot's when nothing was written.
    async fn commit(self: Box<Self>) -> Result<Version>;
}
