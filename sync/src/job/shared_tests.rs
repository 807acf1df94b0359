//! One object whose parts two processes send: each part once, whoever dies, and a source that changes is copied as it is.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use farshore_meta::engine::{EmbeddedOptions, Engine, EngineUrl};
use tokio::task::JoinHandle;

use super::*;
use crate::error::Result as StoreResult;
use crate::journal::{EngineJournal, JournalOptions, Sharing};
use crate::key::Key;
use crate::outcome::Silent;
use crate::store::layer::Layer;
use crate::store::{Body, MemoryStore, PartLimits, PartRequest, PutRequest, StoredPart, Upload};

const LEASE: Duration = Duration::from_millis(800);
const PART: usize = 1024;
const PARTS: usize = 120;
/// How long a part takes.
const SLOWNESS: Duration = Duration::from_millis(25);
/// The parts of an object that one process has under way.
const AT_ONCE: usize = crate::limits::PARTS_AT_ONCE;

/// A process's way to the target, which tells what it sent.
#[derive(Debug)]
struct Way {
    store: Arc<MemoryStore>,
    /// The parts that came.
    sent: Mutex<Vec<u32>>,
    /// Whether parts are refused.
    refuses: bool,
}

impl Way {
    fn to(store: &Arc<MemoryStore>) -> Arc<Self> {
        Arc::new(Self { store: Arc::clone(store), sent: Mutex::default(), refuses: false })
    }

    fn sent(&self) -> usize {
        self.sent.lock().len()
    }
}

#[async_trait]
impl Layer for Way {
    fn below(&self) -> &dyn Store {
        self.store.as_ref()
    }

    async fn put_part(&self, upload: &Upload, part: &PartRequest, body: Body) -> StoreResult<StoredPart> {
        if self.refuses {
            return Err(StoreError::changed(&upload.key, "this process sees another file"));
        }
        tokio::time::sleep(SLOWNESS).await;
        let stored = self.store.put_part(upload, part, body).await?;
        self.sent.lock().push(part.number);
        Ok(stored)
    }
}

/// Two stores, a journal, and one object of many parts.
struct World {
    source: Arc<MemoryStore>,
    target: Arc<MemoryStore>,
    engine: Arc<dyn Engine>,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let small = PartLimits {
            min_bytes: 1,
            max_bytes: PART as u64,
            max_count: 10_000,
            max_object_bytes: 1 << 40,
            equal: false,
        };
        let target = MemoryStore::objects("target").with_capabilities(|can| {
            can.parts = Some(small);
            can.preferred_put_bytes = PART as u64;
            can.max_copy_bytes = 0;
        });
        let directory = tempfile::tempdir().unwrap();
        let options = EmbeddedOptions::default();
        let engine = EngineUrl::embedded(directory.path()).create(&options).await.unwrap();
        let source = Arc::new(MemoryStore::objects("source"));
        let world = Self { source, target: Arc::new(target), engine, _directory: directory };
        world.put(1).await;
        world
    }

    /// Puts the object, in another state for each seed.
    async fn put(&self, seed: u8) -> Bytes {
        let bytes: Vec<u8> = (0..PARTS * PART - 5).map(|at| (at % 251) as u8 ^ (at / PART) as u8 ^ seed).collect();
        let bytes = Bytes::from(bytes);
        let request = PutRequest::object(Key::try_from("large").unwrap(), bytes.len() as u64);
        self.source.put(&request, Body::Whole(bytes.clone())).await.unwrap();
        bytes
    }

    fn job(&self, target: &Arc<Way>, seed: u64) -> Job {
        let options = JobOptions { workers: 2, seed, ..JobOptions::default() };
        Job::new(Arc::clone(&self.source) as Arc<dyn Store>, Arc::clone(target) as Arc<dyn Store>, options)
    }

    async fn journal(&self, job: &Job) -> Arc<EngineJournal> {
        let options = JournalOptions { lease: LEASE, ..JournalOptions::new(Sharing::Shared) };
        let journal = Arc::new(EngineJournal::new(Arc::clone(&self.engine), options));
        journal.open(&job.identity()).await.unwrap();
        journal
    }

    /// A process that works for the job.
    async fn worker(&self, target: &Arc<Way>, seed: u64) -> JoinHandle<Worked> {
        let job = self.job(target, seed);
        let journal = self.journal(&job).await;
        tokio::spawn(async move { job.work(journal, Arc::new(Silent), std::future::pending()).await.unwrap() })
    }

    async fn assert_equal(&self, bytes: &Bytes) {
        let there: Vec<Bytes> = self.target.snapshot().into_values().map(|(_, bytes)| bytes).collect();
        assert_eq!(there, std::slice::from_ref(bytes));
        assert!(self.target.list_uploads(None).await.unwrap().uploads.is_empty(), "an upload is left open");
    }
}

