//! Changing the extents of a file, in steps that fit a transaction.

use std::collections::BTreeMap;

use crate::attr::{Attr, AttrChange};
use crate::engine::{RangeRead, prefix_end};
use crate::error::{FsError, Result};
use crate::extent::Extent;
use crate::ino::Ino;
use crate::txn::Txn;
use crate::{key, row};

use super::refs::RefChanges;
use super::{attributes, expect_file};

/// Extents that one transaction puts or removes at most: some 200 bytes each, with their
/// blocks' references and twice over for the change log, stay far below every limit.
pub(super) const STEP_EXTENTS: usize = 2_000;

/// What a step of `write_step` did.
pub(super) struct WriteStep {
    pub(super) attr: Attr,
    /// What is still to be written.
    pub(super) rest: Vec<Extent>,
}

/// The extents that have a byte in [begin, end), in order, at most `limit`.
pub(super) async fn overlapping(txn: &mut Txn, ino: Ino, begin: u64, end: u64, limit: usize) -> Result<Vec<Extent>> {
    let mut found = Vec::new();
    let before = RangeRead::new(key::extents(ino), key::extent(ino, begin)).limit(1).reverse();
    for (key, value) in txn.range(&before).await?.rows {
        let extent = decode(&key, &value)?;
        found.extend(extent.overlaps(begin, end).then_some(extent));
    }
    let last = if end == u64::MAX { prefix_end(&key::extents(ino)) } else { key::extent(ino, end) };
    let within = RangeRead::new(key::extent(ino, begin), last).limit(limit);
    for (key, value) in txn.range(&within).await?.rows {
        found.push(decode(&key, &value)?);
    }
    found.truncate(limit);
    Ok(found)
}

pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Extent> {
    let offset = key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
    let offset = offset.ok_or_else(|| FsError::Corrupt("an extent's key".into()))?;
    row::decode_extent(offset, value)
}

/// Changes to a file's extents that one transaction gathers.
#[derive(Default)]
pub(super) struct ExtentChanges {
    rows: BTreeMap<u64, Option<Extent>>,
    refs: RefChanges,
    allocated: i64,
}

impl ExtentChanges {
    /// Puts an extent where there is none.
    pub(super) fn put(&mut self, extent: Extent) {
        self.rows.insert(extent.offset, Some(extent));
        self.refs.add(&extent);
        self.allocated += i64::from(extent.len);
    }

    fn remove(&mut self, extent: &Extent) {
        self.rows.insert(extent.offset, None);
        self.refs.drop(extent);
        self.allocated -= i64::from(extent.len);
    }

    /// Puts the part of `extent` before `end`.
    fn put_before(&mut self, extent: Extent, end: u64) {
        if let Some(part) = extent.clip(0, end) {
            self.put(part);
        }
    }

    /// Cuts [begin, end) out of extents that overlap it.
    pub(super) fn cut(&mut self, extents: &[Extent], begin: u64, end: u64) {
        for extent in extents {
            self.remove(extent);
            extent.without(begin, end).into_iter().flatten().for_each(|left| self.put(left));
        }
    }

    /// Writes the rows gathered so far, so that what is read next sees them.
    async fn write_rows(&mut self, txn: &mut Txn, ino: Ino) -> Result<()> {
        for (offset, extent) in std::mem::take(&mut self.rows) {
            let key = key::extent(ino, offset);
            match extent {
                Some(extent) => txn.put(&key, row::encode_extent(&extent)).await?,
                None => txn.delete(&key).await?,
            }
        }
        Ok(())
    }

    /// Writes the rows and the references, and moves the count of allocated bytes in `attr`.
    pub(super) async fn apply(mut self, txn: &mut Txn, ino: Ino, attr: &mut Attr) -> Result<()> {
        self.write_rows(txn, ino).await?;
        attr.allocated = attr.allocated.saturating_add_signed(self.allocated);
        self.refs.apply(txn).await
    }
}

/// Puts as many of `extents`, which are in order and do not overlap, as fit one transaction.
pub(super) async fn write_step(
    txn: &mut Txn,
    ino: Ino,
    extents: &[Extent],
    size: u64,
    inline_carried: bool,
    change: &AttrChange,
) -> Result<WriteStep> {
    let mut attr = attributes::get(txn, ino).await?;
    expect_file(&attr)?;
    if attr.inline {
        drop_inline(txn, ino, &mut attr, inline_carried).await?;
    }
    let mut changes = ExtentChanges::default();
    let mut budget = STEP_EXTENTS;
    let mut rest = extents.to_vec();
    while let Some(extent) = rest.first().copied().filter(|_| budget > 0) {
        let old = overlapping(txn, ino, extent.offset, extent.end(), budget).await?;
        let full = old.len() == budget;
        let end = old.last().map(Extent::end).filter(|_| full).unwrap_or(u64::MAX).min(extent.end());
        changes.cut(&old, extent.offset, end);
        changes.put_before(extent, end);
        changes.write_rows(txn, ino).await?;
        budget = budget.saturating_sub(old.len() + 1);
        match extent.clip(end, u64::MAX) {
            Some(left) => rest[0] = left,
            None => drop(rest.remove(0)),
        }
    }
    changes.apply(txn, ino, &mut attr).await?;
    let written = if rest.is_empty() { size } else { rest[0].offset };
    attr.size = attr.size.max(written.min(size));
    attr.change(change, attr.ctime);
    attributes::put(txn, ino, &attr).await?;
    Ok(WriteStep { attr, rest })
}

async fn drop_inline(txn: &mut Txn, ino: Ino, attr: &mut Attr, carried: bool) -> Result<()> {
    if !carried {
        return Err(FsError::Invalid("the contents are inline and were not carried over"));
    }
    txn.delete(&key::contents(ino)).await?;
    attr.inline = false;
    attr.allocated = 0;
    Ok(())
}
