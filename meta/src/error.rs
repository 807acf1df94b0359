//! What can go wrong in a filesystem transaction.

use std::sync::Arc;

use crate::engine::{Advice, EngineError};

/// The result of filesystem calls.
pub type Result<T> = std::result::Result<T, FsError>;

/// A filesystem transaction's error; the mount turns each into an errno in one place.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FsError {
    /// No such file, directory or inode.
    #[error("no such file or directory")]
    NotFound,
    /// The name is taken.
    #[error("the name exists already")]
    Exists,
    /// A directory was needed.
    #[error("not a directory")]
    NotDirectory,
    /// Anything but a directory was needed.
    #[error("is a directory")]
    IsDirectory,
    /// A directory that should go still has entries.
    #[error("the directory is not empty")]
    NotEmpty,
    /// A name is longer than `MAX_NAME_BYTES`, or a symlink's target than `MAX_SYMLINK_BYTES`.
    #[error("the name is too long")]
    NameTooLong,
    /// An argument that no filesystem accepts here.
    #[error("invalid argument: {0}")]
    Invalid(&'static str),
    /// The operation is not allowed on this kind of file.
    #[error("not permitted: {0}")]
    NotPermitted(&'static str),
    /// The extended attribute is not there.
    #[error("no such extended attribute")]
    NoAttribute,
    /// An extended attribute's value is over its limit.
    #[error("the extended attribute is too large")]
    AttributeTooLarge,
    /// The file would grow past `MAX_FILE_BYTES`.
    #[error("the file would be too large")]
    FileTooLarge,
    /// A seek for data or a hole past the end of the file.
    #[error("no data or hole at or after that offset")]
    NoSuchOffset,
    /// An inode is not in the state that was expected.
    #[error("it was changed meanwhile")]
    Stale,
    /// This region is a mirror: its tree changes only by following.
    #[error("this region is a mirror and read-only; write on the primary")]
    ReadOnly,
    /// The region's line of history has ended: another one took over.
    #[error("this region was fenced by a newer incarnation; restart it as a mirror")]
    Fenced,
    /// There is an engine but no volume in it, or not one this build understands.
    #[error("{0}")]
    BadVolume(String),
    /// A row does not hold what it must; nothing was changed.
    #[error("damaged metadata: {0}")]
    Corrupt(String),
    /// The upstream no longer keeps the log that is needed here.
    #[error("the log after {0} is no longer kept; the mirror must bootstrap anew")]
    LogTrimmed(String),
    /// The state digests of upstream and mirror differ.
    #[error("{0}")]
    Diverged(String),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Reading or storing a block failed.
    #[error("block storage failed: {0}")]
    Blocks(Arc<dyn std::error::Error + Send + Sync>),
}

impl FsError {
    /// What a caller should do with the transaction that got this error.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Engine(error) => error.advice(),
            _ => Advice::GiveUp,
        }
    }
}
