//! Runs of verified groups of one block, in order and apart from each other. A read inside one
//! run is a slice of it and copies nothing.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use farshore_proto::limits::GROUP_BYTES;

use crate::group::{clamp_groups, group_count};

/// A run of whole groups.
#[derive(Debug, Clone)]
struct Run {
    first_group: u32,
    data: Bytes,
}

impl Run {
    fn groups(&self) -> Range<u32> {
        self.first_group..self.first_group + group_count(self.data.len() as u32)
    }

    fn bytes(&self) -> Range<u32> {
        let start = self.first_group * GROUP_BYTES;
        start..start + self.data.len() as u32
    }

    fn slice(&self, range: &Range<u32>) -> Bytes {
        let start = self.bytes().start;
        self.data.slice((range.start - start) as usize..(range.end - start) as usize)
    }
}

/// The groups of one block that are at hand and verified.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunSet {
    /// Ascending; no two share a group.
    runs: Vec<Run>,
    /// Known once the block's last group has been verified, and then proven.
    block_len: Option<u32>,
}

impl RunSet {
    /// A whole block.
    pub(crate) fn whole(block: Bytes) -> Self {
        let mut set = Self::default();
        set.insert(0, block, true);
        set
    }

    /// Adds verified groups. `ends_block` tells that the run's last group is the block's last.
    /// Runs that lie inside the new one are dropped for it; groups that both have are kept once.
    pub(crate) fn insert(&mut self, first_group: u32, data: Bytes, ends_block: bool) {
        let new = Run { first_group, data };
        if ends_block {
            self.block_len = Some(new.bytes().end);
        }
        let groups = new.groups();
        let covered = |run: &Run| run.groups().start >= groups.start && run.groups().end <= groups.end;
        self.runs.retain(|run| !covered(run));
        if let Some(rest) = self.trim(&new) {
            let at = self.runs.partition_point(|run| run.first_group < rest.first_group);
            self.runs.insert(at, rest);
        }
    }

    /// What of a new run is not in the runs at its two sides; the runs inside it are gone already.
    fn trim(&self, new: &Run) -> Option<Run> {
        let (mut start, mut end) = (new.bytes().start, new.bytes().end);
        for run in &self.runs {
            let old = run.bytes();
            if old.start <= start && old.end > start {
                start = old.end.min(end);
            } else if old.start < end && old.end >= end {
                end = old.start;
            }
        }
        let rest = Run { first_group: start / GROUP_BYTES, data: new.slice(&(start..end)) };
        (!rest.data.is_empty()).then_some(rest)
    }

    /// The block's length, if its last group is at hand.
    pub(crate) fn block_len(&self) -> Option<u32> {
        self.block_len
    }

    /// Bytes held.
    pub(crate) fn held_bytes(&self) -> usize {
        self.runs.iter().map(|run| run.data.len()).sum()
    }

    /// The bytes `range` of the block, if they are all at hand.
    pub(crate) fn slice(&self, range: &Range<u32>) -> Option<Bytes> {
        if range.is_empty() {
            return Some(Bytes::new());
        }
        let at = self.runs.partition_point(|run| run.bytes().end <= range.start);
        let run = self.runs.get(at).filter(|run| run.bytes().start <= range.start)?;
        let inside = run.bytes().end >= range.end;
        if inside { Some(run.slice(range)) } else { self.gather(at, range) }
    }

    /// A range that several adjoining runs hold together.
    fn gather(&self, at: usize, range: &Range<u32>) -> Option<Bytes> {
        let mut gathered = BytesMut::with_capacity(range.len());
        let mut next = range.start;
        for run in &self.runs[at..] {
            if next == range.end || run.bytes().start > next {
                break;
            }
            let end = run.bytes().end.min(range.end);
            gathered.extend_from_slice(&run.slice(&(next..end)));
            next = end;
        }
        (next == range.end).then(|| gathered.freeze())
    }

