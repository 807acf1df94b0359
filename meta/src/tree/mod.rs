//! The tree of a volume: filesystem operations, each one transaction on the region's rows.
//!
//! The operations themselves are functions of a transaction, in the files beside this one;
//! `Tree` runs them until they are committed. What could exceed a transaction's limits is done
//! in steps, each of which leaves the tree consistent. Permissions are the kernel's to check.

mod attributes;
mod contents;
mod directory;
mod extents;
mod format;
mod locks;
mod names;
mod orphans;
mod refs;
mod rename;
mod unnamed;
mod whole;
mod xattrs;

use std::sync::Arc;

use bytes::Bytes;
use farshore_proto::limits::MAX_FILE_BYTES;

pub use contents::{Contents, Seek};
pub use directory::DirectoryEntry;
pub use format::{NewVolume, format};
pub use names::NewInode;
pub use rename::RenameMode;
pub use whole::{Expected, InodeState, Placed, WHOLE_EXTENTS, Whole, Xattr, XattrChange};
pub use xattrs::XattrMode;

use crate::attempts::transact;
use crate::attr::{Attr, AttrChange, FileKind, UnixTime};
use crate::error::{FsError, Result};
use crate::extent::Extent;
use crate::ino::{Ino, Name};
use crate::region::Region;
use crate::txn::Txn;
use crate::{key, row};

/// Inode numbers taken from the volume at once.
const INO_BATCH: u64 = 1_024;

/// The tree of a volume in one region.
#[derive(Debug)]
pub struct Tree {
    region: Arc<Region>,
    inline_bytes: u32,
    locks: locks::NameLocks,
    unused: tokio::sync::Mutex<std::ops::Range<u64>>,
}

impl Tree {
    /// The tree of `region`, whose volume keeps contents up to `inline_bytes` in rows.
    pub fn new(region: Arc<Region>, inline_bytes: u32) -> Self {
        let unused = tokio::sync::Mutex::new(0..0);
        Self { region, inline_bytes, locks: locks::NameLocks::default(), unused }
    }

    /// The region whose rows these are.
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Contents up to this many bytes live in a row.
    pub fn inline_bytes(&self) -> u32 {
        self.inline_bytes
    }

    /// The inode that `name` in `parent` leads to.
    pub async fn lookup(&self, parent: Ino, name: &Name) -> Result<(Ino, Attr)> {
        let mut txn = self.region.begin().await?;
        names::lookup(&mut txn, parent, name).await
    }

    /// The inode that a path of names leads to from the directory `from`, read at one snapshot; no
    /// symlink is followed. The empty path leads to `from`.
    pub async fn resolve(&self, from: Ino, path: &[Name]) -> Result<(Ino, Attr)> {
        let mut txn = self.region.begin().await?;
        names::resolve(&mut txn, from, path).await
    }

    /// An inode's attributes.
    pub async fn attr(&self, ino: Ino) -> Result<Attr> {
        let mut txn = self.region.begin().await?;
        attributes::peek(&mut txn, ino).await
    }

    /// Changes attributes; a new size cuts the contents or lengthens them by a hole.
    pub async fn set_attr(&self, ino: Ino, change: AttrChange, now: UnixTime) -> Result<Attr> {
        if change.size.is_some_and(|size| size > MAX_FILE_BYTES) {
            return Err(FsError::FileTooLarge);
        }
        loop {
            if let Some(attr) = transact!(&self.region, |txn| attributes::change(txn, ino, &change, now))? {
                return Ok(attr);
            }
        }
    }

    /// Makes a new inode of any kind under `name`.
    pub async fn create(&self, parent: Ino, name: &Name, new: &NewInode, now: UnixTime) -> Result<(Ino, Attr)> {
        let ino = self.next_ino().await?;
        let _held = self.locks.hold([parent, parent]).await;
        transact!(&self.region, |txn| names::create(txn, parent, name, ino, new, now))
    }

