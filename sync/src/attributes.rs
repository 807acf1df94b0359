//! What is kept of an object beside its bytes, and the sets of such things that stores hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::timestamp::Timestamp;

/// Everything of an object beside its bytes, as far as its store has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Content type and the headers beside it.
    pub content: ContentHeaders,
    /// The user's own metadata: names in lower case, without a store's prefix such as `x-amz-meta-`.
    pub user: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// What the owner granted to others, on S3.
    pub grants: BTreeSet<Grant>,
    /// The storage class or access tier, in the store's own words.
    pub storage_class: Option<String>,
    /// When the contents were last written where they came from, as metadata tell it. Where a filesystem keeps all
    /// that there is to keep, it is in `posix`.
    pub modified: Option<Timestamp>,
    /// What a filesystem keeps.
    pub posix: Option<Posix>,
}

/// The headers with which an object is served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContentHeaders {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Expires`, as it was written.
    pub expires: Option<String>,
}

/// That somebody may do something with an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// Who.
    pub grantee: Grantee,
    /// What.
    pub permission: Permission,
}

/// Who is granted something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grantee {
    /// A group that every server knows by this address, such as everybody.
    Group(String),
    /// A user of one server.
    User(String),
}

/// What is granted, in the words of S3's access lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// `READ`.
    Read,
    /// `READ_ACP`.
    ReadGrants,
    /// `WRITE_ACP`.
    WriteGrants,
    /// `FULL_CONTROL`.
    All,
}

/// What a filesystem keeps of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posix {
    /// Permission bits with setuid, setgid and sticky; no file type.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// When the contents were last written.
    pub modified: Timestamp,
    /// Extended attributes, POSIX ACLs among them.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Whether it has holes: fewer bytes are stored than it is long.
    pub sparse: bool,
}

/// One kind of thing that is kept beside bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AttributeKind {
    /// [`ContentHeaders`].
    ContentHeaders,
    /// [`Attributes::user`].
    UserMetadata,
    /// [`Attributes::tags`].
    Tags,
    /// [`Attributes::storage_class`].
    StorageClass,
    /// [`Posix::mode`].
    Mode,
    /// [`Posix::uid`] and [`Posix::gid`].
    Owner,
    /// [`Posix::modified`], so that a copy has its source's time.
    ModifiedTime,
    /// [`Posix::xattrs`].
    ExtendedAttributes,
    /// Symbolic links as such.
    Symlinks,
    /// Two names of one file.
    HardLinks,
    /// Directories as such: they exist without anything in them and have attributes.
    Directories,
    /// Holes.
    Holes,
    /// [`Attributes::grants`].
    Grants,
}

impl AttributeKind {
    /// Every kind, in order.
    pub const ALL: [Self; 13] = [
        Self::ContentHeaders,
        Self::UserMetadata,
        Self::Tags,
        Self::StorageClass,
        Self::Mode,
        Self::Owner,
        Self::ModifiedTime,
        Self::ExtendedAttributes,
        Self::Symlinks,
        Self::HardLinks,
        Self::Directories,
        Self::Holes,
        Self::Grants,
    ];

    /// What a person calls several of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ContentHeaders => "content headers",
            Self::UserMetadata => "user metadata",
            Self::Tags => "tags",
            Self::StorageClass => "storage classes",
            Self::Mode => "modes",
            Self::Owner => "owners",
            Self::ModifiedTime => "times",
            Self::ExtendedAttributes => "extended attributes",
            Self::Symlinks => "symbolic links",
            Self::HardLinks => "hard links",
            Self::Directories => "directories",
            Self::Holes => "holes",
            Self::Grants => "access grants",
        }
    }
}

/// A set of kinds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct AttributeSet(u16);

impl AttributeSet {
    /// No kind.
    pub const NONE: Self = Self(0);

    /// These kinds.
    pub const fn of(kinds: &[AttributeKind]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < kinds.len() {
            bits |= 1 << kinds[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    /// Every kind.
    pub const fn all() -> Self {
        Self::of(&AttributeKind::ALL)
    }

    /// Whether the kind is in it.
    pub const fn has(self, kind: AttributeKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this one alone.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kinds in it.
    pub fn iter(self) -> impl Iterator<Item = AttributeKind> {
        AttributeKind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }
}

impl fmt::Debug for AttributeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Attributes {
    /// When the contents were last written where they came from, as far as attributes tell it.
    pub fn written(&self) -> Option<Timestamp> {
        self.posix.as_ref().map(|posix| posix.modified).or(self.modified)
    }

    /// The kinds of which there is something here.
    pub fn kinds(&self) -> AttributeSet {
        let mut kinds = Vec::new();
        if self.content != ContentHeaders::default() {
            kinds.push(AttributeKind::ContentHeaders);
        }
        if !self.user.is_empty() {
            kinds.push(AttributeKind::UserMetadata);
        }
        if !self.tags.is_empty() {
            kinds.push(AttributeKind::Tags);
        }
        if !self.grants.is_empty() {
            kinds.push(AttributeKind::Grants);
        }
        if self.storage_class.is_some() {
            kinds.push(AttributeKind::StorageClass);
        }
        if let Some(posix) = &self.posix {
            kinds.extend([AttributeKind::Mode, AttributeKind::Owner, AttributeKind::ModifiedTime]);
            kinds.extend((!posix.xattrs.is_empty()).then_some(AttributeKind::ExtendedAttributes));
            kinds.extend(posix.sparse.then_some(AttributeKind::Holes));
        }
        AttributeSet::of(&kinds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_put_in() {
        let some = AttributeSet::of(&[AttributeKind::Tags, AttributeKind::Holes]);
        assert_eq!(some.iter().collect::<Vec<_>>(), [AttributeKind::Tags, AttributeKind::Holes]);
        assert_eq!(AttributeSet::all().iter().count(), AttributeKind::ALL.len());
        assert!(AttributeSet::all().without(AttributeSet::all()).is_empty());
        assert_eq!(some.and(AttributeSet::of(&[AttributeKind::Tags])).iter().count(), 1);
    }

    #[test]
    fn kinds_are_those_that_have_something() {
        let mut attributes = Attributes::default();
        assert!(attributes.kinds().is_empty());
        attributes.tags.insert("a".into(), "b".into());
        assert!(attributes.kinds().has(AttributeKind::Tags));
        assert!(!attributes.kinds().has(AttributeKind::Mode));
    }
}
