//! Writing local files: a temporary file in the same directory, filled, synced, and renamed in place of what was there.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{Mode, fsync, ftruncate, linkat, symlinkat};
use rustix::io::Errno;

use super::appender::Appender;
use super::inode;
use super::note;
use super::reading;
use super::root::{Place, Root};
use super::temporary::Temporary;
use super::{Durability, LocalOptions};
use crate::attributes::AttributeSet;
use crate::entry::Kind;
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::store::{PutRequest, Stored};

/// A file that is being written, and will be the object of a request.
pub(super) struct Writer {
    root: Arc<Root>,
    request: PutRequest,
    options: LocalOptions,
    temporary: Temporary,
    appender: Appender,
    written: u64,
    sparse: bool,
}

impl Writer {
    /// Makes the directories above and a temporary file.
    pub(super) fn begin(root: &Arc<Root>, options: LocalOptions, request: &PutRequest) -> Result<Self> {
        let place = file_place(root, &request.key)?;
        let directory = make_directory(root, options.durability, &request.key, place.directory)?;
        let posix = request.attributes.posix.as_ref();
        let temporary =
            Temporary::file(directory, new_file_mode(request)).map_err(|error| failed(root, &request.key, error))?;
        let sparse = posix.is_some_and(|posix| posix.sparse);
        let appender = Appender::new(temporary.fd(), 0, request.size, sparse);
        Ok(Self { root: Arc::clone(root), request: request.clone(), options, temporary, appender, written: 0, sparse })
    }

    /// Gives the file its length, attributes and durability, in this order.
    fn seal(&self) -> std::result::Result<AttributeSet, Errno> {
        let file = self.temporary.fd();
        if self.sparse {
            ftruncate(file, self.written)?;
        }
        let left_out = inode::apply(file, &self.request.attributes, self.request.modified)?;
        note::keep(self.options, file, &self.request.key, self.request.origin.as_ref())?;
        sync(file, self.options.durability)?;
        Ok(left_out)
    }

    fn wrong_length(&self, what: &str) -> StoreError {
        let reason = format!("{what} bytes came than the {} that were announced", self.request.size);
        StoreError::corrupt(self.root.name(), &self.request.key, reason)
    }

    fn failed(&self, error: Errno) -> StoreError {
        failed(&self.root, &self.request.key, error)
    }
}

/// Where bytes are written as they come, on a thread that may wait.
pub(super) trait Sink: Sized {
    /// What is known at the end.
    type Done;

    /// Appends bytes.
    fn write(&mut self, chunk: &Bytes) -> Result<()>;

    /// Makes it what it is to be, if all bytes came.
    fn finish(self) -> Result<Self::Done>;
}

impl Sink for Writer {
    type Done = Stored;

    fn write(&mut self, chunk: &Bytes) -> Result<()> {
        if self.written + chunk.len() as u64 > self.request.size {
            return Err(self.wrong_length("more"));
        }
        let appended = self.appender.append(self.temporary.fd(), chunk);
        appended.map_err(|error| self.failed(error))?;
        self.written += chunk.len() as u64;
        Ok(())
    }

    fn finish(mut self) -> Result<Stored> {
        if self.written != self.request.size {
            return Err(self.wrong_length("fewer"));
        }
        let appended = self.appender.finish(self.temporary.fd());
        let left_out = appended.and_then(|()| self.seal()).map_err(|error| self.failed(error))?;
        let place = file_place(&self.root, &self.request.key)?;
        // A temporary file that is gone was taken for an orphan's: the write is tried again.
        let placed = self.temporary.place(place.name);
        placed
            .map_err(|error| if error == Errno::NOENT { Errno::AGAIN } else { error })
            .map_err(|error| self.failed(error))?;
        let (directory, _) = self.temporary.at();
        sync(directory, self.options.durability).map_err(|error| self.failed(error))?;
        Ok(Stored { size: Some(self.written), left_out, ..Stored::default() })
    }
}

/// The mode of a new file until it has its own: nobody else reads it before.
pub(super) fn new_file_mode(request: &PutRequest) -> Mode {
    Mode::from_raw_mode(if request.attributes.posix.is_some() { 0o600 } else { 0o666 })
}

