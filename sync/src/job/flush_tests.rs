//! What was copied is durable before anybody relies on it, and a journal that goes with the process is nobody.

use async_trait::async_trait;

use super::*;
use crate::error::Result as StoreResult;
use crate::journal::{EngineJournal, JournalOptions, MemoryJournal, Sharing};
use crate::key::Key;
use crate::outcome::Silent;
use crate::store::layer::Layer;
use crate::store::{Body, MemoryStore, PutRequest, Stored};

/// Counts what was put, deleted and flushed, and what was put and not flushed when something was deleted.
#[derive(Debug)]
struct Flushed {
    store: MemoryStore,
    fails: bool,
    flushes: AtomicUsize,
    unflushed: AtomicUsize,
}

impl Flushed {
    fn of(store: MemoryStore, fails: bool) -> Arc<Self> {
        Arc::new(Self { store, fails, flushes: AtomicUsize::new(0), unflushed: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Layer for Flushed {
    fn below(&self) -> &dyn Store {
        &self.store
    }

    async fn put(&self, request: &PutRequest, body: Body) -> StoreResult<Stored> {
        self.unflushed.fetch_add(1, Ordering::SeqCst);
        self.store.put(request, body).await
    }

    async fn flush(&self) -> StoreResult<()> {
        if self.fails {
            return Err(StoreError::invalid("target", "the disk is broken"));
        }
        self.flushes.fetch_add(1, Ordering::SeqCst);
        self.unflushed.store(0, Ordering::SeqCst);
        Ok(())
    }

    async fn delete(&self, keys: &[Key]) -> StoreResult<Vec<StoreResult<()>>> {
        assert_eq!(self.unflushed.load(Ordering::SeqCst), 0, "something is deleted before what was copied is durable");
        self.store.delete(keys).await
    }
}

async fn put(store: &MemoryStore, name: &str) {
    let request = PutRequest::object(Key::try_from(name).unwrap(), 0);
    store.put(&request, Body::empty()).await.unwrap();
}

/// A job that copies 100 objects in several ranges and deletes one.
async fn job(target: &Arc<Flushed>) -> Job {
    let source =
        MemoryStore::objects("source").with_capabilities(|can| (can.page_entries, can.max_copy_bytes) = (7, 0));
    for number in 0..100 {
        put(&source, &format!("{number:03}")).await;
    }
    put(&target.store, "surplus").await;
    let mut options = JobOptions { workers: 4, ..JobOptions::default() };
    options.policy.delete = true;
    Job::new(Arc::new(source), Arc::clone(target) as Arc<dyn Store>, options)
}

#[tokio::test]
async fn a_job_whose_journal_goes_with_it_flushes_once_before_it_deletes() {
    let target = Flushed::of(MemoryStore::objects("target"), false);
    let summary = job(&target).await.run(Arc::new(MemoryJournal::new().unwrap()), Arc::new(Silent)).await.unwrap();
    assert_eq!((summary.counts.copied, summary.counts.deleted, summary.complete), (100, 1, true), "{summary:?}");
    assert_eq!(target.flushes.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_journal_that_stays_hears_of_nothing_that_is_not_durable() {
    let target = Flushed::of(MemoryStore::objects("target"), false);
    let (job, directory) = (job(&target).await, tempfile::tempdir().unwrap());
    let url = farshore_meta::engine::EngineUrl::embedded(directory.path());
    let engine = url.create(&farshore_meta::engine::EmbeddedOptions::default()).await.unwrap();
    let journal = Arc::new(EngineJournal::new(engine, JournalOptions::new(Sharing::Alone)));
    journal.open(&job.identity()).await.unwrap();
    let summary = job.run(journal, Arc::new(Silent)).await.unwrap();
    assert_eq!((summary.counts.copied, summary.complete), (100, true), "{summary:?}");
    assert!(target.flushes.load(Ordering::SeqCst) > 1, "each range is flushed before it is settled");
}

#[tokio::test]
async fn a_flush_that_fails_ends_the_job_and_deletes_nothing() {
    let target = Flushed::of(MemoryStore::objects("target"), true);
    let summary = job(&target).await.run(Arc::new(MemoryJournal::new().unwrap()), Arc::new(Silent)).await.unwrap();
    assert!(!summary.complete && summary.error.is_some() && summary.counts.deleted == 0, "{summary:?}");
    assert!(target.store.snapshot().contains_key(&Key::try_from("surplus").unwrap()));
}
