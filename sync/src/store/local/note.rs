//! The extended attribute in which a file remembers which object it is a copy of.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{XattrFlags, fsetxattr, lgetxattr};
use rustix::io::Errno;

use super::{LocalOptions, Origins, inode};
use crate::entry::{Entry, Kind, OriginNote};
use crate::key::Key;
use crate::origin::Origin;

/// Its name. It is ours: it is neither copied to other places nor removed with a user's own.
pub(super) const NAME: &[u8] = b"user.farshore.origin";

/// Notes the origin of what is written, where that is to be kept.
pub(super) fn keep(
    options: LocalOptions,
    file: BorrowedFd<'_>,
    key: &Key,
    origin: Option<&Origin>,
) -> Result<(), Errno> {
    origin.filter(|_| options.origins == Origins::Kept).map_or(Ok(()), |origin| write(file, key, origin))
}

/// Notes the origin of a file that has its contents and attributes. That it cannot be noted costs only time later.
fn write(file: BorrowedFd<'_>, key: &Key, origin: &Origin) -> Result<(), Errno> {
    let entry = inode::entry(key.clone(), Kind::Object, &inode::stat(&file)?);
    let Some(note) = origin.note(&entry) else { return Ok(()) };
    match fsetxattr(file, NAME, &note.0, XattrFlags::empty()) {
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::PERM | Errno::NOSPC | Errno::DQUOT) => Ok(()),
        set => set,
    }
}

/// Adds to the entry of a file in a directory what the file remembers, where that is listed.
pub(super) fn add_to(entry: &mut Entry, origins: Origins, directory: BorrowedFd<'_>, name: &[u8]) {
    if origins != Origins::Ignored && entry.kind == Kind::Object {
        entry.origin = read_at(directory, name);
    }
}

/// What a file in a directory remembers. It is read by its path, without opening it.
fn read_at(directory: BorrowedFd<'_>, name: &[u8]) -> Option<OriginNote> {
    let path = [format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).as_bytes(), name].concat();
    let mut note = [0; OriginNote::BYTES];
    let len = lgetxattr(path, NAME, &mut note[..]).ok()?;
    (len == note.len()).then_some(OriginNote(note))
}

/// Notes the origin of a file that was looked at and is as it was then.
pub(super) fn write_again(file: BorrowedFd<'_>, seen: &Entry, origin: &Origin) -> Result<(), Errno> {
    let found = inode::entry(seen.key.clone(), Kind::Object, &inode::stat(&file)?);
    let is_same = (found.file, found.changed, found.size) == (seen.file, seen.changed, seen.size);
    if is_same { write(file, &seen.key, origin) } else { Ok(()) }
}
