//! Exit codes, one for each kind of failure that a script may want to tell apart.

use farshore_blocks::BlockError;
use farshore_meta::FsError;
use farshore_meta::engine::EngineError;
use farshore_mount::MountError;
use farshore_replicator::ReplicatorError;
use farshore_sync::coordinator::CoordinatorError;
use farshore_sync::journal::JournalError;
use farshore_sync::{JobError, StoreError};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Anything without a code of its own.
    Failed = 1,
    /// The command line, or a URL or token in it, makes no sense.
    Usage = 2,
    /// There is no volume where one was expected.
    NoVolume = 3,
    /// There is a volume, or something else, where none was expected.
    AlreadyThere = 4,
    /// Another process has the engine, or the cache directory.
    EngineInUse = 5,
    /// The store cannot be reached or refuses.
    Store = 6,
    /// The mount point cannot be mounted on, or is no mount.
    MountPoint = 7,
    /// The address cannot be listened at.
    Address = 8,
    /// The upstream is another volume, or the mirror itself.
    WrongUpstream = 9,
    /// The upstream, or a job's coordinator, cannot be reached or refuses.
    Upstream = 10,
    /// The time to wait ran out.
    TimedOut = 11,
    /// A mirror's rows differ from its upstream's.
    Diverged = 12,
    /// The disk is full.
    NoSpace = 13,
    /// Both sides of a comparison differ.
    Differs = 14,
    /// Some objects were not brought over, or not compared.
    Partial = 15,
    /// What was to be deleted was not, because that would not have been safe.
    Withheld = 16,
    /// The journal is that of another job.
    OtherJob = 17,
    /// A signal ended it before its end.
    Interrupted = 18,
}

/// An error that knows its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Failure {
    /// Such an error, ready to be returned.
    pub(crate) fn error(exit: Exit, message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self { exit, message: message.into() })
    }
}

/// The exit code of an error: that of the first of its causes that has one.
pub(crate) fn code_of(error: &anyhow::Error) -> Exit {
    error.chain().find_map(code_of_cause).unwrap_or(Exit::Failed)
}

fn code_of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(failure.exit);
    }
    if let Some(error) = cause.downcast_ref::<EngineError>() {
        return code_of_engine(error);
    }
    if let Some(error) = cause.downcast_ref::<FsError>() {
        return code_of_fs(error);
    }
    if let Some(error) = cause.downcast_ref::<MountError>() {
        return Some(code_of_mount(error));
    }
    if let Some(error) = cause.downcast_ref::<ReplicatorError>() {
        return code_of_replicator(error);
    }
    if let Some(error) = cause.downcast_ref::<BlockError>() {
        return Some(code_of_block(error));
    }
    if let Some(error) = cause.downcast_ref::<JobError>() {
        return code_of_job(error);
    }
    if let Some(error) = cause.downcast_ref::<StoreError>() {
        return code_of_store(error);
    }
    if let Some(error) = cause.downcast_ref::<JournalError>() {
        return code_of_journal(error);
    }
    if let Some(error) = cause.downcast_ref::<CoordinatorError>() {
        return Some(code_of_coordinator(error));
    }
    let io = cause.downcast_ref::<std::io::Error>()?;
    (io.kind() == std::io::ErrorKind::StorageFull).then_some(Exit::NoSpace)
}

fn code_of_engine(error: &EngineError) -> Option<Exit> {
    match error {
        EngineError::Owned { .. } => Some(Exit::EngineInUse),
        EngineError::Missing { .. } => Some(Exit::NoVolume),
        EngineError::Exists { .. } => Some(Exit::AlreadyThere),
        EngineError::BadUrl { .. } => Some(Exit::Usage),
        _ => None,
    }
}

fn code_of_fs(error: &FsError) -> Option<Exit> {
    match error {
        FsError::Engine(error) => code_of_engine(error),
        FsError::BadVolume(_) => Some(Exit::NoVolume),
        FsError::Diverged(_) => Some(Exit::Diverged),
        _ => None,
    }
}

fn code_of_block(error: &BlockError) -> Exit {
    match error {
        BlockError::Full { .. } => Exit::NoSpace,
        BlockError::Url { .. } => Exit::Usage,
        BlockError::CacheInUse { .. } => Exit::EngineInUse,
        _ => Exit::Store,
    }
}

fn code_of_mount(_error: &MountError) -> Exit {
    Exit::MountPoint
}

fn code_of_replicator(error: &ReplicatorError) -> Option<Exit> {
    match error {
        ReplicatorError::BadUpstream { .. } | ReplicatorError::Tls { .. } => Some(Exit::Usage),
        ReplicatorError::Unreachable { .. }
        | ReplicatorError::Refused { .. }
        | ReplicatorError::Malformed { .. }
        | ReplicatorError::Protocol { .. }
        | ReplicatorError::LogTrimmed { .. } => Some(Exit::Upstream),
        ReplicatorError::WrongVolume { .. } | ReplicatorError::SelfUpstream { .. } => Some(Exit::WrongUpstream),
        ReplicatorError::Diverged { .. } => Some(Exit::Diverged),
        ReplicatorError::NotAMirror => Some(Exit::AlreadyThere),
        ReplicatorError::AddressInUse { .. } | ReplicatorError::Listen { .. } | ReplicatorError::Insecure { .. } => {
            Some(Exit::Address)
        }
        ReplicatorError::TimedOut { .. } => Some(Exit::TimedOut),
        ReplicatorError::Stopped => None,
        ReplicatorError::Fs(error) => code_of_fs(error),
    }
}

fn code_of_job(error: &JobError) -> Option<Exit> {
    match error {
        JobError::Journal(error) => code_of_journal(error),
        JobError::Store(error) => code_of_store(error),
        JobError::Manifest(_) => None,
    }
}

fn code_of_store(error: &StoreError) -> Option<Exit> {
    match error {
        StoreError::Full { .. } => Some(Exit::NoSpace),
        StoreError::Invalid { .. } => Some(Exit::Usage),
        StoreError::Bug { .. } => None,
        _ => Some(Exit::Store),
    }
}

fn code_of_coordinator(error: &CoordinatorError) -> Exit {
    match error {
        CoordinatorError::BadAddress { .. } | CoordinatorError::Tls { .. } | CoordinatorError::Token { .. } => {
            Exit::Usage
        }
        CoordinatorError::Listen { .. } | CoordinatorError::Insecure { .. } => Exit::Address,
        CoordinatorError::Unreachable { .. }
        | CoordinatorError::Refused { .. }
        | CoordinatorError::Malformed { .. } => Exit::Upstream,
    }
}

fn code_of_journal(error: &JournalError) -> Option<Exit> {
    match error {
        JournalError::OtherJob { .. } => Some(Exit::OtherJob),
        JournalError::Remote(_) => Some(Exit::Upstream),
        _ => None,
    }
}
