//! Files put whole: an inode with its contents and all its attributes comes under its name, in place of what had it,
//! in one transaction. What is too much for one is written to an inode without a name first (`unnamed.rs`).

use bytes::Bytes;
use farshore_proto::limits::{MAX_SYMLINK_BYTES, MAX_XATTR_BYTES};

use crate::attr::{Attr, AttrChange, FileKind, UnixTime};
use crate::error::{FsError, Result};
use crate::extent::Extent;
use crate::ino::{Ino, Name};
use crate::txn::Txn;
use crate::{key, row};

use super::contents::Contents;
use super::extents::ExtentChanges;
use super::names::{self, NewInode};
use super::{attributes, expect_file, xattrs};

/// An extended attribute: its name and its value.
pub type Xattr = (Bytes, Bytes);

/// An extended attribute as it is to be: its name, and its value unless it is to go.
pub type XattrChange = (Bytes, Option<Bytes>);

/// Most extents of a file that is put in one transaction; with their blocks' references they stay far below its limit.
pub const WHOLE_EXTENTS: usize = super::extents::STEP_EXTENTS;

/// An inode to be made, with everything that belongs to it.
#[derive(Debug, Clone)]
pub struct Whole {
    /// What it is, whose, and a symlink's target.
    pub inode: NewInode,
    /// When its contents were last written.
    pub modified: UnixTime,
    /// Its length in bytes, if it is a file.
    pub size: u64,
    /// A file's contents; blocks must be stored already. Of all else empty extents.
    pub contents: Contents,
    /// Its extended attributes, each name once.
    pub xattrs: Vec<Xattr>,
}

/// What tells one state of an inode from every other: no change of it goes without a new change time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InodeState {
    /// The inode.
    pub ino: Ino,
    /// Its length in bytes.
    pub size: u64,
    /// When its contents were last written.
    pub mtime: UnixTime,
    /// When it was last changed.
    pub ctime: UnixTime,
}

/// What a name must lead to for it to be given to another inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Anything but a directory, or nothing.
    Any,
    /// Nothing.
    Nothing,
    /// An inode in this state.
    State(InodeState),
}

/// What became of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The inode that it leads to.
    pub ino: Ino,
    /// That inode's attributes.
    pub attr: Attr,
    /// The inode that lost the name, if one did.
    pub replaced: Option<(Ino, Attr)>,
}

impl InodeState {
    /// The state that an inode with these attributes is in.
    pub fn of(ino: Ino, attr: &Attr) -> Self {
        Self { ino, size: attr.size, mtime: attr.mtime, ctime: attr.ctime }
    }
}

/// Makes an inode and gives it `name`. A directory must be new.
pub(super) async fn place(
    txn: &mut Txn,
    parent: Ino,
    name: &Name,
    ino: Ino,
    whole: &Whole,
    expected: &Expected,
    now: UnixTime,
) -> Result<Placed> {
    let NewInode { kind, mode, uid, gid, rdev, target } = &whole.inode;
    if target.len() > MAX_SYMLINK_BYTES {
        return Err(FsError::NameTooLong);
    }
    let expected = if *kind == FileKind::Directory { &Expected::Nothing } else { expected };
    let replaced = free_name(txn, parent, name, expected, now).await?;
    let mut attr = Attr { rdev: *rdev, ..Attr::new(*kind, *mode, *uid, *gid, now) };
    attr.mtime = whole.modified;
    attr.atime = whole.modified;
    match kind {
        FileKind::File => put_contents(txn, ino, whole, &mut attr).await?,
        FileKind::Directory => attr.parent = parent,
        _ => attr.size = target.len() as u64,
    }
    if *kind == FileKind::Symlink {
        txn.put(&key::symlink(ino), row::encode_bytes(target)).await?;
    }
    put_xattrs(txn, ino, &whole.xattrs).await?;
    attributes::put(txn, ino, &attr).await?;
    give_name(txn, parent, name, ino, *kind, now).await?;
    Ok(Placed { ino, attr, replaced })
}

async fn put_contents(txn: &mut Txn, ino: Ino, whole: &Whole, attr: &mut Attr) -> Result<()> {
    match &whole.contents {
        Contents::Inline(bytes) if bytes.is_empty() => {}
        Contents::Inline(bytes) => {
            txn.put(&key::contents(ino), row::encode_bytes(bytes)).await?;
            attr.inline = true;
            attr.allocated = bytes.len() as u64;
        }
        Contents::Extents(extents) => put_extents(txn, ino, extents, attr).await?,
    }
    attr.size = whole.size;
    Ok(())
}

