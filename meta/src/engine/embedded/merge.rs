//! The rows of a range as a transaction sees them: those of its view, changed by its own
//! writes. Rows are read one by one, and what the transaction cleared is not read at all.

use std::cmp::Ordering;
use std::collections::btree_map;
use std::iter::Peekable;
use std::vec;

use bytes::Bytes;

use super::key_range::KeyRange;
use super::view::{Rows, Scan};
use super::writes::{Write, Writes};
use crate::engine::{Direction, KeyValue, Result};

/// The merged rows, in the direction that was asked for.
pub(super) struct Merge<'a> {
    stored: Peekable<Stored<'a>>,
    written: Peekable<Written<'a>>,
    direction: Direction,
}

/// Which side has the next key.
enum Side {
    Stored,
    Written,
    Both,
    Neither,
}

impl<'a> Merge<'a> {
    /// The rows of `range`, which must not be empty.
    pub(super) fn new(rows: Rows<'a>, writes: &'a Writes, range: &KeyRange, direction: Direction) -> Self {
        let stored = Stored { rows, gaps: writes.cleared.gaps(range).into_iter(), scan: None, direction };
        let written = Written { rows: writes.rows.range::<[u8], _>(range.bounds()), direction };
        Self { stored: stored.peekable(), written: written.peekable(), direction }
    }

    /// The next key of either side; its value is none if the transaction deleted the row.
    fn step(&mut self) -> Option<Result<(Bytes, Option<Bytes>)>> {
        match self.side() {
            Side::Neither => None,
            Side::Stored => self.stored.next().map(|row| row.map(|(key, value)| (key, Some(value)))),
            Side::Written => self.written.next().map(|(key, write)| Ok((key.clone(), write.apply(None)))),
            Side::Both => {
                let rows = self.stored.next().zip(self.written.next());
                rows.map(|(row, (_, write))| row.map(|(key, value)| (key, write.apply(Some(&value)))))
            }
        }
    }

    fn side(&mut self) -> Side {
        let order = match (self.stored.peek(), self.written.peek()) {
            (None, None) => return Side::Neither,
            (None, Some(_)) => return Side::Written,
            (Some(_), None) | (Some(Err(_)), _) => return Side::Stored,
            (Some(Ok((stored, _))), Some((written, _))) => stored.cmp(written),
        };
        match (order, self.direction) {
            (Ordering::Equal, _) => Side::Both,
            (Ordering::Less, Direction::Forward) | (Ordering::Greater, Direction::Reverse) => Side::Stored,
            _ => Side::Written,
        }
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<KeyValue>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step()? {
                Ok((key, Some(value))) => return Some(Ok((key, value))),
                Ok((_, None)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The view's rows in the parts of the range that the transaction has not cleared.
struct Stored<'a> {
    rows: Rows<'a>,
    gaps: vec::IntoIter<KeyRange>,
    scan: Option<Scan<'a>>,
    direction: Direction,
}

impl Iterator for Stored<'_> {
    type Item = Result<KeyValue>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.scan.as_mut().and_then(Iterator::next) {
                return Some(row);
            }
            let gap = match self.direction {
                Direction::Forward => self.gaps.next(),
                Direction::Reverse => self.gaps.next_back(),
            };
            self.scan = Some(self.rows.scan(&gap?, self.direction));
        }
    }
}

/// The transaction's own writes in the range.
struct Written<'a> {
    rows: btree_map::Range<'a, Bytes, Write>,
    direction: Direction,
}

impl<'a> Iterator for Written<'a> {
    type Item = (&'a Bytes, &'a Write);

    fn next(&mut self) -> Option<Self::Item> {
        match self.direction {
            Direction::Forward => self.rows.next(),
            Direction::Reverse => self.rows.next_back(),
        }
    }
}
