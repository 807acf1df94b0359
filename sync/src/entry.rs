//! An entry of a listing and an object as a whole: what is known of it, and the identity that reads are bound to.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::attributes::{AttributeSet, Attributes};
use crate::checksum::Checksums;
use crate::key::Key;
use crate::timestamp::Timestamp;

/// One object, as a listing tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key, relative to the store's root.
    pub key: Key,
    /// Object, directory or symbolic link.
    pub kind: Kind,
    /// Its length in bytes; 0 unless it is an object.
    pub size: u64,
    /// When its contents were last written: the file's own time where the store holds it, else when it was stored.
    pub modified: Option<Timestamp>,
    /// When anything of the inode was last changed, on a filesystem: contents, attributes or names. Nobody can set it.
    pub changed: Option<Timestamp>,
    /// Who may do what with it, on a filesystem.
    pub access: Option<Access>,
    /// The store's tag of these very contents.
    pub etag: Option<ETag>,
    /// The version's name, where the store keeps versions.
    pub version: Option<VersionId>,
    /// The inode, on a filesystem.
    pub file: Option<FileId>,
    /// What a file remembers of the object that it is a copy of, where it was asked to.
    pub origin: Option<OriginNote>,
    /// How many names the inode has; 1 where there are no hard links.
    pub links: u32,
    /// What the listing tells of checksums. An ETag that is known to be an MD5 is here too.
    pub checksums: Checksums,
    /// The storage class, where the listing tells it.
    pub storage_class: Option<Arc<str>>,
}

/// The part of a file's attributes that listing it tells at no cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Permission bits with setuid, setgid and sticky; no file type.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

/// What kind of thing a key names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Bytes.
    Object,
    /// A directory as such. Its key ends with a slash.
    Directory,
    /// A symbolic link, which is never followed.
    Symlink {
        /// Where it points, as it was written.
        target: Bytes,
    },
}

/// A store's opaque tag of an object's contents, without its quotes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ETag(Arc<str>);

/// The name of one version of an object, or its generation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VersionId(Arc<str>);

/// A file of a machine, whatever its names are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// The filesystem's device number.
    pub device: u64,
    /// The inode's number.
    pub inode: u64,
}

/// What a file remembers of the object that it is a copy of, and of its own state then: see `origin.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OriginNote(pub [u8; Self::BYTES]);

impl OriginNote {
    /// How long a note is.
    pub const BYTES: usize = 16;
}

/// What tells one state of an object from any other. Reads are bound to it: contents of another identity are never
/// returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its length in bytes.
    pub size: u64,
    /// The store's tag.
    pub etag: Option<ETag>,
    /// The version.
    pub version: Option<VersionId>,
    /// The inode.
    pub file: Option<FileId>,
    /// When it was last written.
    pub modified: Option<Timestamp>,
}

/// An object as a whole: its entry, and its attributes as far as they were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What a listing tells, and perhaps more checksums.
    pub entry: Entry,
    /// The attributes.
    pub attributes: Attributes,
    /// The kinds of attribute that were looked at: one that is missing here is unknown, not absent.
    pub known: AttributeSet,
}

impl Entry {
    /// An object of which nothing more is known.
    pub fn object(key: Key, size: u64) -> Self {
        Self {
            key,
            kind: Kind::Object,
            size,
            modified: None,
            changed: None,
            access: None,
            etag: None,
            version: None,
            file: None,
            origin: None,
            links: 1,
            checksums: Checksums::none(),
            storage_class: None,
        }
    }

    /// What reads of it are bound to.
    pub fn identity(&self) -> Identity {
        Identity {
            size: self.size,
            etag: self.etag.clone(),
            version: self.version.clone(),
            file: self.file,
            modified: self.modified,
        }
    }
}

impl Identity {
    /// Whether the other may be the same state: nothing that both know differs. Two ETags decide alone, because a
    /// time may be told with less precision in one answer than in another.
    pub fn may_be(&self, other: &Self) -> bool {
        fn agree<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
            one.zip(other).is_none_or(|(one, other)| one == other)
        }
        let (etag, others) = (self.etag.as_ref(), other.etag.as_ref());
        self.size == other.size
            && agree(etag, others)
            && agree(self.version.as_ref(), other.version.as_ref())
            && agree(self.file.as_ref(), other.file.as_ref())
            && (etag.and(others).is_some() || agree(self.modified.as_ref(), other.modified.as_ref()))
    }
}

impl ETag {
    /// From a header or a listing, with or without quotes.
    pub fn new(text: &str) -> Self {
        let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
        Self(bare.into())
    }

    /// Without quotes; a weak one begins with `W/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl VersionId {
    /// As the store writes it.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// As the store writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Object => "object",
            Self::Directory => "directory",
            Self::Symlink { .. } => "symbolic link",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_differ_in_what_both_know() {
        let identity = |etag: Option<&str>, seconds| Identity {
            etag: etag.map(ETag::new),
            modified: Some(Timestamp::new(seconds, 0)),
            ..Entry::object(Key::try_from("k").unwrap(), 1).identity()
        };
        assert!(identity(Some("a"), 1).may_be(&identity(Some("\"a\""), 2)), "equal etags decide");
        assert!(!identity(Some("a"), 1).may_be(&identity(Some("b"), 1)));
        assert!(!identity(None, 1).may_be(&identity(Some("b"), 2)));
        assert!(identity(None, 1).may_be(&identity(Some("b"), 1)));
        assert!(!identity(None, 1).may_be(&Identity { size: 2, ..identity(None, 1) }));
    }
}
