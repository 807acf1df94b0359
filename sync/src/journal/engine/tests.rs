//! The contract, the simulation, leases, unknown commits and `kill -9` on journals in engines.

mod crash;
mod flaky;
mod leases;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use farshore_meta::engine::{Durability, EmbeddedEngine, EmbeddedOptions};
use parking_lot::Mutex;
use rand::RngExt;
use rand::rngs::StdRng;

use self::flaky::Flaky;
use super::*;
use crate::journal::contract::{self, Maker, claim, job, worker};
use crate::journal::simulation::{self, World};
use crate::journal::{ClaimedPart, MemoryJournal, PartClaim, parts_simulation};
use crate::key_range::KeyRange;

const LEASE: Duration = Duration::from_secs(30);
/// Seeds of each simulation.
const SEEDS: u64 = 30;

/// A clock that a test moves.
#[derive(Debug, Clone, Default)]
struct Hands(Arc<AtomicU64>);

impl Hands {
    fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
    }

    fn clock(&self) -> Clock {
        let hands = Arc::clone(&self.0);
        Arc::new(move || Duration::from_millis(hands.load(Ordering::Relaxed)))
    }

    fn options(&self, sharing: Sharing) -> JournalOptions {
        JournalOptions { sharing, lease: LEASE, clock: self.clock() }
    }
}

/// Journals in memory.
struct InMemory;

#[async_trait]
impl Maker for InMemory {
    async fn empty(&self) -> Arc<dyn Journal> {
        Arc::new(MemoryJournal::new().unwrap())
    }

    async fn after_death(&self, journal: Arc<dyn Journal>) -> Arc<dyn Journal> {
        journal
    }
}

impl World for InMemory {
    fn pass_time(&self, _: &mut StdRng) {}

    fn has_leases(&self) -> bool {
        false
    }
}

/// Journals in embedded engines. The engine of the last one that was made stays open, as a cluster would.
struct InEngine {
    root: tempfile::TempDir,
    made: AtomicU64,
    hands: Hands,
    sharing: Sharing,
    /// From which seed commits fail; none if they do not.
    flaky: Option<u64>,
    last: Mutex<Option<Arc<EngineJournal>>>,
}

impl InEngine {
    fn new(sharing: Sharing, flaky: Option<u64>) -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { root, made: AtomicU64::new(0), hands: Hands::default(), sharing, flaky, last: Mutex::default() }
    }

    fn journal(&self, engine: Arc<dyn Engine>) -> Arc<dyn Journal> {
        let journal = Arc::new(EngineJournal::new(engine, self.hands.options(self.sharing)));
        *self.last.lock() = Some(Arc::clone(&journal));
        journal
    }

    fn last(&self) -> Arc<EngineJournal> {
        self.last.lock().clone().unwrap()
    }
}

fn new_engine(root: &std::path::Path) -> Arc<dyn Engine> {
    let options = EmbeddedOptions { durability: Durability::Os, ..embedded_options() };
    Arc::new(EmbeddedEngine::create(root, &options).unwrap())
}

#[async_trait]
impl Maker for InEngine {
    async fn empty(&self) -> Arc<dyn Journal> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let engine = new_engine(&self.root.path().join(number.to_string()));
        self.journal(match self.flaky {
            Some(seed) => Arc::new(Flaky::new(engine, seed + number)),
            None => engine,
        })
    }

    async fn after_death(&self, _: Arc<dyn Journal>) -> Arc<dyn Journal> {
        let engine = Arc::clone(&self.last().engine);
        self.journal(engine)
    }
}

impl World for InEngine {
    fn pass_time(&self, random: &mut StdRng) {
        self.hands.pass(LEASE * random.random_range(1..8) / 8);
    }

