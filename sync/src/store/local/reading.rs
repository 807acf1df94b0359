//! Reading local files: bound to their identity from the first byte to the last, holes told without reading them.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use rustix::fs::{OFlags, SeekFrom, Stat, seek};
use rustix::io::{Errno, pread};
use tokio::sync::mpsc;

use super::root::Root;
use super::{HOLDS, inode};
use crate::attributes::Attributes;
use crate::entry::{Kind, Object};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::{CHUNK_BYTES, INLINE_READ_BYTES, QUEUED_CHUNKS, READ_HERE_BYTES};
use crate::store::{ByteStream, ReadRequest, Reading};
use crate::waiting::may_wait;

static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

/// A file that is open for reading, and how it was when it was opened.
struct OpenFile {
    file: OwnedFd,
    before: Stat,
    request: ReadRequest,
    root: Arc<Root>,
    sparse: bool,
}

/// How far a file was read.
struct Place {
    offset: u64,
    /// Up to here nothing but zeros is known to come, or it is `offset`.
    data: u64,
}

/// Opens a file and reads it, at once if it is small; runs where blocking is allowed.
pub(super) fn read(root: &Arc<Root>, request: &ReadRequest) -> Result<Reading> {
    let (file, before) = open_file(root, &request.key)?;
    let entry = inode::entry(request.key.clone(), Kind::Object, &before);
    if !request.identity.may_be(&entry.identity()) {
        return Err(StoreError::changed(&request.key, "its size, time or inode is another"));
    }
    let mut posix = inode::posix(&before);
    posix.xattrs = inode::xattrs(file.as_fd()).map_err(|error| root.error(&request.key, "read", error))?;
    let sparse = posix.sparse;
    let attributes = Attributes { posix: Some(posix), ..Attributes::default() };
    let open = OpenFile { file, before, request: request.clone(), root: Arc::clone(root), sparse };
    let bytes = match request.range.len {
        ..=INLINE_READ_BYTES if !may_wait() => open.read_now()?,
        ..=READ_HERE_BYTES if may_wait() => open.read_here(),
        _ => open.read_later(),
    };
    Ok(Reading { object: Object { entry, attributes, known: HOLDS }, bytes })
}

/// Opens a file that is a file. The flag keeps a named pipe from waiting for its writer.
pub(super) fn open_file(root: &Root, key: &Key) -> Result<(OwnedFd, Stat)> {
    let place = root.place(key)?;
    if place.is_directory {
        return Err(StoreError::missing(root.name(), key));
    }
    let opened = root.open_beneath(key.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK);
    let opened = opened.and_then(|file| Ok((inode::stat(&file)?, file)));
    let (stat, file) = opened.map_err(|error| missing_or(root, key, "read", error))?;
    match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::RegularFile => Ok((file, stat)),
        _ => Err(StoreError::changed(key, "it is no file any more")),
    }
}

/// What is below a file, or behind a link, is not there.
pub(super) fn missing_or(root: &Root, key: &Key, action: &str, error: Errno) -> StoreError {
    match error {
        Errno::NOTDIR | Errno::LOOP | Errno::NXIO => StoreError::missing(root.name(), key),
        error => root.error(key, action, error),
    }
}

impl OpenFile {
    fn read_now(self) -> Result<ByteStream> {
        let mut chunks = Vec::new();
        self.read_all(|chunk| {
            chunks.push(Ok(chunk));
            true
        })?;
        Ok(stream::iter(chunks).boxed())
    }

    /// Reads as fast as the chunks are taken; ends when nobody takes them.
    fn read_later(self) -> ByteStream {
        let (sender, receiver) = mpsc::channel(QUEUED_CHUNKS);
        tokio::task::spawn_blocking(move || {
            let read = self.read_all(|chunk| sender.blocking_send(Ok(chunk)).is_ok());
            if let Err(error) = read {
                let told = sender.blocking_send(Err(error));
                drop(told);
            }
        });
        stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|chunk| (chunk, receiver))).boxed()
    }

    /// Reads each chunk when it is asked for, on the thread that asks.
    fn read_here(self) -> ByteStream {
        let place = Place { offset: self.request.range.offset, data: self.request.range.offset };
        stream::try_unfold((self, place), async |(open, mut place)| {
            let chunk = open.next(&mut place)?;
            Ok(chunk.map(|chunk| (chunk, (open, place))))
        })
        .boxed()
    }

    /// Gives the range's bytes to `take`, as long as it wants them.
    fn read_all(&self, mut take: impl FnMut(Bytes) -> bool) -> Result<()> {
        let mut place = Place { offset: self.request.range.offset, data: self.request.range.offset };
        while let Some(chunk) = self.next(&mut place)? {
            if !take(chunk) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The next bytes of the range; at its end the file is looked at again.
    fn next(&self, place: &mut Place) -> Result<Option<Bytes>> {
        let end = self.request.range.end();
        if place.offset >= end {
            let after = inode::stat(&self.file).map_err(|error| self.failed(error))?;
            let same = inode::same_state(&self.before, &after);
            return if same { Ok(None) } else { Err(self.changed("it was written while it was read")) };
        }
        if self.sparse && place.offset >= place.data {
            place.data = self.next_data(place.offset, end)?;
        }
        let hole = place.data.saturating_sub(place.offset);
        let chunk = if hole > 0 { zeros(hole) } else { self.chunk(place.offset, end)? };
        place.offset += chunk.len() as u64;
        place.data = place.data.max(place.offset);
        Ok(Some(chunk))
    }

    /// Where the next bytes are that are stored; the range's end if only a hole is left.
    fn next_data(&self, offset: u64, end: u64) -> Result<u64> {
        match seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => Ok(data.min(end)),
            Err(Errno::NXIO) => Ok(end),
            // The filesystem does not tell.
            Err(Errno::INVAL) => Ok(offset),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn chunk(&self, offset: u64, end: u64) -> Result<Bytes> {
        let mut buffer = Vec::with_capacity((end - offset).min(CHUNK_BYTES as u64) as usize);
        let filled = pread(&self.file, rustix::buffer::spare_capacity(&mut buffer), offset);
        match filled.map_err(|error| self.failed(error))? {
            0 => Err(self.changed("it became shorter while it was read")),
            _ => Ok(buffer.into()),
        }
    }

    fn changed(&self, what: &str) -> StoreError {
        StoreError::changed(&self.request.key, what)
    }

    fn failed(&self, error: Errno) -> StoreError {
        self.root.error(&self.request.key, "read", error)
    }
}

fn zeros(len: u64) -> Bytes {
    Bytes::from_static(&ZEROS[..len.min(CHUNK_BYTES as u64) as usize])
}
