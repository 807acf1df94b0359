//! Open files.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use farshore_meta::{Ino, Name, Seek};
use farshore_volume::{AllocateMode, HandleId, Opened};
use fuser::{
    FileHandle, FopenFlags, OpenAccMode, OpenFlags, ReplyCreate, ReplyData, ReplyEmpty, ReplyLseek, ReplyOpen,
    ReplyWrite,
};

use crate::dispatch::Late;
use crate::kernel::Scope;

use super::names::GENERATION;
use super::request::{Operation, Touched};
use super::{Adapter, Made};
use crate::convert::file_attr;

const KEEP_SIZE: i32 = 0x01;
const PUNCH_HOLE: i32 = 0x02;
const ZERO_RANGE: i32 = 0x10;
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// The mode of a `fallocate`, if it is one that a file here can have.
pub(super) fn allocate_mode(mode: i32) -> Option<AllocateMode> {
    let keep_size = mode & KEEP_SIZE != 0;
    match mode & !KEEP_SIZE {
        0 if keep_size => Some(AllocateMode::KeepSize),
        0 => Some(AllocateMode::Extend),
        PUNCH_HOLE if keep_size => Some(AllocateMode::PunchHole),
        ZERO_RANGE => Some(AllocateMode::ZeroRange { keep_size }),
        _ => None,
    }
}

/// What an `lseek` looks for, if the kernel does not do it by itself.
pub(super) fn seek(whence: i32) -> Option<Seek> {
    match whence {
        SEEK_DATA => Some(Seek::Data),
        SEEK_HOLE => Some(Seek::Hole),
        _ => None,
    }
}

fn writes(flags: OpenFlags) -> bool {
    flags.acc_mode() != OpenAccMode::O_RDONLY
}

fn open_flags(opened: Opened) -> FopenFlags {
    if opened.keep_cache { FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::empty() }
}

impl Adapter {
    pub(super) fn open_file(&self, ino: Ino, flags: OpenFlags, reply: ReplyOpen) {
        let (volume, late_volume) = (Arc::clone(&self.volume), Arc::clone(&self.volume));
        let (cache, write) = (Arc::clone(&self.cache), writes(flags));
        let runtime = self.dispatcher.clone();
        let work = async move {
            // Counted first: no attributes may be cached once a write is possible.
            if write {
                cache.writers().opened(ino);
            }
            let opened = volume.open(ino, write).await;
            if write && opened.is_err() {
                cache.writers().closed(ino);
            }
            opened
        };
        let late_cache = Arc::clone(&self.cache);
        let late = Late::Finish(Box::new(move |opened: farshore_meta::Result<Opened>| {
            let Ok(opened) = opened else { return };
            runtime.run_unlimited(async move { late_volume.release(opened.handle).await });
            if write {
                late_cache.writers().closed(ino);
            }
        }));
        self.run(self.options.deadline, Operation::new("open", ino), late, reply, work, |reply, opened| {
            reply.opened(FileHandle(opened.handle.0), open_flags(opened));
        });
    }

    pub(super) fn create_file(&self, parent: Ino, name: Name, new: Made, flags: OpenFlags, reply: ReplyCreate) {
        let (volume, late_volume) = (Arc::clone(&self.volume), Arc::clone(&self.volume));
        let (cache, write, noted) = (Arc::clone(&self.cache), writes(flags), self.cache.note());
        let (runtime, afterwards) = (self.dispatcher.clone(), Arc::clone(&self.afterwards));
        let late_name = name.clone();
        let late = Late::Finish(Box::new(move |created: farshore_meta::Result<(Ino, _, Opened)>| {
            afterwards.forget_name(parent, late_name);
            afterwards.forget_inode(parent, Scope::Attributes);
            let Ok((_, _, opened)) = created else { return };
            runtime.run_unlimited(async move { late_volume.release(opened.handle).await });
        }));
        let afterwards = Arc::clone(&self.afterwards);
        let work = async move { volume.create_open(parent, &name, &new.0).await };
        let operation = Operation::new("create", parent);
        self.run(self.options.deadline, operation, late, reply, work, move |reply, (ino, attr, opened)| {
            if cache.wants_afterwards() {
                afterwards.forget_inode(parent, Scope::Attributes);
            }
            if write {
                cache.writers().opened(ino);
            }
            // The attributes of a file that nobody has written to yet are exact, and the kernel
            // forgets them at the first write: they are cached as long as the name.
            let permit = cache.permit(noted);
            permit.hand(ino, parent);
            let file = FileHandle(opened.handle.0);
            reply.created(&permit.names(parent), &file_attr(ino, &attr), GENERATION, file, open_flags(opened));
        });
    }

