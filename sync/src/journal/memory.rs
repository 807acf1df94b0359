//! A journal in memory: it ends with its process. Its deletions are in a temporary file, its failures are bounded.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::pages::Pages;
use super::range::{Holder, ProcessId, Progress, RangeRecord};
use super::shared_uploads::{PartHolder, Share};
use super::{
    Claim, ClaimedPart, ClaimedRange, DELETIONS_TOO_EARLY, Deletion, DeletionSpool, FINISHED_TOO_EARLY, Failure,
    FinishedPart, JobIdentity, Journal, JournalError, Opened, PartClaim, RECORDED_TOO_EARLY, Result, Settled,
    SharedUploads, UploadRecord, WorkerId, WorkerJournal, decode_recorded, encode_recorded,
};
use crate::counts::Counts;
use crate::key::Key;
use crate::key_range::KeyRange;
use crate::limits::MEMORY_JOURNAL_FAILURES;
use crate::manifest::Recorded;
use crate::store::Upload;

/// Every claim is of this process: the journal ends with it.
const THIS_PROCESS: ProcessId = ProcessId([0; 16]);

/// The journal of a job that is not resumed. Claims have no lease: all workers are of this process.
#[derive(Debug)]
pub struct MemoryJournal {
    state: Mutex<State>,
    deletions: Mutex<DeletionSpool>,
    recorded: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct State {
    job: Option<JobIdentity>,
    finished: bool,
    ranges: BTreeMap<u64, RangeRecord>,
    next_id: u64,
    waiting: bool,
    counts: Counts,
    failures: Vec<Failure>,
    /// Those of a key in the order in which they were begun.
    uploads: BTreeMap<Key, Vec<UploadRecord>>,
    shares: BTreeMap<Upload, SharedParts>,
}

/// A shared upload, and the claims on its parts.
#[derive(Debug)]
struct SharedParts {
    share: Share,
    claims: BTreeMap<u32, PartHolder>,
}

impl MemoryJournal {
    /// A journal of no job yet.
    pub fn new() -> Result<Self> {
        let deletions = DeletionSpool::new().map_err(|error| JournalError::failed("make its spool", &error))?;
        let recorded = Pages::new().map_err(|error| JournalError::failed("make its spool", &error))?;
        Ok(Self { state: Mutex::default(), deletions: Mutex::new(deletions), recorded: Mutex::new(recorded) })
    }

    /// The ranges that are not finished, for tests.
    pub fn unfinished(&self) -> Vec<KeyRange> {
        self.state.lock().ranges.values().map(|range| range.keys.clone()).collect()
    }
}

impl State {
    fn add_range(&mut self, range: RangeRecord) {
        if !range.keys.is_empty() {
            self.ranges.insert(self.next_id, range);
            self.next_id += 1;
        }
    }

    /// The record of a claim that holds.
    fn held(&mut self, claimed: &ClaimedRange) -> Result<&mut RangeRecord> {
        let range = self.ranges.get_mut(&claimed.id).ok_or(JournalError::Lost)?;
        range.hold(claimed)?;
        Ok(range)
    }

    fn upload(&mut self, upload: &Upload) -> Option<&mut UploadRecord> {
        self.uploads.get_mut(&upload.key)?.iter_mut().find(|record| record.upload == *upload)
    }

    fn shared(&mut self, upload: &Upload) -> Result<&mut SharedParts> {
        self.shares.get_mut(upload).ok_or(JournalError::Lost)
    }
}

impl SharedParts {
    /// Who has the part that was claimed, if the claim holds.
    fn held(&mut self, claimed: &ClaimedPart) -> Option<&mut PartHolder> {
        let holder = self.claims.get_mut(&claimed.number)?;
        holder.as_ref().is_some_and(|holder| holder.worker == claimed.sender).then_some(holder)
    }

    fn is_free(&self, count: u32) -> bool {
        self.share.next <= count || self.claims.values().any(Option::is_none)
    }

    fn free_those_of(&mut self, sender: &WorkerId) {
        for holder in self.claims.values_mut() {
            if holder.as_ref().is_some_and(|holder| holder.worker == *sender) {
                *holder = None;
            }
        }
    }
}

/// Claims have no lease here: all senders are of this process.
#[async_trait]
impl SharedUploads for MemoryJournal {
    async fn share(&self, sender: &WorkerId, upload: &Upload) -> Result<()> {
        let mut state = self.state.lock();
        state.upload(upload).ok_or(JournalError::Lost)?;
        let shared = match state.shares.remove(upload) {
            None => SharedParts { share: Share::new(sender, THIS_PROCESS), claims: BTreeMap::new() },
            Some(mut shared) => {
                let (share, before) = shared.share.clone().pass_to(sender, THIS_PROCESS);
                shared.free_those_of(&before);
                SharedParts { share, ..shared }
            }
        };
        state.shares.insert(upload.clone(), shared);
        Ok(())
    }

