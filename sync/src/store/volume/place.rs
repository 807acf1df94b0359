//! From a key to its place in a tree, if a volume can hold it: its names, one below the other.

use farshore_meta::{FsError, Name};

use crate::error::{Result, StoreError};
use crate::key::Key;

/// Where a key is: the directory above it, relative to the root, and its name there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The names of the directories above it, outermost first.
    pub(super) directory: Vec<Name>,
    /// Its own name.
    pub(super) name: Name,
    /// Whether the key ends with a slash.
    pub(super) is_directory: bool,
}

impl Place {
    pub(super) fn of(store: &str, key: &Key) -> Result<Self> {
        let bytes = key.as_bytes();
        let (whole, is_directory) = bytes.strip_suffix(b"/").map_or((bytes, false), |whole| (whole, true));
        let mut directory = names(whole).map_err(|reason| StoreError::unholdable(store, key, reason))?;
        let name = directory.pop().ok_or_else(|| StoreError::bug("a key without a name"))?;
        Ok(Self { directory, name, is_directory })
    }

    /// All names.
    pub(super) fn path(&self) -> Vec<Name> {
        self.directory.iter().cloned().chain([self.name.clone()]).collect()
    }
}

/// The names of a path, or why a directory cannot hold one of them.
pub(super) fn names(path: &[u8]) -> std::result::Result<Vec<Name>, &'static str> {
    path.split(|byte| *byte == b'/').map(|name| Name::new(name).map_err(|error| refusal(name, &error))).collect()
}

fn refusal(name: &[u8], error: &FsError) -> &'static str {
    match (name, error) {
        (b"", _) => "a directory holds no empty names",
        (b"." | b"..", _) => "`.` and `..` are directories of their own in a volume",
        (_, FsError::NameTooLong) => "a volume's names have at most 255 bytes",
        _ => "a volume's names hold no zero byte",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_a_place_or_are_refused() {
        let place = |text: &str| Place::of("farshore://m", &Key::try_from(text).unwrap());
        let name = |text: &str| Name::new(text.as_bytes()).unwrap();
        let found = place("a/b/c/").unwrap();
        assert_eq!(found.path(), [name("a"), name("b"), name("c")]);
        assert!(found.is_directory && found.directory.len() == 2);
        assert!(!place("a").unwrap().is_directory);
        for odd in ["/a", "a//b", "//", ".", "a/../b", "./a", "a/.", "n\0", "/", &"x".repeat(256)] {
            assert!(matches!(place(odd), Err(StoreError::Unholdable { .. })), "{odd:?}");
        }
    }
}
