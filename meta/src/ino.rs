//! Inode numbers and the names that lead to them.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use farshore_proto::limits::MAX_NAME_BYTES;

use crate::error::{FsError, Result};

/// An inode's number, never given out twice in a volume and the same in every region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

impl Ino {
    /// The root directory, whose number FUSE fixes too.
    pub const ROOT: Self = Self(1);
}

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A name in a directory: 1 to 255 bytes, neither `.` nor `..`, with neither `/` nor NUL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// `NameTooLong`, or `Invalid` when no directory could hold the name.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_NAME_BYTES {
            return Err(FsError::NameTooLong);
        }
        let reserved = bytes.is_empty() || bytes == b"." || bytes == b"..";
        if reserved || bytes.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err(FsError::Invalid("a name that no directory can hold"));
        }
        Ok(Self(bytes.into()))
    }

    /// The name's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as the operating system has it.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }
}

impl TryFrom<&OsStr> for Name {
    type Error = FsError;
    fn try_from(name: &OsStr) -> Result<Self> {
        Self::new(name.as_bytes())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_os_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_no_directory_can_hold() {
        for bad in [b"".as_slice(), b".", b"..", b"a/b", b"a\0b"] {
            assert!(matches!(Name::new(bad), Err(FsError::Invalid(_))), "{bad:?}");
        }
        assert!(matches!(Name::new(&[b'x'; 256]), Err(FsError::NameTooLong)));
        assert!(Name::new(&[0xff; 255]).is_ok());
    }
}
