//! The directory of an embedded engine: which files it has, and the format file, which is
//! written last and says that the engine is whole and which form its files have.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::{EngineError, Result};

/// Opens the format file; the number after it is the form of the files.
const MAGIC: &str = "farshore embedded engine ";
/// The form that this build reads and writes.
const FORM: &str = "1";

/// The paths of an engine.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) directory: PathBuf,
}

impl Layout {
    pub(super) fn at(directory: &Path) -> Self {
        Self { directory: directory.to_path_buf() }
    }

    /// The rows, in the storage library's own files.
    pub(super) fn rows(&self) -> PathBuf {
        self.directory.join("rows")
    }

    /// The file whose lock the owning process holds.
    pub(super) fn owner(&self) -> PathBuf {
        self.directory.join("owner")
    }

    /// The last version known to be durable.
    pub(super) fn high_water(&self) -> PathBuf {
        self.directory.join("high-water")
    }

    fn format(&self) -> PathBuf {
        self.directory.join("format")
    }

    fn unfinished_format(&self) -> PathBuf {
        self.directory.join("format.unfinished")
    }

    /// Turns an IO error at this engine into the engine's error.
    pub(super) fn failed(&self, source: impl std::error::Error + Send + Sync + 'static) -> EngineError {
        EngineError::Failed { place: self.directory.display().to_string(), source: Arc::new(source) }
    }

    pub(super) fn damaged(&self, reason: impl Into<String>) -> EngineError {
        EngineError::Damaged { path: self.directory.clone(), reason: reason.into() }
    }

    /// Makes the directory for a new engine; one that exists must be empty, or hold what is left
    /// of an engine whose making was cut short.
    pub(super) fn prepare_new(&self) -> Result<()> {
        fs::create_dir_all(&self.directory).map_err(|error| self.not_made(error))?;
        let reason = match self.check_format() {
            Ok(()) => "there is one already; open it, or choose another directory",
            Err(EngineError::Missing { .. }) if self.is_free()? => return Ok(()),
            Err(_) => "the directory is not empty; choose another one, or empty it",
        };
        Err(self.exists(reason))
    }

    fn exists(&self, reason: &str) -> EngineError {
        EngineError::Exists { path: self.directory.clone(), reason: reason.to_owned() }
    }

    fn not_made(&self, error: std::io::Error) -> EngineError {
        match error.kind() {
            ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
                self.exists("a file is in the way; choose another path, or remove it")
            }
            _ => self.failed(error),
        }
    }

    /// True if nothing is in the directory, or nothing but an owner's file and what else an engine
    /// has. Without the format file nobody was ever told that the engine was there.
    fn is_free(&self) -> Result<bool> {
        let entries = fs::read_dir(&self.directory).map_err(|error| self.failed(error))?;
        let names = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>();
        let names = names.map_err(|error| self.failed(error))?;
        let ours = [self.owner(), self.rows(), self.high_water(), self.unfinished_format()];
        Ok(names.is_empty() || names.contains(&self.owner()) && names.iter().all(|name| ours.contains(name)))
    }

    /// Takes away what an engine has whose making was cut short, for whoever owns the directory now.
    pub(super) fn clear_unfinished(&self) -> Result<()> {
        for removed in [fs::remove_dir_all(self.rows()), fs::remove_file(self.high_water())] {
            match removed {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(self.failed(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Says that the engine is whole, once everything else of it is on disk.
    pub(super) fn write_format(&self) -> Result<()> {
        let write = || {
            let mut file = File::create(self.unfinished_format())?;
            writeln!(file, "{MAGIC}{FORM}")?;
            file.sync_all()?;
            fs::rename(self.unfinished_format(), self.format())?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|error| self.failed(error))
    }

    /// Checks that an engine of a form that this build knows is there.
    pub(super) fn check_format(&self) -> Result<()> {
        let text = match fs::read_to_string(self.format()) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Err(EngineError::Missing { path: self.directory.clone() });
            }
            Err(error) if error.kind() == ErrorKind::InvalidData => return Err(self.foreign_format()),
            Err(error) => return Err(self.failed(error)),
        };
        match text.trim_end().strip_prefix(MAGIC) {
            Some(FORM) => Ok(()),
            Some(form) => {
                let form: String = form.chars().take(20).collect();
                Err(self
                    .damaged(format!("its files have form {form}, this build knows form {FORM}; use a newer build")))
            }
            None => Err(self.foreign_format()),
        }
    }

    fn foreign_format(&self) -> EngineError {
        self.damaged("its format file is not one of an embedded engine")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_known_form_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::at(directory.path());
        assert!(matches!(layout.check_format(), Err(EngineError::Missing { .. })));
        layout.prepare_new().unwrap();
        layout.write_format().unwrap();
        layout.check_format().unwrap();
        assert!(matches!(layout.prepare_new(), Err(EngineError::Exists { .. })));
        for text in [format!("{MAGIC}2\n"), "something else".into()] {
            fs::write(layout.format(), text).unwrap();
            assert!(matches!(layout.check_format(), Err(EngineError::Damaged { .. })));
        }
    }
}
