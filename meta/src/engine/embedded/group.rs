//! A group of commits on its way to disk: the rows as they stand after all of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use farshore_proto::Version;

use super::key_range::KeyRange;
use super::view::Rows;
use super::window::Window;
use super::writes::{Write, Writes};
use crate::engine::{Direction, Result};

/// Rows with their new values; none for those that are deleted.
type Changes = Vec<(Bytes, Option<Bytes>)>;

/// The commits of one batch, in order, over the view that was there before them.
pub(super) struct Group<'a> {
    batch: u64,
    next_order: u16,
    before: Rows<'a>,
    rows: BTreeMap<Bytes, Option<Bytes>>,
}

impl<'a> Group<'a> {
    pub(super) fn new(batch: u64, before: Rows<'a>) -> Self {
        Self { batch, next_order: 0, before, rows: BTreeMap::new() }
    }

    /// Adds a transaction after those that are in the group already, and tells the window.
    ///
    /// # Errors
    /// Reading what the transaction builds on failed; then it is not in the group.
    pub(super) fn add(&mut self, writes: Writes, window: &mut Window) -> Result<Version> {
        let version = Version::new(self.batch, self.next_order);
        let cleared: Vec<KeyRange> = writes.cleared.iter().collect();
        let changes = self.resolve(writes, version)?;
        self.next_order += 1;
        for range in cleared {
            window.cleared(range);
        }
        for (key, value) in changes {
            window.wrote(&key);
            self.rows.insert(key, value);
        }
        Ok(version)
    }

    /// The version of the last transaction that was added; none in an empty group.
    pub(super) fn last(&self) -> Option<Version> {
        self.next_order.checked_sub(1).map(|order| Version::new(self.batch, order))
    }

    /// The rows to write.
    pub(super) fn into_rows(self) -> BTreeMap<Bytes, Option<Bytes>> {
        self.rows
    }

    /// What the writes of a transaction come to after the ones before it.
    fn resolve(&self, writes: Writes, version: Version) -> Result<Changes> {
        let mut changes = Changes::new();
        for range in writes.cleared.iter() {
            self.resolve_clear(&range, &mut changes)?;
        }
        for (key, write) in writes.rows {
            let value = match write {
                Write::Set(value) => Some(value),
                Write::Clear => None,
                Write::Add(_) => write.apply(self.get(&key)?.as_deref()),
            };
            changes.push((key, value));
        }
        let stamped = writes.stamped.into_iter().filter_map(|row| row.complete(version));
        changes.extend(stamped.map(|(key, value)| (key, Some(value))));
        Ok(changes)
    }

    fn resolve_clear(&self, range: &KeyRange, changes: &mut Changes) -> Result<()> {
        for row in self.before.scan(range, Direction::Forward) {
            changes.push((row?.0, None));
        }
        let written = self.rows.range::<[u8], _>(range.bounds());
        changes.extend(written.map(|(key, _)| (key.clone(), None)));
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        match self.rows.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.before.get(key),
        }
    }
}
