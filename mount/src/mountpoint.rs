//! The directory that is mounted over: what is there already, and what the kernel says of it.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::attach::{self, FILESYSTEM_TYPE};
use crate::mount::MountError;

/// Dead mounts above each other that are taken away before we give up.
const MAX_STALE: usize = 8;

/// A line of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountInfo {
    /// `major:minor`, as `/sys/class/bdi` names it.
    pub(crate) device: String,
    pub(crate) mount_point: PathBuf,
    pub(crate) filesystem: String,
}

impl MountInfo {
    fn parse(line: &str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let device = fields.nth(2)?.to_owned();
        let mount_point = unescape(fields.nth(1)?);
        let filesystem = filesystem.split(' ').next()?.to_owned();
        Some(Self { device, mount_point, filesystem })
    }

    /// What is mounted on a directory, on top of all else that is.
    pub(crate) fn of(dir: &Path) -> io::Result<Option<Self>> {
        let table = fs::read("/proc/self/mountinfo")?;
        let table = String::from_utf8_lossy(&table);
        Ok(table.lines().filter_map(Self::parse).rfind(|info| info.mount_point == dir))
    }

    /// The number that `/sys/fs/fuse/connections` has for it.
    pub(crate) fn connection(&self) -> Option<&str> {
        self.device.split_once(':').map(|(_, minor)| minor)
    }

    fn is_fuse(&self) -> bool {
        self.filesystem == "fuse" || self.filesystem.starts_with("fuse.")
    }
}

/// Undoes the octal escapes of mountinfo: `\040` is a space.
fn unescape(field: &str) -> PathBuf {
    let bytes = field.as_bytes();
    let mut path = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 4).filter(|_| *byte == b'\\');
        let code = digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        path.push(code.unwrap_or(*byte));
        at += if code.is_some() { 4 } else { 1 };
    }
    std::ffi::OsString::from_vec(path).into()
}

/// Checks that `dir` can be mounted over, and takes away mounts whose process has died.
/// Returns its path without symlinks.
pub(crate) fn prepare(dir: &Path, allow_non_empty: bool) -> Result<PathBuf, MountError> {
    for _ in 0..MAX_STALE {
        // The kernel may know a dead mount's root by heart; STATFS always asks its process.
        match rustix::fs::statfs(dir).map_err(io::Error::from) {
            Ok(_) => return check(dir, allow_non_empty),
            Err(error) if is_disconnected(&error) => detach_stale(dir)?,
            Err(error) => return Err(MountError::of_directory(dir, error)),
        }
    }
    Err(MountError::AlreadyMounted { dir: dir.into() })
}

fn check(dir: &Path, allow_non_empty: bool) -> Result<PathBuf, MountError> {
    let failed = |error| MountError::of_directory(dir, error);
    let dir = fs::canonicalize(dir).map_err(failed)?;
    if !fs::metadata(&dir).map_err(failed)?.is_dir() {
        return Err(MountError::NotDirectory { dir });
    }
    if MountInfo::of(&dir).map_err(failed)?.is_some_and(|info| info.filesystem == FILESYSTEM_TYPE) {
        return Err(MountError::AlreadyMounted { dir });
    }
    if !allow_non_empty && fs::read_dir(&dir).map_err(failed)?.next().is_some() {
        return Err(MountError::NotEmpty { dir });
    }
    Ok(dir)
}

/// True for a FUSE mount whose process is gone.
fn is_disconnected(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotConnected | ErrorKind::ConnectionAborted)
}

/// Takes a dead mount away. Its own root cannot be resolved, but the directory above it can.
fn detach_stale(dir: &Path) -> Result<(), MountError> {
    let failed = |error| MountError::of_directory(dir, error);
    let absolute = std::path::absolute(dir).map_err(failed)?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(MountError::AlreadyMounted { dir: absolute });
    };
    let path = fs::canonicalize(parent).map_err(failed)?.join(name);
    if !MountInfo::of(&path).map_err(failed)?.is_some_and(|info| info.is_fuse()) {
        return Err(failed(ErrorKind::NotConnected.into()));
    }
    tracing::warn!(dir = %path.display(), "detaching a mount whose process has died");
    attach::detach(&path, true).map_err(failed)
}

/// Raises the kernel's read-ahead, which it caps at 128 KiB for a mount that only asks.
pub(crate) fn raise_read_ahead(info: &MountInfo, bytes: u32) {
    let path = format!("/sys/class/bdi/{}/read_ahead_kb", info.device);
    if let Err(error) = fs::write(&path, (bytes >> 10).to_string()) {
        tracing::debug!(path, %error, "the kernel reads ahead no more than its default; only root may raise it");
    }
}

/// Fails all that waits for this mount's answers, through the kernel's control filesystem.
pub(crate) fn abort(info: &MountInfo) -> io::Result<()> {
    let connection = info.connection().ok_or(ErrorKind::NotFound)?;
    fs::write(format!("/sys/fs/fuse/connections/{connection}/abort"), "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_taken_apart() {
        let line =
            r"87 26 0:57 / /mnt/a\040b\134c rw,nosuid,nodev,noatime shared:3 - fuse.farshore farshore rw,user_id=0";
        let info = MountInfo::parse(line).unwrap();
        assert_eq!(info.device, "0:57");
        assert_eq!(info.connection(), Some("57"));
        assert_eq!(info.mount_point, Path::new(r"/mnt/a b\c"));
        assert!(info.is_fuse());
        assert_eq!(MountInfo::parse("nonsense"), None);
    }

    #[test]
    fn the_directory_must_be_one_and_empty() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        assert!(matches!(prepare(&missing, false), Err(MountError::Missing { .. })));
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(matches!(prepare(&file, false), Err(MountError::NotDirectory { .. })));
        assert!(matches!(prepare(dir.path(), false), Err(MountError::NotEmpty { .. })));
        assert!(prepare(dir.path(), true).is_ok());
    }
}
