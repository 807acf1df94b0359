//! What was copied is durable before anybody relies on it, and a journal that goes with the process is nobody.

use std::time::Duration;

use async_trait::async_trait;

use super::tests::put;
use super::*;
use crate::error::Result as StoreResult;
use crate::journal::{EngineJournal, JournalOptions, MemoryJournal, Sharing};
use crate::key::Key;
use crate::limits::SETTLE_KEYS;
use crate::outcome::Silent;
use crate::store::layer::Layer;
use crate::store::{Body, MemoryStore, PutRequest, Stored};

/// How flushes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flushes {
    Well,
    /// The first loses something, and the next would not tell of it.
    FailOnce,
    /// Each waits for a copy that ends meanwhile.
    Slowly,
}

/// Counts what was put and flushed, and what was put and not flushed when something is deleted.
#[derive(Debug)]
struct Flushed {
    store: MemoryStore,
    go: Flushes,
    flushes: AtomicUsize,
    puts: AtomicUsize,
    durable: AtomicUsize,
    /// Flushes while which a copy ended.
    beside: AtomicUsize,
}

impl Flushed {
    fn that_go(go: Flushes) -> Arc<Self> {
        let [flushes, puts, durable, beside] = std::array::from_fn(|_| AtomicUsize::new(0));
        Arc::new(Self { store: MemoryStore::objects("target"), go, flushes, puts, durable, beside })
    }

    /// Whether something is put within a while.
    async fn is_put_to(&self) -> bool {
        let before = self.puts.load(Ordering::SeqCst);
        for _ in 0..500 {
            if self.puts.load(Ordering::SeqCst) > before {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        false
    }
}

#[async_trait]
impl Layer for Flushed {
    fn below(&self) -> &dyn Store {
        &self.store
    }

    async fn put(&self, request: &PutRequest, body: Body) -> StoreResult<Stored> {
        self.puts.fetch_add(1, Ordering::SeqCst);
        self.store.put(request, body).await
    }

    async fn flush(&self) -> StoreResult<()> {
        let (before, puts) = (self.flushes.fetch_add(1, Ordering::SeqCst), self.puts.load(Ordering::SeqCst));
        if self.go == Flushes::FailOnce && before == 0 {
            return Err(StoreError::Undurable { store: "target".into(), reason: "the disk is broken".into() });
        }
        if self.go == Flushes::Slowly && self.is_put_to().await {
            self.beside.fetch_add(1, Ordering::SeqCst);
        }
        self.durable.fetch_max(puts, Ordering::SeqCst);
        Ok(())
    }

    async fn delete(&self, keys: &[Key]) -> StoreResult<Vec<StoreResult<()>>> {
        let [puts, durable] = [&self.puts, &self.durable].map(|count| count.load(Ordering::SeqCst));
        assert_eq!(puts, durable, "something is deleted before what was copied is durable");
        self.store.delete(keys).await
    }
}

/// A job that copies objects in pages of seven and deletes one.
async fn job(target: &Arc<Flushed>, objects: usize, workers: usize) -> Job {
    let source =
        MemoryStore::objects("source").with_capabilities(|can| (can.page_entries, can.max_copy_bytes) = (7, 0));
    for number in 0..objects {
        put(&source, &format!("{number:06}"), b"").await;
    }
    put(&target.store, "surplus", b"").await;
    let mut options = JobOptions { workers, ..JobOptions::default() };
    options.policy.delete = true;
    Job::new(Arc::new(source), Arc::clone(target) as Arc<dyn Store>, options)
}

/// A journal that stays.
async fn durable_journal() -> (Arc<EngineJournal>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let url = farshore_meta::engine::EngineUrl::embedded(directory.path());
    let engine = url.create(&farshore_meta::engine::EmbeddedOptions::default()).await.unwrap();
    (Arc::new(EngineJournal::new(engine, JournalOptions::new(Sharing::Alone))), directory)
}

#[tokio::test]
async fn a_job_whose_journal_goes_with_it_flushes_once_before_it_deletes() {
    let target = Flushed::that_go(Flushes::Well);
    let summary =
        job(&target, 100, 4).await.run(Arc::new(MemoryJournal::new().unwrap()), Arc::new(Silent)).await.unwrap();
    assert_eq!((summary.counts.copied, summary.counts.deleted, summary.complete), (100, 1, true), "{summary:?}");
    assert_eq!(target.flushes.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_was_not_written_is_not_flushed() {
    let target = Flushed::that_go(Flushes::Well);
    let (journal, _directory) = durable_journal().await;
    job(&target, 100, 4).await.run(journal, Arc::new(Silent)).await.unwrap();
    target.flushes.store(0, Ordering::SeqCst);
    let (journal, _directory) = durable_journal().await;
    let summary = job(&target, 100, 1).await.run(journal, Arc::new(Silent)).await.unwrap();
    assert_eq!((summary.counts.skipped, summary.complete), (100, true), "{summary:?}");
    assert_eq!(target.flushes.load(Ordering::SeqCst), 1, "an earlier process may have left something");
}

#[tokio::test]
async fn copies_go_on_while_it_flushes() {
    let target = Flushed::that_go(Flushes::Slowly);
    let (journal, _directory) = durable_journal().await;
    let objects = 2 * SETTLE_KEYS;
    let summary = job(&target, objects, 1).await.run(journal, Arc::new(Silent)).await.unwrap();
    assert_eq!((summary.counts.copied, summary.complete), (objects as u64, true), "{summary:?}");
    assert!(target.beside.load(Ordering::SeqCst) > 0, "{target:?}");
}

#[tokio::test]
async fn a_flush_that_fails_ends_the_job_and_deletes_nothing() {
    for workers in [1, 4] {
        let (target, journal) = (Flushed::that_go(Flushes::FailOnce), Arc::new(MemoryJournal::new().unwrap()));
        let summary = job(&target, 100, workers).await.run(journal, Arc::new(Silent)).await.unwrap();
        assert!(!summary.complete && summary.error.is_some() && summary.counts.deleted == 0, "{summary:?}");
        assert!(target.store.snapshot().contains_key(&Key::try_from("surplus").unwrap()));
    }
}

#[tokio::test]
async fn after_a_flush_that_failed_a_journal_that_stays_hears_of_nothing() {
    for workers in [1, 4] {
        let (target, (journal, _directory)) = (Flushed::that_go(Flushes::FailOnce), durable_journal().await);
        let summary = job(&target, 2 * SETTLE_KEYS, workers).await.run(journal, Arc::new(Silent)).await.unwrap();
        assert!(!summary.complete && summary.error.is_some(), "{summary:?}");
        assert_eq!((summary.counts.copied, target.flushes.load(Ordering::SeqCst)), (0, 1), "{summary:?}");
    }
}
