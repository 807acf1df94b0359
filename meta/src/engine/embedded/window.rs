//! The conflict window: which keys were written by the commits of the last seconds.
//!
//! A transaction can be judged if every commit after its snapshot is still in the window;
//! one whose snapshot is older than the window's floor is too old, whatever the clock says.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::key_range::KeyRange;
use super::reads::Reads;

/// Memory for the window, roughly. Under a heavy load it then forgets earlier than by age.
const MAX_BYTES: usize = 32 << 20;
/// What an entry takes beside its key's bytes: a tree's slot, a list's slot, the counters.
const ENTRY_BYTES: usize = 120;

/// What becomes of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing that it read has changed.
    Pass,
    /// Something has.
    Conflict,
    /// Nobody can tell any more.
    TooOld,
}

/// One group of commits in the window.
struct Group {
    batch: u64,
    at: Instant,
    keys: Vec<Bytes>,
    bytes: usize,
}

/// The recent writes, by key and by age.
pub(super) struct Window {
    batch_by_key: BTreeMap<Bytes, u64>,
    cleared: VecDeque<(u64, KeyRange)>,
    groups: VecDeque<Group>,
    bytes: usize,
    floor: u64,
    max_age: Duration,
}

impl Window {
    /// A window that knows of nothing before `batch`, which is there to be read.
    pub(super) fn starting_at(batch: u64, max_age: Duration) -> Self {
        Self {
            batch_by_key: BTreeMap::new(),
            cleared: VecDeque::new(),
            groups: VecDeque::new(),
            bytes: 0,
            floor: batch,
            max_age,
        }
    }

    /// Opens the group of commits `batch`, which is newer than all others, and forgets old ones.
    pub(super) fn begin_group(&mut self, batch: u64, now: Instant) {
        while let Some(oldest) = self.groups.front() {
            if self.bytes <= MAX_BYTES && now.duration_since(oldest.at) <= self.max_age {
                break;
            }
            self.forget_oldest();
        }
        self.groups.push_back(Group { batch, at: now, keys: Vec::new(), bytes: 0 });
    }

    /// Notes that the newest group writes `key`.
    pub(super) fn wrote(&mut self, key: &Bytes) {
        let Some(group) = self.groups.back_mut() else { return };
        if self.batch_by_key.insert(key.clone(), group.batch) != Some(group.batch) {
            group.bytes += key.len() + ENTRY_BYTES;
            self.bytes += key.len() + ENTRY_BYTES;
            group.keys.push(key.clone());
        }
    }

    /// Notes that the newest group clears `range`.
    pub(super) fn cleared(&mut self, range: KeyRange) {
        let Some(group) = self.groups.back_mut() else { return };
        let bytes = range.begin.len() + range.end.len() + ENTRY_BYTES;
        group.bytes += bytes;
        self.bytes += bytes;
        self.cleared.push_back((group.batch, range));
    }

    /// Judges a transaction that read `reads` in the view of `snapshot`.
    pub(super) fn judge(&self, snapshot: u64, reads: &Reads) -> Verdict {
        if snapshot < self.floor {
            return Verdict::TooOld;
        }
        let newest = self.groups.back().map_or(self.floor, |group| group.batch);
        if newest > snapshot && self.changed_since(snapshot, reads) {
            return Verdict::Conflict;
        }
        Verdict::Pass
    }

    fn changed_since(&self, snapshot: u64, reads: &Reads) -> bool {
        let newer = |batch: &u64| *batch > snapshot;
        reads.keys.iter().any(|key| self.batch_by_key.get(key).is_some_and(newer))
            || reads
                .ranges
                .iter()
                .any(|range| self.batch_by_key.range::<[u8], _>(range.bounds()).any(|(_, b)| newer(b)))
            || self.newly_cleared(snapshot).any(|cleared| {
                reads.keys.iter().any(|key| cleared.contains(key))
                    || reads.ranges.iter().any(|range| cleared.meets(range))
            })
    }

    fn newly_cleared(&self, snapshot: u64) -> impl Iterator<Item = &KeyRange> {
        let newest_first = self.cleared.iter().rev();
        newest_first.take_while(move |(batch, _)| *batch > snapshot).map(|(_, range)| range)
    }

    fn forget_oldest(&mut self) {
        let Some(group) = self.groups.pop_front() else { return };
        for key in &group.keys {
            if self.batch_by_key.get(key) == Some(&group.batch) {
                self.batch_by_key.remove(key);
            }
        }
        while self.cleared.front().is_some_and(|(batch, _)| *batch <= group.batch) {
            self.cleared.pop_front();
        }
        self.bytes -= group.bytes;
        self.floor = group.batch;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(5);

    fn reads_key(key: &[u8]) -> Reads {
        let mut reads = Reads::default();
        reads.add_key(key);
        reads
    }

    fn reads_range(begin: &[u8], end: &[u8]) -> Reads {
        let mut reads = Reads::default();
        reads.add_range(KeyRange::copy_of(begin, end));
        reads
    }

    #[test]
    fn only_later_writes_of_what_was_read_conflict() {
        let mut window = Window::starting_at(7, AGE);
        window.begin_group(8, Instant::now());
        window.wrote(&Bytes::from_static(b"m"));
        window.cleared(KeyRange::copy_of(b"p", b"r"));
        for (reads, verdict) in [
            (reads_key(b"m"), Verdict::Conflict),
            (reads_key(b"n"), Verdict::Pass),
            (reads_key(b"q"), Verdict::Conflict),
            (reads_key(b"r"), Verdict::Pass),
            (reads_range(b"a", b"m"), Verdict::Pass),
            (reads_range(b"a", b"m\0"), Verdict::Conflict),
            (reads_range(b"n", b"p"), Verdict::Pass),
            (reads_range(b"q", b"z"), Verdict::Conflict),
        ] {
            assert_eq!(window.judge(7, &reads), verdict, "{reads:?}");
            assert_eq!(window.judge(8, &reads), Verdict::Pass);
            assert_eq!(window.judge(6, &reads), Verdict::TooOld);
        }
    }

    #[test]
    fn what_is_old_is_forgotten_and_raises_the_floor() {
        let start = Instant::now();
        let mut window = Window::starting_at(0, AGE);
        for batch in 1..=10 {
            window.begin_group(batch, start + Duration::from_secs(batch));
            window.wrote(&Bytes::copy_from_slice(&[batch as u8]));
            window.wrote(&Bytes::from_static(b"always"));
        }
        assert_eq!(window.judge(3, &Reads::default()), Verdict::TooOld);
        assert_eq!(window.judge(4, &reads_key(&[4])), Verdict::Pass);
        assert_eq!(window.judge(4, &reads_key(&[5])), Verdict::Conflict);
        assert_eq!(window.judge(9, &reads_key(b"always")), Verdict::Conflict);
        assert_eq!(window.batch_by_key.len(), 7);
        window.begin_group(11, start + Duration::from_secs(100));
        assert!(window.batch_by_key.is_empty());
        assert_eq!(window.bytes, 0);
    }

    #[test]
    fn it_stays_within_its_memory() {
        let now = Instant::now();
        let mut window = Window::starting_at(0, AGE);
        let key = |batch: u64| Bytes::from([&batch.to_be_bytes()[..], &[0; 5000]].concat());
        for batch in 1..=2 * (MAX_BYTES as u64) / 5000 {
            window.begin_group(batch, now);
            window.wrote(&key(batch));
        }
        assert!(window.bytes <= MAX_BYTES + 6000);
        assert!(window.floor > 0);
    }
}
