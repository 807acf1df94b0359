//! A journal in memory: it ends with its process. Its deletions are in a temporary file, its failures are bounded.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    Claim, ClaimedRange, Deletion, DeletionSpool, Failure, FinishedPart, JobIdentity, Journal, JournalError, Opened,
    Result, Settled, UploadRecord, WorkerId,
};
use crate::counts::Counts;
use crate::key::Key;
use crate::key_range::KeyRange;
use crate::limits::MEMORY_JOURNAL_FAILURES;
use crate::store::Upload;

/// The journal of a job that is not resumed. Claims have no lease: all workers are of this process.
#[derive(Debug)]
pub struct MemoryJournal {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    job: Option<JobIdentity>,
    ranges: BTreeMap<u64, Range>,
    next_id: u64,
    waiting: bool,
    counts: Counts,
    failures: Vec<Failure>,
    deletions: DeletionSpool,
    uploads: BTreeMap<Key, UploadRecord>,
}

#[derive(Debug)]
struct Range {
    keys: KeyRange,
    fence: u64,
    claimed: bool,
}

impl MemoryJournal {
    /// A journal of no job yet.
    pub fn new() -> Result<Self> {
        let deletions = DeletionSpool::new().map_err(|error| JournalError::failed("make its spool", &error))?;
        Ok(Self {
            state: Mutex::new(State {
                job: None,
                ranges: BTreeMap::new(),
                next_id: 0,
                waiting: false,
                counts: Counts::default(),
                failures: Vec::new(),
                deletions,
                uploads: BTreeMap::new(),
            }),
        })
    }

    /// The ranges that are not finished, for tests.
    pub fn unfinished(&self) -> Vec<KeyRange> {
        self.state.lock().ranges.values().map(|range| range.keys.clone()).collect()
    }
}

impl State {
    fn add_range(&mut self, keys: KeyRange) {
        if !keys.is_empty() {
            self.ranges.insert(self.next_id, Range { keys, fence: 0, claimed: false });
            self.next_id += 1;
        }
    }

