//! An inode's attributes.

use crate::Ino;

/// A point in time: seconds since 1970, negative before, and nanoseconds below a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixTime {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// What an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// An inode's attributes, as `stat` shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// What it is.
    pub kind: FileKind,
    /// The permission bits, with set-uid, set-gid and sticky: 12 bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names that lead here; a directory counts 2 and its subdirectories.
    pub nlink: u32,
    /// The device number of a device node.
    pub rdev: u32,
    /// Length in bytes.
    pub size: u64,
    /// Bytes that are not holes.
    pub allocated: u64,
    /// Last access that was told to us; reads do not change it.
    pub atime: UnixTime,
    /// Last change of the contents.
    pub mtime: UnixTime,
    /// Last change of contents or attributes.
    pub ctime: UnixTime,
    /// The directory that holds a directory; of the root, the root. `Ino(0)` for all else.
    pub parent: Ino,
    /// The contents are in the inode's inline row, not in extents.
    pub inline: bool,
}

/// What to change in an inode's attributes; `None` leaves it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttrChange {
    /// New permission bits.
    pub mode: Option<u16>,
    /// New owner.
    pub uid: Option<u32>,
    /// New group.
    pub gid: Option<u32>,
    /// New size: cuts the contents, or lengthens them by a hole.
    pub size: Option<u64>,
    /// New access time.
    pub atime: Option<UnixTime>,
    /// New modification time.
    pub mtime: Option<UnixTime>,
    /// New change time, instead of the time of the call.
    pub ctime: Option<UnixTime>,
}

impl AttrChange {
    /// This change, and then `later`.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self {
            mode: later.mode.or(self.mode),
            uid: later.uid.or(self.uid),
            gid: later.gid.or(self.gid),
            size: later.size.or(self.size),
            atime: later.atime.or(self.atime),
            mtime: later.mtime.or(self.mtime),
            ctime: later.ctime.or(self.ctime),
        }
    }
}

impl Attr {
    /// The attributes of a new inode without contents.
    pub fn new(kind: FileKind, mode: u16, uid: u32, gid: u32, now: UnixTime) -> Self {
        let nlink = if kind == FileKind::Directory { 2 } else { 1 };
        Self {
            kind,
            mode: mode & 0o7777,
            uid,
            gid,
            nlink,
            rdev: 0,
            size: 0,
            allocated: 0,
            atime: now,
            mtime: now,
            ctime: now,
            parent: Ino(0),
            inline: false,
        }
    }

    /// Applies everything of `change` but the size, and stamps the change time.
    pub fn change(&mut self, change: &AttrChange, now: UnixTime) {
        self.mode = change.mode.map_or(self.mode, |mode| mode & 0o7777);
        self.uid = change.uid.unwrap_or(self.uid);
        self.gid = change.gid.unwrap_or(self.gid);
        self.atime = change.atime.unwrap_or(self.atime);
        self.mtime = change.mtime.unwrap_or(self.mtime);
        self.ctime = change.ctime.unwrap_or(now);
    }
}
