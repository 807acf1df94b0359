//! A seeded simulation: workers who claim, split, settle, sleep past their lease and die, over any journal. It checks
//! that each key is settled exactly once, that the sums are those of what was settled, and that no deletion is handed
//! out before all is.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::contract::{Maker, job, worker};
use super::{Claim, ClaimedRange, Deletion, Failure, Journal, JournalError, Opened, Settled};
use crate::counts::Counts;
use crate::key::Key;
use crate::key_range::KeyRange;

const KEYS: u16 = 300;
const WORKERS: usize = 6;
/// No seed needs nearly as many.
const MAX_STEPS: usize = 200_000;

/// What passes and fails around the workers.
pub(crate) trait World: Maker {
    /// Lets time pass, perhaps past leases.
    fn pass_time(&self, random: &mut StdRng);
    /// Whether a claim whose worker is silent is given to another without the death of the process.
    fn has_leases(&self) -> bool;
}

/// One run.
struct Simulation<'w> {
    world: &'w dyn World,
    random: StdRng,
    journal: Arc<dyn Journal>,
    /// What each worker believes to have.
    claims: Vec<Option<ClaimedRange>>,
    /// Claims of workers who were thought dead and come back.
    late: Vec<ClaimedRange>,
    settled: BTreeMap<u16, u32>,
    counts: Counts,
    failures: Vec<Failure>,
    deletions: Vec<Deletion>,
}

/// Runs one simulation to its end.
pub(crate) async fn run(world: &dyn World, seed: u64) {
    let journal = world.empty().await;
    let mut simulation = Simulation {
        world,
        random: StdRng::seed_from_u64(seed),
        journal,
        claims: vec![None; WORKERS],
        late: Vec::new(),
        settled: BTreeMap::new(),
        counts: Counts::default(),
        failures: Vec::new(),
        deletions: Vec::new(),
    };
    let opened = simulation.journal.open(&job("simulated", KeyRange::all())).await.unwrap();
    assert_eq!(opened, Opened::New);
    let mut steps = 0;
    while !simulation.step().await {
        steps += 1;
        assert!(steps < MAX_STEPS, "seed {seed} does not end");
    }
    simulation.check_end().await;
}

fn name(number: u16) -> Key {
    Key::new(number.to_be_bytes().to_vec()).unwrap()
}

fn place(number: u16) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

