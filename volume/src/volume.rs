//! A volume as a mount uses it: names, attributes, and files that are read and written by handle.

use std::sync::Arc;

use bytes::Bytes;
use farshore_meta::{Attr, AttrChange, DirectoryEntry, DurableKey, FsError, Ino, Name, NewInode, Region, RenameMode, Result, Seek, Tree, UnixTime, XattrMode};

/// An open file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandleId(pub u64);

/// How a volume is served; read once, by the command.
#[derive(Debug, Clone)]
pub struct VolumeOptions {
    /// Most bytes written and not stored yet, of all files together.
    pub dirty_bytes: u64,
    /// Blocks uploaded at once.
    pub uploads: usize,
    /// Most bytes read ahead of a sequential reader.
    pub read_ahead_bytes: u64,
    /// The time that changes are stamped with.
    pub clock: fn() -> UnixTime,
}

/// A file that `open` or `create` has opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// What to read and write by.
    pub handle: HandleId,
    /// What the kernel has cached of this file is still right.
    pub keep_cache: bool,
}

/// What `fallocate` does to a range of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllocateMode {
    /// Lengthen the file to the end of the range, if it is shorter.
    Extend,
    /// Change nothing: space is never reserved.
    KeepSize,
    /// Make the range a hole; the size stays.
    PunchHole,
    /// Make the range zeros, and lengthen the file to its end unless `keep_size`.
    ZeroRange {
        /// The size stays.
        keep_size: bool,
    },
}

/// An entry with the offset from which a reader goes on after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedEntry {
    /// Where to go on after this entry.
    pub next_offset: u64,
    /// The entry.
    pub entry: DirectoryEntry,
}

/// Some entries of an open directory.
pub type DirectoryPage = Vec<ListedEntry>;

/// What `statfs` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Inodes in use.
    pub used_inodes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
}

/// One volume in one region.
pub struct Volume {}

#[allow(unused_variables, clippy::unused_async, missing_docs, reason = "skeleton")]
impl Volume {
    /// True on a mirror.
    pub fn read_only(&self) -> bool { todo!() }
    pub fn region(&self) -> &Arc<Region> { todo!() }
    pub async fn lookup(&self, parent: Ino, name: &Name) -> Result<(Ino, Attr)> { todo!() }
    pub async fn attr(&self, ino: Ino) -> Result<Attr> { todo!() }
    pub async fn set_attr(&self, ino: Ino, change: AttrChange) -> Result<Attr> { todo!() }
    pub async fn create(&self, parent: Ino, name: &Name, new: &NewInode) -> Result<(Ino, Attr)> { todo!() }
    /// Makes a regular file and opens it.
    pub async fn create_open(&self, parent: Ino, name: &Name, new: &NewInode) -> Result<(Ino, Attr, Opened)> { todo!() }
    pub async fn link(&self, ino: Ino, parent: Ino, name: &Name) -> Result<Attr> { todo!() }
    pub async fn unlink(&self, parent: Ino, name: &Name) -> Result<()> { todo!() }
    pub async fn remove_directory(&self, parent: Ino, name: &Name) -> Result<()> { todo!() }
    pub async fn rename(&self, from: (Ino, &Name), to: (Ino, &Name), mode: RenameMode) -> Result<()> { todo!() }
    pub async fn read_link(&self, ino: Ino) -> Result<Bytes> { todo!() }
    pub async fn xattr(&self, ino: Ino, name: &[u8]) -> Result<Bytes> { todo!() }
    pub async fn xattrs(&self, ino: Ino) -> Result<Vec<Bytes>> { todo!() }
    pub async fn set_xattr(&self, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> { todo!() }
    pub async fn remove_xattr(&self, ino: Ino, name: &[u8]) -> Result<()> { todo!() }
    /// Opens a file for reading, and writing too if `write`. (O_TRUNC comes as set_attr by the kernel.)
    pub async fn open(&self, ino: Ino, write: bool) -> Result<Opened> { todo!() }
    /// At most `len` bytes from `offset` on; fewer only at the file's end. One to a few pieces, in order.
    pub async fn read(&self, handle: HandleId, offset: u64, len: u32) -> Result<Bytes> { todo!() }
    pub async fn write(&self, handle: HandleId, offset: u64, data: Bytes) -> Result<()> { todo!() }
    /// What was written through any handle of the file is stored and committed when this returns (close-to-open).
    pub async fn flush(&self, handle: HandleId) -> Result<()> { todo!() }
    /// Like flush, and durable.
    pub async fn fsync(&self, handle: HandleId) -> Result<()> { todo!() }
    pub async fn release(&self, handle: HandleId) { todo!() }
    pub async fn allocate(&self, handle: HandleId, mode: AllocateMode, offset: u64, len: u64) -> Result<()> { todo!() }
    pub async fn seek(&self, handle: HandleId, offset: u64, seek: Seek) -> Result<u64> { todo!() }
    pub async fn open_directory(&self, ino: Ino) -> Result<HandleId> { todo!() }
    /// Entries from `offset` on (0: the first), `.` and `..` not among them; empty at the end. Offsets are stable while the handle is open.
    pub async fn read_directory(&self, handle: HandleId, offset: u64, with_attrs: bool) -> Result<DirectoryPage> { todo!() }
    pub fn release_directory(&self, handle: HandleId) { todo!() }
    /// fsyncdir and syncfs.
    pub async fn sync(&self) -> Result<()> { todo!() }
    pub async fn statistics(&self) -> Result<Statistics> { todo!() }
    /// Rows changed under a mirror: what this volume remembers of them is forgotten.
    pub fn forget(&self, changed: &[DurableKey]) { todo!() }
    /// Stores and commits everything written; called once, after the last handle is gone or when unmounting.
    pub async fn shut_down(&self) -> Result<()> { todo!() }
}