    /// Gives an inode that is no directory one more name.
    pub async fn link(&self, ino: Ino, parent: Ino, name: &Name, now: UnixTime) -> Result<Attr> {
        let _held = self.locks.hold([parent, parent]).await;
        transact!(&self.region, |txn| names::link(txn, ino, parent, name, now))
    }

    /// Removes a name of an inode that is no directory. An inode without names becomes an
    /// orphan, whose rows stand until `reap`.
    pub async fn unlink(&self, parent: Ino, name: &Name, now: UnixTime) -> Result<(Ino, Attr)> {
        let _held = self.locks.hold([parent, parent]).await;
        transact!(&self.region, |txn| names::unlink(txn, parent, name, now))
    }

    /// Removes an empty directory. It becomes an orphan, whose rows stand until `reap`.
    pub async fn remove_directory(&self, parent: Ino, name: &Name, now: UnixTime) -> Result<(Ino, Attr)> {
        let _held = self.locks.hold([parent, parent]).await;
        transact!(&self.region, |txn| names::remove_directory(txn, parent, name, now))
    }

    /// Moves `from.1` in the directory `from.0` to `to.1` in `to.0`. Returns the inode that lost
    /// its name to it, if one did.
    pub async fn rename(
        &self,
        from: (Ino, &Name),
        to: (Ino, &Name),
        mode: RenameMode,
        now: UnixTime,
    ) -> Result<Option<(Ino, Attr)>> {
        let _held = self.locks.hold([from.0, to.0]).await;
        transact!(&self.region, |txn| rename::rename(txn, from, to, mode, now))
    }

    /// A symlink's target.
    pub async fn read_link(&self, ino: Ino) -> Result<Bytes> {
        let mut txn = self.region.begin().await?;
        let target = txn.peek(&key::symlink(ino)).await?;
        let target = target.ok_or(FsError::Invalid("not a symbolic link"))?;
        let bytes = row::decode_bytes("a symlink's target", &target)?;
        Ok(target.slice_ref(bytes))
    }

    /// The entries of a directory after the name `after`, in the order of their names, at most
    /// `limit`, read at one snapshot; with their attributes if `with_attrs`.
    pub async fn read_directory(
        &self,
        ino: Ino,
        after: Option<&Name>,
        limit: usize,
        with_attrs: bool,
    ) -> Result<Vec<DirectoryEntry>> {
        let mut txn = self.region.begin().await?;
        directory::read(&mut txn, ino, after, limit, with_attrs).await
    }

    /// The entries of a directory whose names are not below `from`, which may be any bytes; else as
    /// `read_directory`.
    pub async fn read_directory_from(
        &self,
        ino: Ino,
        from: &[u8],
        limit: usize,
        with_attrs: bool,
    ) -> Result<Vec<DirectoryEntry>> {
        let mut txn = self.region.begin().await?;
        directory::read_from(&mut txn, ino, from, limit, with_attrs).await
    }

    /// An extended attribute's value.
    pub async fn xattr(&self, ino: Ino, name: &[u8]) -> Result<Bytes> {
        let mut txn = self.region.begin().await?;
        xattrs::get(&mut txn, ino, name).await
    }

    /// The names of an inode's extended attributes.
    pub async fn xattrs(&self, ino: Ino) -> Result<Vec<Bytes>> {
        let mut txn = self.region.begin().await?;
        xattrs::list(&mut txn, ino).await
    }

    /// The extended attributes with their values, read at one snapshot.
    pub async fn all_xattrs(&self, ino: Ino) -> Result<Vec<Xattr>> {
        let mut txn = self.region.begin().await?;
        xattrs::all(&mut txn, ino).await
    }

    /// Sets an extended attribute.
    pub async fn set_xattr(&self, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode, now: UnixTime) -> Result<()> {
        transact!(&self.region, |txn| xattrs::set(txn, ino, name, value, mode, now))
    }

