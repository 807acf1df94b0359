//! Files without a name, while they are written: orphans with a mark, so that who removes orphans leaves those alone
//! that somebody will come back to.

use crate::attr::{Attr, FileKind, UnixTime};
use crate::engine::{RangeRead, prefix_end};
use crate::error::{FsError, Result};
use crate::ino::{Ino, Name};
use crate::txn::Txn;
use crate::{key, row};

use super::attributes;
use super::names::NewInode;
use super::whole::{self, Expected, Placed, Whole, Xattr};

/// The mark of an orphan that is to be removed.
pub(super) const REMOVED: u64 = 0;
/// The mark of one that is kept until it gets a name or is given up, also by other processes.
pub(super) const KEPT: u64 = 1;

/// Rows of orphans read at once.
const PAGE: usize = 1_000;

/// Makes a file without a name. One that is not `kept` goes with the process that made it.
pub(super) async fn begin(
    txn: &mut Txn,
    ino: Ino,
    inode: &NewInode,
    xattrs: &[Xattr],
    kept: bool,
    now: UnixTime,
) -> Result<()> {
    let attr = Attr { nlink: 0, ..Attr::new(FileKind::File, inode.mode, inode.uid, inode.gid, now) };
    attributes::put(txn, ino, &attr).await?;
    whole::put_xattrs(txn, ino, xattrs).await?;
    let mark = if kept { KEPT } else { REMOVED };
    txn.put(&key::orphan(ino), row::encode_number(mark)).await
}

/// Gives a file without a name one, with the attributes that it is to have; those it had go. Its contents stay, and
/// must be as long as `whole` says.
pub(super) async fn name(
    txn: &mut Txn,
    ino: Ino,
    parent: Ino,
    name: &Name,
    whole: &Whole,
    expected: &Expected,
    now: UnixTime,
) -> Result<Placed> {
    let mut attr = attributes::get(txn, ino).await?;
    whole::expect_unnamed(&attr)?;
    if attr.size != whole.size {
        return Err(FsError::Invalid("the file has another length than it was to have"));
    }
    let replaced = whole::free_name(txn, parent, name, expected, now).await?;
    clear_xattrs(txn, ino).await?;
    whole::put_xattrs(txn, ino, &whole.xattrs).await?;
    let NewInode { mode, uid, gid, .. } = whole.inode;
    (attr.mode, attr.uid, attr.gid, attr.nlink) = (mode & 0o7777, uid, gid, 1);
    (attr.atime, attr.mtime, attr.ctime) = (whole.modified, whole.modified, now);
    attributes::put(txn, ino, &attr).await?;
    txn.delete(&key::orphan(ino)).await?;
    whole::give_name(txn, parent, name, ino, FileKind::File, now).await?;
    Ok(Placed { ino, attr, replaced })
}

async fn clear_xattrs(txn: &mut Txn, ino: Ino) -> Result<()> {
    for (key, _) in txn.range(&RangeRead::prefix(key::xattrs(ino))).await?.rows {
        txn.delete(&key).await?;
    }
    Ok(())
}

/// Gives a file without a name up: it is an orphan as any other, and what its attributes said of it counts no more.
/// False when there is no such file.
pub(super) async fn give_up(txn: &mut Txn, ino: Ino) -> Result<bool> {
    if txn.get(&key::orphan(ino)).await?.is_none() {
        return Ok(false);
    }
    clear_xattrs(txn, ino).await?;
    txn.put(&key::orphan(ino), row::encode_number(REMOVED)).await?;
    Ok(true)
}

/// The orphans after `after` with this mark, in the order of their numbers, at most `limit`.
pub(super) async fn marked(txn: &mut Txn, mark: u64, after: Option<Ino>, limit: usize) -> Result<Vec<Ino>> {
    let mut begin = after.map_or_else(|| key::ORPHANS.to_vec(), |ino| [key::orphan(ino).as_slice(), &[0]].concat());
    let mut found = Vec::new();
    loop {
        let page = txn.peek_range(&RangeRead::new(begin, prefix_end(key::ORPHANS)).limit(PAGE)).await?;
        for (key, value) in &page.rows {
            let ino = key.last_chunk::<8>().map(|bytes| Ino(u64::from_be_bytes(*bytes)));
            let ino = ino.ok_or_else(|| FsError::Corrupt("an orphan's key".into()))?;
            if row::decode_number("an orphan", value)? == mark {
                found.push(ino);
            }
        }
        let last = page.rows.last().map(|(key, _)| key.clone()).filter(|_| page.more && found.len() < limit);
        let Some(last) = last else { break };
        begin = [last.as_ref(), &[0]].concat();
    }
    found.truncate(limit);
    Ok(found)
}
