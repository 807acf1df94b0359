//! Between the volume's attributes, kinds and times and the kernel's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use farshore_meta::{Attr, FileKind, Ino, UnixTime};
use fuser::{FileAttr, FileType, INodeNo};

/// What `stat` shows as the best size of a request. Larger values only make buffered readers
/// fetch more than they asked for: the kernel reads ahead by itself.
const BLOCK_BYTES: u32 = 4_096;
/// The unit of `st_blocks`.
const SECTOR_BYTES: u64 = 512;
/// The part of a mode that holds permissions.
const PERMISSIONS: u32 = 0o7777;
/// The part of a mode that tells the kind.
const KIND: u32 = 0o170_000;

/// Attributes as the kernel takes them.
pub(crate) fn file_attr(ino: Ino, attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino.0),
        size: attr.size,
        blocks: attr.allocated.div_ceil(SECTOR_BYTES),
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: UNIX_EPOCH,
        kind: file_type(attr.kind),
        perm: attr.mode,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

/// The answer to a lookup of a name that is not there, which the kernel may cache too.
pub(crate) fn no_file() -> FileAttr {
    let nothing = Attr::new(FileKind::File, 0, 0, 0, UnixTime::default());
    file_attr(Ino(0), &nothing)
}

/// A kind as the kernel takes it.
pub(crate) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

/// The kind that the mode of a `mknod` asks for, if it may ask for it.
pub(crate) fn node_kind(mode: u32) -> Option<FileKind> {
    match mode & KIND {
        0 | 0o100_000 => Some(FileKind::File),
        0o010_000 => Some(FileKind::Fifo),
        0o140_000 => Some(FileKind::Socket),
        0o020_000 => Some(FileKind::CharDevice),
        0o060_000 => Some(FileKind::BlockDevice),
        _ => None,
    }
}

/// The permissions that a new inode gets.
pub(crate) fn permissions(mode: u32, umask: u32) -> u16 {
    (mode & PERMISSIONS & !umask) as u16
}

/// A time as fuser writes it.
fn system_time(time: UnixTime) -> SystemTime {
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let begin = if time.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    begin.and_then(|begin| begin.checked_add(Duration::from_nanos(time.nanos.into()))).unwrap_or(UNIX_EPOCH)
}

/// A time as fuser read it. Of a time before 1970 it takes the nanoseconds away from the
/// seconds instead of adding them; that is undone here.
pub(crate) fn unix_time(time: SystemTime) -> UnixTime {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => UnixTime { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() },
        Err(before) => {
            let before = before.duration();
            UnixTime { seconds: -(before.as_secs() as i64), nanos: before.subsec_nanos() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_survive_fusers_reading() {
        let read = UNIX_EPOCH - Duration::new(7, 250);
        assert_eq!(unix_time(read), UnixTime { seconds: -7, nanos: 250 });
        let written = system_time(UnixTime { seconds: -7, nanos: 250 });
        assert_eq!(UNIX_EPOCH.duration_since(written).unwrap(), Duration::new(6, 999_999_750));
        let later = UnixTime { seconds: 7, nanos: 250 };
        assert_eq!(unix_time(system_time(later)), later);
    }

    #[test]
    fn a_node_is_no_directory_and_no_symlink() {
        assert_eq!(node_kind(0o644), Some(FileKind::File));
        assert_eq!(node_kind(0o010_644), Some(FileKind::Fifo));
        assert_eq!(node_kind(0o040_755), None);
        assert_eq!(node_kind(0o120_777), None);
    }
}
