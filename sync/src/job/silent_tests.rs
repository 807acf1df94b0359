//! A worker whose journal does not answer: it stops before another may have its range, and neither spoils the other's.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;

use super::*;
use crate::error::Result as StoreResult;
use crate::journal::{
    Claim, ClaimedPart, ClaimedRange, EngineJournal, FinishedPart, JournalOptions, PartClaim, Result, Settled,
    SharedUploads, Sharing, UploadRecord,
};
use crate::key::Key;
use crate::outcome::Silent;
use crate::store::layer::Layer;
use crate::store::{Body, MemoryStore, PutRequest, Stored, Upload};

const LEASE: Duration = Duration::from_millis(600);

/// A journal behind a line that can be cut: calls then wait until it is mended.
#[derive(Debug)]
struct Line {
    journal: Arc<EngineJournal>,
    cut: AtomicBool,
    mended: Notify,
}

impl Line {
    async fn pass(&self) {
        while self.cut.load(Ordering::SeqCst) {
            self.mended.notified().await;
        }
    }
}

#[async_trait]
impl SharedUploads for Line {
    async fn share(&self, sender: &WorkerId, upload: &Upload) -> Result<()> {
        self.journal.share(sender, upload).await
    }

    async fn keep_shared(&self, sender: &WorkerId, upload: &Upload) -> Result<()> {
        self.journal.keep_shared(sender, upload).await
    }

    async fn withdraw(&self, sender: &WorkerId, upload: &Upload) -> Result<()> {
        self.journal.withdraw(sender, upload).await
    }

    async fn shared(&self, after: Option<&Key>, limit: usize) -> Result<Vec<UploadRecord>> {
        self.journal.shared(after, limit).await
    }

    async fn claim_part(&self, sender: &WorkerId, upload: &Upload) -> Result<PartClaim> {
        self.journal.claim_part(sender, upload).await
    }

    async fn renew_part(&self, claimed: &ClaimedPart) -> Result<()> {
        self.journal.renew_part(claimed).await
    }

    async fn release_part(&self, claimed: &ClaimedPart) -> Result<()> {
        self.journal.release_part(claimed).await
    }
}

#[async_trait]
impl WorkerJournal for Line {
    fn lease(&self) -> Option<Duration> {
        self.journal.lease()
    }

    async fn claim(&self, worker: &WorkerId) -> Result<Claim> {
        self.pass().await;
        self.journal.claim(worker).await
    }

    async fn wants_ranges(&self) -> Result<bool> {
        self.pass().await;
        self.journal.wants_ranges().await
    }

    async fn split(&self, claimed: &ClaimedRange, at: &Bytes) -> Result<ClaimedRange> {
        self.pass().await;
        self.journal.split(claimed, at).await
    }

    async fn settle(&self, claimed: &ClaimedRange, settled: Settled) -> Result<Option<ClaimedRange>> {
        self.pass().await;
        self.journal.settle(claimed, settled).await
    }

    async fn renew(&self, claimed: &ClaimedRange) -> Result<()> {
        self.pass().await;
        self.journal.renew(claimed).await
    }

    async fn release(&self, claimed: &ClaimedRange) -> Result<()> {
        self.pass().await;
        self.journal.release(claimed).await
    }

    async fn upload_of(&self, key: &Key) -> Result<Option<UploadRecord>> {
        self.journal.upload_of(key).await
    }

    async fn begin_upload(&self, record: &UploadRecord) -> Result<()> {
        self.journal.begin_upload(record).await
    }

    async fn finish_part(&self, upload: &Upload, part: &FinishedPart) -> Result<()> {
        self.journal.finish_part(upload, part).await
    }

    async fn end_upload(&self, upload: &Upload) -> Result<()> {
        self.journal.end_upload(upload).await
    }
}

/// A store whose writes take long enough for a claim to lapse.
#[derive(Debug)]
struct Slow {
    store: MemoryStore,
    writes: AtomicUsize,
    begun: Notify,
    ended: AtomicUsize,
}

#[async_trait]
impl Layer for Slow {
    fn below(&self) -> &dyn Store {
        &self.store
    }

    async fn put(&self, request: &PutRequest, body: Body) -> StoreResult<Stored> {
        if self.writes.fetch_add(1, Ordering::SeqCst) == 0 {
            self.begun.notify_one();
            tokio::time::sleep(5 * LEASE).await;
        }
        self.ended.fetch_add(1, Ordering::SeqCst);
        self.store.put(request, body).await
    }
}

