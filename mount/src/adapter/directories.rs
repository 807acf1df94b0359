//! Listing directories.
//!
//! The kernel's offset 0 is `.`, 1 is `..`, and from 2 on they are the volume's, shifted by two.
//! READDIRPLUS fills the kernel's caches, so what it tells must be true now. The first request of
//! a listing reads names and attributes at one moment; a page of names that the volume read
//! for an earlier request is only a list of names to look up anew.

use std::sync::Arc;

use farshore_meta::{Attr, FileKind, Ino, Name, Result};
use farshore_volume::{HandleId, Volume};
use fuser::{FileHandle, FopenFlags, INodeNo, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyOpen};
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::convert::{file_attr, file_type};
use crate::dispatch::Late;

use super::names::GENERATION;
use super::request::Operation;
use super::{Adapter, NOT_CACHED, found};

/// Offsets that `.` and `..` take.
const DOTS: u64 = 2;
/// Entries looked up for one READDIRPLUS: what fits the buffer of most readers (32 KiB).
const PLUS_ENTRIES: usize = 256;
/// Entries looked up at once.
const PLUS_AT_ONCE: usize = 32;

/// A name as one of the two listings shows it.
struct Listed<T> {
    next_offset: u64,
    name: Vec<u8>,
    ino: Ino,
    what: T,
}

/// `.` and `..`, as far as they come from `offset` on.
async fn dots(volume: &Volume, ino: Ino, offset: u64) -> Result<Vec<Listed<Attr>>> {
    if offset >= DOTS {
        return Ok(Vec::new());
    }
    let attr = volume.attr(ino).await?;
    let dot = Listed { next_offset: 1, name: b".".to_vec(), ino, what: attr };
    let dot_dot = Listed { next_offset: DOTS, name: b"..".to_vec(), ino: attr.parent, what: attr };
    Ok(if offset == 0 { vec![dot, dot_dot] } else { vec![dot_dot] })
}

/// The entries from `offset` on, `.` and `..` among them.
async fn list(volume: &Volume, ino: Ino, handle: HandleId, offset: u64) -> Result<Vec<Listed<FileKind>>> {
    let dots = dots(volume, ino, offset).await?;
    let dots = dots.into_iter().map(|dot| Listed {
        next_offset: dot.next_offset,
        name: dot.name,
        ino: dot.ino,
        what: FileKind::Directory,
    });
    let page = volume.read_directory(handle, offset.saturating_sub(DOTS), false).await?;
    let entries = page.into_iter().map(|listed| Listed {
        next_offset: listed.next_offset + DOTS,
        name: listed.entry.name.as_bytes().to_vec(),
        ino: listed.entry.ino,
        what: listed.entry.kind,
    });
    Ok(dots.chain(entries).collect())
}

/// Some entries from `offset` on with their attributes as they are now; none at the end.
async fn list_plus(volume: &Volume, ino: Ino, handle: HandleId, offset: u64) -> Result<Vec<Listed<Attr>>> {
    let mut listed = dots(volume, ino, offset).await?;
    if offset == 0 {
        listed.extend(begin_plus(volume, handle).await?);
        return Ok(listed);
    }
    let mut offset = offset.saturating_sub(DOTS);
    loop {
        let page = volume.read_directory(handle, offset, false).await?;
        let Some(last) = page.iter().take(PLUS_ENTRIES).next_back() else { return Ok(listed) };
        offset = last.next_offset;
        let names = page.into_iter().take(PLUS_ENTRIES).map(|entry| (entry.next_offset + DOTS, entry.entry.name));
        let lookups = stream::iter(names).map(|(next_offset, name)| look_up(volume, ino, next_offset, name));
        let entries: Vec<_> = lookups.buffered(PLUS_AT_ONCE).try_collect().await?;
        listed.extend(entries.into_iter().flatten());
        // Where all were removed meanwhile, more may follow: nothing at all means the end.
        if !listed.is_empty() {
            return Ok(listed);
        }
    }
}

/// The first entries, names and attributes at one moment, so that a reader of a small directory
/// sees a state that it had: no name that is moved meanwhile is missed.
async fn begin_plus(volume: &Volume, handle: HandleId) -> Result<impl Iterator<Item = Listed<Attr>>> {
    let page = volume.read_directory(handle, 0, true).await?;
    Ok(page.into_iter().filter_map(|entry| {
        let name = entry.entry.name.as_bytes().to_vec();
        let listed = |what| Listed { next_offset: entry.next_offset + DOTS, name, ino: entry.entry.ino, what };
        entry.entry.attr.map(listed)
    }))
}

async fn look_up(volume: &Volume, parent: Ino, next_offset: u64, name: Name) -> Result<Option<Listed<Attr>>> {
    let entry = found(volume.lookup(parent, &name).await)?;
    Ok(entry.map(|(ino, what)| Listed { next_offset, name: name.as_bytes().to_vec(), ino, what }))
}

fn os_str(name: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}

impl Adapter {
    pub(super) fn open_directory(&self, ino: Ino, reply: ReplyOpen) {
        let (volume, late_volume) = (Arc::clone(&self.volume), Arc::clone(&self.volume));
        let work = async move { volume.open_directory(ino).await };
        let late = Late::Finish(Box::new(move |handle: Result<HandleId>| {
            if let Ok(handle) = handle {
                late_volume.release_directory(handle);
            }
        }));
        self.run(self.options.deadline, Operation::new("opendir", ino), late, reply, work, |reply, handle| {
            reply.opened(FileHandle(handle.0), FopenFlags::empty());
        });
    }

    pub(super) fn read_directory(&self, ino: Ino, handle: HandleId, offset: u64, reply: ReplyDirectory) {
        let volume = Arc::clone(&self.volume);
        let work = async move { list(&volume, ino, handle, offset).await };
        self.read(Operation::new("readdir", ino), reply, work, |mut reply, listed| {
            for entry in listed {
                let (ino, kind) = (INodeNo(entry.ino.0), file_type(entry.what));
                if reply.add(ino, entry.next_offset, kind, os_str(&entry.name)) {
                    break;
                }
            }
            reply.ok();
        });
    }

    pub(super) fn read_directory_plus(&self, ino: Ino, handle: HandleId, offset: u64, reply: ReplyDirectoryPlus) {
        let (volume, cache, noted) = (Arc::clone(&self.volume), Arc::clone(&self.cache), self.cache.note());
        let work = async move { list_plus(&volume, ino, handle, offset).await };
        self.read(Operation::new("readdirplus", ino), reply, work, move |mut reply, listed| {
            let permit = cache.permit(noted);
            for entry in listed {
                // The kernel takes neither of the two into its caches.
                let dot = entry.next_offset <= DOTS;
                let time = if dot { NOT_CACHED } else { permit.names(ino).min(permit.attributes(entry.ino)) };
                let (number, attr) = (INodeNo(entry.ino.0), file_attr(entry.ino, &entry.what));
                if reply.add(number, entry.next_offset, os_str(&entry.name), &time, &attr, GENERATION) {
                    break;
                }
                if !dot {
                    permit.hand(entry.ino, ino);
                }
            }
            reply.ok();
        });
    }

    pub(super) fn sync_directory(&self, ino: Ino, reply: ReplyEmpty) {
        let volume = Arc::clone(&self.volume);
        let work = async move { volume.make_durable().await };
        let operation = Operation::new("fsyncdir", ino);
        let touched = super::request::Touched::default();
        self.change(operation, self.options.write_deadline, touched, reply, work, |reply, ()| reply.ok());
    }
}
