//! How a pair is compared and what may be done with it: what a person chose, and what both stores can.

use std::time::Duration;

use crate::attributes::AttributeSet;
use crate::posix_metadata::TimeForm;

/// How entries are compared, and what may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparePolicy {
    /// What makes two objects equal.
    pub by: Compare,
    /// Times that are no further apart are equal.
    pub time_tolerance: Duration,
    /// Which of both may be written.
    pub write: Write,
    /// Whether a target that is newer than its source stays (`--update`).
    pub keep_newer: bool,
    /// Whether what the source does not have is deleted.
    pub delete: bool,
    /// What becomes of directories.
    pub directories: Directories,
    /// Whether what is kept beside bytes is compared too, where the bytes are equal.
    pub attributes: CompareAttributes,
}

impl Default for ComparePolicy {
    fn default() -> Self {
        Self {
            by: Compare::SizeAndTime,
            time_tolerance: Duration::ZERO,
            write: Write::All,
            keep_newer: false,
            delete: false,
            directories: Directories::Keep,
            attributes: CompareAttributes::Listed,
        }
    }
}

/// Whether what is kept beside bytes is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompareAttributes {
    /// No.
    Leave,
    /// As far as listings tell; where they say that something may have changed, both objects are looked at.
    Listed,
    /// All of it, of each pair: both objects are looked at.
    All,
}

/// What makes two objects equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// Size and time.
    SizeAndTime,
    /// Size alone.
    Size,
    /// Size and checksums; where the listings do not tell any that both know, they are looked up or computed.
    Checksum,
    /// Nothing: all is copied (`--force`).
    Never,
    /// What a manifest, which is the source, tells: sizes, and the target's bytes, which are read.
    Recorded,
}

/// Which objects may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// All.
    All,
    /// Those that the target has (`--existing`).
    Existing,
    /// Those that the target does not have (`--ignore-existing`).
    New,
}

/// What becomes of the source's directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directories {
    /// They are made at the target, as directories or as objects whose key ends with a slash.
    Keep,
    /// They are left to come from the objects in them.
    Leave,
}

/// What the two stores hold and can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairCapabilities {
    /// What the target holds.
    pub target_holds: AttributeSet,
    /// Whether the listed times of both sides are those of the source's writing.
    pub same_times: bool,
    /// The coarser precision of both sides' times.
    pub time_precision: Duration,
    /// What is kept beside bytes: both sides hold it and it is wanted.
    pub kept: AttributeSet,
    /// Which side has what filesystems keep in the metadata of objects.
    pub metadata: Metadata,
}

/// Which side has what filesystems keep in the metadata of objects, which listings do not tell. The other has files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadata {
    /// Neither, or both: they are compared as what they are.
    Nowhere,
    /// The source.
    AtSource,
    /// The target.
    AtTarget {
        /// How it writes times.
        form: TimeForm,
        /// How many bytes of metadata an object has.
        room: usize,
    },
}
