//! The contents of a file: where they are, cutting them, holes in them.

use bytes::Bytes;

use crate::attr::{Attr, AttrChange, UnixTime};
use crate::engine::{RangeRead, prefix_end};
use crate::error::{FsError, Result};
use crate::extent::Extent;
use crate::ino::Ino;
use crate::txn::Txn;
use crate::{key, row};

use super::extents::{self, ExtentChanges, STEP_EXTENTS};
use super::{attributes, expect_file};

/// Where a file's bytes are. What neither covers, up to the file's size, is a hole: zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// The first bytes of the file, themselves.
    Inline(Bytes),
    /// The extents that overlap the range asked for, in order.
    Extents(Vec<Extent>),
}

/// What a seek looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// The next byte that is data.
    Data,
    /// The next byte of a hole; the end of the file counts as one.
    Hole,
}

pub(super) async fn read(txn: &mut Txn, ino: Ino, offset: u64, len: u64) -> Result<(Attr, Contents)> {
    let attr = attributes::peek(txn, ino).await?;
    expect_file(&attr)?;
    if attr.inline {
        return Ok((attr, Contents::Inline(inline(txn, ino).await?)));
    }
    let end = offset.saturating_add(len).min(attr.size);
    if offset >= end || attr.allocated == 0 {
        return Ok((attr, Contents::Extents(Vec::new())));
    }
    Ok((attr, Contents::Extents(peek_overlapping(txn, ino, offset, end).await?)))
}

async fn inline(txn: &mut Txn, ino: Ino) -> Result<Bytes> {
    let value = txn.get(&key::contents(ino)).await?;
    let value = value.ok_or_else(|| FsError::Corrupt(format!("the contents of inode {ino} are missing")))?;
    let bytes = row::decode_bytes("a contents row", &value)?;
    Ok(value.slice_ref(bytes))
}

/// The extents that overlap [begin, end), without taking part in the conflict check.
async fn peek_overlapping(txn: &mut Txn, ino: Ino, begin: u64, end: u64) -> Result<Vec<Extent>> {
    let mut found = Vec::new();
    let first = txn.peek_range(&RangeRead::new(key::extent(ino, begin), key::extent(ino, end))).await?;
    let starts_there = first.rows.first().is_some_and(|(key, _)| key.as_ref() == key::extent(ino, begin));
    if !starts_there {
        let before = RangeRead::new(key::extents(ino), key::extent(ino, begin)).limit(1).reverse();
        for (key, value) in txn.peek_range(&before).await?.rows {
            let extent = extents::decode(&key, &value)?;
            found.extend(extent.overlaps(begin, end).then_some(extent));
        }
    }
    for (key, value) in first.rows {
        found.push(extents::decode(&key, &value)?);
    }
    Ok(found)
}

/// Replaces contents without extents by an inline row.
pub(super) async fn write_inline(txn: &mut Txn, ino: Ino, bytes: &Bytes, change: &AttrChange) -> Result<Attr> {
    let mut attr = attributes::get(txn, ino).await?;
    expect_file(&attr)?;
    if !attr.inline && attr.allocated != 0 {
        return Err(FsError::Invalid("the file has extents"));
    }
    txn.put(&key::contents(ino), row::encode_bytes(bytes)).await?;
    attr.inline = true;
    attr.size = bytes.len() as u64;
    attr.allocated = attr.size;
    attr.change(change, attr.ctime);
    attributes::put(txn, ino, &attr).await?;
    Ok(attr)
}

/// Takes away contents from the end until `size` is reached or the step is full; true when
/// nothing past `size` is left. The file's size follows what is taken.
pub(super) async fn shrink_step(txn: &mut Txn, ino: Ino, size: u64, now: UnixTime) -> Result<bool> {
    let mut attr = attributes::get(txn, ino).await?;
    expect_file(&attr)?;
    if size >= attr.size {
        return Ok(true);
    }
    let done = if attr.inline {
        shrink_inline(txn, ino, size, &mut attr).await?;
        true
    } else {
        shrink_extents(txn, ino, size, &mut attr).await?
    };
    attr.mtime = now;
    attr.ctime = now;
    attributes::put(txn, ino, &attr).await?;
    Ok(done)
}

