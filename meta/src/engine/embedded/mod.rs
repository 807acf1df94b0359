//! The embedded engine: one process owns a directory, and one thread of it writes.
//!
//! The safety argument: a transaction reads one view, the rows after some commit. The
//! committer takes transactions in an order, and lets one pass only if nothing that it read
//! was written after its view (`window.rs`); so it might as well have run at its place in
//! that order. A group of them is one atomic batch in the store and is synced before any of
//! them is answered or shown (`committer.rs`); so what was seen survives. Opening compares
//! how far the rows go with how far they once went (`high_water.rs`).
//!
//! Read `transaction.rs`, `writes.rs`, `merge.rs`, then `committer.rs`, `window.rs`,
//! `group.rs` and `store.rs`.

mod add;
mod committer;
mod group;
mod high_water;
mod key_range;
mod layout;
mod merge;
mod options;
mod owner;
mod queue;
mod reads;
mod shared;
mod store;
#[cfg(test)]
mod tests;
mod transaction;
mod view;
mod window;
mod writes;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use farshore_proto::Version;
use fjall::PersistMode;
use parking_lot::Mutex;
use tokio::sync::watch;

use self::committer::Committer;
use self::high_water::HighWater;
use self::layout::Layout;
pub use self::options::{Durability, EmbeddedOptions};
use self::owner::Owner;
use self::queue::Queue;
use self::shared::{Progress, Shared};
use self::store::Store;
use self::transaction::EmbeddedTransaction;
use self::view::View;
use self::window::Window;
use super::{Engine, EngineError, EngineUrl, Result, Transaction};

/// The version that an engine begins with, before its first commit.
const BEGINNING: Version = Version::ZERO;
/// Batch numbers that are left out when an engine is opened. With `Durability::Os` a power
/// cut may take commits that others have seen; their numbers must not be given again.
const OPENING_GAP: u64 = 1_000_000;

/// An engine in a directory of this machine.
pub struct EmbeddedEngine {
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

/// The parts of an engine whose directory is locked and whose files are open.
struct Opened {
    layout: Layout,
    owner: Owner,
    store: Store,
    high_water: HighWater,
    last: Version,
    next_batch: u64,
}

impl EmbeddedEngine {
    /// Makes a new engine in `directory`, which must be absent, empty, or what a process left that
    /// was killed while it made one; and opens it.
    ///
    /// # Errors
    /// `Exists` if anything else is there; `Owned` if another process makes one; `Failed` on IO errors.
    pub fn create(directory: impl AsRef<Path>, options: &EmbeddedOptions) -> Result<Self> {
        let layout = Layout::at(directory.as_ref());
        layout.prepare_new()?;
        let owner = Owner::acquire(&layout)?;
        // Once more: another process may have finished one before this one had the lock.
        layout.prepare_new()?;
        layout.clear_unfinished()?;
        let store = Store::open(&layout, options)?;
        store.write([].into(), BEGINNING, PersistMode::SyncAll)?;
        let mut high_water = HighWater::create(&layout)?;
        high_water.raise(BEGINNING).map_err(|error| layout.failed(error))?;
        layout.write_format()?;
        let next_batch = BEGINNING.batch() + 1;
        Self::start(Opened { layout, owner, store, high_water, last: BEGINNING, next_batch }, options)
    }

    /// Opens the engine in `directory`.
    ///
    /// # Errors
    /// `Missing` if there is none; `Owned` if another process has it open; `Damaged` if its
    /// files are of an unknown form or commits that were durable are gone; `Failed` on IO errors.
    pub fn open(directory: impl AsRef<Path>, options: &EmbeddedOptions) -> Result<Self> {
        let layout = Layout::at(directory.as_ref());
        layout.check_format()?;
        let owner = Owner::acquire(&layout)?;
        let store = Store::open(&layout, options)?;
        let (high_water, mark) = HighWater::open(&layout)?;
        let last = check_last(&layout, store.last()?, mark)?;
        let next_batch = last.batch() + OPENING_GAP;
        Self::start(Opened { layout, owner, store, high_water, last, next_batch }, options)
    }

