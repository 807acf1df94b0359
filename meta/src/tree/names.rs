//! Names: looking them up, making and removing them.

use bytes::Bytes;
use farshore_proto::limits::MAX_SYMLINK_BYTES;

use crate::attr::{Attr, FileKind, UnixTime};
use crate::engine::RangeRead;
use crate::error::{FsError, Result};
use crate::ino::{Ino, Name};
use crate::txn::Txn;
use crate::{key, row};

use super::{attributes, expect_directory};

/// Permission bit of a directory whose new entries take its group.
const SET_GID: u16 = 0o2000;
/// Most names of one inode; Linux filesystems stop between 32,000 and 2^31.
const MAX_LINKS: u32 = 1 << 30;

/// What a new inode is made of.
#[derive(Debug, Clone)]
pub struct NewInode {
    /// What it is.
    pub kind: FileKind,
    /// Its permission bits, the caller's umask already applied.
    pub mode: u16,
    /// Its owner.
    pub uid: u32,
    /// Its group, unless the directory's set-gid bit gives it another.
    pub gid: u32,
    /// The device number of a device node.
    pub rdev: u32,
    /// A symlink's target; empty for all else.
    pub target: Bytes,
}

/// What `name` in `parent` leads to.
async fn entry(txn: &mut Txn, parent: Ino, name: &Name) -> Result<Option<(Ino, FileKind)>> {
    let value = txn.get(&key::entry(parent, name)).await?;
    value.map(|value| row::decode_entry(&value)).transpose()
}

/// What `name` in `parent` leads to, which must be there.
pub(super) async fn expect_entry(txn: &mut Txn, parent: Ino, name: &Name) -> Result<(Ino, FileKind)> {
    entry(txn, parent, name).await?.ok_or(FsError::NotFound)
}

/// What `name` in `parent` leads to, if it is there, for a caller that changes it.
pub(super) async fn find_entry(txn: &mut Txn, parent: Ino, name: &Name) -> Result<Option<(Ino, FileKind)>> {
    entry(txn, parent, name).await
}

/// The attributes of a directory that still has a name of its own.
pub(super) async fn living_directory(txn: &mut Txn, ino: Ino) -> Result<Attr> {
    let attr = attributes::get(txn, ino).await?;
    expect_directory(&attr)?;
    if attr.nlink == 0 { Err(FsError::NotFound) } else { Ok(attr) }
}

pub(super) async fn lookup(txn: &mut Txn, parent: Ino, name: &Name) -> Result<(Ino, Attr)> {
    let value = txn.peek(&key::entry(parent, name)).await?;
    let (ino, _) = row::decode_entry(&value.ok_or(FsError::NotFound)?)?;
    let attr = attributes::peek(txn, ino).await;
    let attr = attr.map_err(|error| match error {
        FsError::NotFound => FsError::Corrupt(format!("the entry {name:?} of {parent} leads to no inode")),
        other => other,
    })?;
    Ok((ino, attr))
}

/// The inode that a path of names leads to from a directory, read at one snapshot. Nothing is followed.
pub(super) async fn resolve(txn: &mut Txn, from: Ino, path: &[Name]) -> Result<(Ino, Attr)> {
    let (mut ino, mut kind) = (from, FileKind::Directory);
    for name in path {
        if kind != FileKind::Directory {
            return Err(FsError::NotDirectory);
        }
        let value = txn.peek(&key::entry(ino, name)).await?;
        (ino, kind) = row::decode_entry(&value.ok_or(FsError::NotFound)?)?;
    }
    Ok((ino, attributes::peek(txn, ino).await?))
}

pub(super) async fn create(
    txn: &mut Txn,
    parent: Ino,
    name: &Name,
    ino: Ino,
    new: &NewInode,
    now: UnixTime,
) -> Result<(Ino, Attr)> {
    if new.target.len() > MAX_SYMLINK_BYTES {
        return Err(FsError::NameTooLong);
    }
    let directory = living_directory(txn, parent).await?;
    if entry(txn, parent, name).await?.is_some() {
        return Err(FsError::Exists);
    }
    let attr = new_attr(parent, &directory, new, now);
    attributes::put(txn, ino, &attr).await?;
    if new.kind == FileKind::Symlink {
        txn.put(&key::symlink(ino), row::encode_bytes(&new.target)).await?;
    }
    txn.put(&key::entry(parent, name), row::encode_entry(ino, new.kind)).await?;
    let subdirectories = i32::from(new.kind == FileKind::Directory);
    attributes::touch_directory(txn, parent, directory, subdirectories, now).await?;
    Ok((ino, attr))
}

