//! Writes a manifest of what a journal has recorded: beside its place, and given its name when it is whole and durable.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::{End, Header, ManifestError, Recorded};
use crate::counts::Counts;

/// What the names of manifests that are being written end with.
const PARTIAL: &str = ".partial";

/// Where a job's manifest is to be. Until the job is done, nothing is there, or what an earlier job left.
#[derive(Debug)]
pub struct ManifestFile {
    path: PathBuf,
    above: PathBuf,
    header: Header,
}

/// A manifest that is being written.
pub(crate) struct Writing<'f> {
    file: &'f ManifestFile,
    written: BufWriter<NamedTempFile>,
    hasher: blake3::Hasher,
    end: End,
}

impl ManifestFile {
    /// A manifest at this path, in a directory that is there and can be written to.
    ///
    /// # Errors
    /// `Io` if no file can be made there.
    pub fn new(path: &Path, header: Header) -> Result<Self, ManifestError> {
        let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        let file = Self { path: path.to_owned(), above, header };
        // Found out now rather than after days of copying.
        if file.path.is_dir() {
            return Err(file.failed(&std::io::ErrorKind::IsADirectory.into()));
        }
        let probed = file.temporary().and_then(|_| file.sweep());
        probed.map_err(|error| file.failed(&error))?;
        Ok(file)
    }

    /// Begins to write for a job that counted so much.
    pub(crate) fn begin(&self, counts: &Counts, withheld: bool, dry_run: bool) -> Result<Writing<'_>, ManifestError> {
        let written = BufWriter::new(self.temporary().map_err(|error| self.failed(&error))?);
        let end = End::of(counts, withheld, dry_run);
        let mut writing = Writing { file: self, written, hasher: blake3::Hasher::new(), end };
        writing.line(&self.header.to_line())?;
        Ok(writing)
    }

    fn temporary(&self) -> std::io::Result<NamedTempFile> {
        let mut builder = tempfile::Builder::new();
        // As a new file would have them, less what the umask takes.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let temporary = builder.prefix(&self.prefix()).suffix(PARTIAL).tempfile_in(&self.above)?;
        // Whoever sweeps sees that somebody writes it. Where there are no locks, two that write one manifest are not told.
        temporary.as_file().lock().ok();
        Ok(temporary)
    }

    /// Removes what jobs that were killed while they wrote this manifest left.
    fn sweep(&self) -> std::io::Result<()> {
        let prefix = self.prefix();
        for entry in std::fs::read_dir(&self.above)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_left = || File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
            if name.starts_with(&prefix) && name.ends_with(PARTIAL) && is_left() {
                std::fs::remove_file(entry.path()).ok();
            }
        }
        Ok(())
    }

    fn prefix(&self) -> String {
        format!(".{}.", self.path.file_name().unwrap_or_default().to_string_lossy())
    }

    fn failed(&self, source: &std::io::Error) -> ManifestError {
        ManifestError::Io { file: self.path.display().to_string(), action: "written", reason: source.to_string() }
    }
}

impl Writing<'_> {
    /// The next object, in the order of keys.
    pub(crate) fn add(&mut self, recorded: &Recorded) -> Result<(), ManifestError> {
        self.end.add(recorded);
        self.line(&recorded.to_line())
    }

    /// Ends it: all of it is durable before it has its name.
    pub(crate) fn finish(mut self) -> Result<(), ManifestError> {
        let end = self.end.to_line(&self.hasher.finalize());
        self.line(&end)?;
        let file = self.file;
        let kept = || -> std::io::Result<()> {
            let written = self.written.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            written.as_file().sync_all()?;
            written.persist(&file.path)?;
            File::open(&file.above)?.sync_all()
        };
        kept().map_err(|error| file.failed(&error))
    }

    fn line(&mut self, line: &str) -> Result<(), ManifestError> {
        self.hasher.update(line.as_bytes()).update(b"\n");
        let written = self.written.write_all(line.as_bytes()).and_then(|()| self.written.write_all(b"\n"));
        written.map_err(|error| self.file.failed(&error))
    }
}