    /// Removes an extended attribute.
    pub async fn remove_xattr(&self, ino: Ino, name: &[u8], now: UnixTime) -> Result<()> {
        transact!(&self.region, |txn| xattrs::remove(txn, ino, name, now))
    }

    /// Where the bytes [offset, offset + len) of a file are, and its attributes at the same snapshot.
    pub async fn contents(&self, ino: Ino, offset: u64, len: u64) -> Result<(Attr, Contents)> {
        let mut txn = self.region.begin().await?;
        contents::read(&mut txn, ino, offset, len).await
    }

    /// Replaces contents that have no extents by `bytes`, which must not be over the inline limit,
    /// and changes attributes as the write and those after it did; `change.size` is not looked at.
    ///
    /// # Errors
    /// `Invalid` when the file has extents.
    pub async fn write_inline(&self, ino: Ino, bytes: &Bytes, change: &AttrChange) -> Result<Attr> {
        if bytes.len() > self.inline_bytes as usize {
            return Err(FsError::Invalid("contents over the inline limit"));
        }
        transact!(&self.region, |txn| contents::write_inline(txn, ino, bytes, change))
    }

    /// Puts extents in the place of whatever their ranges held, and lengthens the file to
    /// `size` if it is shorter. Their blocks must be stored already. With `inline_carried` the
    /// extents hold what the inline row held, and the row goes. Attributes change as the writes
    /// and what came after them did; `change.size` is not looked at.
    ///
    /// # Errors
    /// `Invalid` when the contents are inline and `inline_carried` is not set.
    pub async fn write_extents(
        &self,
        ino: Ino,
        extents: &[Extent],
        size: u64,
        inline_carried: bool,
        change: &AttrChange,
    ) -> Result<Attr> {
        let mut rest = extents.to_vec();
        loop {
            let step =
                transact!(&self.region, |txn| extents::write_step(txn, ino, &rest, size, inline_carried, change))?;
            if step.rest.is_empty() {
                return Ok(step.attr);
            }
            rest = step.rest;
        }
    }

    /// Makes [begin, end) a hole; the size stays.
    pub async fn punch_hole(&self, ino: Ino, begin: u64, end: u64, now: UnixTime) -> Result<Attr> {
        loop {
            let (attr, done) = transact!(&self.region, |txn| contents::punch_step(txn, ino, begin, end, now))?;
            if done {
                return Ok(attr);
            }
        }
    }

    /// The first offset from `offset` on that is data, or a hole, as `seek` asks.
    pub async fn seek(&self, ino: Ino, offset: u64, seek: Seek) -> Result<u64> {
        let mut txn = self.region.begin().await?;
        contents::seek(&mut txn, ino, offset, seek).await
    }

    /// Makes an inode with everything that belongs to it, and gives it `name` in place of what is as
    /// `expected`, in one transaction.
    ///
    /// # Errors
    /// `Exists`, `NotFound` or `Stale` when it is not as expected; `IsDirectory` when a directory is in the way.
    pub async fn place(
        &self,
        parent: Ino,
        name: &Name,
        whole: &Whole,
        expected: &Expected,
        now: UnixTime,
    ) -> Result<Placed> {
        let ino = self.next_ino().await?;
        let _held = self.locks.hold([parent, parent]).await;
        transact!(&self.region, |txn| whole::place(txn, parent, name, ino, whole, expected, now))
    }

    /// Gives an inode that is no directory one more name in place of what had it. Returns the inode
    /// that lost its name to it, if one did.
    pub async fn link_over(&self, ino: Ino, parent: Ino, name: &Name, now: UnixTime) -> Result<Option<(Ino, Attr)>> {
        let _held = self.locks.hold([parent, parent]).await;
        transact!(&self.region, |txn| whole::link_over(txn, ino, parent, name, now))
    }