async fn put_extents(txn: &mut Txn, ino: Ino, extents: &[Extent], attr: &mut Attr) -> Result<()> {
    if extents.len() > WHOLE_EXTENTS {
        return Err(FsError::Invalid("more extents than one transaction takes"));
    }
    let mut changes = ExtentChanges::default();
    for extent in extents {
        changes.put(*extent);
    }
    changes.apply(txn, ino, attr).await
}

/// Takes a name from what has it, if that is as expected; its directory lives.
pub(super) async fn free_name(
    txn: &mut Txn,
    parent: Ino,
    name: &Name,
    expected: &Expected,
    now: UnixTime,
) -> Result<Option<(Ino, Attr)>> {
    names::living_directory(txn, parent).await?;
    let found = names::find_entry(txn, parent, name).await?;
    match (found, expected) {
        (None, Expected::State(_)) => Err(FsError::NotFound),
        (None, _) => Ok(None),
        (Some(_), Expected::Nothing) => Err(FsError::Exists),
        (Some((_, FileKind::Directory)), _) => Err(FsError::IsDirectory),
        (Some((ino, _)), expected) => {
            if let Expected::State(state) = expected {
                expect_state(txn, state, ino).await?;
            }
            Ok(Some((ino, names::drop_name(txn, ino, now).await?)))
        }
    }
}

async fn expect_state(txn: &mut Txn, state: &InodeState, ino: Ino) -> Result<()> {
    let attr = attributes::get(txn, ino).await?;
    if InodeState::of(ino, &attr) == *state { Ok(()) } else { Err(FsError::Stale) }
}

/// Writes the entry that makes `name` lead to an inode.
pub(super) async fn give_name(
    txn: &mut Txn,
    parent: Ino,
    name: &Name,
    ino: Ino,
    kind: FileKind,
    now: UnixTime,
) -> Result<()> {
    txn.put(&key::entry(parent, name), row::encode_entry(ino, kind)).await?;
    let directory = attributes::get(txn, parent).await?;
    attributes::touch_directory(txn, parent, directory, i32::from(kind == FileKind::Directory), now).await
}

pub(super) async fn put_xattrs(txn: &mut Txn, ino: Ino, all: &[Xattr]) -> Result<()> {
    for (name, value) in all {
        put_xattr(txn, ino, name, value).await?;
    }
    Ok(())
}

async fn put_xattr(txn: &mut Txn, ino: Ino, name: &[u8], value: &[u8]) -> Result<()> {
    xattrs::check_name(name)?;
    if value.len() > MAX_XATTR_BYTES {
        return Err(FsError::AttributeTooLarge);
    }
    txn.put(&key::xattr(ino, name), row::encode_bytes(value)).await
}

/// Gives an inode that is no directory one more name, in place of what had it.
pub(super) async fn link_over(
    txn: &mut Txn,
    ino: Ino,
    parent: Ino,
    name: &Name,
    now: UnixTime,
) -> Result<Option<(Ino, Attr)>> {
    if names::find_entry(txn, parent, name).await?.is_some_and(|(found, _)| found == ino) {
        return Ok(None);
    }
    let replaced = free_name(txn, parent, name, &Expected::Any, now).await?;
    if replaced.is_some() {
        txn.delete(&key::entry(parent, name)).await?;
    }
    names::link(txn, ino, parent, name, now).await?;
    Ok(replaced)
}

/// Changes attributes and extended attributes, if the inode is in the state that is expected. The size stays.
pub(super) async fn change(
    txn: &mut Txn,
    ino: Ino,
    expected: Option<&InodeState>,
    change: &AttrChange,
    xattrs: &[XattrChange],
    now: UnixTime,
) -> Result<Attr> {
    if let Some(expected) = expected {
        expect_state(txn, expected, ino).await?;
    }
    for (name, value) in xattrs {
        match value {
            Some(value) => put_xattr(txn, ino, name, value).await?,
            None => txn.delete(&key::xattr(ino, name)).await?,
        }
    }
    let mut attr = attributes::get(txn, ino).await?;
    attr.change(&AttrChange { size: None, ..*change }, now);
    attributes::put(txn, ino, &attr).await?;
    Ok(attr)
}

/// Fails unless the inode is a file without a name.
pub(super) fn expect_unnamed(attr: &Attr) -> Result<()> {
    expect_file(attr)?;
    if attr.nlink == 0 { Ok(()) } else { Err(FsError::NotFound) }
}