    fn claimed(&mut self, claimed: &ClaimedRange) -> Result<&mut Range> {
        let range = self.ranges.get_mut(&claimed.id).ok_or(JournalError::Lost)?;
        let same = range.claimed && range.fence == claimed.fence && range.keys == claimed.range;
        if same { Ok(range) } else { Err(JournalError::Lost) }
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
            Some(_) => {
                state.ranges.values_mut().for_each(|range| range.claimed = false);
                return Ok(Opened::Resumed(state.counts));
            }
            None => {}
        }
        state.job = Some(job.clone());
        state.add_range(job.range.clone());
        Ok(Opened::New)
    }

    async fn claim(&self, _worker: &WorkerId) -> Result<Claim> {
        let mut state = self.state.lock();
        if state.ranges.is_empty() {
            return Ok(Claim::Finished);
        }
        let free = state.ranges.iter_mut().find(|(_, range)| !range.claimed);
        let claim = free.map(|(id, range)| {
            range.claimed = true;
            range.fence += 1;
            Claim::Range(ClaimedRange { id: *id, fence: range.fence, range: range.keys.clone() })
        });
        state.waiting = claim.is_none();
        Ok(claim.unwrap_or(Claim::Wait))
    }

    async fn wants_ranges(&self) -> Result<bool> {
        let state = self.state.lock();
        Ok(state.waiting && state.ranges.values().all(|range| range.claimed))
    }

    async fn split(&self, claimed: &ClaimedRange, at: &Bytes) -> Result<ClaimedRange> {
        let mut state = self.state.lock();
        let range = state.claimed(claimed)?;
        let given = range.keys.from(at.clone());
        range.keys = range.keys.until(at.clone());
        let left = ClaimedRange { range: range.keys.clone(), ..claimed.clone() };
        state.add_range(given);
        Ok(left)
    }

    async fn settle(&self, claimed: &ClaimedRange, settled: Settled) -> Result<Option<ClaimedRange>> {
        let mut state = self.state.lock();
        let range = state.claimed(claimed)?;
        let left = settled.frontier.map(|frontier| range.keys.from(frontier)).filter(|left| !left.is_empty());
        let added = state.deletions.add(&settled.deletions);
        added.map_err(|error| JournalError::failed("write its spool", &error))?;
        state.counts += settled.counts;
        let room = MEMORY_JOURNAL_FAILURES.saturating_sub(state.failures.len());
        state.failures.extend(settled.failures.into_iter().take(room));
        let Some(left) = left else {
            state.ranges.remove(&claimed.id);
            return Ok(None);
        };
        state.claimed(claimed)?.keys = left.clone();
        Ok(Some(ClaimedRange { range: left, ..claimed.clone() }))
    }

    async fn renew(&self, claimed: &ClaimedRange) -> Result<()> {
        self.state.lock().claimed(claimed).map(drop)
    }

    async fn release(&self, claimed: &ClaimedRange) -> Result<()> {
        self.state.lock().claimed(claimed)?.claimed = false;
        Ok(())
    }

    async fn counts(&self) -> Result<Counts> {
        Ok(self.state.lock().counts)
    }

    async fn add_counts(&self, counts: Counts) -> Result<()> {
        self.state.lock().counts += counts;
        Ok(())
    }

    async fn failures(&self, skip: u64, limit: usize) -> Result<Vec<Failure>> {
        Ok(self.state.lock().failures.iter().skip(skip as usize).take(limit).cloned().collect())
    }

    async fn deletions(&self, before: Option<&Key>, limit: usize) -> Result<Vec<Deletion>> {
        let found = self.state.lock().deletions.last(before, limit);
        found.map_err(|error| JournalError::failed("read its spool", &error))
    }

    async fn forget_deletions(&self, from: &Key) -> Result<()> {
        self.state.lock().deletions.forget(from);
        Ok(())
    }

    async fn upload_of(&self, key: &Key) -> Result<Option<UploadRecord>> {
        Ok(self.state.lock().uploads.get(key).cloned())
    }

    async fn begin_upload(&self, record: &UploadRecord) -> Result<()> {
        self.state.lock().uploads.insert(record.upload.key.clone(), record.clone());
        Ok(())
    }

    async fn finish_part(&self, upload: &Upload, part: &FinishedPart) -> Result<()> {
        let mut state = self.state.lock();
        let record = state.uploads.get_mut(&upload.key).filter(|record| record.upload == *upload);
        let record = record.ok_or(JournalError::Lost)?;
        record.parts.retain(|known| known.stored.number != part.stored.number);
        record.parts.push(part.clone());
        Ok(())
    }

    async fn end_upload(&self, upload: &Upload) -> Result<()> {
        let mut state = self.state.lock();
        if state.uploads.get(&upload.key).is_some_and(|record| record.upload == *upload) {
            state.uploads.remove(&upload.key);
        }
        Ok(())
    }

    async fn uploads(&self, after: Option<&Key>, limit: usize) -> Result<Vec<UploadRecord>> {
        let state = self.state.lock();
        let later = state.uploads.values().filter(|record| after.is_none_or(|after| record.upload.key > *after));
        Ok(later.take(limit).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(fingerprint: u8) -> JobIdentity {
        JobIdentity {
            fingerprint: [fingerprint; 32],
            description: format!("job {fingerprint}"),
            range: KeyRange::all(),
        }
    }

    async fn claim(journal: &MemoryJournal) -> ClaimedRange {
        match journal.claim(&WorkerId("one".into())).await.unwrap() {
            Claim::Range(claimed) => claimed,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn ranges_are_split_settled_and_finished() {
        let journal = MemoryJournal::new().unwrap();
        assert_eq!(journal.open(&job(1)).await.unwrap(), Opened::New);
        let first = claim(&journal).await;
        assert_eq!(journal.claim(&WorkerId("two".into())).await.unwrap(), Claim::Wait);
        assert!(journal.wants_ranges().await.unwrap());
        let low = journal.split(&first, &Bytes::from_static(b"m")).await.unwrap();
        assert!(!journal.wants_ranges().await.unwrap());
        assert!(matches!(journal.split(&first, &Bytes::from_static(b"c")).await, Err(JournalError::Lost)));
        let high = claim(&journal).await;
        assert_eq!(high.range, KeyRange::new("m", None));
        let frontier = Some(Bytes::from_static(b"c"));
        let settled = Settled { frontier, counts: Counts { copied: 2, ..Counts::default() }, ..Settled::default() };
        let low = journal.settle(&low, settled).await.unwrap().unwrap();
        assert_eq!(low.range, KeyRange::new("c", Some(Bytes::from_static(b"m"))));
        for claimed in [low, high] {
            assert_eq!(journal.settle(&claimed, Settled::default()).await.unwrap(), None);
        }
        assert_eq!(journal.claim(&WorkerId("one".into())).await.unwrap(), Claim::Finished);
        assert_eq!(journal.counts().await.unwrap().copied, 2);
    }

    #[tokio::test]
    async fn a_job_goes_on_and_another_is_refused() {
        let journal = MemoryJournal::new().unwrap();
        journal.open(&job(1)).await.unwrap();
        let lost = claim(&journal).await;
        assert!(matches!(journal.open(&job(2)).await, Err(JournalError::OtherJob { .. })));
        assert!(matches!(journal.open(&job(1)).await.unwrap(), Opened::Resumed(_)));
        let again = claim(&journal).await;
        assert_eq!(again.range, lost.range);
        assert!(matches!(journal.settle(&lost, Settled::default()).await, Err(JournalError::Lost)));
    }
}
