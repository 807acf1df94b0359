//! What a transaction will write: one effect for each key, however many calls made it.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use farshore_proto::Version;

use super::add::add;
use super::key_range::{KeyRange, RangeSet};
use crate::engine::limit::STAMP_BYTES;

/// What becomes of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Write {
    /// It gets this value.
    Set(Bytes),
    /// It is deleted.
    Clear,
    /// These integers are added to it, one after the other.
    Add(Vec<Bytes>),
}

impl Write {
    /// The row's value when `before` stood there; none when it is deleted.
    pub(super) fn apply(&self, before: Option<&[u8]>) -> Option<Bytes> {
        match self {
            Self::Set(value) => Some(value.clone()),
            Self::Clear => None,
            Self::Add(operands) => Some(add_all(before, operands)),
        }
    }
}

fn add_all(before: Option<&[u8]>, operands: &[Bytes]) -> Bytes {
    let (first, rest) = operands.split_first().expect("an addition has an operand");
    rest.iter().fold(add(before, first), |sum, operand| add(Some(&sum), operand))
}

/// A row whose key is completed with the commit's version.
#[derive(Debug)]
pub(super) struct Stamped {
    prefix: Bytes,
    suffix: Bytes,
    value: Bytes,
    /// Ranges that the transaction deleted after it put this row.
    cleared_by: Vec<KeyRange>,
}

impl Stamped {
    /// The row that a commit at `version` puts; none if the transaction deleted it itself.
    pub(super) fn complete(self, version: Version) -> Option<(Bytes, Bytes)> {
        let mut key = BytesMut::with_capacity(self.prefix.len() + STAMP_BYTES + self.suffix.len());
        key.put_slice(&self.prefix);
        key.put_slice(version.as_bytes());
        key.put_slice(&self.suffix);
        let key = key.freeze();
        let cleared = self.cleared_by.iter().any(|range| range.contains(&key));
        (!cleared).then_some((key, self.value))
    }
}

/// The writes of a transaction. `cleared` comes first, then `rows`, then `stamped`: a row
/// that was written and then cleared with a range is no longer in `rows`.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pub(super) rows: BTreeMap<Bytes, Write>,
    pub(super) cleared: RangeSet,
    pub(super) stamped: Vec<Stamped>,
}

impl Writes {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.cleared.is_empty() && self.stamped.is_empty()
    }

    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) {
        self.rows.insert(Bytes::copy_from_slice(key), Write::Set(Bytes::copy_from_slice(value)));
    }

    pub(super) fn clear(&mut self, key: &[u8]) {
        self.rows.insert(Bytes::copy_from_slice(key), Write::Clear);
    }

    pub(super) fn clear_range(&mut self, range: KeyRange) {
        if range.is_empty() {
            return;
        }
        let covered: Vec<Bytes> = self.rows.range::<[u8], _>(range.bounds()).map(|(key, _)| key.clone()).collect();
        for key in covered {
            self.rows.remove(&key);
        }
        for stamped in &mut self.stamped {
            stamped.cleared_by.push(range.clone());
        }
        self.cleared.insert(range);
    }

    pub(super) fn add(&mut self, key: &[u8], operand: &[u8]) {
        let write = match self.effect(key) {
            Some(Write::Add(mut operands)) => {
                push_operand(&mut operands, operand);
                Write::Add(operands)
            }
            Some(known) => Write::Set(add(known.apply(None).as_deref(), operand)),
            None => Write::Add(vec![Bytes::copy_from_slice(operand)]),
        };
        self.rows.insert(Bytes::copy_from_slice(key), write);
    }

    pub(super) fn set_stamped(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]) {
        self.stamped.push(Stamped {
            prefix: Bytes::copy_from_slice(prefix),
            suffix: Bytes::copy_from_slice(suffix),
            value: Bytes::copy_from_slice(value),
            cleared_by: Vec::new(),
        });
    }

    /// What the transaction does to the row of `key`; none if nothing.
    pub(super) fn effect(&self, key: &[u8]) -> Option<Write> {
        let written = self.rows.get(key).cloned();
        written.or_else(|| self.cleared.contains(key).then_some(Write::Clear))
    }
}

/// Appends to a list of operands; two of one length are one, which keeps the list short.
fn push_operand(operands: &mut Vec<Bytes>, operand: &[u8]) {
    match operands.last_mut() {
        Some(last) if last.len() == operand.len() => *last = add(Some(last), operand),
        _ => operands.push(Bytes::copy_from_slice(operand)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_addition_after_a_clear_starts_from_zero() {
        let mut writes = Writes::default();
        writes.clear_range(KeyRange::copy_of(b"a", b"c"));
        writes.add(b"b", &[3]);
        assert_eq!(writes.effect(b"b"), Some(Write::Set(Bytes::from_static(&[3]))));
    }

    #[test]
    fn additions_of_one_length_are_one() {
        let mut writes = Writes::default();
        writes.add(b"b", &[3]);
        writes.add(b"b", &[4]);
        writes.add(b"b", &[1, 0]);
        let effect = writes.effect(b"b").unwrap();
        assert_eq!(effect, Write::Add(vec![Bytes::from_static(&[7]), Bytes::from_static(&[1, 0])]));
        assert_eq!(effect.apply(Some(&[255])).unwrap(), &[7, 0][..]);
    }

    #[test]
    fn a_stamped_row_is_deleted_only_by_a_later_clear() {
        let mut writes = Writes::default();
        writes.clear_range(KeyRange::copy_of(b"l", b"m"));
        writes.set_stamped(b"l", b"", b"kept");
        writes.set_stamped(b"s", b"", b"gone");
        writes.clear_range(KeyRange::copy_of(b"s", b"t"));
        let rows: Vec<_> = writes.stamped.into_iter().filter_map(|row| row.complete(Version::new(1, 2))).collect();
        assert_eq!(rows, [(Bytes::from_static(b"l\0\0\0\0\0\0\0\x01\0\x02"), Bytes::from_static(b"kept"))]);
    }
}
