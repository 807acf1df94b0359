//! From what the system tells of a file to an entry and its attributes, and back.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};

use bytes::Bytes;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chownat, fchmod, fchown,
    fgetxattr, flistxattr, fremovexattr, fsetxattr, futimens, readlinkat, statat, utimensat,
};
use rustix::io::Errno;

use crate::attributes::{AttributeKind, AttributeSet, Attributes, Posix};
use crate::entry::{Access, Entry, FileId, Kind};
use crate::key::Key;
use crate::store::local::note;
use crate::store::local::root::NO_FOLLOW;
use crate::timestamp::Timestamp;

type Outcome<T> = std::result::Result<T, Errno>;

/// The largest value of an extended attribute that Linux holds.
const MAX_XATTR_BYTES: usize = 64 * 1024;
/// What is tried first for their names.
const FEW_XATTR_NAMES_BYTES: usize = 512;
/// The bytes of a mode that are permissions.
const PERMISSIONS: u32 = 0o7777;
/// `st_blocks` counts these.
const BLOCK_BYTES: u64 = 512;

/// The entry of what is at a name in a directory; none if it is neither file, directory nor symbolic link.
pub(super) fn entry_at(directory: BorrowedFd<'_>, name: &[u8], key: Key) -> Outcome<Option<Entry>> {
    let stat = statat(directory, name, NO_FOLLOW)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::Object,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => {
            let target = readlinkat(directory, name, Vec::new())?;
            Kind::Symlink { target: Bytes::from(target.into_bytes()) }
        }
        _ => return Ok(None),
    };
    Ok(Some(entry(key, kind, &stat)))
}

/// The entry of an inode.
pub(super) fn entry(key: Key, kind: Kind, stat: &Stat) -> Entry {
    let is_object = kind == Kind::Object;
    Entry {
        kind,
        modified: Some(modified(stat)),
        changed: Some(Timestamp::new(stat.st_ctime, stat.st_ctime_nsec as u32)),
        access: Some(Access { mode: stat.st_mode & PERMISSIONS, uid: stat.st_uid, gid: stat.st_gid }),
        file: Some(FileId { device: stat.st_dev, inode: stat.st_ino }),
        links: if is_object { u32::try_from(stat.st_nlink).unwrap_or(u32::MAX) } else { 1 },
        ..Entry::object(key, if is_object { stat.st_size as u64 } else { 0 })
    }
}

fn modified(stat: &Stat) -> Timestamp {
    Timestamp::new(stat.st_mtime, stat.st_mtime_nsec as u32)
}

/// What a filesystem keeps of it, without its extended attributes.
pub(super) fn posix(stat: &Stat) -> Posix {
    // Directories and links have no holes, though some filesystems give them a size and no blocks.
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    Posix {
        mode: stat.st_mode & PERMISSIONS,
        uid: stat.st_uid,
        gid: stat.st_gid,
        modified: modified(stat),
        xattrs: BTreeMap::new(),
        sparse: is_file && (stat.st_blocks as u64).saturating_mul(BLOCK_BYTES) < stat.st_size as u64,
    }
}

/// The extended attributes of an open file or directory; none where the filesystem has none.
pub(super) fn xattrs(file: BorrowedFd<'_>) -> Outcome<BTreeMap<Vec<u8>, Vec<u8>>> {
    // Most files have none or few.
    let mut few = [0; FEW_XATTR_NAMES_BYTES];
    let mut many = Vec::new();
    let names = match flistxattr(file, &mut few) {
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(BTreeMap::new()),
        Err(Errno::RANGE) => {
            many.resize(MAX_XATTR_BYTES, 0);
            let len = flistxattr(file, many.as_mut_slice())?;
            &many[..len]
        }
        listed => &few[..listed?],
    };
    let mut found = BTreeMap::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty() && *name != note::NAME) {
        let mut value = vec![0; MAX_XATTR_BYTES];
        match fgetxattr(file, name, value.as_mut_slice()) {
            // Removed meanwhile, or not for this user to see.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS) => {}
            read => {
                value.truncate(read?);
                found.insert(name.to_vec(), value);
            }
        }
    }
    Ok(found)
}