/// Makes a directory or a symbolic link.
pub(super) fn put_other(root: &Root, options: LocalOptions, request: &PutRequest) -> Result<Stored> {
    let place = root.place(&request.key)?;
    let left_out = match &request.kind {
        Kind::Symlink { target } => put_link(root, options, request, target)?,
        Kind::Directory | Kind::Object => {
            let path = &request.key.as_bytes()[..request.key.as_bytes().len() - usize::from(place.is_directory)];
            let directory = make_directory(root, options.durability, &request.key, path)?;
            let applied = inode::apply(directory.as_fd(), &request.attributes, request.modified);
            applied.map_err(|error| failed(root, &request.key, error))?
        }
    };
    Ok(Stored { size: Some(0), left_out, ..Stored::default() })
}

fn put_link(root: &Root, options: LocalOptions, request: &PutRequest, target: &Bytes) -> Result<AttributeSet> {
    let place = file_place(root, &request.key)?;
    let directory = make_directory(root, options.durability, &request.key, place.directory)?;
    let put = || {
        let mut link = Temporary::made(directory, |directory, name| symlinkat(&target[..], directory, name))?;
        let (above, name) = link.at();
        let left_out = inode::apply_to_link(above, name.as_bytes(), &request.attributes, request.modified)?;
        place_again_if_swept(&mut link, place.name)?;
        sync(link.at().0, options.durability)?;
        Ok(left_out)
    };
    put().map_err(|error| failed(root, &request.key, error))
}

/// Gives a file another name, in place of what had it.
pub(super) fn link(root: &Root, options: LocalOptions, existing: &Key, new: &Key) -> Result<()> {
    let (from, to) = (file_place(root, existing)?, file_place(root, new)?);
    let source = root.open_directory(from.directory).map_err(|error| root.error(existing, "link", error))?;
    let directory = make_directory(root, options.durability, new, to.directory)?;
    let make = |directory: BorrowedFd<'_>, name: &str| {
        linkat(&source, from.name, directory, name, rustix::fs::AtFlags::empty())
    };
    let mut link = Temporary::made(directory, make).map_err(|error| root.error(existing, "link", error))?;
    place_again_if_swept(&mut link, to.name).map_err(|error| failed(root, new, error))?;
    sync(link.at().0, options.durability).map_err(|error| failed(root, new, error))
}

/// Makes what is in another directory a file of this one too. Nothing that is here is replaced.
pub(super) fn adopt(root: &Root, options: LocalOptions, other: &Root, existing: &Key, new: &Key) -> Result<()> {
    let (from, to) = (file_place(other, existing)?, file_place(root, new)?);
    let source = other.open_directory(from.directory);
    let source = source.map_err(|error| reading::missing_or(other, existing, "link", error))?;
    let directory = make_directory(root, options.durability, new, to.directory)?;
    match linkat(&source, from.name, &directory, to.name, rustix::fs::AtFlags::empty()) {
        // Another filesystem, one without links, a file of somebody else, or one with too many names.
        Err(Errno::XDEV | Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => {
            return Err(StoreError::unsupported(root.name(), format!("adopt {existing}")));
        }
        Err(Errno::EXIST) => return Err(StoreError::changed(new, "something came there meanwhile")),
        linked => linked.map_err(|error| reading::missing_or(root, existing, "link", error))?,
    }
    sync(directory.as_fd(), options.durability).map_err(|error| failed(root, new, error))
}

/// A temporary name that was taken for an orphan's is an error that passes.
fn place_again_if_swept(temporary: &mut Temporary, name: &[u8]) -> std::result::Result<(), Errno> {
    temporary.place(name).map_err(|error| if error == Errno::NOENT { Errno::AGAIN } else { error })
}

/// The place of a key that is no directory's.
pub(super) fn file_place<'a>(root: &Root, key: &'a Key) -> Result<Place<'a>> {
    let place = root.place(key)?;
    if place.is_directory {
        return Err(StoreError::unholdable(root.name(), key, "a name that ends with a slash is a directory on a disk"));
    }
    Ok(place)
}

pub(super) fn make_directory(root: &Root, durability: Durability, key: &Key, path: &[u8]) -> Result<OwnedFd> {
    let made = root.make_directory(path, &mut |above| sync(above, durability));
    made.map_err(|error| failed(root, key, error))
}

pub(super) fn sync(file: BorrowedFd<'_>, durability: Durability) -> std::result::Result<(), Errno> {
    match durability {
        Durability::Each => fsync(file),
        Durability::AtFlush => Ok(()),
    }
}

/// A directory that goes while it is written to is no object that is missing: the write is tried again.
pub(super) fn failed(root: &Root, key: &Key, error: Errno) -> StoreError {
    let error = if error == Errno::NOENT { Errno::AGAIN } else { error };
    root.error(key, "write", error)
}