    async fn keep_shared(&self, sender: &WorkerId, upload: &Upload) -> Result<()> {
        self.state.lock().shared(upload)?.share.keep(sender)
    }

    async fn withdraw(&self, sender: &WorkerId, upload: &Upload) -> Result<()> {
        let mut state = self.state.lock();
        if state.shares.get(upload).is_some_and(|shared| shared.share.holder.worker == *sender) {
            state.shares.remove(upload);
        }
        Ok(())
    }

    async fn shared(&self, after: Option<&Key>, limit: usize) -> Result<Vec<UploadRecord>> {
        let state = self.state.lock();
        let records = state.uploads.iter().filter(|(key, _)| after.is_none_or(|after| *key > after));
        let free = |record: &&UploadRecord| {
            state.shares.get(&record.upload).is_some_and(|shared| shared.is_free(record.count()))
        };
        let bare = |record: &UploadRecord| UploadRecord { parts: Vec::new(), ..record.clone() };
        Ok(records.flat_map(|(_, records)| records).filter(free).take(limit).map(bare).collect())
    }

    async fn claim_part(&self, sender: &WorkerId, upload: &Upload) -> Result<PartClaim> {
        let mut state = self.state.lock();
        let record = state.upload(upload).cloned().ok_or(JournalError::Lost)?;
        let shared = state.shared(upload)?;
        let is_there = |number: &u32| record.parts.iter().any(|part| part.stored.number == *number);
        let freed = shared.claims.iter().find(|(_, holder)| holder.is_none()).map(|(number, _)| *number);
        let fresh = (shared.share.next..=record.count()).find(|number| !is_there(number)).filter(|_| freed.is_none());
        let choice = Share::choose(freed, fresh, !shared.claims.is_empty());
        if let PartClaim::Part(number) = choice {
            shared.claims.insert(number, Some(Holder::new(sender, THIS_PROCESS)));
            shared.share.next = fresh.map_or(shared.share.next, |fresh| fresh + 1);
        }
        Ok(choice)
    }

    async fn renew_part(&self, claimed: &ClaimedPart) -> Result<()> {
        self.state.lock().shared(&claimed.upload)?.held(claimed).map(drop).ok_or(JournalError::Lost)
    }

    async fn release_part(&self, claimed: &ClaimedPart) -> Result<()> {
        if let Some(holder) = self.state.lock().shares.get_mut(&claimed.upload).and_then(|shared| shared.held(claimed))
        {
            *holder = None;
        }
        Ok(())
    }
}

#[async_trait]
impl WorkerJournal for MemoryJournal {
    fn lease(&self) -> Option<Duration> {
        None
    }

    fn outlives_process(&self) -> bool {
        false
    }

    async fn claim(&self, worker: &WorkerId) -> Result<Claim> {
        let mut state = self.state.lock();
        if state.ranges.is_empty() {
            return Ok(Claim::Finished);
        }
        let free = state.ranges.iter_mut().find(|(_, range)| range.is_free_for(worker));
        let claim = free.map(|(id, range)| Claim::Range(range.claim(*id, worker, THIS_PROCESS)));
        state.waiting = claim.is_none();
        Ok(claim.unwrap_or(Claim::Wait))
    }

    async fn wants_ranges(&self) -> Result<bool> {
        let state = self.state.lock();
        Ok(state.waiting && state.ranges.values().all(|range| range.holder.is_some()))
    }

    async fn split(&self, claimed: &ClaimedRange, at: &Bytes) -> Result<ClaimedRange> {
        let mut state = self.state.lock();
        let range = state.held(claimed)?;
        let given = range.split(at);
        let left = ClaimedRange { range: range.keys.clone(), ..claimed.clone() };
        if let Some(given) = given {
            state.add_range(given);
        }
        Ok(left)
    }

    async fn settle(&self, claimed: &ClaimedRange, settled: Settled) -> Result<Option<ClaimedRange>> {
        let mut state = self.state.lock();
        let mut range = state.held(claimed)?.clone();
        let progress = range.settle(&settled)?;
        let added = self.deletions.lock().add(&settled.deletions);
        added.map_err(|error| JournalError::failed("write its spool", &error))?;
        if let Some(first) = settled.recorded.first() {
            let page = encode_recorded(&settled.recorded);
            let added = self.recorded.lock().add(first.key.to_bytes(), &page);
            added.map_err(|error| JournalError::failed("write its spool", &error))?;
        }
        state.counts += settled.counts;
        let room = MEMORY_JOURNAL_FAILURES.saturating_sub(state.failures.len());
        state.failures.extend(settled.failures.into_iter().take(room));
        let Progress::Left(left) = progress else {
            state.ranges.remove(&claimed.id);
            return Ok(None);
        };
        state.ranges.insert(claimed.id, range);
        Ok(Some(ClaimedRange { range: left, ..claimed.clone() }))
    }

