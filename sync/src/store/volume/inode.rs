//! From what a volume tells of an inode to an entry and its attributes, and back.

use std::collections::BTreeMap;

use bytes::Bytes;
use farshore_meta::{Attr, AttrChange, FileKind, Ino, InodeState, NewInode, UnixTime, Xattr};

use crate::attributes::{AttributeKind, AttributeSet, Attributes, Posix};
use crate::entry::{Access, Entry, FileId, Kind, VersionId};
use crate::key::Key;
use crate::timestamp::Timestamp;

/// Modes of what comes from a store that has none.
const FILE_MODE: u16 = 0o644;
const DIRECTORY_MODE: u16 = 0o755;
const LINK_MODE: u16 = 0o777;
/// The longest name and value of an extended attribute in a volume.
const MAX_XATTR_NAME_BYTES: usize = 255;
const MAX_XATTR_BYTES: usize = 64 * 1024;
/// What these names mean, a mount does not enforce or keeps for itself, so they are not stored.
const REFUSED_PREFIXES: [&[u8]; 2] = [b"system.", b"farshore."];

/// Who owns what comes from a store without owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

/// What kind of thing a key leads to; none if it is neither file, directory nor symbolic link.
pub(super) fn kind_of(kind: FileKind, target: Bytes) -> Option<Kind> {
    match kind {
        FileKind::File => Some(Kind::Object),
        FileKind::Directory => Some(Kind::Directory),
        FileKind::Symlink => Some(Kind::Symlink { target }),
        FileKind::Fifo | FileKind::Socket | FileKind::CharDevice | FileKind::BlockDevice => None,
    }
}

/// The entry of an inode. The version of an object is its change time: nothing of it changes without another one.
pub(super) fn entry(key: Key, kind: Kind, device: u64, ino: Ino, attr: &Attr) -> Entry {
    let is_object = kind == Kind::Object;
    Entry {
        kind,
        modified: Some(timestamp(attr.mtime)),
        changed: Some(timestamp(attr.ctime)),
        access: Some(Access { mode: u32::from(attr.mode), uid: attr.uid, gid: attr.gid }),
        version: is_object.then(|| VersionId::new(&timestamp(attr.ctime).as_nanos().to_string())),
        file: Some(FileId { device, inode: ino.0 }),
        links: if is_object { attr.nlink } else { 1 },
        ..Entry::object(key, if is_object { attr.size } else { 0 })
    }
}

/// What the volume keeps of it, without its extended attributes.
pub(super) fn posix(attr: &Attr) -> Posix {
    Posix {
        mode: u32::from(attr.mode),
        uid: attr.uid,
        gid: attr.gid,
        modified: timestamp(attr.mtime),
        xattrs: BTreeMap::new(),
        sparse: attr.kind == FileKind::File && attr.allocated < attr.size,
    }
}

pub(super) fn timestamp(time: UnixTime) -> Timestamp {
    Timestamp::new(time.seconds, time.nanos)
}

pub(super) fn unix_time(time: Timestamp) -> UnixTime {
    UnixTime { seconds: time.seconds(), nanos: time.subsec_nanos() }
}

/// The inode that a request asks for.
pub(super) fn new_inode(kind: &Kind, attributes: &Attributes, owner: Owner) -> NewInode {
    let (kind, usual, target) = match kind {
        Kind::Object => (FileKind::File, FILE_MODE, Bytes::new()),
        Kind::Directory => (FileKind::Directory, DIRECTORY_MODE, Bytes::new()),
        Kind::Symlink { target } => (FileKind::Symlink, LINK_MODE, target.clone()),
    };
    let posix = attributes.posix.as_ref();
    let mode = posix.filter(|_| kind != FileKind::Symlink).map_or(usual, |posix| (posix.mode & 0o7777) as u16);
    let owner = posix.map_or(owner, |posix| Owner { uid: posix.uid, gid: posix.gid });
    NewInode { kind, mode, uid: owner.uid, gid: owner.gid, rdev: 0, target }
}

/// How attributes change for an inode to have these.
pub(super) fn change(attributes: &Attributes, modified: Option<Timestamp>, is_link: bool) -> AttrChange {
    let posix = attributes.posix.as_ref();
    AttrChange {
        mode: posix.filter(|_| !is_link).map(|posix| (posix.mode & 0o7777) as u16),
        uid: posix.map(|posix| posix.uid),
        gid: posix.map(|posix| posix.gid),
        mtime: posix.map(|posix| posix.modified).or(modified).map(unix_time),
        ..AttrChange::default()
    }
}

/// The extended attributes that a volume keeps of these, and what it leaves out.
pub(super) fn xattrs(attributes: &Attributes) -> (Vec<Xattr>, AttributeSet) {
    let Some(posix) = &attributes.posix else { return (Vec::new(), AttributeSet::NONE) };
    let fits = |name: &[u8], value: &[u8]| {
        let refused = REFUSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        !refused && !name.is_empty() && name.len() <= MAX_XATTR_NAME_BYTES && value.len() <= MAX_XATTR_BYTES
    };
    let kept: Vec<Xattr> = posix
        .xattrs
        .iter()
        .filter(|(name, value)| fits(name, value))
        .map(|(name, value)| (Bytes::copy_from_slice(name), Bytes::copy_from_slice(value)))
        .collect();
    let all = kept.len() == posix.xattrs.len();
    (kept, if all { AttributeSet::NONE } else { AttributeSet::of(&[AttributeKind::ExtendedAttributes]) })
}

/// The state that reads and changes of an inode are bound to.
pub(super) fn state(ino: Ino, attr: &Attr) -> InodeState {
    InodeState::of(ino, attr)
}
