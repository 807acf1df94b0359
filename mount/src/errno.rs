//! From errors to errno, and the one place where a failed request is logged.

use std::error::Error;
use std::io;
use std::time::Duration;

use farshore_meta::FsError;
use farshore_meta::engine::EngineError;
use fuser::Errno;

/// Why a request got no answer but an errno.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The volume refused or failed.
    #[error(transparent)]
    Volume(#[from] FsError),
    /// The deadline passed.
    #[error("no answer within {} seconds", .0.as_secs())]
    TimedOut(Duration),
    /// A bug: the handler panicked.
    #[error("the handler panicked")]
    Panicked,
}

impl Failure {
    /// The errno for the caller. A fault of ours, as opposed to one of the caller's, is logged.
    pub(crate) fn answer(&self, operation: &'static str, ino: u64) -> Errno {
        let errno = self.errno();
        if self.is_fault() {
            tracing::warn!(operation, ino, errno = errno.code(), error = %self, "a request failed");
        }
        errno
    }

    fn errno(&self) -> Errno {
        match self {
            Self::Volume(error) => errno_of(error),
            Self::TimedOut(_) => Errno::ETIMEDOUT,
            Self::Panicked => Errno::EIO,
        }
    }

    fn is_fault(&self) -> bool {
        match self {
            Self::Volume(error) => is_fault(error),
            Self::TimedOut(_) | Self::Panicked => true,
        }
    }
}

/// The errno that stands for an error.
pub(crate) fn errno_of(error: &FsError) -> Errno {
    match error {
        FsError::NotFound => Errno::ENOENT,
        FsError::Exists => Errno::EEXIST,
        FsError::NotDirectory => Errno::ENOTDIR,
        FsError::IsDirectory => Errno::EISDIR,
        FsError::NotEmpty => Errno::ENOTEMPTY,
        FsError::NameTooLong => Errno::ENAMETOOLONG,
        FsError::Invalid(_) => Errno::EINVAL,
        FsError::NotPermitted(_) => Errno::EPERM,
        FsError::NoAttribute => Errno::ENODATA,
        FsError::AttributeTooLarge => Errno::E2BIG,
        FsError::FileTooLarge => Errno::EFBIG,
        FsError::NoSuchOffset => Errno::ENXIO,
        FsError::Stale => Errno::ESTALE,
        FsError::ReadOnly | FsError::Fenced => Errno::EROFS,
        FsError::BadVolume(_) | FsError::Corrupt(_) | FsError::LogTrimmed(_) | FsError::Diverged(_) => Errno::EIO,
        FsError::Engine(error) => errno_of_engine(error),
        FsError::Blocks(source) => errno_of_source(source.as_ref()),
    }
}

fn errno_of_engine(error: &EngineError) -> Errno {
    match error {
        EngineError::Failed { source, .. } => errno_of_source(source.as_ref()),
        EngineError::Conflict
        | EngineError::TooOld
        | EngineError::CommitUnknown
        | EngineError::Unavailable { .. }
        | EngineError::TooLarge { .. }
        | EngineError::Owned { .. }
        | EngineError::Missing { .. }
        | EngineError::Exists { .. }
        | EngineError::BadKey { .. }
        | EngineError::Damaged { .. }
        | EngineError::Poisoned { .. }
        | EngineError::Closed
        | EngineError::BadUrl { .. } => Errno::EIO,
    }
}

/// `ENOSPC` if a full disk or a spent quota is at the bottom of an error.
fn errno_of_source(error: &(dyn Error + 'static)) -> Errno {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return Errno::ENOSPC;
        }
        cause = error.source();
    }
    Errno::EIO
}

/// True for what a person should hear of, and not only the program that asked.
fn is_fault(error: &FsError) -> bool {
    match error {
        FsError::BadVolume(_)
        | FsError::Corrupt(_)
        | FsError::LogTrimmed(_)
        | FsError::Diverged(_)
        | FsError::Fenced
        | FsError::Engine(_)
        | FsError::Blocks(_) => true,
        FsError::NotFound
        | FsError::Exists
        | FsError::NotDirectory
        | FsError::IsDirectory
        | FsError::NotEmpty
        | FsError::NameTooLong
        | FsError::Invalid(_)
        | FsError::NotPermitted(_)
        | FsError::NoAttribute
        | FsError::AttributeTooLarge
        | FsError::FileTooLarge
        | FsError::NoSuchOffset
        | FsError::Stale
        | FsError::ReadOnly => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("an upload failed")]
    struct Wrapped(#[source] io::Error);

    #[test]
    fn a_full_disk_is_enospc_however_deep() {
        let wrap = |kind: io::ErrorKind| FsError::Blocks(Arc::new(Wrapped(kind.into())));
        assert_eq!(errno_of(&wrap(io::ErrorKind::StorageFull)), Errno::ENOSPC);
        assert_eq!(errno_of(&wrap(io::ErrorKind::QuotaExceeded)), Errno::ENOSPC);
        assert_eq!(errno_of(&wrap(io::ErrorKind::ConnectionReset)), Errno::EIO);
        let source = Arc::new(Wrapped(io::ErrorKind::StorageFull.into()));
        let failed = EngineError::Failed { place: "/meta".into(), source };
        assert_eq!(errno_of(&failed.into()), Errno::ENOSPC);
    }

    #[test]
    fn callers_mistakes_are_no_faults() {
        for (error, errno, fault) in [
            (FsError::ReadOnly, Errno::EROFS, false),
            (FsError::NoAttribute, Errno::ENODATA, false),
            (FsError::NoSuchOffset, Errno::ENXIO, false),
            (FsError::Stale, Errno::ESTALE, false),
            (FsError::NotPermitted("x"), Errno::EPERM, false),
            (FsError::Corrupt("x".into()), Errno::EIO, true),
            (EngineError::Closed.into(), Errno::EIO, true),
        ] {
            let failure = Failure::Volume(error);
            assert_eq!((failure.errno(), failure.is_fault()), (errno, fault), "{failure}");
        }
        assert_eq!(Failure::TimedOut(Duration::from_secs(1)).errno(), Errno::ETIMEDOUT);
    }
}
