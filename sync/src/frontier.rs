//! The frontier of a range: keys begin in order and end in any; what lies below the first that has not ended is
//! settled, and its outcomes are gathered for the journal. Pure; bounded by the keys that have begun and not settled.

use std::collections::VecDeque;

use crate::counts::Counts;
use crate::journal::{Deletion, Failure, Settled};
use crate::key::Key;
use crate::key_range::place_after;
use crate::limits::SETTLE_BYTES;
use crate::manifest::Recorded;

/// What came of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// What is counted of it.
    pub counts: Counts,
    /// If it failed.
    pub failure: Option<Failure>,
    /// If it is to be deleted.
    pub deletion: Option<Deletion>,
    /// What the manifest says of it, if there is one and the target has the object.
    pub recorded: Option<Recorded>,
}

impl Ended {
    /// A key that filters leave out.
    pub fn filtered() -> Self {
        Self { counts: Counts { filtered: 1, ..Counts::default() }, ..Self::default() }
    }
}

/// Names a key that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

/// Keeps the order.
#[derive(Debug, Default)]
pub struct Frontier {
    /// Keys that have begun, from the lowest that has not ended on.
    begun: VecDeque<(Key, Option<Ended>)>,
    first: u64,
    settled: Settled,
    /// The greatest key that was settled since the last take.
    last: Option<Key>,
    keys: usize,
    /// Bytes of the journal that `settled` takes, about.
    bytes: usize,
}

impl Frontier {
    /// The next key in order begins.
    pub fn begin(&mut self, key: Key) -> Ticket {
        debug_assert!(self.begun.back().is_none_or(|(last, _)| *last < key));
        self.begun.push_back((key, None));
        Ticket(self.first + self.begun.len() as u64 - 1)
    }

    /// A key has ended.
    pub fn end(&mut self, ticket: Ticket, ended: Ended) {
        let index = (ticket.0 - self.first) as usize;
        self.begun[index].1 = Some(ended);
        self.advance();
    }

    /// Whether as much is gathered as the journal takes in one step; the rest follows the next [`Self::take`].
    pub fn is_full(&self) -> bool {
        self.bytes >= SETTLE_BYTES
    }

    fn advance(&mut self) {
        while !self.is_full()
            && let Some((key, ended)) = self.begun.pop_front_if(|(_, ended)| ended.is_some())
        {
            self.first += 1;
            self.gather(key, ended.unwrap_or_default());
        }
    }

    /// Adds what belongs to no key, such as a place that could not be listed.
    pub fn note(&mut self, counts: Counts, failure: Option<Failure>) {
        self.bytes += failure.as_ref().map_or(0, Failure::journal_bytes);
        self.settled.counts += counts;
        self.settled.failures.extend(failure);
    }

    /// How many keys have begun and are not settled.
    pub fn open(&self) -> usize {
        self.begun.len()
    }

    /// How many keys were settled since the last [`Self::take`].
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// What was settled since the last call; none if nothing was.
    pub fn take(&mut self) -> Option<Settled> {
        self.settled.frontier = Some(place_after(&self.last.take()?));
        (self.keys, self.bytes) = (0, 0);
        let settled = std::mem::take(&mut self.settled);
        self.advance();
        Some(settled)
    }

    /// What was settled since the last call, where the whole range is: nothing is open, nor was it full.
    pub fn finish(self) -> Settled {
        debug_assert!(self.begun.is_empty(), "a range is finished when all its keys are");
        debug_assert!(self.settled.frontier.is_none());
        self.settled
    }

    fn gather(&mut self, key: Key, ended: Ended) {
        self.keys += 1;
        self.last = Some(key);
        self.bytes += ended.failure.as_ref().map_or(0, Failure::journal_bytes);
        self.bytes += ended.deletion.as_ref().map_or(0, Deletion::journal_bytes);
        self.bytes += ended.recorded.as_ref().map_or(0, Recorded::journal_bytes);
        self.settled.counts += ended.counts;
        self.settled.failures.extend(ended.failure);
        self.settled.recorded.extend(ended.recorded);
        self.settled.deletions.extend(ended.deletion);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: usize) -> Key {
        Key::new((number as u32).to_be_bytes().to_vec()).unwrap()
    }

    #[test]
    fn what_is_too_much_for_one_step_is_settled_in_several() {
        let count = 3 * SETTLE_BYTES / 1_000;
        let long = |number: usize| Key::new([key(number).as_bytes(), &[b'x'; 1_000]].concat()).unwrap();
        let mut frontier = Frontier::default();
        let tickets: Vec<_> = (0..count).map(|number| frontier.begin(long(number))).collect();
        for number in (0..count).rev() {
            let deletion = Some(Deletion { key: long(number), size: 1 });
            frontier.end(tickets[number], Ended { deletion, ..Ended::default() });
        }
        let mut deletions = 0;
        while frontier.is_full() {
            let settled = frontier.take().unwrap();
            assert!(settled.journal_bytes() < SETTLE_BYTES + 2_000);
            deletions += settled.deletions.len();
            assert_eq!(settled.frontier.unwrap(), place_after(&settled.deletions.last().unwrap().key));
        }
        assert!(deletions > 0 && frontier.open() == 0);
        assert_eq!(deletions + frontier.finish().deletions.len(), count);
    }

    proptest! {
        #[test]
        fn nothing_is_settled_before_all_below_it(order in Just((0..20_usize).collect::<Vec<_>>()).prop_shuffle()) {
            let mut frontier = Frontier::default();
            let tickets: Vec<_> = (0..order.len()).map(|number| frontier.begin(key(number))).collect();
            let mut ended = vec![false; order.len()];
            let mut copied = 0;
            for number in order {
                let counts = Counts { copied: 1, ..Counts::default() };
                let deletion = Some(Deletion { key: key(number), size: 1 });
                frontier.end(tickets[number], Ended { counts, deletion, ..Ended::default() });
                ended[number] = true;
                let below = ended.iter().take_while(|ended| **ended).count();
                if let Some(settled) = frontier.take() {
                    copied += settled.counts.copied;
                    prop_assert_eq!(settled.frontier.unwrap(), place_after(&key(below - 1)));
                    prop_assert!(settled.deletions.is_sorted_by(|one, next| one.key < next.key));
                }
                prop_assert_eq!(copied, below as u64);
                prop_assert_eq!(frontier.open(), ended.len() - below);
            }
        }
    }
}
