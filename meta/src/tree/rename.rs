//! Renaming, with what may stand in the way of it.

use crate::attr::{Attr, FileKind, UnixTime};
use crate::error::{FsError, Result};
use crate::ino::{Ino, Name};
use crate::txn::Txn;
use crate::{key, row};

use super::{attributes, names};

/// What a rename does with a name that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameMode {
    /// It is replaced.
    Replace,
    /// The rename fails.
    NoReplace,
    /// The two change places.
    Exchange,
}

/// Directories above each other at most; a path longer than this is a loop.
const MAX_DEPTH: usize = 100_000;

/// One of the two names of a rename.
struct Side<'n> {
    parent: Ino,
    name: &'n Name,
    ino: Ino,
    kind: FileKind,
}

pub(super) async fn rename(
    txn: &mut Txn,
    from: (Ino, &Name),
    to: (Ino, &Name),
    mode: RenameMode,
    now: UnixTime,
) -> Result<Option<(Ino, Attr)>> {
    names::living_directory(txn, from.0).await?;
    names::living_directory(txn, to.0).await?;
    let (ino, kind) = names::expect_entry(txn, from.0, from.1).await?;
    let source = Side { parent: from.0, name: from.1, ino, kind };
    let target = names::find_entry(txn, to.0, to.1).await?;
    let target = target.map(|(ino, kind)| Side { parent: to.0, name: to.1, ino, kind });
    match (target, mode) {
        (Some(_), RenameMode::NoReplace) => Err(FsError::Exists),
        (None, RenameMode::Exchange) => Err(FsError::NotFound),
        (Some(target), _) if target.ino == source.ino => Ok(None),
        (Some(target), RenameMode::Exchange) => exchange(txn, &source, &target, now).await.map(|()| None),
        (target, _) => replace(txn, &source, to, target, now).await,
    }
}

async fn replace(
    txn: &mut Txn,
    source: &Side<'_>,
    to: (Ino, &Name),
    target: Option<Side<'_>>,
    now: UnixTime,
) -> Result<Option<(Ino, Attr)>> {
    refuse_loop(txn, source, to.0).await?;
    let dropped = match &target {
        Some(target) => Some((target.ino, drop_target(txn, source, target, now).await?)),
        None => None,
    };
    txn.delete(&key::entry(source.parent, source.name)).await?;
    txn.put(&key::entry(to.0, to.1), row::encode_entry(source.ino, source.kind)).await?;
    let directory = i32::from(source.kind == FileKind::Directory);
    let replaced = i32::from(target.is_some_and(|target| target.kind == FileKind::Directory));
    stamp(txn, source.parent, -directory, now).await?;
    stamp(txn, to.0, directory - replaced, now).await?;
    moved(txn, source, to.0, now).await?;
    Ok(dropped)
}

async fn drop_target(txn: &mut Txn, source: &Side<'_>, target: &Side<'_>, now: UnixTime) -> Result<Attr> {
    match (source.kind == FileKind::Directory, target.kind == FileKind::Directory) {
        (true, true) => names::drop_directory(txn, target.ino, now).await,
        (true, false) => Err(FsError::NotDirectory),
        (false, true) => Err(FsError::IsDirectory),
        (false, false) => names::drop_name(txn, target.ino, now).await,
    }
}

async fn exchange(txn: &mut Txn, a: &Side<'_>, b: &Side<'_>, now: UnixTime) -> Result<()> {
    refuse_loop(txn, a, b.parent).await?;
    refuse_loop(txn, b, a.parent).await?;
    txn.put(&key::entry(a.parent, a.name), row::encode_entry(b.ino, b.kind)).await?;
    txn.put(&key::entry(b.parent, b.name), row::encode_entry(a.ino, a.kind)).await?;
    let directories = |side: &Side<'_>| i32::from(side.kind == FileKind::Directory);
    stamp(txn, a.parent, directories(b) - directories(a), now).await?;
    stamp(txn, b.parent, directories(a) - directories(b), now).await?;
    moved(txn, a, b.parent, now).await?;
    moved(txn, b, a.parent, now).await
}

async fn stamp(txn: &mut Txn, directory: Ino, nlink: i32, now: UnixTime) -> Result<()> {
    let attr = attributes::get(txn, directory).await?;
    attributes::touch_directory(txn, directory, attr, nlink, now).await
}

async fn moved(txn: &mut Txn, side: &Side<'_>, parent: Ino, now: UnixTime) -> Result<()> {
    let mut attr = attributes::get(txn, side.ino).await?;
    attr.ctime = now;
    if attr.kind == FileKind::Directory {
        attr.parent = parent;
    }
    attributes::put(txn, side.ino, &attr).await
}

/// Fails if `parent` is `side`'s directory itself or lies below it.
async fn refuse_loop(txn: &mut Txn, side: &Side<'_>, parent: Ino) -> Result<()> {
    if side.kind != FileKind::Directory || side.parent == parent {
        return Ok(());
    }
    let mut above = parent;
    for _ in 0..MAX_DEPTH {
        if above == side.ino {
            return Err(FsError::Invalid("a directory cannot move below itself"));
        }
        if above == Ino::ROOT {
            return Ok(());
        }
        above = attributes::get(txn, above).await?.parent;
    }
    Err(FsError::Corrupt(format!("the directories above {parent} never reach the root")))
}