    /// The smallest range that holds every group of `wanted` that is not at hand.
    pub(crate) fn missing(&self, wanted: &Range<u32>) -> Range<u32> {
        let wanted = match self.block_len {
            Some(block_len) => clamp_groups(wanted, block_len),
            None => wanted.clone(),
        };
        let mut missing = wanted;
        for run in &self.runs {
            if run.groups().contains(&missing.start) {
                missing.start = run.groups().end.min(missing.end);
            }
        }
        for run in self.runs.iter().rev() {
            if missing.end > missing.start && run.groups().contains(&(missing.end - 1)) {
                missing.end = run.first_group.max(missing.start);
            }
        }
        missing
    }

    /// Whether every group that `range` touches is at hand, or surely does not exist.
    pub(crate) fn covers(&self, groups: &Range<u32>) -> bool {
        self.missing(groups).is_empty()
    }

    /// Takes over what another set of the same block holds.
    pub(crate) fn absorb(&mut self, other: &Self) {
        for run in &other.runs {
            let ends_block = other.block_len == Some(run.bytes().end);
            self.insert(run.first_group, run.data.clone(), ends_block);
        }
        self.block_len = self.block_len.or(other.block_len);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::group::groups_of;

    const BLOCK_LEN: u32 = 9 * GROUP_BYTES + 500;

    fn block() -> Bytes {
        (0..BLOCK_LEN).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
    }

    fn insert(set: &mut RunSet, groups: Range<u32>) {
        let bytes = crate::group::bytes_of_groups(&groups, BLOCK_LEN);
        let data = block().slice(bytes.start as usize..bytes.end as usize);
        set.insert(groups.start, data, groups.end >= group_count(BLOCK_LEN));
    }

    #[test]
    fn a_read_inside_a_run_shares_its_memory() {
        let whole = block();
        let set = RunSet::whole(whole.clone());
        let slice = set.slice(&(70_000..200_000)).unwrap();
        assert_eq!(slice.as_ptr(), whole[70_000..].as_ptr());
        assert_eq!(set.block_len(), Some(BLOCK_LEN));
        assert!(set.covers(&crate::group::ALL_GROUPS));
        assert_eq!(set.slice(&(0..BLOCK_LEN + 1)), None);
    }

    #[test]
    fn what_is_missing_is_told_from_both_ends() {
        let mut set = RunSet::default();
        assert_eq!(set.missing(&(1..7)), 1..7);
        insert(&mut set, 0..2);
        insert(&mut set, 5..6);
        assert_eq!(set.missing(&(0..6)), 2..5);
        assert_eq!(set.missing(&(0..20)), 2..20);
        insert(&mut set, 8..10);
        assert_eq!(set.missing(&(0..20)), 2..8);
        insert(&mut set, 1..9);
        assert!(set.covers(&(0..20)));
        assert_eq!(set.held_bytes(), BLOCK_LEN as usize);
    }

    proptest! {
        #[test]
        fn holds_what_was_inserted_and_nothing_else(
            inserts in prop::collection::vec((0u32..10, 1u32..10), 0..12), start in 0..BLOCK_LEN, len in 1..BLOCK_LEN,
        ) {
            let (mut set, mut model) = (RunSet::default(), [false; 10]);
            for (first, count) in inserts {
                let groups = first..(first + count).min(10);
                model[groups.start as usize..groups.end as usize].fill(true);
                insert(&mut set, groups);
            }
            let range = start..(start + len).min(BLOCK_LEN);
            let groups = groups_of(&range);
            let at_hand = groups.clone().all(|index| model[index as usize]);
            let expected = at_hand.then(|| block().slice(range.start as usize..range.end as usize));
            prop_assert_eq!(set.slice(&range), expected);
            prop_assert_eq!(set.covers(&groups), at_hand);
            let held: u32 = (0..10).filter(|index| model[*index as usize]).map(|index| crate::group::bytes_of_group(index, BLOCK_LEN).len() as u32).sum();
            prop_assert_eq!(set.held_bytes() as u32, held);
        }
    }
}
