//! Where a range is split: at a key that exists, near the middle of what was not listed yet. A state machine that asks
//! for probes ("is there a key at or after this place, and which?") and needs no knowledge of how keys are made.

use bytes::Bytes;

use crate::key::Key;
use crate::key_range::KeyRange;
use crate::limits::SPLIT_PROBES;

/// What the splitter wants or found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Split {
    /// The first key of this range is asked for: one listing of one entry.
    Probe(KeyRange),
    /// Here.
    At(Bytes),
    /// There is nothing worth splitting.
    No,
}

/// The search for one split: first for the longest prefix of the lowest place that all keys have, then by halves for
/// a place after it.
#[derive(Debug)]
pub struct Splitter {
    /// No key that matters is below.
    low: Bytes,
    high: Option<Bytes>,
    /// All keys have at least `.0` bytes of the lowest place before them, and perhaps not `.1`.
    shared: (usize, usize),
    probes: u32,
}

impl Splitter {
    /// Splits what is not listed yet of a range.
    pub fn new(rest: &KeyRange) -> Self {
        let low = rest.start().clone();
        let shared = (0, low.len() + 1);
        Self { low, high: rest.end().cloned(), shared, probes: 0 }
    }

    /// The first step.
    pub fn start(&mut self) -> Split {
        self.probe()
    }

    /// The answer to a probe: the first key of its range; none if there is none.
    pub fn found(&mut self, first: Option<&Key>, probed: &KeyRange) -> Split {
        match (self.prefix_len(), first) {
            (Some(len), Some(_)) => self.shared.1 = len,
            (Some(len), None) => {
                self.shared.0 = len;
                self.high = Some(probed.start().clone());
            }
            (None, Some(key)) => return Split::At(key.to_bytes()),
            // The upper half is empty: what there is lies below.
            (None, None) => self.high = Some(probed.start().clone()),
        }
        self.probe()
    }

    /// The length of prefix to try next, while there is one.
    fn prefix_len(&self) -> Option<usize> {
        let (all, some) = self.shared;
        (some - all > 1).then_some(usize::midpoint(all, some))
    }

    fn probe(&mut self) -> Split {
        self.probes += 1;
        if self.probes > SPLIT_PROBES {
            return Split::No;
        }
        if let Some(len) = self.prefix_len() {
            let after = KeyRange::of_prefix(&self.low[..len]).end().cloned();
            let after = after.filter(|after| self.high.as_ref().is_none_or(|high| after < high));
            if let Some(after) = after {
                return Split::Probe(KeyRange::new(after, self.high.clone()));
            }
            // The end of the range says already that all keys have this prefix.
            self.shared.0 = len;
            return self.probe();
        }
        let middle = middle(&self.low, self.high.as_deref());
        middle.map_or(Split::No, |middle| Split::Probe(KeyRange::new(middle, self.high.clone())))
    }
}

/// A place between two, near the middle as numbers; none if there is none within a few bytes more.
fn middle(low: &[u8], high: Option<&[u8]>) -> Option<Bytes> {
    // Bytes after the end of the low place count as 0, of the high one as 0 too, and beyond all keys as 256.
    let shared = high.map_or(0, |high| low.iter().zip(high).take_while(|(one, other)| one == other).count());
    let digit = |bytes: &[u8], at: usize| u32::from(bytes.get(shared + at).copied().unwrap_or(0));
    let number = |bytes: &[u8]| (0..3).fold(0, |number, at| number << 8 | digit(bytes, at));
    let (from, to) = (number(low), high.map_or(1 << 24, number));
    let between = from + to.checked_sub(from)? / 2;
    let place: Vec<u8> = low[..shared].iter().copied().chain(between.to_be_bytes()[1..].iter().copied()).collect();
    let short = place.iter().rposition(|byte| *byte != 0).map_or(shared, |last| last + 1).max(shared);
    let place = Bytes::from(place).slice(..short);
    (*place > *low && high.is_none_or(|high| *place < *high)).then_some(place)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs the search over keys that are there.
    fn split(keys: &[Key], rest: &KeyRange) -> Option<Bytes> {
        let mut splitter = Splitter::new(rest);
        let mut step = splitter.start();
        loop {
            step = match step {
                Split::At(place) => return Some(place),
                Split::No => return None,
                Split::Probe(range) => {
                    let first = keys.iter().find(|key| range.contains(key.as_bytes()));
                    splitter.found(first, &range)
                }
            };
        }
    }

    fn numbered(prefix: &str, count: u32) -> Vec<Key> {
        (0..count).map(|number| Key::new(format!("{prefix}{number:08}").into_bytes()).unwrap()).collect()
    }

    #[test]
    fn keys_with_a_long_common_prefix_are_split() {
        let keys = numbered("a/very/long/common/prefix/of/all/keys/", 10_000);
        let rest = KeyRange::all().after(&keys[999]);
        let at = split(&keys, &rest).expect("there is much to split");
        let above = keys.iter().filter(|key| key.as_bytes() >= &at[..]).count();
        assert!(above > 500 && above < 9_000, "{above} keys of 9,000 are given away");
    }

    #[test]
    fn an_empty_rest_is_not_split() {
        let keys = numbered("k", 10);
        assert_eq!(split(&keys, &KeyRange::all().after(&keys[9])), None);
    }

    proptest! {
        #[test]
        fn a_split_lies_within_and_at_a_key(
            keys in prop::collection::btree_set(prop::collection::vec(any::<u8>(), 1..5), 1..40),
            start in prop::collection::vec(any::<u8>(), 0..4),
            end in prop::option::of(prop::collection::vec(any::<u8>(), 1..4)),
        ) {
            let keys: Vec<_> = keys.into_iter().map(|key| Key::new(key).unwrap()).collect();
            let rest = KeyRange::new(start, end.map(Bytes::from));
            prop_assume!(!rest.is_empty());
            if let Some(at) = split(&keys, &rest) {
                prop_assert!(rest.contains(&at) && at > *rest.start());
                prop_assert!(keys.iter().any(|key| key.as_bytes() == &at[..]));
            }
        }
    }
}