async fn journal(engine: &Arc<dyn farshore_meta::engine::Engine>, job: &Job) -> Arc<EngineJournal> {
    let options = JournalOptions { lease: LEASE, ..JournalOptions::new(Sharing::Shared) };
    let journal = Arc::new(EngineJournal::new(Arc::clone(engine), options));
    journal.open(&job.identity()).await.unwrap();
    journal
}

fn job(source: &Arc<MemoryStore>, target: &Arc<Slow>, seed: u64) -> Job {
    let options = JobOptions { workers: 1, seed, ..JobOptions::default() };
    Job::new(Arc::clone(source) as Arc<dyn Store>, Arc::clone(target) as Arc<dyn Store>, options)
}

#[tokio::test]
async fn a_worker_that_is_asked_to_leave_gives_back_what_it_has_at_once() {
    let source = Arc::new(MemoryStore::objects("source").with_capabilities(|can| can.max_copy_bytes = 0));
    let request = PutRequest::object(Key::try_from("key").unwrap(), 3);
    source.put(&request, Body::Whole(Bytes::from_static(b"new"))).await.unwrap();
    let target = slow();
    let directory = tempfile::tempdir().unwrap();
    let url = farshore_meta::engine::EngineUrl::embedded(directory.path());
    let engine = url.create(&farshore_meta::engine::EmbeddedOptions::default()).await.unwrap();
    let job = job(&source, &target, 1);
    let options = JournalOptions { lease: Duration::from_mins(1), ..JournalOptions::new(Sharing::Shared) };
    let journal = Arc::new(EngineJournal::new(engine, options));
    journal.open(&job.identity()).await.unwrap();
    let begun = Arc::clone(&target);
    let asked = async move { begun.begun.notified().await };
    let worked = job.work(Arc::clone(&journal) as Arc<dyn WorkerJournal>, Arc::new(Silent), asked).await.unwrap();
    assert!(matches!(worked, Worked::Left));
    assert_eq!(target.ended.load(Ordering::SeqCst), 0, "what ran was dropped");
    let another = journal.claim(&WorkerId("another".to_owned())).await.unwrap();
    assert!(matches!(another, Claim::Range(_)), "it is not waited for: {another:?}");
}

fn slow() -> Arc<Slow> {
    Arc::new(Slow {
        store: MemoryStore::objects("target"),
        writes: AtomicUsize::new(0),
        begun: Notify::new(),
        ended: AtomicUsize::new(0),
    })
}

#[tokio::test]
async fn a_worker_that_its_journal_does_not_hear_drops_its_copies_before_another_makes_them() {
    let source = Arc::new(MemoryStore::objects("source").with_capabilities(|can| can.max_copy_bytes = 0));
    let request = PutRequest::object(Key::try_from("key").unwrap(), 3);
    source.put(&request, Body::Whole(Bytes::from_static(b"old"))).await.unwrap();
    let target = slow();
    let directory = tempfile::tempdir().unwrap();
    let url = farshore_meta::engine::EngineUrl::embedded(directory.path());
    let engine = url.create(&farshore_meta::engine::EmbeddedOptions::default()).await.unwrap();
    let (one, two) = (job(&source, &target, 1), job(&source, &target, 2));
    let line = Arc::new(Line { journal: journal(&engine, &one).await, cut: false.into(), mended: Notify::new() });
    let behind = Arc::clone(&line);
    let first = tokio::spawn(async move { one.work(behind, Arc::new(Silent), std::future::pending()).await });
    target.begun.notified().await;
    line.cut.store(true, Ordering::SeqCst);

    source.put(&request, Body::Whole(Bytes::from_static(b"new"))).await.unwrap();
    let summary = two.run(journal(&engine, &two).await, Arc::new(Silent)).await.unwrap();
    assert!(summary.is_clean() && summary.counts.copied == 1, "{summary:?}");
    line.cut.store(false, Ordering::SeqCst);
    line.mended.notify_waiters();
    assert!(matches!(first.await.unwrap().unwrap(), Worked::Done), "it hears that all is done");
    assert_eq!((target.writes.load(Ordering::SeqCst), target.ended.load(Ordering::SeqCst)), (2, 1));
    let bytes: Vec<Bytes> = target.store.snapshot().into_values().map(|(_, bytes)| bytes).collect();
    assert_eq!(bytes, [Bytes::from_static(b"new")]);
}
