//! Requests to write and to copy, and what a store tells of what it stored.

use crate::attributes::{AttributeSet, Attributes};
use crate::checksum::Checksums;
use crate::entry::{ETag, Identity, Kind, Object, VersionId};
use crate::key::Key;
use crate::origin::Origin;
use crate::timestamp::Timestamp;

/// An object to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutRequest {
    /// Under which key.
    pub key: Key,
    /// Object, directory or symbolic link.
    pub kind: Kind,
    /// Its length in bytes, which the body has too.
    pub size: u64,
    /// When the source was last written; kept where the store holds such times.
    pub modified: Option<Timestamp>,
    /// What to keep beside the bytes.
    pub attributes: Attributes,
    /// Checksums of the whole body that are known before it is sent.
    pub checksums: Checksums,
    /// Which object it is a copy of, for a disk to remember.
    pub origin: Option<Origin>,
    /// What must be there for the write to happen.
    pub condition: Condition,
}

/// What must be under a key for a write to happen; if it is not, the write is `Changed`. Stores that are not
/// `conditional` answer `Unsupported` to anything but `Always`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Condition {
    /// Whatever is there.
    #[default]
    Always,
    /// Nothing.
    Absent,
    /// The object in this state.
    Is(Identity),
}

/// An object to copy server-side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyRequest {
    /// The source's key in its store.
    pub source: Key,
    /// The state that it must be in.
    pub identity: Identity,
    /// The copy; its attributes replace the source's.
    pub target: PutRequest,
}

/// What a store tells of an object that it stored; nothing is filled in that it did not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// The tag.
    pub etag: Option<ETag>,
    /// The version.
    pub version: Option<VersionId>,
    /// The length in bytes.
    pub size: Option<u64>,
    /// The checksums.
    pub checksums: Checksums,
    /// What it holds in general and could not keep of this object, such as an owner that only root may give.
    pub left_out: AttributeSet,
    /// Whether it is under an escaped name, because the store cannot hold the key.
    pub escaped: bool,
}

impl PutRequest {
    /// An object without attributes.
    pub fn object(key: Key, size: u64) -> Self {
        Self {
            key,
            kind: Kind::Object,
            size,
            modified: None,
            attributes: Attributes::default(),
            checksums: Checksums::none(),
            origin: None,
            condition: Condition::Always,
        }
    }

    /// A copy, under the same key, of what was read of an object.
    pub fn copy_of(object: &Object) -> Self {
        Self {
            kind: object.entry.kind.clone(),
            modified: object.attributes.modified.or(object.entry.modified),
            attributes: object.attributes.clone(),
            ..Self::object(object.entry.key.clone(), object.entry.size)
        }
    }
}
