//! Temporary files: in the directory of what they will be, under names that are no objects, locked while their writer
//! lives. One that is not locked was left by a writer that died, and whoever lists its directory removes it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fstat, openat, renameat, unlinkat};
use rustix::io::Errno;

const PREFIX: &[u8] = b".farshore-tmp-";
const DIGITS: usize = 16;

const UPLOAD_PREFIX: &[u8] = b".farshore-upload-";
const TABLE_SUFFIX: &[u8] = b".parts";

/// Whether a name is that of a temporary file: one that is locked while its writer lives.
pub(super) fn is_temporary(name: &[u8]) -> bool {
    is_numbered(name, PREFIX)
}

/// Whether a name is that of an upload in parts.
pub(super) fn is_upload(name: &[u8]) -> bool {
    is_numbered(name, UPLOAD_PREFIX)
}

/// Whether a name is that of one of an upload's files, which stay without a writer.
pub(super) fn is_of_upload(name: &[u8]) -> bool {
    is_upload(name.strip_suffix(TABLE_SUFFIX).unwrap_or(name))
}

fn is_numbered(name: &[u8], prefix: &[u8]) -> bool {
    let digits = name.strip_prefix(prefix);
    digits.is_some_and(|digits| digits.len() == DIGITS && digits.iter().all(u8::is_ascii_hexdigit))
}

/// The name of a temporary file that no other writer has.
pub(super) fn fresh_name() -> String {
    format!(".farshore-tmp-{:016x}", fresh_number())
}

/// The name of an upload that no other has.
pub(super) fn fresh_upload_name() -> String {
    format!(".farshore-upload-{:016x}", fresh_number())
}

/// The name of the table of an upload's parts.
pub(super) fn table_name(upload: &str) -> String {
    format!("{upload}.parts")
}

/// Random in each process, counted within it.
fn fresh_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static BASE: std::sync::LazyLock<u64> = std::sync::LazyLock::new(|| {
        use std::hash::{BuildHasher, RandomState};
        RandomState::new().hash_one(std::process::id())
    });
    BASE.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// A temporary file, which is removed unless it is put in its place.
#[derive(Debug)]
pub(super) struct Temporary {
    directory: OwnedFd,
    name: String,
    file: Option<OwnedFd>,
    placed: bool,
}

impl Temporary {
    /// A new, empty file that only this process writes.
    pub(super) fn file(directory: OwnedFd, mode: Mode) -> std::result::Result<Self, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        loop {
            let name = fresh_name();
            let file = openat(&directory, name.as_str(), flags, mode)?;
            if is_own(&file)? {
                return Ok(Self { directory, name, file: Some(file), placed: false });
            }
        }
    }

    /// Something that `make` makes under a temporary name, such as a symbolic link.
    pub(super) fn made(
        directory: OwnedFd,
        make: impl FnOnce(BorrowedFd<'_>, &str) -> std::result::Result<(), Errno>,
    ) -> std::result::Result<Self, Errno> {
        let name = fresh_name();
        make(directory.as_fd(), &name)?;
        Ok(Self { directory, name, file: None, placed: false })
    }

    /// The open file.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_ref().expect("only a temporary file's bytes are written").as_fd()
    }

    /// The directory and the name in it.
    pub(super) fn at(&self) -> (BorrowedFd<'_>, &str) {
        (self.directory.as_fd(), &self.name)
    }

    /// Gives it its name, in place of what had it.
    pub(super) fn place(&mut self, name: &[u8]) -> std::result::Result<(), Errno> {
        renameat(&self.directory, self.name.as_str(), &self.directory, name)?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.placed
            && let Err(error) = unlinkat(&self.directory, self.name.as_str(), AtFlags::empty())
        {
            tracing::debug!(name = self.name, %error, "a temporary file stays; a later listing removes it");
        }
    }
}

/// Removes a temporary file whose writer is gone.
pub(super) fn sweep(directory: BorrowedFd<'_>, name: &[u8]) {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // It stays locked until it is gone, so that a writer who waits for the lock finds it gone.
    let file = openat(directory, name, flags, Mode::empty());
    let orphan = match &file {
        Ok(file) => flock(file, FlockOperation::NonBlockingLockExclusive).is_ok(),
        // A symbolic link cannot be locked; its writer renames it at once, and tries again if it is gone.
        Err(error) => *error == Errno::LOOP,
    };
    if orphan && unlinkat(directory, name, AtFlags::empty()).is_ok() {
        tracing::info!(name = %crate::key::escaped(name), "removed a temporary file that a killed writer left");
    }
}

/// Locks a file that was just made, unless one who took it for an orphan was sooner and has removed it: who finds it
/// locked waits for that one.
fn is_own(file: &OwnedFd) -> std::result::Result<bool, Errno> {
    match flock(file, FlockOperation::LockExclusive) {
        Ok(()) => Ok(fstat(file)?.st_nlink > 0),
        // Filesystems without locks have no sweeping either.
        Err(error) => {
            tracing::trace!(%error, "a temporary file is not locked");
            Ok(true)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use super::*;

    fn open(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    fn count(path: &Path) -> usize {
        std::fs::read_dir(path).unwrap().count()
    }

    #[test]
    fn a_temporary_file_goes_unless_it_is_placed() {
        let directory = tempfile::tempdir().unwrap();
        let mut placed = Temporary::file(open(directory.path()), Mode::from_raw_mode(0o600)).unwrap();
        let dropped = Temporary::file(open(directory.path()), Mode::from_raw_mode(0o600)).unwrap();
        assert!(is_temporary(dropped.at().1.as_bytes()));
        drop(dropped);
        placed.place(b"file").unwrap();
        drop(placed);
        assert!(directory.path().join("file").exists());
        assert_eq!(count(directory.path()), 1);
    }

    #[test]
    fn only_what_a_dead_writer_left_is_swept() {
        let directory = tempfile::tempdir().unwrap();
        let alive = Temporary::file(open(directory.path()), Mode::from_raw_mode(0o600)).unwrap();
        sweep(open(directory.path()).as_fd(), alive.at().1.as_bytes());
        assert_eq!(count(directory.path()), 1);
        let left = fresh_name();
        std::fs::write(directory.path().join(&left), "half").unwrap();
        sweep(open(directory.path()).as_fd(), left.as_bytes());
        assert_eq!(count(directory.path()), 1);
    }

    #[test]
    fn a_file_that_is_swept_before_it_is_locked_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let (path, ends) = (directory.path(), std::sync::atomic::AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    for found in std::fs::read_dir(path).unwrap().flatten() {
                        if is_temporary(found.file_name().as_bytes()) {
                            sweep(open(path).as_fd(), found.file_name().as_bytes());
                        }
                    }
                }
            });
            let made = (0..2_000).try_for_each(|number| {
                let mut made = Temporary::file(open(path), Mode::from_raw_mode(0o600))?;
                made.place(format!("file {number}").as_bytes())
            });
            ends.store(true, Ordering::Relaxed);
            made.unwrap();
        });
        assert_eq!(count(path), 2_000);
    }
}
