//! A set of keys, and of prefixes with all keys that begin with them: what of a store is looked at.

use std::collections::BTreeSet;
use std::ops::Bound;

use bytes::Bytes;

use crate::key::Key;
use crate::key_escape::RESERVED;
use crate::key_range::KeyRange;

/// Keys and prefixes. In the order of bytes a prefix comes before all that it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    keys: BTreeSet<Key>,
    prefixes: BTreeSet<Vec<u8>>,
}

/// One thing to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// This key.
    Key(Key),
    /// These keys.
    Range(KeyRange),
}

impl Selection {
    /// Adds a key; what is no key, because it is empty or too long, is in no store either.
    pub fn add_key(&mut self, bytes: &[u8]) {
        if let Ok(key) = Key::new(Bytes::copy_from_slice(bytes)) {
            self.keys.insert(key);
        }
    }

    /// Adds all keys below a directory of this name, and the directory itself.
    pub fn add_below(&mut self, directory: &[u8]) {
        let mut prefix = directory.to_vec();
        if !prefix.is_empty() && !prefix.ends_with(b"/") {
            prefix.push(b'/');
        }
        self.add_prefix(prefix);
    }

    /// Adds all keys that begin so.
    pub fn add_prefix(&mut self, prefix: Vec<u8>) {
        self.prefixes.insert(prefix);
    }

    /// Adds the directories in which what it has lies, themselves alone.
    #[must_use]
    pub fn with_directories_above(mut self) -> Self {
        let places = self.keys.iter().map(Key::as_bytes).chain(self.prefixes.iter().map(Vec::as_slice));
        let above: BTreeSet<Vec<u8>> = places.flat_map(directories_above).map(<[u8]>::to_vec).collect();
        for directory in &above {
            self.add_key(directory);
        }
        self
    }

    /// Adds everything that another has.
    pub fn extend(&mut self, other: &Self) {
        self.keys.extend(other.keys.iter().cloned());
        self.prefixes.extend(other.prefixes.iter().cloned());
    }

    /// Whether something in it is, or may be, an escaped key, which a store of files that escapes keys lists as another.
    pub fn has_escapes(&self) -> bool {
        let escaped = |place: &[u8]| place.starts_with(RESERVED);
        self.keys.iter().any(|key| escaped(key.as_bytes()))
            || self.prefixes.iter().any(|prefix| escaped(prefix) || RESERVED.starts_with(prefix))
    }

    /// How many keys and prefixes there are.
    pub fn len(&self) -> usize {
        self.keys.len() + self.prefixes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a key is selected.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.keys.contains(key) || (0..=key.len()).any(|len| self.prefixes.contains(&key[..len]))
    }

    /// The first thing at or after a place, as far as it lies in the range from there on.
    pub(crate) fn next(&self, range: &KeyRange) -> Option<Item> {
        let start = range.start();
        let inside = (0..=start.len()).find(|len| self.prefixes.contains(&start[..*len]));
        if let Some(len) = inside {
            return Some(Item::Range(range.intersect(&KeyRange::of_prefix(&start[..len]))))
                .filter(|_| !range.is_empty());
        }
        let from = (Bound::Included(&start[..]), Bound::Unbounded);
        let key = self.keys.range::<[u8], _>(from).next();
        let prefix = self.prefixes.range::<[u8], _>(from).next();
        let (place, item) = match (key, prefix) {
            (Some(key), Some(prefix)) if key.as_bytes() < prefix.as_slice() => (key.as_bytes(), Item::Key(key.clone())),
            (_, Some(prefix)) => (prefix.as_slice(), Item::Range(range.intersect(&KeyRange::of_prefix(prefix)))),
            (Some(key), None) => (key.as_bytes(), Item::Key(key.clone())),
            (None, None) => return None,
        };
        range.contains(place).then_some(item)
    }
}

/// The names of the directories in which a place lies, each with its slash.
fn directories_above(place: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = place.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1);
    slashes.filter(|end| *end < place.len()).map(|end| &place[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key_range::place_after;

    /// Whether the things in the range, one after the other, hold the key.
    fn holds(selection: &Selection, range: &KeyRange, wanted: &[u8]) -> bool {
        let mut rest = range.clone();
        loop {
            match selection.next(&rest) {
                None => return false,
                Some(Item::Key(key)) if key.as_bytes() == wanted => return true,
                Some(Item::Key(key)) => rest = rest.from(place_after(&key)),
                Some(Item::Range(part)) => {
                    assert!(!part.is_empty());
                    if part.contains(wanted) {
                        return true;
                    }
                    let Some(end) = part.end() else { return false };
                    rest = rest.from(end.clone());
                }
            }
        }
    }

    #[test]
    fn directories_lie_above_keys_and_prefixes() {
        let mut selection = Selection::default();
        selection.add_key(b"a/b/c");
        selection.add_below(b"d/e");
        let mut expected = selection.clone();
        for directory in ["a/", "a/b/", "d/"] {
            expected.add_key(directory.as_bytes());
        }
        assert_eq!(selection.with_directories_above(), expected);
    }

    proptest! {
        #[test]
        fn what_was_added_is_there_and_nothing_else(
            keys in prop::collection::vec("[ab/]{1,3}", 0..6),
            directories in prop::collection::vec("[ab/]{0,3}", 0..3),
            wanted in "[ab/]{1,4}", start in "[ab/]{0,2}", end in "[ab/]{0,3}",
        ) {
            let mut selection = Selection::default();
            for key in &keys {
                selection.add_key(key.as_bytes());
            }
            for directory in &directories {
                selection.add_below(directory.as_bytes());
            }
            let range = KeyRange::new(start, Some(Bytes::from(end)));
            let below = |directory: &String| {
                directory.is_empty() || wanted.starts_with(directory.as_str()) && (directory.ends_with('/')
                    || wanted[directory.len()..].starts_with('/'))
            };
            let selected = keys.contains(&wanted) || directories.iter().any(below);
            let expected = selected && range.contains(wanted.as_bytes());
            prop_assert_eq!(holds(&selection, &range, wanted.as_bytes()), expected);
        }
    }
}