    /// Changes attributes but the size, and extended attributes, in one transaction.
    ///
    /// # Errors
    /// `Stale` when the inode is not in the state that is expected.
    pub async fn change(
        &self,
        ino: Ino,
        expected: Option<&InodeState>,
        change: &AttrChange,
        xattrs: &[XattrChange],
        now: UnixTime,
    ) -> Result<Attr> {
        transact!(&self.region, |txn| whole::change(txn, ino, expected, change, xattrs, now))
    }

    /// Makes a file without a name, to be written and then named. One that is `kept` stays until then, also
    /// without the process; any other is removed as orphans are.
    pub async fn begin_unnamed(&self, inode: &NewInode, xattrs: &[Xattr], kept: bool, now: UnixTime) -> Result<Ino> {
        let ino = self.next_ino().await?;
        transact!(&self.region, |txn| unnamed::begin(txn, ino, inode, xattrs, kept, now))?;
        Ok(ino)
    }

    /// Gives a file without a name one, in place of what is as `expected`. Its contents stay; its attributes become
    /// those of `whole`.
    ///
    /// # Errors
    /// Those of `place`; `NotFound` when the file has a name or is gone, `Invalid` when its length is another.
    pub async fn name(
        &self,
        ino: Ino,
        parent: Ino,
        name: &Name,
        whole: &Whole,
        expected: &Expected,
        now: UnixTime,
    ) -> Result<Placed> {
        let _held = self.locks.hold([parent, parent]).await;
        transact!(&self.region, |txn| unnamed::name(txn, ino, parent, name, whole, expected, now))
    }

    /// Gives a file without a name up, so that it can be reaped. False when there is no such file.
    pub async fn give_up_unnamed(&self, ino: Ino) -> Result<bool> {
        transact!(&self.region, |txn| unnamed::give_up(txn, ino))
    }

    /// Files without a name that are kept, after `after`, in the order of their numbers, at most `limit`.
    pub async fn kept_unnamed(&self, after: Option<Ino>, limit: usize) -> Result<Vec<Ino>> {
        let mut txn = self.region.begin().await?;
        unnamed::marked(&mut txn, unnamed::KEPT, after, limit).await
    }

    /// Inodes without a name whose rows still stand and that nobody keeps, at most `limit`.
    pub async fn orphans(&self, limit: usize) -> Result<Vec<Ino>> {
        let mut txn = self.region.begin().await?;
        orphans::list(&mut txn, limit).await
    }

    /// Removes what is left of orphans that nobody has open, in steps.
    pub async fn reap(&self, inos: &[Ino], now: UnixTime) -> Result<()> {
        for few in inos.chunks(orphans::BATCH) {
            while !transact!(&self.region, |txn| orphans::reap_step(txn, few, now))? {}
        }
        Ok(())
    }

    /// A number that no inode of the volume has or had.
    async fn next_ino(&self) -> Result<Ino> {
        let mut unused = self.unused.lock().await;
        if unused.is_empty() {
            *unused = transact!(&self.region, |txn| take_inos(txn))?;
        }
        let ino = unused.start;
        unused.start += 1;
        Ok(Ino(ino))
    }
}

async fn take_inos(txn: &mut Txn) -> Result<std::ops::Range<u64>> {
    let stored = txn.get(key::NEXT_INO).await?;
    let stored = stored.ok_or_else(|| FsError::Corrupt("the next inode number is missing".into()))?;
    let first = row::decode_number("the next inode number", &stored)?;
    let end = first + INO_BATCH;
    txn.put(key::NEXT_INO, row::encode_number(end)).await?;
    Ok(first..end)
}

/// Fails unless `attr` is a directory's.
fn expect_directory(attr: &Attr) -> Result<()> {
    if attr.kind == FileKind::Directory { Ok(()) } else { Err(FsError::NotDirectory) }
}

/// Fails unless `attr` is a regular file's.
fn expect_file(attr: &Attr) -> Result<()> {
    match attr.kind {
        FileKind::File => Ok(()),
        FileKind::Directory => Err(FsError::IsDirectory),
        _ => Err(FsError::Invalid("not a regular file")),
    }
}