async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn two_processes_send_the_parts_of_one_object_each_once() {
    let world = World::new().await;
    let (one, two) = (Way::to(&world.target), Way::to(&world.target));
    let helper = world.worker(&two, 2).await;
    let job = world.job(&one, 1);
    let summary = job.run(world.journal(&job).await, Arc::new(Silent)).await.unwrap();
    assert!(summary.is_clean() && summary.counts.copied == 1, "{summary:?}");
    assert!(matches!(helper.await.unwrap(), Worked::Done));
    let mut sent = [one.sent.lock().clone(), two.sent.lock().clone()].concat();
    sent.sort_unstable();
    assert!(sent.iter().copied().eq(1..=PARTS as u32), "each part was sent once: {sent:?}");
    let shares = [one.sent(), two.sent()];
    assert!(shares.iter().all(|share| *share >= PARTS / 4), "both sent their part: {shares:?}");
    world.assert_equal(&world.put(1).await).await;
}

#[tokio::test]
async fn a_process_that_dies_is_replaced_whether_it_copied_or_helped() {
    for (first, dies) in [("copies", 0), ("helps", 1)] {
        let world = World::new().await;
        let ways = [Way::to(&world.target), Way::to(&world.target)];
        let one = world.worker(&ways[0], 1).await;
        until(|| ways[0].sent() > 0).await;
        let two = world.worker(&ways[1], 2).await;
        until(|| ways[1].sent() > 3).await;
        let workers = [one, two];
        workers[dies].abort();
        let [one, two] = workers;
        let alive = if dies == 0 { two } else { one };
        let worked = tokio::time::timeout(Duration::from_mins(1), alive).await.unwrap().unwrap();
        assert!(matches!(worked, Worked::Done), "{first}: {worked:?}");
        let sent = ways[0].sent() + ways[1].sent();
        assert!(sent <= PARTS + AT_ONCE, "{first}: {sent} parts were sent");
        world.assert_equal(&world.put(1).await).await;
    }
}

#[tokio::test]
async fn a_source_that_changes_ends_the_help_and_is_copied_as_it_is() {
    let world = World::new().await;
    let (one, two) = (Way::to(&world.target), Way::to(&world.target));
    let copying = world.worker(&one, 1).await;
    until(|| one.sent() > 0).await;
    let helping = world.worker(&two, 2).await;
    until(|| two.sent() > 3).await;
    let changed = world.put(2).await;
    for worker in [copying, helping] {
        assert!(matches!(worker.await.unwrap(), Worked::Done));
    }
    world.assert_equal(&changed).await;
}

#[tokio::test]
async fn who_cannot_send_parts_leaves_them_to_the_one_who_copies() {
    let world = World::new().await;
    let one = Way::to(&world.target);
    let wrong = Arc::new(Way { store: Arc::clone(&world.target), sent: Mutex::default(), refuses: true });
    let copying = world.worker(&one, 1).await;
    until(|| one.sent() > 0).await;
    let helping = world.worker(&wrong, 2).await;
    for worker in [copying, helping] {
        assert!(matches!(worker.await.unwrap(), Worked::Done));
    }
    assert_eq!(one.sent(), PARTS);
    world.assert_equal(&world.put(1).await).await;
}

#[tokio::test]
async fn one_process_alone_claims_no_parts_and_sends_each_once() {
    let world = World::new().await;
    let one = Way::to(&world.target);
    let job = world.job(&one, 1);
    let journal = Arc::new(crate::journal::MemoryJournal::new().unwrap());
    let summary = job.run(journal, Arc::new(Silent)).await.unwrap();
    assert!(summary.is_clean(), "{summary:?}");
    assert_eq!(one.sent(), PARTS);
    world.assert_equal(&world.put(1).await).await;
}
