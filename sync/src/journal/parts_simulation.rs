//! A seeded simulation of shared uploads: senders who claim parts, send them, sleep past their lease, come back late and
//! die, over any journal. It checks that no two hold a part at a time, that no part is sent twice but by who was late or
//! died, and that all parts are there when the journal says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::contract::{job, part, upload, worker};
use super::simulation::World;
use super::{ClaimedPart, Journal, JournalError, PartClaim, UploadRecord, WorkerId};
use crate::key_range::KeyRange;

const PARTS: u32 = 60;
const SENDERS: usize = 5;
/// No seed needs nearly as many.
const MAX_STEPS: usize = 50_000;

struct Simulation<'w> {
    world: &'w dyn World,
    random: StdRng,
    journal: Arc<dyn Journal>,
    record: UploadRecord,
    /// Who shares the upload; later ones have other names.
    owner: u32,
    /// What each sender is sending.
    held: Vec<BTreeSet<u32>>,
    /// Parts whose claims ended without being finished.
    ended: BTreeMap<u32, u32>,
    sent: BTreeMap<u32, u32>,
}

/// Runs one simulation to its end.
pub(crate) async fn run(world: &dyn World, seed: u64) {
    let journal = world.empty().await;
    journal.open(&job("parts", KeyRange::all())).await.unwrap();
    let mut record = upload("large", "1");
    record.identity.size = u64::from(PARTS) * record.part_bytes;
    journal.begin_upload(&record).await.unwrap();
    let mut simulation = Simulation {
        world,
        random: StdRng::seed_from_u64(seed),
        journal,
        record,
        owner: 0,
        held: vec![BTreeSet::new(); SENDERS],
        ended: BTreeMap::new(),
        sent: BTreeMap::new(),
    };
    simulation.share().await;
    let mut steps = 0;
    while !simulation.step().await {
        steps += 1;
        assert!(steps < MAX_STEPS, "seed {seed} does not end");
    }
    simulation.check_end().await;
}

impl Simulation<'_> {
    /// The first sender has the object's range, and another name each time it begins to send.
    fn name(&self, number: usize) -> WorkerId {
        if number == 0 { worker(&format!("owner {}", self.owner)) } else { worker(&format!("sender {number}")) }
    }

    fn claimed(&self, number: usize, part: u32) -> ClaimedPart {
        ClaimedPart { sender: self.name(number), upload: self.record.upload.clone(), number: part }
    }

    /// One act of one sender, or of the world; whether all is there.
    async fn step(&mut self) -> bool {
        let number = self.random.random_range(0..SENDERS);
        match self.random.random_range(0..100) {
            0..4 => self.world.pass_time(&mut self.random),
            4 => {
                self.journal = self.world.after_death(Arc::clone(&self.journal)).await;
                self.journal.open(&job("parts", KeyRange::all())).await.unwrap();
            }
            5..8 => self.share().await,
            8..12 if self.world.has_leases() => self.forget(number),
            12..20 => self.give_back(number).await,
            20..30 => self.renew(number).await,
            30..55 => self.finish(number).await,
            _ => return self.claim(number).await,
        }
        false
    }

    /// The owner begins anew: those whom it was before hold nothing.
    async fn share(&mut self) {
        self.forget(0);
        self.owner += 1;
        self.journal.share(&self.name(0), &self.record.upload).await.unwrap();
    }

    /// A sender dies; its claims lapse.
    fn forget(&mut self, number: usize) {
        for part in std::mem::take(&mut self.held[number]) {
            *self.ended.entry(part).or_default() += 1;
        }
    }

    async fn claim(&mut self, number: usize) -> bool {
        match self.journal.claim_part(&self.name(number), &self.record.upload).await.unwrap() {
            PartClaim::Finished => return true,
            PartClaim::Wait => {}
            PartClaim::Part(part) => {
                // Whoever had it before is told so when he renews it.
                for other in 0..SENDERS {
                    if self.held[other].remove(&part) {
                        assert!(self.world.has_leases() || other == number, "part {part} has two who live");
                        *self.ended.entry(part).or_default() += 1;
                        if other != number {
                            let lost = self.journal.renew_part(&self.claimed(other, part)).await;
                            assert!(matches!(lost, Err(JournalError::Lost)), "{lost:?}");
                        }
                    }
                }
                self.held[number].insert(part);
            }
        }
        false
    }

    fn any_held(&mut self, number: usize) -> Option<u32> {
        let held: Vec<u32> = self.held[number].iter().copied().collect();
        (!held.is_empty()).then(|| held[self.random.random_range(0..held.len())])
    }

    async fn renew(&mut self, number: usize) {
        let Some(part) = self.any_held(number) else { return };
        self.journal.renew_part(&self.claimed(number, part)).await.unwrap();
    }

    async fn give_back(&mut self, number: usize) {
        let Some(part) = self.any_held(number) else { return };
        self.journal.release_part(&self.claimed(number, part)).await.unwrap();
        self.held[number].remove(&part);
        *self.ended.entry(part).or_default() += 1;
    }

    async fn finish(&mut self, number: usize) {
        let Some(number_of_part) = self.any_held(number) else { return };
        self.journal.finish_part(&self.record.upload, &part(number_of_part)).await.unwrap();
        self.held[number].remove(&number_of_part);
        *self.sent.entry(number_of_part).or_default() += 1;
    }

    async fn check_end(&self) {
        let known = self.journal.upload_of(&self.record.upload.key).await.unwrap().unwrap();
        assert!(known.parts.iter().map(|part| part.stored.number).eq(1..=PARTS), "all are there");
        assert!(self.held.iter().all(BTreeSet::is_empty), "a part is sent for nothing");
        for (part, times) in &self.sent {
            assert_eq!(*times, 1, "part {part} was sent twice");
        }
        assert!(self.ended.values().sum::<u32>() > 0, "nobody died");
    }
}
