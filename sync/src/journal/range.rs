//! A range's record and what may become of it: pure decisions, which every journal keeps as rows of its own kind.

use bytes::Bytes;

use super::{ClaimedRange, Deletion, Failure, JournalError, Result, Settled, WorkerId};
use crate::key_range::KeyRange;
use crate::limits::{MAX_REASON_BYTES, MAX_SETTLED_BYTES};
use crate::manifest::Recorded;

/// A range that is not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RangeRecord {
    /// Where the range began; what lies from here to the start of `keys` is settled.
    pub(crate) origin: Bytes,
    /// The keys that are not settled.
    pub(crate) keys: KeyRange,
    /// The number of its last claim.
    pub(crate) fence: u64,
    /// Whose claim that is; none once it was given back.
    pub(crate) holder: Option<Holder>,
}

/// Who holds a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The worker, for a person.
    pub(crate) worker: WorkerId,
    /// The process whose journal made the claim.
    pub(crate) process: ProcessId,
    /// Grows with each sign of life: a claim whose record stays the same for a lease has lapsed.
    pub(crate) beat: u64,
}

/// A random name that each opened journal takes for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ProcessId(pub(crate) [u8; 16]);

/// What a settlement makes of a range.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// These keys are left.
    Left(KeyRange),
    /// All are settled, from the range's origin to its end.
    Finished(KeyRange),
}

impl RangeRecord {
    /// A range of which nothing is settled.
    pub(crate) fn new(keys: KeyRange) -> Self {
        Self { origin: keys.start().clone(), keys, fence: 0, holder: None }
    }

    /// Gives the range to a worker; all earlier claims of it end.
    pub(crate) fn claim(&mut self, id: u64, worker: &WorkerId, process: ProcessId) -> ClaimedRange {
        self.fence += 1;
        self.holder = Some(Holder::new(worker, process));
        ClaimedRange { id, fence: self.fence, range: self.keys.clone() }
    }

    /// Whether it is nobody's, or noted to be of this very worker, who does not know of it.
    pub(crate) fn is_free_for(&self, worker: &WorkerId) -> bool {
        self.holder.as_ref().is_none_or(|holder| holder.worker == *worker)
    }

    /// Checks that the claim is the one that holds, as the worker knows it, and counts it as a sign of life.
    pub(crate) fn hold(&mut self, claimed: &ClaimedRange) -> Result<()> {
        let same = self.fence == claimed.fence && self.keys == claimed.range;
        let holder = self.holder.as_mut().filter(|_| same).ok_or(JournalError::Lost)?;
        holder.beat += 1;
        Ok(())
    }

    /// Cuts the range: what was given away. None if there are no keys on one side of `at`.
    pub(crate) fn split(&mut self, at: &Bytes) -> Option<Self> {
        let given = self.keys.from(at.clone());
        if at <= self.keys.start() || given.is_empty() {
            return None;
        }
        self.keys = self.keys.until(at.clone());
        Some(Self::new(given))
    }

    /// Moves the frontier.
    pub(crate) fn settle(&mut self, settled: &Settled) -> Result<Progress> {
        let left = settled.frontier.clone().map(|frontier| self.keys.from(frontier)).filter(|left| !left.is_empty());
        settled.check(&self.keys, left.as_ref())?;
        Ok(match left {
            Some(left) => {
                self.keys = left.clone();
                Progress::Left(left)
            }
            None => Progress::Finished(self.whole()),
        })
    }

    /// All keys that it has and had.
    pub(crate) fn whole(&self) -> KeyRange {
        self.keys.from(self.origin.clone())
    }
}

impl Settled {
    /// About how many bytes of a journal it takes; at most [`MAX_SETTLED_BYTES`] go at once.
    pub fn journal_bytes(&self) -> usize {
        let deletions: usize = self.deletions.iter().map(Deletion::journal_bytes).sum();
        let recorded: usize = self.recorded.iter().map(Recorded::journal_bytes).sum();
        deletions + recorded + self.failures.iter().map(Failure::journal_bytes).sum::<usize>()
    }