    fn has_leases(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    contract::run_all(&InMemory).await;
}

#[tokio::test]
async fn engines_keep_the_contract() {
    contract::run_all(&InEngine::new(Sharing::Alone, None)).await;
}

#[tokio::test]
async fn engines_whose_commits_fail_keep_the_contract() {
    for seed in 0..5 {
        contract::run_all(&InEngine::new(Sharing::Alone, Some(seed * 1_000))).await;
    }
}

#[tokio::test]
async fn workers_over_memory_settle_each_key_once() {
    for seed in 0..SEEDS {
        simulation::run(&InMemory, seed).await;
    }
}

async fn simulate(sharing: Sharing, flaky: bool) {
    for seed in 0..SEEDS {
        let world = InEngine::new(sharing, flaky.then_some(seed));
        simulation::run(&world, seed).await;
        assert_eq!(world.last().audit().await.unwrap().unfinished, 0);
    }
}

#[tokio::test]
async fn workers_over_an_engine_settle_each_key_once() {
    simulate(Sharing::Alone, false).await;
}

#[tokio::test]
async fn workers_over_a_shared_engine_settle_each_key_once() {
    simulate(Sharing::Shared, false).await;
}

#[tokio::test]
async fn workers_over_an_engine_whose_commits_fail_settle_each_key_once() {
    simulate(Sharing::Shared, true).await;
}

#[tokio::test]
async fn senders_send_each_part_of_a_shared_upload_once() {
    for seed in 0..SEEDS {
        parts_simulation::run(&InMemory, seed).await;
        for (sharing, flaky) in [(Sharing::Alone, None), (Sharing::Shared, None), (Sharing::Shared, Some(seed))] {
            parts_simulation::run(&InEngine::new(sharing, flaky), seed).await;
        }
    }
}

#[tokio::test]
async fn a_place_that_holds_something_else_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let engine = new_engine(&root.path().join("engine"));
    let mut txn = engine.begin().await.unwrap();
    txn.set(b"DS", b"a volume's settings");
    txn.commit().await.unwrap();
    let journal = EngineJournal::new(Arc::clone(&engine), JournalOptions::new(Sharing::Alone));
    let error = journal.open(&job("a", KeyRange::all())).await.unwrap_err();
    assert!(matches!(error, JournalError::NoJournal { .. }), "{error}");
    assert!(matches!(journal.forget_job().await, Err(JournalError::NoJournal { .. })));
    let mut txn = engine.begin().await.unwrap();
    assert!(txn.get(b"DS", Isolation::Snapshot).await.unwrap().is_some());
}

