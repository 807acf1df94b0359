//! Claims on ranges: taken, kept, split, moved on and given back, each in one transaction.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use farshore_meta::engine::Isolation;

use super::deletions::spool;
use super::keys::{self, Numbered, Table};
use super::rows::{FoundRange, Rows, Step, Walk};
use super::{EngineJournal, Sharing, recorded, records};
use crate::journal::range::{ProcessId, Progress, RangeRecord};
use crate::journal::{Claim, ClaimedRange, JournalError, Settled, WorkerId};
use crate::limits::MAX_WORKER_BYTES;

/// Ranges that are looked at together. Workers choose differently among them, so that few want the same one.
const CHOICE: usize = 32;

impl EngineJournal {
    pub(super) async fn claim_in(&self, rows: &mut Rows, worker: &WorkerId) -> Step<Claim> {
        if worker.0.is_empty() || worker.0.len() > MAX_WORKER_BYTES {
            return Err(JournalError::invalid("a worker's name is empty or too long").into());
        }
        self.header(rows).await?;
        let now = (self.options.clock)();
        let (mut walk, mut unfinished) = (Walk::table(Table::Range, Isolation::Snapshot).limit(CHOICE), false);
        loop {
            let page = rows.ranges(&mut walk).await?;
            if page.is_empty() {
                break;
            }
            unfinished = true;
            let free =
                page.into_iter().filter(|found| self.is_free(found, now) || found.record.is_free_for(worker)).collect();
            if let Some(chosen) = choose(worker, free) {
                return self.take(rows, worker, chosen.id).await;
            }
        }
        if !unfinished {
            return Ok(Claim::Finished);
        }
        self.wait(rows, worker, now).await?;
        Ok(Claim::Wait)
    }

    /// Whether nobody who is alive holds the range.
    fn is_free(&self, found: &FoundRange, now: Duration) -> bool {
        let Some(holder) = &found.record.holder else { return true };
        self.is_of_the_dead(holder.process) || self.watch.has_lapsed(&found.row.0, &found.row.1, now)
    }

    pub(super) fn is_of_the_dead(&self, process: ProcessId) -> bool {
        self.options.sharing == Sharing::Alone && process != self.process
    }

    /// Takes a range that was found free at this transaction's snapshot: whoever else takes it conflicts.
    async fn take(&self, rows: &mut Rows, worker: &WorkerId, id: u64) -> Step<Claim> {
        let mut record = rows.range(id).await?.ok_or(JournalError::Lost)?;
        let claimed = record.claim(id, worker, self.process);
        rows.put_range(id, &record);
        rows.clear(&keys::waiting(worker));
        Ok(Claim::Range(claimed))
    }

    /// Notes that a worker waits. The note is written anew as often as it must be to stay believed.
    async fn wait(&self, rows: &mut Rows, worker: &WorkerId, now: Duration) -> Step<()> {
        let row: Bytes = keys::waiting(worker).into();
        let mut beat = 0;
        if let Some(value) = rows.waiting(worker).await? {
            let (process, last) = records::decode_waiting(&value)?;
            if process == self.process && self.watch.age(&row, &value, now) < self.watch.lease() / 4 {
                return Ok(());
            }
            beat = last.wrapping_add(1);
        }
        rows.set(&row, &records::encode_waiting(self.process, beat));
        Ok(())
    }

    /// More workers wait than there are free ranges.
    pub(super) async fn wants_ranges_in(&self, rows: &mut Rows) -> Step<bool> {
        self.header(rows).await?;
        let now = (self.options.clock)();
        let waiting = self.count_waiting(rows, now).await?;
        let (mut walk, mut free) = (Walk::table(Table::Range, Isolation::Snapshot).limit(CHOICE), 0);
        while free < waiting {
            let page = rows.ranges(&mut walk).await?;
            if page.is_empty() {
                return Ok(true);
            }
            free += page.iter().filter(|found| self.is_free(found, now)).count();
        }
        Ok(false)
    }

    async fn count_waiting(&self, rows: &mut Rows, now: Duration) -> Step<usize> {
        let (mut walk, mut waiting) = (Walk::table(Table::Waiting, Isolation::Snapshot), 0);
        loop {
            let page = rows.page(&mut walk).await?;
            if page.is_empty() {
                return Ok(waiting);
            }
            for (row, value) in page {
                let (process, _) = records::decode_waiting(&value)?;
                let alive = !self.is_of_the_dead(process) && !self.watch.has_lapsed(&row, &value, now);
                waiting += usize::from(alive);
            }
        }
    }

    /// The record of a claim that holds.
    async fn held(&self, rows: &mut Rows, claimed: &ClaimedRange) -> Step<RangeRecord> {
        self.header(rows).await?;
        let mut record = rows.range(claimed.id).await?.ok_or(JournalError::Lost)?;
        record.hold(claimed)?;
        Ok(record)
    }

    pub(super) async fn split_in(&self, rows: &mut Rows, claimed: &ClaimedRange, at: &Bytes) -> Step<ClaimedRange> {
        let mut record = self.held(rows, claimed).await?;
        if let Some(given) = record.split(at) {
            let id = rows.take_numbers(Numbered::Range, 1).await?;
            rows.put_range(id, &given);
        }
        rows.put_range(claimed.id, &record);
        Ok(ClaimedRange { range: record.keys, ..claimed.clone() })
    }

    pub(super) async fn settle_in(
        &self,
        rows: &mut Rows,
        claimed: &ClaimedRange,
        settled: &Settled,
    ) -> Step<Option<ClaimedRange>> {
        let mut record = self.held(rows, claimed).await?;
        let progress = record.settle(settled)?;
        rows.add_counts(&settled.counts);
        spool(rows, &settled.deletions);
        recorded::record(rows, &settled.recorded);
        self.note_failures(rows, settled).await?;
        Ok(match progress {
            Progress::Left(range) => {
                rows.put_range(claimed.id, &record);
                Some(ClaimedRange { range, ..claimed.clone() })
            }
            Progress::Finished(span) => {
                rows.finish_range(claimed.id, &span);
                None
            }
        })
    }

    async fn note_failures(&self, rows: &mut Rows, settled: &Settled) -> Step<()> {
        if settled.failures.is_empty() {
            return Ok(());
        }
        let first = rows.take_numbers(Numbered::Failure, settled.failures.len() as u64).await?;
        for (number, failure) in (first..).zip(&settled.failures) {
            rows.set(&keys::failure(number), &records::encode_failure(failure));
        }
        Ok(())
    }

    pub(super) async fn renew_in(&self, rows: &mut Rows, claimed: &ClaimedRange) -> Step<()> {
        let record = self.held(rows, claimed).await?;
        rows.put_range(claimed.id, &record);
        Ok(())
    }

    pub(super) async fn release_in(&self, rows: &mut Rows, claimed: &ClaimedRange) -> Step<()> {
        let mut record = self.held(rows, claimed).await?;
        record.holder = None;
        rows.put_range(claimed.id, &record);
        Ok(())
    }
}

/// One of the free ranges, by the worker's name.
fn choose(worker: &WorkerId, mut free: Vec<FoundRange>) -> Option<FoundRange> {
    let mut hasher = DefaultHasher::new();
    worker.hash(&mut hasher);
    let place = hasher.finish().checked_rem(free.len() as u64)?;
    Some(free.swap_remove(place as usize))
}
