//! What can go wrong with a block, what was wrong with its bytes, and what the caller should do.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use farshore_proto::BlockName;

/// Why bytes are not the block, or the part of it, that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes end before what their header promises, or go on after it.
    #[error("{found} bytes where {expected} were expected")]
    Length {
        /// Bytes that the header asks for.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The first bytes are not those of a block.
    #[error("it does not begin as a block does")]
    Magic,
    /// A header field holds what this version never writes.
    #[error("its {field} is {found}, which no block has")]
    Field {
        /// The field.
        field: &'static str,
        /// What it holds.
        found: u64,
    },
    /// Written by a newer version, or with encryption this build does not have.
    #[error("its {field} is {found}, which this version does not know")]
    Unknown {
        /// The field.
        field: &'static str,
        /// What it holds.
        found: u64,
    },
    /// The list of hashes is not whole, or longer than a block's can be.
    #[error("{found_bytes} bytes are no list of group hashes")]
    Hashes {
        /// Bytes of the list.
        found_bytes: usize,
    },
    /// Not as many hashes as the length needs.
    #[error("{found} group hashes for a block of {block_len} bytes")]
    HashCount {
        /// The block's length in bytes.
        block_len: u32,
        /// Hashes found.
        found: u32,
    },
    /// The group hashes do not merge to the name.
    #[error("its group hashes do not merge to its name")]
    Root,
    /// One group's bytes do not have that group's hash.
    #[error("group {index} does not have its hash")]
    Group {
        /// The group.
        index: u32,
    },
    /// A run that is not made of whole groups of the block.
    #[error("{run_bytes} bytes from group {first_group} are no run of whole groups of {block_len} bytes")]
    Run {
        /// Where the run begins.
        first_group: u32,
        /// Its length in bytes.
        run_bytes: usize,
        /// The block's length in bytes.
        block_len: u32,
    },
    /// The piece lacks groups that were asked for.
    #[error("groups {}..{} were asked for and not all sent", wanted.start, wanted.end)]
    Short {
        /// The groups asked for, cut at the block's end.
        wanted: Range<u32>,
    },
    /// The block ends before what was asked for, if the length that came with it is true.
    #[error("groups {}..{} were asked for, and it is said to have {block_len} bytes", wanted.start, wanted.end)]
    PastEnd {
        /// The groups asked for.
        wanted: Range<u32>,
        /// The length told, in bytes.
        block_len: u32,
    },
    /// The payload does not decompress to the plain length.
    #[error("its payload does not decompress to {plain_len} bytes")]
    Payload {
        /// The length the header tells.
        plain_len: u32,
    },
}

/// What the caller of a failed operation should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The same may succeed later.
    Retry,
    /// This place does not have it; another may.
    Elsewhere,
    /// A person must act: free space, grant rights, correct a setting, upgrade.
    Operator,
    /// The bytes are damaged here; repair from another copy.
    Repair,
    /// The caller asked for what cannot be.
    Bug,
}