impl Simulation<'_> {
    /// One act of one worker, or of the world; whether all is finished.
    async fn step(&mut self) -> bool {
        match self.random.random_range(0..100) {
            0..6 => self.world.pass_time(&mut self.random),
            6 => self.die().await,
            7..10 => self.check_before_the_end().await,
            10..20 if !self.late.is_empty() => self.come_back().await,
            _ => {
                let number = self.random.random_range(0..WORKERS);
                match self.claims[number].take() {
                    None => return self.claim(number).await,
                    Some(claimed) => self.claims[number] = self.act(claimed).await,
                }
            }
        }
        false
    }

    async fn claim(&mut self, number: usize) -> bool {
        match self.journal.claim(&worker(&format!("worker {number}"))).await.unwrap() {
            Claim::Finished => return true,
            Claim::Wait => {}
            Claim::Range(claimed) => self.claims[number] = Some(claimed),
        }
        false
    }

    /// What a worker does with a claim: what is left of it to the worker.
    async fn act(&mut self, claimed: ClaimedRange) -> Option<ClaimedRange> {
        let result = match self.random.random_range(0..20) {
            0..3 => {
                let at = place(self.random.random_range(0..KEYS));
                self.journal.split(&claimed, &at).await.map(Some)
            }
            3 => self.journal.renew(&claimed).await.map(|()| Some(claimed.clone())),
            4 => self.journal.release(&claimed).await.map(|()| None),
            5 => {
                // Silence: the worker is dead, or will be late.
                if self.world.has_leases() || self.random.random_bool(0.2) {
                    self.late.push(claimed);
                    return None;
                }
                return Some(claimed);
            }
            _ => self.settle(&claimed).await,
        };
        result.unwrap_or_else(|error| {
            assert!(matches!(error, JournalError::Lost), "{error}");
            None
        })
    }

    async fn come_back(&mut self) {
        let number = self.random.random_range(0..self.late.len());
        let claimed = self.late.swap_remove(number);
        // It goes on if nobody took over, and is told of it otherwise.
        if let Some(left) = self.act(claimed).await {
            self.late.push(left);
        }
    }

    async fn settle(&mut self, claimed: &ClaimedRange) -> super::Result<Option<ClaimedRange>> {
        let range = &claimed.range;
        let inside = |number: &u16| range.contains(name(*number).as_bytes());
        let keys: Vec<u16> = (0..KEYS).filter(inside).collect();
        let count = self.random.random_range(0..=keys.len().min(20));
        let all = count == keys.len();
        let frontier = (!all).then(|| place(keys[count]));
        let settled = outcome(&keys[..count], frontier);
        let left = self.journal.settle(claimed, settled.clone()).await?;
        assert_eq!(left.is_none(), all);
        for key in &keys[..count] {
            *self.settled.entry(*key).or_default() += 1;
        }
        self.counts += settled.counts;
        self.failures.extend(settled.failures);
        self.deletions.extend(settled.deletions);
        Ok(left)
    }

    /// The process dies; workers elsewhere still have their claims.
    async fn die(&mut self) {
        self.journal = self.world.after_death(Arc::clone(&self.journal)).await;
        let opened = self.journal.open(&job("simulated", KeyRange::all())).await.unwrap();
        assert_eq!(opened, Opened::Resumed(self.counts));
        let claims = self.claims.iter_mut().filter_map(Option::take);
        self.late.extend(claims);
    }

    async fn check_before_the_end(&mut self) {
        if self.settled.len() < usize::from(KEYS) {
            assert!(matches!(self.journal.deletions(None, 1).await, Err(JournalError::Invalid { .. })));
            assert!(matches!(self.journal.finish().await, Err(JournalError::Invalid { .. })));
        }
        assert_eq!(self.journal.counts().await.unwrap(), self.counts);
    }

    async fn check_end(&mut self) {
        let once: BTreeMap<u16, u32> = (0..KEYS).map(|key| (key, 1)).collect();
        assert_eq!(self.settled, once, "each key is settled exactly once");
        assert_eq!(self.journal.counts().await.unwrap(), self.counts);
        assert_eq!(self.journal.failures(0, usize::from(KEYS)).await.unwrap(), self.failures);
        self.deletions.sort_unstable_by(|one, other| other.key.cmp(&one.key));
        assert_eq!(self.journal.deletions(None, usize::from(KEYS)).await.unwrap(), self.deletions);
        for claimed in std::mem::take(&mut self.late) {
            assert!(matches!(self.journal.settle(&claimed, Settled::default()).await, Err(JournalError::Lost)));
        }
        self.journal.finish().await.unwrap();
        let opened = self.journal.open(&job("simulated", KeyRange::all())).await.unwrap();
        assert_eq!(opened, Opened::Finished(self.counts));
    }
}

/// What comes of these keys: always the same.
fn outcome(keys: &[u16], frontier: Option<Bytes>) -> Settled {
    let mut settled = Settled { frontier, ..Settled::default() };
    for key in keys {
        match key % 5 {
            0 => settled.deletions.push(Deletion { key: name(*key), size: u64::from(*key) }),
            1 => settled.failures.push(Failure {
                place: name(*key).to_string(),
                word: "corrupt".into(),
                reason: format!("{key}"),
            }),
            _ => settled.counts.copied += 1,
        }
    }
    settled.counts.failed = settled.failures.len() as u64;
    settled.counts.deletions_planned = settled.deletions.len() as u64;
    settled
}
