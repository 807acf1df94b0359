//! The merge of two ordered listings into pairs, as a state machine: pages go in, pairs come out in the order of keys.

use std::collections::VecDeque;

use crate::entry::Entry;
use crate::key::Key;

/// One of the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Where objects come from.
    Source,
    /// Where they go.
    Target,
}

/// What the two sides have under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "pairs are moved once and never kept; a box would cost each of them")]
pub enum Pair {
    /// Only the source has it.
    Source(Entry),
    /// Only the target has it. `implied` says that the source has something below a directory of this key.
    Target {
        /// What the target has.
        entry: Entry,
        /// Whether the source has a key that begins with this one.
        implied: bool,
    },
    /// Both have it.
    Both(Entry, Entry),
}

/// What the merge wants or gives.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "pairs are moved once and never kept; a box would cost each of them")]
pub enum Step {
    /// The next pair.
    Pair(Pair),
    /// It cannot go on without the next page of this side.
    Need(Side),
    /// Both sides are at their end.
    Done,
}

/// The entries that came and were not paired yet. It holds what was pushed: whoever pushes a page only when it is
/// needed holds at most one page a side.
#[derive(Debug, Default)]
pub struct Merge {
    source: Queue,
    target: Queue,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    complete: bool,
}

impl Merge {
    /// Takes the next entries of a side, in order.
    pub fn push(&mut self, side: Side, entries: Vec<Entry>) {
        let queue = self.queue(side);
        debug_assert!(queue.entries.back().zip(entries.first()).is_none_or(|(last, next)| last.key < next.key));
        queue.entries.extend(entries);
    }

    /// Says that no entries of a side come any more.
    pub fn complete(&mut self, side: Side) {
        self.queue(side).complete = true;
    }

    /// Whether all entries of both sides came.
    pub fn is_complete(&self) -> bool {
        self.source.complete && self.target.complete
    }

    /// Drops what lies at `end` or after it: another worker pairs that.
    pub fn narrow(&mut self, end: &[u8]) {
        for queue in [&mut self.source, &mut self.target] {
            let kept = queue.entries.partition_point(|entry| entry.key.as_bytes() < end);
            queue.entries.truncate(kept);
        }
    }

    /// The greatest key that came from either side.
    pub fn last_key(&self) -> Option<&Key> {
        let source = self.source.entries.back().map(|entry| &entry.key);
        let target = self.target.entries.back().map(|entry| &entry.key);
        source.max(target)
    }

    /// The key in the middle of what came and was not paired; none if there are few.
    pub fn middle_key(&self, few: usize) -> Option<&Key> {
        let longer =
            [&self.source, &self.target].into_iter().map(|queue| &queue.entries).max_by_key(|queue| queue.len())?;
        longer.get(longer.len() / 2).filter(|_| longer.len() > few).map(|entry| &entry.key)
    }

    /// The next pair, or what is missing for it.
    pub fn step(&mut self) -> Step {
        match (self.source.head(), self.target.head()) {
            (Err(()), _) => Step::Need(Side::Source),
            (_, Err(())) => Step::Need(Side::Target),
            (Ok(None), Ok(None)) => Step::Done,
            (Ok(source), Ok(target)) => {
                let order = compare(source, target);
                Step::Pair(self.take(order))
            }
        }
    }

    fn take(&mut self, order: std::cmp::Ordering) -> Pair {
        let source = if order.is_le() { self.source.entries.pop_front() } else { None };
        let target = if order.is_ge() { self.target.entries.pop_front() } else { None };
        match (source, target) {
            (Some(source), Some(target)) => Pair::Both(source, target),
            (Some(source), None) => Pair::Source(source),
            (None, Some(entry)) => {
                let next = self.source.entries.front();
                let below = |next: &Entry| next.key.as_bytes().starts_with(entry.key.as_bytes());
                let implied = entry.key.is_directory_name() && next.is_some_and(below);
                Pair::Target { entry, implied }
            }
            (None, None) => unreachable!("one of the two heads is the lower one"),
        }
    }

    fn queue(&mut self, side: Side) -> &mut Queue {
        match side {
            Side::Source => &mut self.source,
            Side::Target => &mut self.target,
        }
    }
}

impl Queue {
    /// The first entry, none at the end; an error if it is not known which of the two it is.
    fn head(&self) -> Result<Option<&Entry>, ()> {
        match self.entries.front() {
            None if !self.complete => Err(()),
            head => Ok(head),
        }
    }
}

/// Which head comes first; a side at its end comes last.
fn compare(source: Option<&Entry>, target: Option<&Entry>) -> std::cmp::Ordering {
    match (source, target) {
        (Some(source), Some(target)) => source.key.cmp(&target.key),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, _) => std::cmp::Ordering::Greater,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn entry(key: &str) -> Entry {
        Entry::object(Key::try_from(key).unwrap(), 1)
    }

    /// Runs a merge over pages of these keys.
    fn pairs(source: &BTreeSet<String>, target: &BTreeSet<String>, page: usize) -> Vec<Pair> {
        let (mut merge, mut pairs) = (Merge::default(), Vec::new());
        let pages = |keys: &BTreeSet<String>| -> VecDeque<Vec<Entry>> {
            let keys: Vec<_> = keys.iter().map(|key| entry(key)).collect();
            keys.chunks(page).map(<[Entry]>::to_vec).collect()
        };
        let (mut sources, mut targets) = (pages(source), pages(target));
        loop {
            match merge.step() {
                Step::Pair(pair) => pairs.push(pair),
                Step::Done => return pairs,
                Step::Need(side) => {
                    let pages = if side == Side::Source { &mut sources } else { &mut targets };
                    match pages.pop_front() {
                        Some(page) => merge.push(side, page),
                        None => merge.complete(side),
                    }
                }
            }
        }
    }

    fn key(pair: &Pair) -> &Key {
        match pair {
            Pair::Source(entry) | Pair::Target { entry, .. } | Pair::Both(entry, _) => &entry.key,
        }
    }

    proptest! {
        #[test]
        fn every_key_comes_once_in_order_on_its_sides(
            source in prop::collection::btree_set("[a-d]{1,3}", 0..30),
            target in prop::collection::btree_set("[a-d]{1,3}", 0..30),
            page in 1_usize..5,
        ) {
            let pairs = pairs(&source, &target, page);
            let keys: Vec<_> = pairs.iter().map(|pair| key(pair).to_string()).collect();
            let all: Vec<_> = source.union(&target).cloned().collect();
            prop_assert_eq!(&keys, &all);
            for pair in &pairs {
                let name = key(pair).to_string();
                let sides = (source.contains(&name), target.contains(&name));
                prop_assert_eq!(sides, match pair {
                    Pair::Source(_) => (true, false),
                    Pair::Target { .. } => (false, true),
                    Pair::Both(..) => (true, true),
                });
            }
        }
    }

    #[test]
    fn a_directory_that_the_source_implies_is_told_so() {
        let keys = |keys: &[&str]| keys.iter().map(ToString::to_string).collect();
        let found = pairs(&keys(&["a/x"]), &keys(&["a/", "b/"]), 9);
        assert!(matches!(&found[0], Pair::Target { implied: true, .. }));
        assert!(matches!(&found[2], Pair::Target { implied: false, .. }));
    }
}