    pub(super) fn read_file(&self, ino: Ino, file: HandleId, offset: u64, size: u32, reply: ReplyData) {
        let volume = Arc::clone(&self.volume);
        let work = async move { volume.read(file, offset, size).await };
        self.read(Operation::new("read", ino), reply, work, |reply, data| reply.data(&data));
    }

    pub(super) fn write_file(&self, ino: Ino, file: HandleId, offset: u64, data: Bytes, reply: ReplyWrite) {
        let (volume, size) = (Arc::clone(&self.volume), data.len() as u32);
        let work = async move { volume.write(file, offset, data).await };
        let operation = Operation::new("write", ino);
        let touched = Touched { data: Some(ino), ..Touched::default() };
        self.change(operation, self.options.write_deadline, touched, reply, work, move |reply, ()| reply.written(size));
    }

    pub(super) fn flush_file(&self, ino: Ino, file: HandleId, reply: ReplyEmpty) {
        let volume = Arc::clone(&self.volume);
        let work = async move { volume.flush(file).await };
        let operation = Operation::new("flush", ino);
        self.change(operation, self.options.write_deadline, Touched::default(), reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn sync_file(&self, ino: Ino, file: HandleId, reply: ReplyEmpty) {
        let volume = Arc::clone(&self.volume);
        let work = async move { volume.fsync(file).await };
        let operation = Operation::new("fsync", ino);
        self.change(operation, self.options.write_deadline, Touched::default(), reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn close_file(&self, ino: Ino, file: HandleId, flags: OpenFlags, reply: ReplyEmpty) {
        let (volume, cache) = (Arc::clone(&self.volume), Arc::clone(&self.cache));
        let (afterwards, write) = (Arc::clone(&self.afterwards), writes(flags));
        let work = async move {
            volume.release(file).await;
            if write {
                // In this order: attributes read while the count stood are forgotten now, and
                // attributes read from now on are final.
                cache.writers().closed(ino);
                afterwards.forget_inode(ino, Scope::Attributes);
            }
            Ok(())
        };
        let operation = Operation::new("release", ino);
        self.change(operation, self.options.write_deadline, Touched::default(), reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn allocate(&self, ino: Ino, file: HandleId, mode: AllocateMode, range: Range<u64>, reply: ReplyEmpty) {
        let volume = Arc::clone(&self.volume);
        let touched = Touched { inodes: vec![ino], data: Some(ino), ..Touched::default() };
        let work = async move { volume.allocate(file, mode, range.start, range.end - range.start).await };
        let operation = Operation::new("fallocate", ino);
        self.change(operation, self.options.write_deadline, touched, reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn seek(&self, ino: Ino, file: HandleId, offset: u64, seek: Seek, reply: ReplyLseek) {
        let volume = Arc::clone(&self.volume);
        let work = async move { volume.seek(file, offset, seek).await };
        let operation = Operation::new("lseek", ino);
        // What was written is stored first, hence the deadline of writes.
        let deadline = self.options.write_deadline;
        self.change(operation, deadline, Touched::default(), reply, work, |reply, found| reply.offset(found as i64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_modes_of_fallocate_are_taken() {
        assert_eq!(allocate_mode(0), Some(AllocateMode::Extend));
        assert_eq!(allocate_mode(KEEP_SIZE), Some(AllocateMode::KeepSize));
        assert_eq!(allocate_mode(KEEP_SIZE | PUNCH_HOLE), Some(AllocateMode::PunchHole));
        assert_eq!(allocate_mode(ZERO_RANGE), Some(AllocateMode::ZeroRange { keep_size: false }));
        assert_eq!(allocate_mode(PUNCH_HOLE), None);
        assert_eq!(allocate_mode(0x08), None);
        assert_eq!(allocate_mode(0x20), None);
    }
}