    fn start(opened: Opened, options: &EmbeddedOptions) -> Result<Self> {
        let Opened { layout, owner, store, high_water, last, next_batch } = opened;
        let (requests, receiver) = mpsc::channel();
        let max_age = Duration::from_millis(options.max_transaction_age_ms);
        let shared = Arc::new(Shared {
            layout: layout.clone(),
            max_age,
            view: ArcSwap::from_pointee(View { last, snapshot: store.snapshot() }),
            keyspace: ArcSwapOption::from_pointee(store.keyspace().clone()),
            queue: Queue::new(requests),
        });
        let (progress, watcher) = watch::channel(Progress { last, durable: BEGINNING, poisoned: None });
        let committer = Committer {
            shared: Arc::clone(&shared),
            requests: receiver,
            store,
            high_water,
            owner,
            window: Window::starting_at(last.batch(), max_age),
            progress,
            durability: options.durability,
            next_batch,
            poisoned: None,
            // A process that was killed may have left rows that only the operating system has.
            unsynced_since: Some(Instant::now()),
        };
        let thread = thread::Builder::new().name("engine-committer".into()).spawn(|| committer.run());
        let thread = thread.map_err(|error| layout.failed(error))?;
        Ok(Self { shared, progress: watcher, committer: Mutex::new(Some(thread)) })
    }

    /// The version up to which commits are known to survive a power cut.
    pub fn durable(&self) -> Version {
        self.progress.borrow().durable
    }

    /// True when nothing has to be done, or told, to make `version` durable.
    fn is_durable(&self, version: Version) -> bool {
        let progress = self.progress.borrow();
        progress.durable >= version && progress.poisoned.is_none() && !self.shared.queue.is_closed()
    }

    fn join(&self) {
        let thread = self.committer.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the committer panicked");
        }
    }
}

/// The version up to which the rows go, if that is as far as they once went.
fn check_last(layout: &Layout, last: Option<Version>, mark: Option<Version>) -> Result<Version> {
    let last =
        last.ok_or_else(|| layout.damaged("its last version is missing; restore it, or copy it from a mirror"))?;
    let file = layout.high_water();
    if mark.is_none() {
        tracing::warn!("{} holds no mark: lost commits would go unnoticed", file.display());
    }
    match mark.filter(|mark| *mark > last) {
        None => Ok(last),
        Some(mark) => Err(layout.damaged(format!(
            "commits after version {last} up to {mark} were durable and are gone; restore it, or copy it from a \
             mirror, or remove {} to go on without them",
            file.display()
        ))),
    }
}

impl fmt::Debug for EmbeddedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EmbeddedEngine({})", self.shared.layout.directory.display())
    }
}

impl Drop for EmbeddedEngine {
    fn drop(&mut self) {
        if !self.shared.queue.is_closed() {
            self.shared.queue.stop(None);
        }
        self.join();
    }
}

#[async_trait]
impl Engine for EmbeddedEngine {
    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        if self.shared.queue.is_closed() {
            return Err(EngineError::Closed);
        }
        Ok(Box::new(EmbeddedTransaction::new(Arc::clone(&self.shared))))
    }

    async fn changed_since(&self, seen: Version) -> Result<()> {
        let mut progress = self.progress.clone();
        let settled = |progress: &Progress| progress.last > seen || progress.poisoned.is_some();
        let progress = progress.wait_for(settled).await.map_err(|_| EngineError::Closed)?;
        match &progress.poisoned {
            Some(reason) if progress.last <= seen => Err(EngineError::Poisoned { reason: reason.clone() }),
            _ => Ok(()),
        }
    }

    fn commit_may_be_unknown(&self) -> bool {
        false
    }

    fn url(&self) -> String {
        EngineUrl::embedded(&self.shared.layout.directory).to_string()
    }

    async fn sync(&self) -> Result<()> {
        let last = self.progress.borrow().last;
        self.sync_to(last).await
    }

    async fn sync_to(&self, version: Version) -> Result<()> {
        if self.is_durable(version) { Ok(()) } else { self.shared.queue.sync().await }
    }

    async fn close(&self) -> Result<()> {
        self.shared.queue.close().await
    }
}
