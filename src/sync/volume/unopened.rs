//! A META that cannot be opened, and what to do about it.

use std::path::Path;

use farshore_meta::engine::EngineError;

use super::{Use, VolumePlace};
use crate::exit::{Exit, Failure};

/// What to do about a META that another process has, or that is none.
pub(super) fn unopened(error: EngineError, place: &VolumePlace, use_as: Use) -> anyhow::Error {
    match (&error, use_as) {
        (EngineError::Owned { path, owner }, Use::Read) => Failure::error(
            Exit::EngineInUse,
            format!(
                "{} is in use by process {owner}: give its mount point as SRC, or, if it listens at HOST:PORT, follow \
                 it with farshore://OTHER_META?upstream=http://HOST:PORT, or stop it",
                path.display()
            ),
        ),
        (EngineError::Owned { path, owner }, Use::Write | Use::Look) => Failure::error(
            Exit::EngineInUse,
            format!("{} is in use by process {owner}: give its mount point as DST, or stop it", path.display()),
        ),
        (EngineError::Missing { path }, _) => match path.ancestors().skip(1).find(|above| is_engine(above)) {
            Some(meta) => Failure::error(
                Exit::NoVolume,
                format!(
                    "there is no engine at {}; two slashes end META: write farshore://{}//{}",
                    path.display(),
                    meta.display(),
                    path.strip_prefix(meta).unwrap_or(path).display()
                ),
            ),
            None => error.into(),
        },
        _ => anyhow::Error::from(error).context(format!("cannot open {}", place.name())),
    }
}

fn is_engine(path: &Path) -> bool {
    path.join("format").is_file() && path.join("rows").is_dir()
}
