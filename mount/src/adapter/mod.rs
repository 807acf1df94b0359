//! The kernel's requests as calls of a volume.
//!
//! `Adapter` takes each request apart and owns what it borrows; the files beside this one do
//! the work. Permissions are the kernel's (`default_permissions`), and so are locks: neither
//! kind is asked for at INIT, which keeps both flock and POSIX locks local to this kernel.
//! Truncation by `O_TRUNC` comes as a SETATTR, and set-user-id bits are taken away by the
//! kernel's own SETATTR before a write; neither needs a promise of ours.

mod attributes;
mod directories;
mod files;
mod names;
mod request;
mod xattrs;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use farshore_meta::{FileKind, FsError, Ino, Name};
use farshore_volume::{HandleId, Volume};
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, INodeNo, InitFlags, IoctlFlags, KernelConfig,
    LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags, ReplyAttr, ReplyBmap, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use crate::afterwards::Afterwards;
use crate::cache::Cache;
use crate::control::Control;
use crate::convert::{node_kind, permissions};
use crate::dispatch::Dispatcher;
use crate::errno::errno_of;
use crate::options::MountOptions;

use names::NewEntry;

/// Requests that the kernel sends without anyone waiting (read-ahead): enough to keep a store
/// across an ocean busy with requests of 1 MiB.
const MAX_BACKGROUND: u16 = 128;

/// What the kernel is asked to do, as far as it can.
const CAPABILITIES: [InitFlags; 6] = [
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_MAX_PAGES,
];

/// The filesystem that fuser's reader threads call.
pub(crate) struct Adapter {
    pub(crate) volume: Arc<Volume>,
    pub(crate) control: Arc<dyn Control>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) afterwards: Arc<Afterwards>,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) options: MountOptions,
}

/// Takes a name, or answers the request with what is wrong with it.
macro_rules! name_or_refuse {
    ($name:expr, $reply:expr) => {
        match Name::try_from($name) {
            Ok(name) => name,
            Err(error) => return $reply.error(errno_of(&error)),
        }
    };
}

fn ino(number: INodeNo) -> Ino {
    Ino(number.0)
}