async fn shrink_inline(txn: &mut Txn, ino: Ino, size: u64, attr: &mut Attr) -> Result<()> {
    let bytes = inline(txn, ino).await?;
    let kept = bytes.len().min(usize::try_from(size).unwrap_or(usize::MAX));
    attr.size = size;
    attr.allocated = kept as u64;
    if kept == 0 {
        attr.inline = false;
        return txn.delete(&key::contents(ino)).await;
    }
    txn.put(&key::contents(ino), row::encode_bytes(&bytes[..kept])).await
}

async fn shrink_extents(txn: &mut Txn, ino: Ino, size: u64, attr: &mut Attr) -> Result<bool> {
    let last = RangeRead::new(key::extents(ino), prefix_end(&key::extents(ino)));
    let page = txn.range(&last.limit(STEP_EXTENTS).reverse()).await?;
    let mut old = Vec::new();
    for (key, value) in page.rows {
        let extent = extents::decode(&key, &value)?;
        old.extend((extent.end() > size).then_some(extent));
    }
    let done = old.len() < STEP_EXTENTS;
    let reached = if done { size } else { old.last().map_or(size, |extent| extent.offset.max(size)) };
    let mut changes = ExtentChanges::default();
    changes.cut(&old, reached, u64::MAX);
    changes.apply(txn, ino, attr).await?;
    attr.size = reached;
    Ok(done)
}

/// Makes part of [begin, end) a hole; true when all of it is one.
pub(super) async fn punch_step(txn: &mut Txn, ino: Ino, begin: u64, end: u64, now: UnixTime) -> Result<(Attr, bool)> {
    let mut attr = attributes::get(txn, ino).await?;
    expect_file(&attr)?;
    let mut done = true;
    if attr.inline {
        punch_inline(txn, ino, begin, end).await?;
    } else {
        let old = extents::overlapping(txn, ino, begin, end, STEP_EXTENTS).await?;
        done = old.len() < STEP_EXTENTS;
        let mut changes = ExtentChanges::default();
        changes.cut(&old, begin, end);
        changes.apply(txn, ino, &mut attr).await?;
    }
    attr.mtime = now;
    attr.ctime = now;
    attributes::put(txn, ino, &attr).await?;
    Ok((attr, done))
}

async fn punch_inline(txn: &mut Txn, ino: Ino, begin: u64, end: u64) -> Result<()> {
    let mut bytes = inline(txn, ino).await?.to_vec();
    let clamp = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    let hole = clamp(begin)..clamp(end);
    if let Some(hole) = bytes.get_mut(hole) {
        hole.fill(0);
    }
    txn.put(&key::contents(ino), row::encode_bytes(&bytes)).await
}

pub(super) async fn seek(txn: &mut Txn, ino: Ino, offset: u64, seek: Seek) -> Result<u64> {
    let attr = attributes::peek(txn, ino).await?;
    expect_file(&attr)?;
    if offset >= attr.size {
        return Err(FsError::NoSuchOffset);
    }
    if attr.inline {
        return seek_inline(inline(txn, ino).await?.len() as u64, offset, attr.size, seek);
    }
    let mut at = offset;
    loop {
        let extents = extents::overlapping(txn, ino, at, attr.size, STEP_EXTENTS).await?;
        let full = extents.len() == STEP_EXTENTS;
        match seek_extents(&extents, at, seek) {
            Found::At(found) => return Ok(found.min(attr.size)),
            Found::After(reached) if full => at = reached,
            Found::After(_) if seek == Seek::Data => return Err(FsError::NoSuchOffset),
            Found::After(reached) => return Ok(reached.min(attr.size)),
        }
    }
}

fn seek_inline(data: u64, offset: u64, size: u64, seek: Seek) -> Result<u64> {
    match seek {
        Seek::Data if offset < data => Ok(offset),
        Seek::Data => Err(FsError::NoSuchOffset),
        Seek::Hole => Ok(offset.max(data).min(size)),
    }
}

enum Found {
    /// What was looked for is here.
    At(u64),
    /// It is not before here.
    After(u64),
}

fn seek_extents(extents: &[Extent], from: u64, seek: Seek) -> Found {
    let mut at = from;
    for extent in extents {
        if seek == Seek::Data {
            return Found::At(extent.offset.max(at));
        }
        if extent.offset > at {
            return Found::At(at);
        }
        at = extent.end();
    }
    Found::After(at)
}
