//! From the errors of a volume to those of a store: what a caller should do is kept.

use std::error::Error;
use std::io;

use farshore_blocks::{BlockError, Remedy as BlockRemedy};
use farshore_meta::FsError;
use farshore_meta::engine::EngineError;

use crate::error::StoreError;
use crate::key::Key;

/// The error of an operation on a key that only looks: what is below a file is not there.
pub(super) fn reading(store: &str, key: &Key, action: &str, error: &FsError) -> StoreError {
    match error {
        FsError::NotFound | FsError::NotDirectory => StoreError::missing(store, key),
        FsError::Stale => StoreError::changed(key, "its size, time or inode is another"),
        error => on_key(store, key, action, error),
    }
}

/// The error of an operation that changes the tree. What goes while it is written to is no object that is missing:
/// the write is tried again.
pub(super) fn writing(store: &str, key: &Key, action: &str, error: &FsError) -> StoreError {
    match error {
        FsError::NotFound => StoreError::unavailable(store, format!("{action} {key}"), error),
        FsError::NotDirectory => StoreError::unholdable(store, key, "there is a file where its directory would be"),
        FsError::IsDirectory => StoreError::unholdable(store, key, "there is a directory of this name"),
        FsError::Stale | FsError::Exists => StoreError::changed(key, "it is not in the state that was expected"),
        FsError::NotEmpty => StoreError::changed(key, "the directory is not empty"),
        error => on_key(store, key, action, error),
    }
}

fn on_key(store: &str, key: &Key, action: &str, error: &FsError) -> StoreError {
    match error {
        FsError::NameTooLong | FsError::FileTooLarge | FsError::AttributeTooLarge | FsError::NotPermitted(_) => {
            StoreError::unholdable(store, key, error.to_string())
        }
        FsError::Engine(EngineError::TooLarge { .. }) => StoreError::unholdable(store, key, error.to_string()),
        FsError::Corrupt(reason) => StoreError::corrupt(store, key, reason.clone()),
        error => other(store, &format!("{action} {key}"), error),
    }
}

/// The error of an operation that is about no key.
pub(super) fn other(store: &str, action: &str, error: &FsError) -> StoreError {
    match error {
        FsError::ReadOnly | FsError::Fenced => StoreError::unsupported(store, format!("{action}: {error}")),
        FsError::Corrupt(reason) => StoreError::corrupt(store, &action, reason.clone()),
        FsError::Blocks(source) => of_blocks(store, action, source.as_ref()),
        FsError::Engine(EngineError::Failed { source, .. }) if is_full(source.as_ref()) => {
            StoreError::Full { store: store.to_owned() }
        }
        // A full disk under the metadata stops the engine until it is opened anew.
        FsError::Engine(EngineError::Poisoned { reason }) if reason.contains("No space") => {
            StoreError::Full { store: store.to_owned() }
        }
        error => StoreError::unavailable(store, action, error),
    }
}

fn of_blocks(store: &str, action: &str, error: &(dyn Error + 'static)) -> StoreError {
    match error.downcast_ref::<BlockError>() {
        Some(BlockError::Full { .. }) => StoreError::Full { store: store.to_owned() },
        Some(error @ (BlockError::Missing { .. } | BlockError::Corrupt { .. } | BlockError::OutOfBlock { .. })) => {
            StoreError::corrupt(store, &action, error.to_string())
        }
        Some(error) if matches!(error.remedy(), BlockRemedy::Operator) => {
            let (store, action, reason) = (store.to_owned(), action.to_owned(), error.to_string());
            StoreError::Refused { store, action, reason }
        }
        _ if is_full(error) => StoreError::Full { store: store.to_owned() },
        _ => StoreError::unavailable(store, action, error),
    }
}

/// Whether a full disk or a spent quota is at the bottom of an error.
fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        cause = error.source();
    }
    false
}
