//! The engine over a FoundationDB cluster: the rows under one prefix of it.
//!
//! FoundationDB gives the contract by itself. This puts the prefix before the keys, turns
//! versionstamps into versions and error codes into errors, and bounds every wait.

mod network;
#[cfg(test)]
mod tests;
mod transaction;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use farshore_proto::Version;
use farshore_proto::limits::{MAX_KEY_BYTES, MAX_TRANSACTION_BYTES, MAX_VALUE_BYTES};
use foundationdb::options::TransactionOption;
use foundationdb::{Database, FdbError};

use self::transaction::FoundationDbTransaction;
use super::{Engine, EngineError, EngineUrl, Isolation, RangeRead, Result, Transaction};

/// Longest that any call of a transaction waits for the cluster.
const TIMEOUT_MS: i32 = 10_000;
/// The caller retries, with a new transaction; FoundationDB's own loop is not used.
const RETRY_LIMIT: i32 = 0;
/// How often the cluster is asked for its version while somebody waits for a change.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Ends the prefix; no prefix's name has it, so that none begins with another.
const PREFIX_END: u8 = b'/';

/// An engine in a FoundationDB cluster.
pub struct FoundationDbEngine {
    database: Database,
    place: Arc<Place>,
    closed: AtomicBool,
}

/// Which rows of which cluster.
#[derive(Debug)]
struct Place {
    url: String,
    prefix: Vec<u8>,
}

impl FoundationDbEngine {
    /// Opens the rows under `prefix` in the cluster that `cluster_file` names. The cluster
    /// need not answer for that: the first read finds out.
    ///
    /// # Errors
    /// `BadUrl` if the path is not UTF-8; `Failed` if the client library refuses to start.
    pub fn open(cluster_file: &Path, prefix: &str) -> Result<Self> {
        let url = EngineUrl::FoundationDb { cluster_file: cluster_file.to_owned(), prefix: prefix.to_owned() };
        let mut prefix = prefix.as_bytes().to_vec();
        prefix.push(PREFIX_END);
        let place = Arc::new(Place { url: url.to_string(), prefix });
        let path = cluster_file.to_str().ok_or_else(|| EngineError::BadUrl {
            reason: format!("{} is not UTF-8, as FoundationDB needs it", cluster_file.display()),
        })?;
        network::boot().map_err(|error| place.error(error))?;
        let database = Database::from_path(path).map_err(|error| place.error(error))?;
        Ok(Self { database, place, closed: AtomicBool::new(false) })
    }

    /// Whether there is no row under the prefix.
    ///
    /// # Errors
    /// `Unavailable` if the cluster does not answer.
    pub async fn is_empty(&self) -> Result<bool> {
        let first = RangeRead::new([], [u8::MAX]).limit(1);
        let page = self.begin().await?.range(&first, Isolation::Snapshot).await?;
        Ok(page.rows.is_empty())
    }

    fn new_transaction(&self) -> Result<foundationdb::Transaction> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(EngineError::Closed);
        }
        let create = || {
            let txn = self.database.create_trx()?;
            txn.set_option(TransactionOption::Timeout(TIMEOUT_MS))?;
            txn.set_option(TransactionOption::RetryLimit(RETRY_LIMIT))?;
            Ok(txn)
        };
        create().map_err(|error| self.place.error(error))
    }

    async fn version(&self) -> Result<Version> {
        let version = self.new_transaction()?.get_read_version().await;
        Ok(read_version(version.map_err(|error| self.place.error(error))?))
    }
}

/// The version of a snapshot; a read at it sees the whole batch.
fn read_version(version: i64) -> Version {
    Version::end_of(version.unsigned_abs())
}

impl Place {
    /// The error of a call that was no commit. The codes are those of FoundationDB's
    /// `flow/error_definitions.h`.
    fn error(&self, error: FdbError) -> EngineError {
        let too_large = |what, limit| EngineError::TooLarge { what, bytes: limit + 1, limit };
        match error.code() {
            1020 => EngineError::Conflict,
            // Too old, or from a proxy that is ahead of what this client may read.
            1007 | 1009 => EngineError::TooOld,
            // No answer in time, or no usable cluster file.
            1004 | 1031 | 1511 | 1513 | 1515 | 2104 => {
                EngineError::Unavailable { url: self.url.clone(), reason: error.message().to_owned() }
            }
            2101 => too_large("a transaction", MAX_TRANSACTION_BYTES),
            2102 => too_large("a key", MAX_KEY_BYTES),
            2103 => too_large("a value", MAX_VALUE_BYTES),
            _ if error.is_maybe_committed() => EngineError::CommitUnknown,
            // Overload, recovery and the like: nothing happened, and it is to be run again,
            // which is all that a conflict says.
            _ if error.is_retryable_not_committed() => EngineError::Conflict,
            _ => EngineError::Failed { place: self.url.clone(), source: Arc::new(error) },
        }
    }

    /// The error of a commit: one that got no answer may have happened.
    fn commit_error(&self, error: FdbError) -> EngineError {
        match self.error(error) {
            EngineError::Unavailable { .. } => EngineError::CommitUnknown,
            error => error,
        }
    }
}

impl fmt::Debug for FoundationDbEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FoundationDbEngine({})", self.place.url)
    }
}

#[async_trait]
impl Engine for FoundationDbEngine {
    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        let inner = self.new_transaction()?;
        Ok(Box::new(FoundationDbTransaction::new(inner, Arc::clone(&self.place))))
    }

    /// The cluster's version moves on without commits too, so this often returns early; it
    /// waits a poll's time first, so that a caller who loops does not spin.
    async fn changed_since(&self, seen: Version) -> Result<()> {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            if self.version().await? > seen {
                return Ok(());
            }
        }
    }

    fn commit_may_be_unknown(&self) -> bool {
        true
    }

    fn url(&self) -> String {
        self.place.url.clone()
    }

    /// A commit is durable when it returns.
    async fn sync(&self) -> Result<()> {
        self.version().await.map(drop)
    }

    async fn sync_to(&self, _version: Version) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) { Err(EngineError::Closed) } else { Ok(()) }
    }

    async fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::Relaxed) {
            return Err(EngineError::Closed);
        }
        Ok(())
    }
}
