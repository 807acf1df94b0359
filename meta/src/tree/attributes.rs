//! Reading and changing an inode's attributes.

use crate::attr::{Attr, AttrChange, UnixTime};
use crate::error::{FsError, Result};
use crate::ino::Ino;
use crate::txn::Txn;
use crate::{key, row};

use super::{contents, expect_file};

/// An inode's attributes, which may change before the commit.
pub(super) async fn peek(txn: &mut Txn, ino: Ino) -> Result<Attr> {
    let value = txn.peek(&key::attr(ino)).await?;
    row::decode_attr(&value.ok_or(FsError::NotFound)?)
}

/// An inode's attributes; the commit conflicts if they change in between.
pub(super) async fn get(txn: &mut Txn, ino: Ino) -> Result<Attr> {
    let value = txn.get(&key::attr(ino)).await?;
    row::decode_attr(&value.ok_or(FsError::NotFound)?)
}

pub(super) async fn put(txn: &mut Txn, ino: Ino, attr: &Attr) -> Result<()> {
    txn.put(&key::attr(ino), row::encode_attr(attr)).await
}

/// Changes attributes; `None` when a smaller size needs another step first.
pub(super) async fn change(txn: &mut Txn, ino: Ino, change: &AttrChange, now: UnixTime) -> Result<Option<Attr>> {
    let mut attr = get(txn, ino).await?;
    if let Some(size) = change.size {
        expect_file(&attr)?;
        if !contents::shrink_step(txn, ino, size, now).await? {
            return Ok(None);
        }
        attr = get(txn, ino).await?;
        attr.size = size;
        attr.mtime = now;
    }
    attr.change(change, now);
    put(txn, ino, &attr).await?;
    Ok(Some(attr))
}

/// Stamps a directory whose entries changed, and moves its count of subdirectories.
pub(super) async fn touch_directory(txn: &mut Txn, ino: Ino, mut attr: Attr, nlink: i32, now: UnixTime) -> Result<()> {
    attr.mtime = now;
    attr.ctime = now;
    attr.nlink = attr.nlink.saturating_add_signed(nlink);
    put(txn, ino, &attr).await
}