    /// Checks that all of it lies between the start of `keys` and what is `left` of them, in order.
    fn check(&self, keys: &KeyRange, left: Option<&KeyRange>) -> Result<()> {
        let settled = left.map_or(keys.clone(), |left| keys.until(left.start().clone()));
        let ordered = self.deletions.windows(2).all(|pair| pair[0].key < pair[1].key);
        let inside = self.deletions.iter().all(|deletion| settled.contains(deletion.key.as_bytes()));
        let is_recorded = self.recorded.windows(2).all(|pair| pair[0].key < pair[1].key)
            && self.recorded.iter().all(|recorded| settled.contains(recorded.key.as_bytes()));
        if self.frontier.as_ref().is_some_and(|frontier| frontier < keys.start()) {
            return Err(JournalError::invalid("a frontier went back"));
        }
        if !ordered || !inside {
            return Err(JournalError::invalid("planned deletions are not in order, or outside of what was settled"));
        }
        if !is_recorded {
            return Err(JournalError::invalid("the manifest is not in order, or tells of what was not settled"));
        }
        if self.journal_bytes() > MAX_SETTLED_BYTES {
            return Err(JournalError::invalid("too much was settled in one step"));
        }
        Ok(())
    }
}

impl Deletion {
    /// About how many bytes of a journal it takes.
    pub(crate) fn journal_bytes(&self) -> usize {
        self.key.as_bytes().len() + 16
    }
}

impl Failure {
    /// About how many bytes of a journal it takes.
    pub(crate) fn journal_bytes(&self) -> usize {
        self.place.len() + self.word.len() + self.reason.len().min(MAX_REASON_BYTES) + 64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;

    fn range(start: &'static str, end: &'static str) -> KeyRange {
        KeyRange::new(start, Some(Bytes::from_static(end.as_bytes())))
    }

    fn claimed() -> (RangeRecord, ClaimedRange) {
        let mut record = RangeRecord::new(range("b", "y"));
        let claimed = record.claim(7, &WorkerId("one".into()), ProcessId([1; 16]));
        (record, claimed)
    }

    #[test]
    fn only_the_last_claim_holds_and_only_as_it_stands() {
        let (mut record, first) = claimed();
        record.hold(&first).unwrap();
        let second = record.claim(7, &WorkerId("two".into()), ProcessId([2; 16]));
        assert!(matches!(record.hold(&first), Err(JournalError::Lost)));
        record.hold(&second).unwrap();
        record.split(&Bytes::from_static(b"m")).unwrap();
        assert!(matches!(record.hold(&second), Err(JournalError::Lost)), "its keys are others by now");
    }

    #[test]
    fn a_split_gives_the_upper_part_or_nothing() {
        let (mut record, _) = claimed();
        for outside in ["a", "b", "y", "z"] {
            assert_eq!(record.split(&Bytes::from_static(outside.as_bytes())), None, "{outside}");
        }
        assert_eq!(record.split(&Bytes::from_static(b"m")).unwrap().keys, range("m", "y"));
        assert_eq!(record.keys, range("b", "m"));
    }

    #[test]
    fn what_cannot_have_been_settled_is_refused() {
        let settle = |settled: Settled| claimed().0.settle(&settled);
        let at = |place: &'static str| Some(Bytes::from_static(place.as_bytes()));
        let deletion = |key: &str| Deletion { key: Key::try_from(key).unwrap(), size: 1 };
        let back = Settled { frontier: at("a"), ..Settled::default() };
        assert!(matches!(settle(back), Err(JournalError::Invalid { .. })));
        for keys in [["d", "c"], ["c", "c"], ["c", "e"], ["a", "c"]] {
            let deletions = keys.map(deletion).to_vec();
            let wrong = Settled { frontier: at("e"), deletions, ..Settled::default() };
            assert!(matches!(settle(wrong), Err(JournalError::Invalid { .. })), "{keys:?}");
        }
        let deletions = vec![deletion("b"), deletion("d")];
        let right = Settled { frontier: at("e"), deletions, ..Settled::default() };
        assert_eq!(settle(right).unwrap(), Progress::Left(range("e", "y")));
        assert_eq!(settle(Settled::default()).unwrap(), Progress::Finished(range("b", "y")));
        assert_eq!(
            settle(Settled { frontier: at("z"), ..Settled::default() }).unwrap(),
            Progress::Finished(range("b", "y"))
        );
    }
}
