//! Why a publisher refuses, in a form that a follower can act on: a word in the status' metadata.

use farshore_meta::FsError;
use tonic::{Code, Status};

const HEADER: &str = "farshore-reason";

/// A refusal that is more than its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The log that is asked for is gone.
    LogTrimmed,
    /// The position that is asked for is not of this region's history.
    Diverged,
    /// The region itself is not yet where the caller is, or still bootstraps.
    NotReady,
    /// The mirror is not registered, or was evicted.
    NotRegistered,
    /// The caller is this region or one that it follows.
    Loop,
    /// The publisher serves another volume.
    WrongVolume,
    /// The caller speaks another protocol.
    Protocol,
}

const ALL: [(Reason, &str); 7] = [
    (Reason::LogTrimmed, "log-trimmed"),
    (Reason::Diverged, "diverged"),
    (Reason::NotReady, "not-ready"),
    (Reason::NotRegistered, "not-registered"),
    (Reason::Loop, "loop"),
    (Reason::WrongVolume, "wrong-volume"),
    (Reason::Protocol, "protocol"),
];

impl Reason {
    fn word(self) -> &'static str {
        ALL.iter().find(|(reason, _)| *reason == self).map_or("", |(_, word)| word)
    }

    fn code(self) -> Code {
        match self {
            Self::NotReady => Code::Unavailable,
            _ => Code::FailedPrecondition,
        }
    }

    /// The status that says so.
    pub(crate) fn status(self, message: impl Into<String>) -> Status {
        let mut status = Status::new(self.code(), message);
        let word = tonic::metadata::MetadataValue::from_static(self.word());
        status.metadata_mut().insert(HEADER, word);
        status
    }

    /// The reason that a status carries, if it is one that this build knows.
    pub(crate) fn of(status: &Status) -> Option<Self> {
        let word = status.metadata().get(HEADER)?.to_str().ok()?;
        ALL.iter().find(|(_, known)| *known == word).map(|(reason, _)| *reason)
    }
}

/// The status for a failure of the publisher's own region.
pub(crate) fn status_of(error: &FsError) -> Status {
    match error {
        FsError::LogTrimmed(_) => Reason::LogTrimmed.status(error.to_string()),
        FsError::Diverged(_) => Reason::Diverged.status(error.to_string()),
        FsError::BadVolume(_) => Reason::NotReady.status(error.to_string()),
        FsError::Corrupt(_) => Status::data_loss(error.to_string()),
        FsError::Engine(_) => Status::unavailable(error.to_string()),
        _ => Status::internal(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_travel() {
        for (reason, _) in ALL {
            assert_eq!(Reason::of(&reason.status("text")), Some(reason));
        }
        assert_eq!(Reason::of(&Status::internal("text")), None);
    }
}