/// Every failure of this crate.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BlockError {
    /// The place answered that it has no such block.
    #[error("block {name} is not in {place}; restore it from another copy of the store")]
    Missing {
        /// The block.
        name: BlockName,
        /// Where it was looked for.
        place: String,
    },
    /// Bytes came, but not the block's.
    #[error("block {name} from {place} is damaged: {fault}; restore that object from another copy")]
    Corrupt {
        /// The block.
        name: BlockName,
        /// Where the bytes came from.
        place: String,
        /// What is wrong with them.
        fault: Fault,
    },
    /// A format, compression or encryption that this build cannot read.
    #[error(
        "block {name} from {place} cannot be read: {fault}; use the version of farshore that wrote it or a newer one"
    )]
    Unsupported {
        /// The block.
        name: BlockName,
        /// Where the bytes came from.
        place: String,
        /// What is not known.
        fault: Fault,
    },
    /// A range that passes the block's end.
    #[error("bytes {}..{} of block {name} were asked for, which has {block_len}: the metadata and the block disagree", wanted.start, wanted.end)]
    OutOfBlock {
        /// The block.
        name: BlockName,
        /// Its length in bytes.
        block_len: u32,
        /// The bytes asked for.
        wanted: Range<u32>,
    },
    /// More bytes than a block may have.
    #[error("{len} bytes are more than a block's limit of {limit}; split them")]
    TooLarge {
        /// Bytes given.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// No answer in time.
    #[error("{what} gave no answer within {after_ms} ms; check the network and try again")]
    Deadline {
        /// The operation and its place.
        what: String,
        /// The deadline in milliseconds.
        after_ms: u64,
    },
    /// The store has no room left.
    #[error("{store} is full; free space there or give it a larger quota")]
    Full {
        /// The store.
        store: String,
    },
    /// The store refuses these credentials.
    #[error("{store} refuses to {action}: {}; check its credentials and permissions", one_line(source))]
    Refused {
        /// The store.
        store: String,
        /// What was tried.
        action: &'static str,
        /// What it answered.
        source: Arc<object_store::Error>,
    },
    /// Any other failure of the store.
    #[error("{store} cannot {action}: {}", one_line(source))]
    Store {
        /// The store.
        store: String,
        /// What was tried.
        action: &'static str,
        /// What it answered.
        source: Arc<object_store::Error>,
    },
    /// The store took an object and gave back another.
    #[error("{store} did not return what was written to it; it cannot hold a volume")]
    Unfaithful {
        /// The store.
        store: String,
    },
    /// A store URL that cannot be used. The message holds no secret.
    #[error("store url {url}: {reason}")]
    Url {
        /// The URL without its query.
        url: String,
        /// What is wrong and what is expected.
        reason: String,
    },
    /// A local directory that cannot be used.
    #[error("{}: cannot {action}: {source}", path.display())]
    Directory {
        /// The directory or a file in it.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: Arc<std::io::Error>,
    },
    /// Another process uses the cache directory.
    #[error("cache directory {} is in use by another mount; give this one its own", path.display())]
    CacheInUse {
        /// The directory.
        path: PathBuf,
    },
    /// No origin could give the block.
    #[error("block {name}: none of {tried} origins could give it; one of them: {because}")]
    Unavailable {
        /// The block.
        name: BlockName,
        /// How many were asked.
        tried: usize,
        /// What one of them said: one that may do better later, if there is such a one.
        because: Box<BlockError>,
    },
    /// The work was dropped before it ended, as when the runtime shuts down.
    #[error("{what} was stopped before it ended; try again")]
    Stopped {
        /// What was stopped.
        what: String,
    },
    /// An origin of another kind failed, such as an upstream region.
    #[error("{origin}: {reason}")]
    Origin {
        /// The origin.
        origin: String,
        /// What it said.
        reason: String,
        /// What the caller should do.
        remedy: Remedy,
    },
}

impl BlockError {
    /// What the caller should do.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Missing { .. } => Remedy::Elsewhere,
            Self::Corrupt { .. } => Remedy::Repair,
            Self::OutOfBlock { .. } | Self::TooLarge { .. } => Remedy::Bug,
            Self::Deadline { .. } | Self::Store { .. } | Self::Stopped { .. } => Remedy::Retry,
            Self::Unavailable { because, .. } => because.remedy(),
            Self::Origin { remedy, .. } => *remedy,
            Self::Unsupported { .. }
            | Self::Full { .. }
            | Self::Refused { .. }
            | Self::Unfaithful { .. }
            | Self::Url { .. }
            | Self::Directory { .. }
            | Self::CacheInUse { .. } => Remedy::Operator,
        }
    }

    /// Says of which block, and from where, a fault is.
    pub(crate) fn from_fault(name: BlockName, place: &str, fault: Fault) -> Self {
        let place = place.to_owned();
        match fault {
            Fault::Unknown { .. } => Self::Unsupported { name, place, fault },
            _ => Self::Corrupt { name, place, fault },
        }
    }

    /// Tells a full or refusing store from any other failure.
    pub(crate) fn from_store(store: &str, action: &'static str, source: object_store::Error) -> Self {
        let store = store.to_owned();
        if is_full(&source) {
            return Self::Full { store };
        }
        let refused = matches!(
            source,
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }
        );
        let denied = io_kind(&source) == Some(std::io::ErrorKind::PermissionDenied);
        let source = Arc::new(source);
        if refused || denied {
            return Self::Refused { store, action, source };
        }
        Self::Store { store, action, source }
    }

    pub(crate) fn directory(path: &std::path::Path, action: &'static str, source: std::io::Error) -> Self {
        Self::Directory { path: path.to_owned(), action, source: Arc::new(source) }
    }
}

fn is_full(error: &object_store::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let kind = io_kind(error);
    matches!(kind, Some(StorageFull | QuotaExceeded)) || error.to_string().contains("507 Insufficient Storage")
}

/// The kind of the operating system's error at the bottom of a store's error, if one is there.
fn io_kind(error: &object_store::Error) -> Option<std::io::ErrorKind> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        next = error.source();
    }
    None
}

/// A store's answer as one line of bounded length: servers send whole pages.
fn one_line(source: &object_store::Error) -> String {
    const SHOWN_CHARS: usize = 400;
    let text = source.to_string();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(SHOWN_CHARS).collect()
}
