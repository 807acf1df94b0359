//! A range of the key order: the unit of listing, of claiming and of progress. Owns its arithmetic; knows no store.

use std::fmt;

use bytes::Bytes;

use crate::key::{Key, escaped};

/// All keys from `start`, inclusive, to `end`, exclusive, in the order of bytes.
///
/// A bound need not be a key: it may be empty, or a key and a zero byte after it, which is the place right after
/// that key. Ranges that are split at such places can be listed exactly by stores that start *after* a key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyRange {
    start: Bytes,
    end: Option<Bytes>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> Self {
        Self { start: Bytes::new(), end: None }
    }

    /// From `start` to `end`; no end means to the last key. Empty if `end` is not after `start`.
    pub fn new(start: impl Into<Bytes>, end: Option<Bytes>) -> Self {
        Self { start: start.into(), end }
    }

    /// The keys that begin with these bytes.
    pub fn of_prefix(prefix: &[u8]) -> Self {
        Self { start: Bytes::copy_from_slice(prefix), end: after_prefix(prefix) }
    }

    /// The first place of the range.
    pub fn start(&self) -> &Bytes {
        &self.start
    }

    /// The first place after the range; none if it goes to the last key.
    pub fn end(&self) -> Option<&Bytes> {
        self.end.as_ref()
    }

    /// Whether no key can be in it.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// Whether the key is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.start <= *key && self.end.as_ref().is_none_or(|end| *key < **end)
    }

    /// The rest of the range from `start` on.
    #[must_use]
    pub fn from(&self, start: Bytes) -> Self {
        Self { start, end: self.end.clone() }
    }

    /// The rest of the range after a key.
    #[must_use]
    pub fn after(&self, key: &Key) -> Self {
        self.from(place_after(key))
    }

    /// The range up to `end`, if that is before its own.
    #[must_use]
    pub fn until(&self, end: Bytes) -> Self {
        let end = self.end.as_ref().map_or(end.clone(), |own| own.clone().min(end));
        Self { start: self.start.clone(), end: Some(end) }
    }

    /// What both ranges hold.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let start = self.start.clone().max(other.start.clone());
        let both = self.from(start);
        other.end.as_ref().map_or(both.clone(), |end| both.until(end.clone()))
    }

    /// The key after which the range starts, for stores that list after a key: exact, if there is one.
    pub fn starts_after(&self) -> Option<Key> {
        let before = self.start.strip_suffix(&[0])?;
        Key::new(self.start.slice(..before.len())).ok()
    }

    /// The longest prefix that all keys of the range have, for stores that list by prefix.
    pub fn common_prefix(&self) -> Bytes {
        let Some(end) = &self.end else { return Bytes::new() };
        let shared = self.start.iter().zip(end).take_while(|(one, other)| one == other).count();
        // [ab, ac) is the prefix ab, although only `a` is shared by its bounds.
        (shared..=self.start.len())
            .rev()
            .map(|len| self.start.slice(..len))
            .find(|prefix| after_prefix(prefix).is_none_or(|after| end <= &after))
            .unwrap_or_default()
    }
}

/// The place right after a key: nothing fits between the two.
pub fn place_after(key: &Key) -> Bytes {
    let mut place = Vec::with_capacity(key.as_bytes().len() + 1);
    place.extend_from_slice(key.as_bytes());
    place.push(0);
    place.into()
}

/// The first place after all keys with this prefix; none if there is no such place.
fn after_prefix(prefix: &[u8]) -> Option<Bytes> {
    let kept = prefix.iter().rposition(|byte| *byte != 0xFF)?;
    let mut after = prefix[..=kept].to_vec();
    after[kept] += 1;
    Some(after.into())
}

impl fmt::Display for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.end.as_deref().map_or_else(|| "the end".to_owned(), |end| format!("`{}`", escaped(end)));
        write!(f, "from `{}` to {end}", escaped(&self.start))
    }
}

impl fmt::Debug for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bound() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(vec![0, b'a', b'b', 0xFE, 0xFF]), 0..4)
    }

    fn key() -> impl Strategy<Value = Key> {
        bound().prop_filter_map("a key has a byte", |bytes| Key::new(bytes).ok())
    }

    #[test]
    fn a_prefix_is_a_range() {
        assert_eq!(KeyRange::of_prefix(b"a\xFF").end().unwrap().as_ref(), b"b");
        assert_eq!(KeyRange::of_prefix(b"\xFF").end(), None);
        assert_eq!(KeyRange::of_prefix(b"").end(), None);
        assert_eq!(KeyRange::of_prefix(b"dir/").common_prefix().as_ref(), b"dir/");
    }

    #[test]
    fn a_start_after_a_key_is_exact() {
        let key = Key::try_from("k").unwrap();
        assert_eq!(KeyRange::all().after(&key).starts_after(), Some(key));
        assert_eq!(KeyRange::of_prefix(b"k").starts_after(), None);
    }

    proptest! {
        #[test]
        fn a_range_holds_what_its_bounds_say(start in bound(), end in prop::option::of(bound()), key in key()) {
            let range = KeyRange::new(start.clone(), end.clone().map(Bytes::from));
            let inside = start.as_slice() <= key.as_bytes() && end.is_none_or(|end| key.as_bytes() < end.as_slice());
            prop_assert_eq!(range.contains(key.as_bytes()), inside);
            prop_assert!(!inside || key.as_bytes().starts_with(&range.common_prefix()));
            prop_assert!(!inside || !range.is_empty());
        }

        #[test]
        fn splitting_loses_and_repeats_no_key(start in bound(), end in bound(), at in bound(), key in key()) {
            let range = KeyRange::new(start, Some(end.into()));
            let (low, high) = (range.until(at.clone().into()), range.intersect(&KeyRange::new(at, None)));
            let (low, high) = (low.contains(key.as_bytes()), high.contains(key.as_bytes()));
            prop_assert_eq!(low || high, range.contains(key.as_bytes()));
            prop_assert!(!(low && high));
        }

        #[test]
        fn prefixes_hold_exactly_their_keys(prefix in bound(), key in key()) {
            prop_assert_eq!(KeyRange::of_prefix(&prefix).contains(key.as_bytes()), key.as_bytes().starts_with(&prefix));
        }

        #[test]
        fn nothing_is_between_a_key_and_the_place_after_it(key in key(), other in key()) {
            let after = KeyRange::all().after(&key).contains(other.as_bytes());
            prop_assert_eq!(after, other > key);
        }
    }
}