fn new_attr(parent: Ino, directory: &Attr, new: &NewInode, now: UnixTime) -> Attr {
    let mut attr = Attr::new(new.kind, new.mode, new.uid, new.gid, now);
    attr.rdev = new.rdev;
    attr.size = new.target.len() as u64;
    if directory.mode & SET_GID != 0 {
        attr.gid = directory.gid;
    }
    if new.kind == FileKind::Directory {
        attr.parent = parent;
        attr.mode |= directory.mode & SET_GID;
    }
    attr
}

pub(super) async fn link(txn: &mut Txn, ino: Ino, parent: Ino, name: &Name, now: UnixTime) -> Result<Attr> {
    let directory = living_directory(txn, parent).await?;
    let mut attr = attributes::get(txn, ino).await?;
    if attr.kind == FileKind::Directory {
        return Err(FsError::NotPermitted("a directory has one name"));
    }
    if attr.nlink == 0 {
        return Err(FsError::NotFound);
    }
    if attr.nlink >= MAX_LINKS {
        return Err(FsError::NotPermitted("an inode has no more than 2^30 names"));
    }
    if entry(txn, parent, name).await?.is_some() {
        return Err(FsError::Exists);
    }
    attr.nlink += 1;
    attr.ctime = now;
    attributes::put(txn, ino, &attr).await?;
    txn.put(&key::entry(parent, name), row::encode_entry(ino, attr.kind)).await?;
    attributes::touch_directory(txn, parent, directory, 0, now).await?;
    Ok(attr)
}

pub(super) async fn unlink(txn: &mut Txn, parent: Ino, name: &Name, now: UnixTime) -> Result<(Ino, Attr)> {
    let directory = living_directory(txn, parent).await?;
    let (ino, kind) = expect_entry(txn, parent, name).await?;
    if kind == FileKind::Directory {
        return Err(FsError::IsDirectory);
    }
    let attr = drop_name(txn, ino, now).await?;
    txn.delete(&key::entry(parent, name)).await?;
    attributes::touch_directory(txn, parent, directory, 0, now).await?;
    Ok((ino, attr))
}

/// Takes one name from an inode that is no directory; without any, it is an orphan.
pub(super) async fn drop_name(txn: &mut Txn, ino: Ino, now: UnixTime) -> Result<Attr> {
    let mut attr = attributes::get(txn, ino).await?;
    attr.nlink = attr.nlink.saturating_sub(1);
    attr.ctime = now;
    attributes::put(txn, ino, &attr).await?;
    if attr.nlink == 0 {
        txn.put(&key::orphan(ino), row::encode_number(0)).await?;
    }
    Ok(attr)
}

pub(super) async fn remove_directory(txn: &mut Txn, parent: Ino, name: &Name, now: UnixTime) -> Result<(Ino, Attr)> {
    let directory = living_directory(txn, parent).await?;
    let (ino, kind) = expect_entry(txn, parent, name).await?;
    if kind != FileKind::Directory {
        return Err(FsError::NotDirectory);
    }
    let attr = drop_directory(txn, ino, now).await?;
    txn.delete(&key::entry(parent, name)).await?;
    attributes::touch_directory(txn, parent, directory, -1, now).await?;
    Ok((ino, attr))
}

/// Makes an empty directory an orphan.
pub(super) async fn drop_directory(txn: &mut Txn, ino: Ino, now: UnixTime) -> Result<Attr> {
    let mut attr = attributes::get(txn, ino).await?;
    let entries = txn.range(&RangeRead::prefix(key::entries(ino)).limit(1)).await?;
    if !entries.rows.is_empty() {
        return Err(FsError::NotEmpty);
    }
    attr.nlink = 0;
    attr.ctime = now;
    attributes::put(txn, ino, &attr).await?;
    txn.put(&key::orphan(ino), row::encode_number(0)).await?;
    Ok(attr)
}
