//! A view: the rows exactly as they are after one commit. Transactions share the newest.

use bytes::Bytes;
use farshore_proto::Version;
use fjall::{Keyspace, Readable, Snapshot};

use super::key_range::KeyRange;
use super::layout::Layout;
use super::store::failed;
use crate::engine::limit::{RESERVED, may_exist};
use crate::engine::{Direction, KeyValue, Result};

/// A snapshot and the version of the last commit in it.
pub(super) struct View {
    pub(super) last: Version,
    pub(super) snapshot: Snapshot,
}

impl View {
    pub(super) fn batch(&self) -> u64 {
        self.last.batch()
    }

    /// The rows of this view, read through an open keyspace.
    pub(super) fn rows<'a>(&'a self, keyspace: &'a Keyspace, layout: &'a Layout) -> Rows<'a> {
        Rows { snapshot: &self.snapshot, keyspace, layout }
    }
}

/// The rows of a view while the engine is open.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    snapshot: &'a Snapshot,
    keyspace: &'a Keyspace,
    layout: &'a Layout,
}

impl<'a> Rows<'a> {
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        if !may_exist(key) {
            return Ok(None);
        }
        let value = self.snapshot.get(self.keyspace, key).map_err(|error| failed(self.layout, error))?;
        Ok(value.map(Bytes::from))
    }

    /// The rows of `range`, one by one. The engine's own rows are never among them.
    pub(super) fn scan(&self, range: &KeyRange, direction: Direction) -> Scan<'a> {
        let end: &[u8] = range.end.as_ref().min(&[RESERVED]);
        let rows = (*range.begin < *end).then(|| self.snapshot.range(self.keyspace, &range.begin[..]..end));
        Scan { rows, direction, layout: self.layout }
    }
}

/// A walk through a range of a view.
pub(super) struct Scan<'a> {
    rows: Option<fjall::Iter>,
    direction: Direction,
    layout: &'a Layout,
}

impl Iterator for Scan<'_> {
    type Item = Result<KeyValue>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.rows.as_mut()?;
        let row = match self.direction {
            Direction::Forward => rows.next(),
            Direction::Reverse => rows.next_back(),
        };
        let read = |row: fjall::Guard| match row.into_inner() {
            Ok((key, value)) => Ok((key.into(), value.into())),
            Err(error) => Err(failed(self.layout, error)),
        };
        row.map(read)
    }
}