#[tokio::test]
async fn a_journal_of_another_version_stops() {
    let world = InEngine::new(Sharing::Alone, None);
    let journal = world.empty().await;
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    let engine = Arc::clone(&world.last().engine);
    let mut txn = engine.begin().await.unwrap();
    let mut header = txn.get(&keys::header(), Isolation::Snapshot).await.unwrap().unwrap().to_vec();
    header[4] += 1;
    txn.set(&keys::header(), &header);
    txn.commit().await.unwrap();
    for error in [
        journal.claim(&worker("one")).await.unwrap_err(),
        world.after_death(journal).await.open(&job("a", KeyRange::all())).await.unwrap_err(),
    ] {
        assert!(matches!(error, JournalError::OtherFormat { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_forgotten_job_is_lost_to_its_workers() {
    let world = InEngine::new(Sharing::Shared, None);
    let old = world.empty().await;
    old.open(&job("a", KeyRange::all())).await.unwrap();
    let late = claim(&*old, "late").await;
    let new = world.after_death(Arc::clone(&old)).await;
    world.last().forget_job().await.unwrap();
    world.last().forget_job().await.unwrap();
    assert_eq!(new.open(&job("a", KeyRange::all())).await.unwrap(), Opened::New);
    let same = claim(&*new, "one").await;
    assert_eq!((same.id, same.fence, &same.range), (late.id, late.fence, &late.range), "only the journal differs");
    assert!(matches!(old.settle(&late, Settled::default()).await, Err(JournalError::OtherJob { .. })));
    assert!(matches!(old.claim(&worker("late")).await, Err(JournalError::OtherJob { .. })));
    assert!(matches!(old.open(&job("a", KeyRange::all())).await, Err(JournalError::OtherJob { .. })));
    new.settle(&same, Settled::default()).await.unwrap();
}

#[tokio::test]
async fn a_removal_that_was_interrupted_goes_on_when_the_journal_is_opened() {
    let world = InEngine::new(Sharing::Alone, None);
    let journal = world.empty().await;
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    let counts = Counts { copied: 1, ..Counts::default() };
    journal.settle(&claim(&*journal, "one").await, Settled { counts, ..Settled::default() }).await.unwrap();
    let last = world.last();
    let mut rows = Rows::new(last.engine.begin().await.unwrap());
    last.forget_job_in(&mut rows).await.unwrap();
    rows.commit().await.unwrap();
    let journal = world.after_death(journal).await;
    assert_eq!(journal.open(&job("b", KeyRange::all())).await.unwrap(), Opened::New);
    assert_eq!(journal.counts().await.unwrap(), Counts::default());
}

#[tokio::test]
async fn ranges_that_overlap_or_leave_a_gap_are_noticed() {
    let world = InEngine::new(Sharing::Alone, None);
    let journal = world.empty().await;
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    let first = claim(&*journal, "one").await;
    let low = journal.split(&first, &Bytes::from_static(b"m")).await.unwrap();
    assert_eq!(world.last().audit().await.unwrap(), Ranges { finished: 0, unfinished: 2 });
    journal.settle(&low, Settled::default()).await.unwrap();
    assert_eq!(world.last().audit().await.unwrap(), Ranges { finished: 1, unfinished: 1 });
    for (start, end) in [("", "k"), ("", "n"), ("a", "m")] {
        let wrong = KeyRange::new(start, Some(Bytes::from_static(end.as_bytes())));
        let mut rows = Rows::new(world.last().engine.begin().await.unwrap());
        rows.clear(&keys::done(b""));
        rows.clear(&keys::done(b"a"));
        rows.set(&keys::done(wrong.start()), &records::encode_done(&wrong));
        rows.commit().await.unwrap();
        let error = world.last().audit().await.unwrap_err();
        assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
    }
}

/// Tasks that truly run at once, so that their transactions conflict.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workers_at_once_settle_each_key_once() {
    for flaky in [None, Some(7)] {
        let world = InEngine::new(Sharing::Alone, flaky);
        let journal = world.empty().await;
        journal.open(&job("a", KeyRange::all())).await.unwrap();
        let workers: Vec<_> = (0..8).map(|number| tokio::spawn(work(Arc::clone(&journal), number))).collect();
        let mut copied = 0;
        for worker in workers {
            copied += worker.await.unwrap();
        }
        assert_eq!(copied, 2_000);
        assert_eq!(journal.counts().await.unwrap().copied, copied);
        assert_eq!(world.last().audit().await.unwrap().unfinished, 0);
    }
}

/// Settles keys of two bytes, one by one, and gives ranges away when others wait: how many it settled.
async fn work(journal: Arc<dyn Journal>, number: u64) -> u64 {
    let mut copied = 0;
    loop {
        match journal.claim(&worker(&format!("worker {number}"))).await.unwrap() {
            Claim::Finished => return copied,
            Claim::Wait => tokio::time::sleep(Duration::from_millis(1)).await,
            Claim::Range(claimed) => copied += settle_all(&*journal, claimed).await,
        }
    }
}

async fn settle_all(journal: &dyn Journal, mut claimed: ClaimedRange) -> u64 {
    let mut copied = 0;
    loop {
        let place = |number: u16| Bytes::copy_from_slice(&number.to_be_bytes());
        let keys: Vec<u16> = (0..2_000).filter(|key| claimed.range.contains(&place(*key))).collect();
        if keys.len() > 2 && journal.wants_ranges().await.unwrap() {
            claimed = journal.split(&claimed, &place(keys[keys.len() / 2])).await.unwrap();
            continue;
        }
        let now = keys.len().min(5);
        let counts = Counts { copied: now as u64, ..Counts::default() };
        let settled = Settled { frontier: keys.get(now).map(|key| place(*key)), counts, ..Settled::default() };
        copied += now as u64;
        match journal.settle(&claimed, settled).await.unwrap() {
            Some(left) => claimed = left,
            None => return copied,
        }
    }
}
