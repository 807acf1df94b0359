//! A directory of this machine as the root of keys: from a key to its place, never through a symbolic link and never
//! above the root. Names that a disk cannot hold, or that temporary files have, are refused.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, mkdirat, open, openat, openat2};
use rustix::io::Errno;

use crate::error::{Result, StoreError};
use crate::key::{Key, escaped};
use crate::store::local::temporary;

/// The longest name that Linux filesystems hold.
const MAX_NAME_BYTES: usize = 255;

/// The root's directory, held open.
#[derive(Debug)]
pub(super) struct Root {
    name: String,
    directory: OwnedFd,
}

/// Where a key is: the directory above it, relative to the root, and its name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// Empty for the root, else without a slash at its end.
    pub(super) directory: &'a [u8],
    /// Without a slash.
    pub(super) name: &'a [u8],
    /// Whether the key ends with a slash.
    pub(super) is_directory: bool,
}

impl Root {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let name = format!("file://{}", escaped(path.as_os_str().as_encoded_bytes()));
        let directory = open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let directory = directory.map_err(|error| io_error(&name, "open the directory", error))?;
        Ok(Self { name, directory })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Where the key is, if a disk can hold it.
    pub(super) fn place<'a>(&self, key: &'a Key) -> Result<Place<'a>> {
        let bytes = key.as_bytes();
        let (whole, is_directory) = bytes.strip_suffix(b"/").map_or((bytes, false), |whole| (whole, true));
        if let Some(reason) = whole.split(|byte| *byte == b'/').find_map(refusal) {
            return Err(StoreError::unholdable(&self.name, key, reason));
        }
        let (directory, name) = match whole.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&whole[..slash], &whole[slash + 1..]),
            None => (&whole[..0], whole),
        };
        Ok(Place { directory, name, is_directory })
    }

    /// Opens a directory below the root for reading its names and acting in it.
    pub(super) fn open_directory(&self, path: &[u8]) -> std::result::Result<OwnedFd, Errno> {
        self.open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// Opens what is at a path below the root; `ELOOP` if a symbolic link is on the way or at its end.
    pub(super) fn open_beneath(&self, path: &[u8], flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if path.is_empty() {
            return openat(&self.directory, ".", flags, Mode::empty());
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match openat2(&self.directory, path, flags, Mode::empty(), resolve) {
            Err(Errno::NOSYS | Errno::PERM) => self.open_step_by_step(path, flags),
            opened => opened,
        }
    }

    /// The same where the kernel does not have `openat2`.
    fn open_step_by_step(&self, path: &[u8], flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
        let steps = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut segments = path.split(|byte| *byte == b'/');
        let last = segments.next_back().unwrap_or_default();
        let mut above = openat(&self.directory, ".", steps, Mode::empty())?;
        for segment in segments {
            above = openat(&above, segment, steps, Mode::empty())?;
        }
        openat(&above, last, flags, Mode::empty())
    }

    /// Opens a directory, and makes it and those above it if they are not there; `made` is called with the directory
    /// above each one that was made.
    pub(super) fn make_directory(
        &self,
        path: &[u8],
        made: &mut dyn FnMut(BorrowedFd<'_>) -> std::result::Result<(), Errno>,
    ) -> std::result::Result<OwnedFd, Errno> {
        match self.open_directory(path) {
            Err(Errno::NOENT) if !path.is_empty() => {}
            opened => return opened,
        }
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (above, name) = slash.map_or((&path[..0], path), |slash| (&path[..slash], &path[slash + 1..]));
        let above = self.make_directory(above, made)?;
        match mkdirat(&above, name, Mode::from_raw_mode(0o777)) {
            Ok(()) => made(above.as_fd())?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        self.open_directory(path)
    }

    /// The error of an operation on a key.
    pub(super) fn error(&self, key: &Key, action: &str, error: Errno) -> StoreError {
        match error {
            Errno::NOENT => StoreError::missing(&self.name, key),
            Errno::NOTDIR => StoreError::unholdable(&self.name, key, "there is a file where its directory would be"),
            Errno::LOOP => StoreError::unholdable(&self.name, key, "a symbolic link is in its way"),
            Errno::ISDIR => StoreError::unholdable(&self.name, key, "there is a directory of this name"),
            Errno::NAMETOOLONG | Errno::ILSEQ => StoreError::unholdable(&self.name, key, error.to_string()),
            error => io_error(&self.name, &format!("{action} {key}"), error),
        }
    }
}

/// Why a disk cannot hold a name, if it cannot.
fn refusal(segment: &[u8]) -> Option<&'static str> {
    match segment {
        b"" => Some("a disk holds no empty names"),
        b"." | b".." => Some("`.` and `..` are directories of their own on a disk"),
        name if name.len() > MAX_NAME_BYTES => Some("a disk's names have at most 255 bytes"),
        name if name.contains(&0) => Some("a disk's names hold no zero byte"),
        name if temporary::is_temporary(name) || temporary::is_of_upload(name) => {
            Some("temporary files have such names")
        }
        _ => None,
    }
}

/// The error of a system call.
pub(super) fn io_error(store: &str, action: &str, error: Errno) -> StoreError {
    let (name, action, reason) = (store.to_owned(), action.to_owned(), error.to_string());
    match error {
        Errno::NOSPC | Errno::DQUOT => StoreError::Full { store: name },
        Errno::ACCESS | Errno::PERM | Errno::ROFS => StoreError::Refused { store: name, action, reason },
        Errno::NOENT => StoreError::missing(store, &action),
        _ => StoreError::Unavailable { store: name, action, reason, retry_after: None },
    }
}

/// Not to follow a link at the end of a path.
pub(super) const NO_FOLLOW: AtFlags = AtFlags::SYMLINK_NOFOLLOW;

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        (directory, root)
    }

    #[test]
    fn keys_have_a_place_or_are_refused() {
        let (_directory, root) = root();
        let key = Key::try_from("a/b/c/").unwrap();
        assert_eq!(root.place(&key).unwrap(), Place { directory: b"a/b", name: b"c", is_directory: true });
        let key = Key::try_from("a").unwrap();
        assert_eq!(root.place(&key).unwrap(), Place { directory: b"", name: b"a", is_directory: false });
        for odd in ["/a", "a//b", "//", ".", "a/../b", "./a", "a/.", "n\0", "/", ".farshore-tmp-0123456789abcdef"] {
            let key = Key::try_from(odd).unwrap();
            assert!(matches!(root.place(&key), Err(StoreError::Unholdable { .. })), "{odd:?}");
        }
    }

    #[test]
    fn nothing_is_reached_through_a_symbolic_link() {
        let (directory, root) = root();
        std::fs::create_dir(directory.path().join("real")).unwrap();
        std::fs::write(directory.path().join("real/file"), "x").unwrap();
        std::os::unix::fs::symlink("real", directory.path().join("link")).unwrap();
        assert!(root.open_beneath(b"real/file", OFlags::RDONLY).is_ok());
        assert!(root.open_step_by_step(b"real/file", OFlags::RDONLY | OFlags::NOFOLLOW).is_ok());
        assert!(root.open_beneath(b"link/file", OFlags::RDONLY).is_err());
        assert!(root.open_step_by_step(b"link/file", OFlags::RDONLY | OFlags::NOFOLLOW).is_err());
        assert!(root.open_directory(b"link").is_err());
        assert!(root.make_directory(b"link/below", &mut |_| Ok(())).is_err());
        let mut made = 0;
        let count = &mut |_: BorrowedFd<'_>| {
            made += 1;
            Ok(())
        };
        root.make_directory(b"x/y/z", count).unwrap();
        assert_eq!(made, 3);
    }
}