    async fn renew(&self, claimed: &ClaimedRange) -> Result<()> {
        self.state.lock().held(claimed).map(drop)
    }

    async fn release(&self, claimed: &ClaimedRange) -> Result<()> {
        self.state.lock().held(claimed)?.holder = None;
        Ok(())
    }

    async fn upload_of(&self, key: &Key) -> Result<Option<UploadRecord>> {
        Ok(self.state.lock().uploads.get(key).and_then(|records| records.last()).cloned())
    }

    async fn begin_upload(&self, record: &UploadRecord) -> Result<()> {
        let mut state = self.state.lock();
        let records = state.uploads.entry(record.upload.key.clone()).or_default();
        records.retain(|known| known.upload != record.upload);
        records.push(record.clone());
        state.shares.remove(&record.upload);
        Ok(())
    }

    async fn finish_part(&self, upload: &Upload, part: &FinishedPart) -> Result<()> {
        let mut state = self.state.lock();
        let record = state.upload(upload).ok_or(JournalError::Lost)?;
        record.parts.retain(|known| known.stored.number != part.stored.number);
        record.parts.push(part.clone());
        record.parts.sort_unstable_by_key(|part| part.stored.number);
        if let Some(parts) = state.shares.get_mut(upload) {
            parts.claims.remove(&part.stored.number);
        }
        Ok(())
    }

    async fn end_upload(&self, upload: &Upload) -> Result<()> {
        let mut state = self.state.lock();
        if let Some(records) = state.uploads.get_mut(&upload.key) {
            records.retain(|record| record.upload != *upload);
        }
        state.uploads.retain(|_, records| !records.is_empty());
        state.shares.remove(upload);
        Ok(())
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn open(&self, job: &JobIdentity) -> Result<Opened> {
        let mut state = self.state.lock();
        match &state.job {
            Some(there) if there.fingerprint != job.fingerprint => {
                return Err(JournalError::OtherJob { there: there.description.clone() });
            }
            Some(_) if state.finished => return Ok(Opened::Finished(state.counts)),
            Some(_) => {
                state.ranges.values_mut().for_each(|range| range.holder = None);
                return Ok(Opened::Resumed(state.counts));
            }
            None => {}
        }
        state.job = Some(job.clone());
        state.add_range(RangeRecord::new(job.range.clone()));
        Ok(Opened::New)
    }

    async fn is_settled(&self) -> Result<bool> {
        Ok(self.state.lock().ranges.is_empty())
    }

    async fn counts(&self) -> Result<Counts> {
        Ok(self.state.lock().counts)
    }

    async fn failures(&self, skip: u64, limit: usize) -> Result<Vec<Failure>> {
        Ok(self.state.lock().failures.iter().skip(skip as usize).take(limit).cloned().collect())
    }

    async fn deletions(&self, before: Option<&Key>, limit: usize) -> Result<Vec<Deletion>> {
        if !self.state.lock().ranges.is_empty() {
            return Err(JournalError::invalid(DELETIONS_TOO_EARLY));
        }
        let found = self.deletions.lock().last(before, limit);
        found.map_err(|error| JournalError::failed("read its spool", &error))
    }

    async fn recorded(&self, from: &Bytes) -> Result<Vec<Recorded>> {
        if !self.state.lock().ranges.is_empty() {
            return Err(JournalError::invalid(RECORDED_TOO_EARLY));
        }
        let page = self.recorded.lock().first_from(from);
        let page = page.map_err(|error| JournalError::failed("read its spool", &error))?;
        page.map_or(Ok(Vec::new()), |page| decode_recorded(&page))
    }

    async fn end_deletions(&self, from: &Key, counts: Counts) -> Result<()> {
        let (mut state, mut deletions) = (self.state.lock(), self.deletions.lock());
        let last = deletions.last(None, 1).map_err(|error| JournalError::failed("read its spool", &error))?;
        if last.first().is_some_and(|last| last.key >= *from) {
            deletions.forget(from);
            state.counts += counts;
        }
        Ok(())
    }

    async fn uploads(&self, after: Option<&Key>, limit: usize) -> Result<Vec<UploadRecord>> {
        let state = self.state.lock();
        let later = state.uploads.iter().filter(|(key, _)| after.is_none_or(|after| *key > after));
        let bare = |record: &UploadRecord| UploadRecord { parts: Vec::new(), ..record.clone() };
        Ok(later.take(limit).flat_map(|(_, records)| records.iter().map(bare)).collect())
    }

    async fn finish(&self) -> Result<()> {
        let mut state = self.state.lock();
        if state.job.is_none() || !state.ranges.is_empty() {
            return Err(JournalError::invalid(FINISHED_TOO_EARLY));
        }
        state.finished = true;
        Ok(())
    }
}