fn handle(handle: FileHandle) -> HandleId {
    HandleId(handle.0)
}

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for capability in CAPABILITIES {
            if let Err(missing) = config.add_capabilities(capability) {
                tracing::debug!(?missing, "this kernel lacks a capability; going on without it");
            }
        }
        let largest = |wanted: Result<u32, u32>, what: &str| {
            if let Err(nearest) = wanted {
                tracing::debug!(what, nearest, "the kernel allows less");
            }
            wanted.err()
        };
        if let Some(nearest) = largest(config.set_max_write(self.options.request_bytes), "max_write") {
            config.set_max_write(nearest).map_err(|_| io::Error::other("no size of writes is allowed"))?;
        }
        // Capped here at the kernel's default; raised after the mount where permitted.
        if let Some(nearest) = largest(config.set_max_readahead(self.options.request_bytes), "max_readahead") {
            config.set_max_readahead(nearest).map_err(|_| io::Error::other("no read-ahead is allowed"))?;
        }
        config.set_max_background(MAX_BACKGROUND).map_err(|_| io::Error::other("no background requests"))?;
        Ok(())
    }

    fn forget(&self, _request: &Request, number: INodeNo, lookups: u64) {
        self.cache.forget(ino(number), lookups);
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name_or_refuse!(name, reply);
        self.look_up(ino(parent), name, reply);
    }

    fn getattr(&self, _request: &Request, number: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        self.attributes(ino(number), reply);
    }

    fn setattr(
        &self,
        _request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = farshore_meta::AttrChange {
            mode: mode.map(|mode| permissions(mode, 0)),
            uid,
            gid,
            size,
            atime: atime.map(|time| self.time(time)),
            mtime: mtime.map(|time| self.time(time)),
            ctime: ctime.map(crate::convert::unix_time),
        };
        self.change_attributes(ino(number), change, reply);
    }

    fn readlink(&self, _request: &Request, number: INodeNo, reply: ReplyData) {
        self.read_link(ino(number), reply);
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let name = name_or_refuse!(name, reply);
        let Some(kind) = node_kind(mode) else { return reply.error(Errno::EINVAL) };
        let entry = NewEntry { parent: ino(parent), name, operation: "mknod" };
        self.make(entry, new_inode(request, kind, permissions(mode, umask)).with_rdev(rdev), reply);
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let name = name_or_refuse!(name, reply);
        let entry = NewEntry { parent: ino(parent), name, operation: "mkdir" };
        self.make(entry, new_inode(request, FileKind::Directory, permissions(mode, umask)), reply);
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let name = name_or_refuse!(name, reply);
        let target = Bytes::copy_from_slice(target.as_os_str().as_bytes());
        let entry = NewEntry { parent: ino(parent), name, operation: "symlink" };
        self.make(entry, new_inode(request, FileKind::Symlink, 0o777).with_target(target), reply);
    }

    fn link(&self, _request: &Request, number: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name_or_refuse!(name, reply);
        self.add_link(ino(number), ino(parent), name, reply);
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name_or_refuse!(name, reply);
        self.remove_file(ino(parent), name, reply);
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name_or_refuse!(name, reply);
        self.remove_directory(ino(parent), name, reply);
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let from = (ino(parent), name_or_refuse!(name, reply));
        let to = (ino(new_parent), name_or_refuse!(new_name, reply));
        self.move_name(from, to, flags, reply);
    }

    fn open(&self, _request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.open_file(ino(number), flags, reply);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let name = name_or_refuse!(name, reply);
        let new = new_inode(request, FileKind::File, permissions(mode, umask));
        self.create_file(ino(parent), name, new, OpenFlags(flags), reply);
    }

    fn read(
        &self,
        _request: &Request,
        number: INodeNo,
        file: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.read_file(ino(number), handle(file), offset, size, reply);
    }

    fn write(
        &self,
        _request: &Request,
        number: INodeNo,
        file: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.write_file(ino(number), handle(file), offset, Bytes::copy_from_slice(data), reply);
    }

    fn flush(&self, _request: &Request, number: INodeNo, file: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        self.flush_file(ino(number), handle(file), reply);
    }

    fn fsync(&self, _request: &Request, number: INodeNo, file: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        self.sync_file(ino(number), handle(file), reply);
    }

    fn release(
        &self,
        _request: &Request,
        number: INodeNo,
        file: FileHandle,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.close_file(ino(number), handle(file), flags, reply);
    }

    fn fallocate(
        &self,
        _request: &Request,
        number: INodeNo,
        file: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let Some(mode) = files::allocate_mode(mode) else { return reply.error(Errno::EOPNOTSUPP) };
        self.allocate(ino(number), handle(file), mode, offset..offset.saturating_add(length), reply);
    }

    fn lseek(
        &self,
        _request: &Request,
        number: INodeNo,
        file: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let Some(seek) = files::seek(whence) else { return reply.error(Errno::EINVAL) };
        let Ok(offset) = u64::try_from(offset) else { return reply.error(Errno::ENXIO) };
        self.seek(ino(number), handle(file), offset, seek, reply);
    }

    fn opendir(&self, _request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.open_directory(ino(number), reply);
    }

    fn readdir(&self, _request: &Request, number: INodeNo, open: FileHandle, offset: u64, reply: ReplyDirectory) {
        self.read_directory(ino(number), handle(open), offset, reply);
    }

    fn readdirplus(
        &self,
        _request: &Request,
        number: INodeNo,
        open: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.read_directory_plus(ino(number), handle(open), offset, reply);
    }

    fn releasedir(&self, _request: &Request, _number: INodeNo, open: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        self.volume.release_directory(handle(open));
        reply.ok();
    }

    fn fsyncdir(&self, _request: &Request, number: INodeNo, _open: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        self.sync_directory(ino(number), reply);
    }

    fn statfs(&self, _request: &Request, _number: INodeNo, reply: ReplyStatfs) {
        self.statistics(reply);
    }

    fn setxattr(
        &self,
        _request: &Request,
        number: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let Some(mode) = xattrs::mode(flags) else { return reply.error(Errno::EINVAL) };
        self.set_xattr(ino(number), name.as_bytes(), value, mode, reply);
    }

    fn getxattr(&self, _request: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.xattr(ino(number), name.as_bytes(), size, reply);
    }

    fn listxattr(&self, _request: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        self.xattrs(ino(number), size, reply);
    }

    fn removexattr(&self, _request: &Request, number: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.remove_xattr(ino(number), name.as_bytes(), reply);
    }

    // What follows is the kernel's to do by itself: it stops asking once it is told so.

    fn access(&self, _request: &Request, _number: INodeNo, _mask: fuser::AccessFlags, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn bmap(&self, _request: &Request, _number: INodeNo, _block_bytes: u32, _index: u64, reply: ReplyBmap) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _input: &[u8],
        _output_bytes: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn poll(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        _notifier: PollNotifier,
        _events: PollEvents,
        _flags: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn copy_file_range(
        &self,
        _request: &Request,
        _from: INodeNo,
        _from_handle: FileHandle,
        _from_offset: u64,
        _to: INodeNo,
        _to_handle: FileHandle,
        _to_offset: u64,
        _length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::ENOSYS);
    }
}

/// What a new inode is made of, with what only some kinds have.
struct Made(farshore_meta::NewInode);

fn new_inode(request: &Request, kind: FileKind, mode: u16) -> Made {
    let (uid, gid) = (request.uid(), request.gid());
    Made(farshore_meta::NewInode { kind, mode, uid, gid, rdev: 0, target: Bytes::new() })
}

impl Made {
    fn with_rdev(mut self, rdev: u32) -> Self {
        self.0.rdev = rdev;
        self
    }

    fn with_target(mut self, target: Bytes) -> Self {
        self.0.target = target;
        self
    }
}

/// A name that is not there is an answer, and no error.
fn found<T>(outcome: farshore_meta::Result<T>) -> farshore_meta::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(FsError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// No time at all.
const NOT_CACHED: Duration = Duration::ZERO;
