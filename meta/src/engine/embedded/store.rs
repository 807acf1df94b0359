//! The rows on disk, through the library fjall: snapshots, atomic batches, syncing.
//!
//! Only the committer writes, and only it holds this type. It takes a snapshot after a
//! batch is in, never beside one, because fjall's own counter of visible writes may run
//! ahead of a batch that is half applied.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use farshore_proto::Version;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use super::layout::Layout;
use super::options::EmbeddedOptions;
use crate::engine::{EngineError, Result};

/// The row that says up to which version the rows go. Its key is one that no caller can use.
const LAST_KEY: &[u8] = b"\xFF/last-version";
const KEYSPACE: &str = "rows";
/// Memtables that fit into the write buffer: one filled, others on their way to disk.
const MEMTABLES: u64 = 4;
/// Least the write buffer is cut to, so that tables do not become tiny.
const MIN_MEMTABLE_BYTES: u64 = 1 << 20;
/// Journals on disk; fjall's least. More of them make opening slower.
const JOURNAL_BYTES: u64 = 64 << 20;
/// Table files kept open.
const OPEN_FILES: usize = 256;
/// Flushing and compacting, off the path of commits.
const WORKER_THREADS: usize = 2;
/// Full memtables, and tables in the top level, over which a commit waits for the workers.
/// Both are under fjall's own limits: it would wait there for ever if a worker has failed.
const MAX_SEALED_MEMTABLES: usize = 1;
const MAX_TOP_TABLES: usize = 24;
const BACKPRESSURE_PAUSE: Duration = Duration::from_millis(1);

/// An open store.
pub(super) struct Store {
    database: Database,
    rows: Keyspace,
    layout: Layout,
}

impl Store {
    /// Opens the rows, or makes a store without any.
    pub(super) fn open(layout: &Layout, options: &EmbeddedOptions) -> Result<Self> {
        let memtable_bytes = (options.write_buffer_bytes / MEMTABLES).max(MIN_MEMTABLE_BYTES);
        let open = || {
            let database = Database::builder(layout.rows())
                .cache_size(options.cache_bytes)
                .max_journaling_size(JOURNAL_BYTES)
                .max_cached_files(Some(OPEN_FILES))
                .worker_threads(WORKER_THREADS)
                .manual_journal_persist(true)
                .open()?;
            let create = || KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes);
            let rows = database.keyspace(KEYSPACE, create)?;
            Ok((database, rows))
        };
        // fjall asserts a few things of what it reads from its journal.
        let opened = catch_unwind(AssertUnwindSafe(open));
        let opened = opened.map_err(|_| layout.damaged("its journal holds what was never written there"))?;
        let (database, rows) = opened.map_err(|error| opening_failed(layout, error))?;
        Ok(Self { database, rows, layout: layout.clone() })
    }

    /// The handle through which snapshots are read.
    pub(super) fn keyspace(&self) -> &Keyspace {
        &self.rows
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.database.snapshot()
    }

    /// The last version whose rows are here; none in a store that was never written.
    pub(super) fn last(&self) -> Result<Option<Version>> {
        let value = self.snapshot().get(&self.rows, LAST_KEY).map_err(|error| self.failed(error))?;
        let parse = |value: fjall::Slice| Version::try_from(&*value);
        let last = value.map(parse).transpose();
        last.map_err(|error| self.layout.damaged(format!("its last version is unreadable: {error}")))
    }

    /// Writes a group of commits, the last of which has version `last`, as one atomic batch.
    pub(super) fn write(&self, rows: BTreeMap<Bytes, Option<Bytes>>, last: Version, mode: PersistMode) -> Result<()> {
        self.wait_for_workers()?;
        let mut batch = fjall::OwnedWriteBatch::with_capacity(self.database.clone(), rows.len() + 1);
        for (key, value) in rows {
            match value {
                Some(value) => batch.insert(&self.rows, key, value),
                None => batch.remove(&self.rows, key),
            }
        }
        batch.insert(&self.rows, LAST_KEY, last.as_bytes().as_slice());
        batch.durability(Some(mode)).commit().map_err(|error| self.failed(error))
    }

    /// Syncs everything that was written.
    pub(super) fn sync(&self) -> Result<()> {
        self.database.persist(PersistMode::SyncData).map_err(|error| self.failed(error))
    }

    fn wait_for_workers(&self) -> Result<()> {
        while self.is_behind() {
            // A worker that failed never catches up; then this gives fjall's error.
            self.database.persist(PersistMode::Buffer).map_err(|error| self.failed(error))?;
            thread::sleep(BACKPRESSURE_PAUSE);
        }
        Ok(())
    }

    fn is_behind(&self) -> bool {
        self.rows.sealed_memtable_count() > MAX_SEALED_MEMTABLES || self.rows.l0_table_count() > MAX_TOP_TABLES
    }

    fn failed(&self, error: fjall::Error) -> EngineError {
        failed(&self.layout, error)
    }
}

/// Turns the library's error into the engine's.
pub(super) fn failed(layout: &Layout, error: fjall::Error) -> EngineError {
    match error {
        fjall::Error::Io(error) => layout.failed(error),
        error => layout.failed(error),
    }
}

/// While opening, whatever is not an IO error is something wrong with the files.
fn opening_failed(layout: &Layout, error: fjall::Error) -> EngineError {
    match error {
        fjall::Error::Io(_) => failed(layout, error),
        fjall::Error::Locked => EngineError::Owned { path: layout.directory.clone(), owner: "unknown".into() },
        error => layout.damaged(format!("its rows cannot be opened: {error:?}")),
    }
}