/// Gives an open file or directory its attributes and its time, in the order that keeps them: the owner takes
/// setuid away, so the mode comes after it, and the time comes last. Returns what the system refused to keep.
pub(super) fn apply(file: BorrowedFd<'_>, attributes: &Attributes, time: Option<Timestamp>) -> Outcome<AttributeSet> {
    let mut refused = AttributeSet::NONE;
    if let Some(posix) = &attributes.posix {
        let owner = fchown(file, Some(Uid::from_raw(posix.uid)), Some(Gid::from_raw(posix.gid)));
        refused = refused.or(not_permitted(owner, AttributeKind::Owner)?);
        let mode = fchmod(file, Mode::from_raw_mode(posix.mode & PERMISSIONS));
        refused = refused.or(not_permitted(mode, AttributeKind::Mode)?);
        for (name, value) in &posix.xattrs {
            let set = fsetxattr(file, name.as_slice(), value, XattrFlags::empty());
            refused = refused.or(not_permitted(set, AttributeKind::ExtendedAttributes)?);
        }
    }
    let time = attributes.posix.as_ref().map(|posix| posix.modified).or(time);
    time.map_or(Ok(()), |time| futimens(file, &times(time)))?;
    Ok(refused)
}

/// Removes a user's extended attributes that are not among these.
pub(super) fn remove_other_xattrs(file: BorrowedFd<'_>, kept: &Posix) -> Outcome<AttributeSet> {
    let mut refused = AttributeSet::NONE;
    for name in xattrs(file)?.into_keys().filter(|name| name.starts_with(b"user.") && !kept.xattrs.contains_key(name)) {
        let removed = fremovexattr(file, name.as_slice());
        refused = refused.or(not_permitted(removed, AttributeKind::ExtendedAttributes)?);
    }
    Ok(refused)
}

/// Gives a symbolic link its owner and time.
pub(super) fn apply_to_link(
    directory: BorrowedFd<'_>,
    name: &[u8],
    attributes: &Attributes,
    time: Option<Timestamp>,
) -> Outcome<AttributeSet> {
    let mut refused = AttributeSet::NONE;
    if let Some(posix) = &attributes.posix {
        let (uid, gid) = (Uid::from_raw(posix.uid), Gid::from_raw(posix.gid));
        let owner = chownat(directory, name, Some(uid), Some(gid), NO_FOLLOW);
        refused = not_permitted(owner, AttributeKind::Owner)?;
    }
    let time = attributes.posix.as_ref().map(|posix| posix.modified).or(time);
    time.map_or(Ok(()), |time| utimensat(directory, name, &times(time), AtFlags::SYMLINK_NOFOLLOW))?;
    Ok(refused)
}

/// Only the time of writing; that of reading stays.
fn times(modified: Timestamp) -> Timestamps {
    let last_modification = Timespec { tv_sec: modified.seconds(), tv_nsec: i64::from(modified.subsec_nanos()) };
    Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification }
}

/// What a user may not set, or a filesystem does not have, is left out, not failed.
fn not_permitted(result: Outcome<()>, kind: AttributeKind) -> Outcome<AttributeSet> {
    match result {
        Ok(()) => Ok(AttributeSet::NONE),
        Err(Errno::PERM | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => Ok(AttributeSet::of(&[kind])),
        Err(error) => Err(error),
    }
}

/// Whether two looks at a file saw the same contents.
pub(super) fn same_state(before: &Stat, after: &Stat) -> bool {
    (before.st_size, before.st_ino, modified(before)) == (after.st_size, after.st_ino, modified(after))
}

/// The file's metadata as an open file tells it.
pub(super) fn stat(file: &impl AsFd) -> Outcome<Stat> {
    rustix::fs::fstat(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_have_holes() {
        let mut stat = statat(rustix::fs::CWD, "/", NO_FOLLOW).expect("a root");
        (stat.st_size, stat.st_blocks) = (4_096, 0);
        let kinds = [(FileType::RegularFile, true), (FileType::Directory, false), (FileType::Symlink, false)];
        for (kind, sparse) in kinds {
            stat.st_mode = kind.as_raw_mode() | 0o644;
            assert_eq!(posix(&stat).sparse, sparse, "{kind:?}");
        }
    }
}
