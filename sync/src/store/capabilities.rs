//! What a store can do, as plain data that plans are made from.

use crate::attributes::{AttributeKind, AttributeSet};
use crate::checksum::Algorithm;
use crate::limits::{DELETE_BATCH, PAGE_ENTRIES, USER_METADATA_BYTES, WHOLE_PUT_BYTES};
use crate::posix_metadata::TimeForm;

/// What a store can do. Stores of one kind may differ: an endpoint may lack what the cloud has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether anything can be written.
    pub writable: bool,
    /// The most entries of one page.
    pub page_entries: usize,
    /// Whether a listing can start anywhere at no cost, so that its range can be split.
    pub seek: Seek,
    /// The largest object that one `put` takes.
    pub max_put_bytes: u64,
    /// The largest object that `put` should be used for where parts could be.
    pub preferred_put_bytes: u64,
    /// How objects are written in parts; none if they cannot be.
    pub parts: Option<PartLimits>,
    /// The checksums that it verifies while it stores, best first. One of them is sent with each write.
    pub verifies: Vec<Algorithm>,
    /// The checksums that it reports of stored objects, best first, where they are known.
    pub reports: Vec<Algorithm>,
    /// What it keeps beside bytes.
    pub holds: AttributeSet,
    /// The most bytes of user metadata that an object has, names and values together.
    pub user_metadata_bytes: usize,
    /// How times are written where what filesystems keep is in objects' metadata, which listings do not tell.
    pub posix_in_metadata: Option<TimeForm>,
    /// Whether writes can be conditional on what is there.
    pub conditional: bool,
    /// The largest object that one server-side `copy` takes; 0 if it cannot.
    pub max_copy_bytes: u64,
    /// The most keys of one `delete`.
    pub delete_batch: usize,
    /// Whether the listing's times are those of the sources of copies, not of the copying.
    pub lists_source_times: bool,
    /// The smallest difference of its times, in nanoseconds.
    pub time_precision_ns: u64,
    /// How many of its calls are best made at once because they wait for a disk of this machine, on threads that may
    /// wait; none where calls wait for a network, which takes no thread.
    pub disk_calls: Option<usize>,
}

/// Whether a listing can start anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// At any place, as cheaply as at the first.
    Anywhere,
    /// At any place, but what is before it is read too: ranges are not split.
    ByReading,
}

/// The limits of objects in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartLimits {
    /// The smallest part, but for the last.
    pub min_bytes: u64,
    /// The largest part.
    pub max_bytes: u64,
    /// The most parts of an object.
    pub max_count: u32,
    /// The largest object.
    pub max_object_bytes: u64,
    /// Whether all parts but the last must have one size.
    pub equal: bool,
}

impl Capabilities {
    /// What the simplest store can do: list and read. Others say what they can do beyond that.
    pub fn read_only() -> Self {
        Self {
            writable: false,
            page_entries: PAGE_ENTRIES,
            seek: Seek::ByReading,
            max_put_bytes: 0,
            preferred_put_bytes: WHOLE_PUT_BYTES,
            parts: None,
            verifies: Vec::new(),
            reports: Vec::new(),
            holds: AttributeSet::NONE,
            user_metadata_bytes: USER_METADATA_BYTES,
            posix_in_metadata: None,
            conditional: false,
            max_copy_bytes: 0,
            delete_batch: DELETE_BATCH,
            lists_source_times: false,
            time_precision_ns: 1_000_000_000,
            disk_calls: None,
        }
    }

    /// Whether a directory is an object beside those that are in it, and not what they lie in.
    pub fn directories_are_objects(&self) -> bool {
        self.posix_in_metadata.is_some() || !self.holds.has(AttributeKind::Directories)
    }
}
