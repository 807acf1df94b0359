//! A half-open range of keys, and a set of such ranges.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

/// The keys from `begin`, inclusive, to `end`, exclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyRange {
    pub(super) begin: Bytes,
    pub(super) end: Bytes,
}

impl KeyRange {
    pub(super) fn copy_of(begin: &[u8], end: &[u8]) -> Self {
        Self { begin: Bytes::copy_from_slice(begin), end: Bytes::copy_from_slice(end) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.begin >= self.end
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        *self.begin <= *key && *key < *self.end
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        self.begin < other.end && other.begin < self.end
    }

    /// The bounds as a `BTreeMap` takes them. The range must not be empty.
    pub(super) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (Bound::Included(&self.begin), Bound::Excluded(&self.end))
    }
}

/// Keys covered by any number of ranges, kept as ranges that neither meet nor touch.
#[derive(Debug, Default)]
pub(super) struct RangeSet {
    end_by_begin: BTreeMap<Bytes, Bytes>,
}

impl RangeSet {
    pub(super) fn is_empty(&self) -> bool {
        self.end_by_begin.is_empty()
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        let up_to = (Bound::Unbounded, Bound::Included(key));
        let before = self.end_by_begin.range::<[u8], _>(up_to).next_back();
        before.is_some_and(|(_, end)| *key < **end)
    }

    pub(super) fn insert(&mut self, mut range: KeyRange) {
        if range.is_empty() {
            return;
        }
        while let Some(begin) = self.last_touching(&range) {
            let end = self.end_by_begin.remove(&begin).expect("it was just found");
            range.end = range.end.max(end);
            range.begin = range.begin.min(begin);
        }
        self.end_by_begin.insert(range.begin, range.end);
    }

    /// The begin of the last range of the set that meets or touches `range`.
    fn last_touching(&self, range: &KeyRange) -> Option<Bytes> {
        let last = self.end_by_begin.range(..=range.end.clone()).next_back();
        last.filter(|(_, end)| **end >= range.begin).map(|(begin, _)| begin.clone())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = KeyRange> + '_ {
        let ranges = self.end_by_begin.iter();
        ranges.map(|(begin, end)| KeyRange { begin: begin.clone(), end: end.clone() })
    }

    /// The parts of `range` that the set does not cover, in order.
    pub(super) fn gaps(&self, range: &KeyRange) -> Vec<KeyRange> {
        let mut gaps = Vec::new();
        let mut begin = range.begin.clone();
        let first = self.end_by_begin.range(..=begin.clone()).next_back();
        let inside = (Bound::Excluded(&range.begin), Bound::Excluded(&range.end));
        let rest = self.end_by_begin.range::<Bytes, _>(inside);
        for (covered_begin, covered_end) in first.into_iter().chain(rest) {
            gaps.push(KeyRange { begin: begin.clone(), end: covered_begin.clone() });
            begin = begin.max(covered_end.clone());
        }
        gaps.push(KeyRange { begin, end: range.end.clone() });
        gaps.retain(|gap| !gap.is_empty());
        gaps
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(begin: u8, end: u8) -> KeyRange {
        KeyRange::copy_of(&[begin], &[end])
    }

    proptest! {
        #[test]
        fn a_set_covers_what_was_inserted_and_its_gaps_the_rest(
            inserted in prop::collection::vec((0u8..32, 0u8..32), 0..12),
            (begin, end) in (0u8..32, 0u8..32),
        ) {
            let mut set = RangeSet::default();
            for (begin, end) in &inserted {
                set.insert(range(*begin, *end));
            }
            let gaps = if begin < end { set.gaps(&range(begin, end)) } else { Vec::new() };
            for key in 0..32u8 {
                let covered = inserted.iter().any(|(begin, end)| (*begin..*end).contains(&key));
                prop_assert_eq!(set.contains(&[key]), covered);
                let in_gap = gaps.iter().any(|gap| gap.contains(&[key]));
                prop_assert_eq!(in_gap, (begin..end).contains(&key) && !covered);
            }
            prop_assert!(gaps.windows(2).all(|pair| pair[0].end < pair[1].begin));
        }
    }
}
