//! The directories of a `file:` store that are known to survive a power cut.
//!
//! object_store fsyncs each file, the directory it lands in and the directories it made itself. A
//! directory that another writer made a moment ago, and has not fsynced yet, it takes for
//! safe: the file would be lost with it. So directories are made here before the file is put,
//! and each one's name is fsynced once per process.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use object_store::path::Path as ObjectPath;
use parking_lot::Mutex;

#[derive(Debug)]
pub(crate) struct DurableDirs {
    root: PathBuf,
    /// Those whose names last, and with them the names of all above. At most the 4,096 leaf
    /// directories of a volume and two more.
    settled: Mutex<BTreeSet<PathBuf>>,
}

impl DurableDirs {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), settled: Mutex::new(BTreeSet::new()) }
    }

    /// Makes the directories above `object`, to last, but for those that this process has made
    /// to last before. Never makes the store's own directory: its absence means that a disk is
    /// not mounted.
    pub(crate) async fn prepare(&self, object: &ObjectPath) -> object_store::Result<()> {
        let unsettled = self.unsettled(object);
        if unsettled.is_empty() {
            return Ok(());
        }
        let made = tokio::task::spawn_blocking(move || {
            unsettled.iter().try_for_each(|directory| make_to_last(directory))?;
            Ok(unsettled)
        });
        let made = made.await.map_err(Error::other).flatten().map_err(store_error)?;
        self.settled.lock().extend(made);
        Ok(())
    }

    /// The directories above `object`, from the uppermost down, that are not known to last.
    fn unsettled(&self, object: &ObjectPath) -> Vec<PathBuf> {
        let file = self.root.join(object.to_string());
        let settled = self.settled.lock();
        let above = file.ancestors().skip(1).take_while(|directory| *directory != self.root);
        let mut unsettled: Vec<_> =
            above.take_while(|directory| !settled.contains(*directory)).map(Path::to_owned).collect();
        unsettled.reverse();
        unsettled
    }
}

/// Makes one directory, unless it is there, and fsyncs the one above, which holds its name.
fn make_to_last(directory: &Path) -> Result<()> {
    match std::fs::create_dir(directory) {
        Err(source) if source.kind() != ErrorKind::AlreadyExists => return Err(failed("make", directory, &source)),
        _ => {}
    }
    let above = directory.parent().expect("a directory below the store's own has one above");
    let synced = std::fs::File::open(above).and_then(|opened| opened.sync_all());
    synced.map_err(|source| failed("fsync", above, &source))
}

/// An error of the same kind, by which a full disk is told from others, that names the directory.
pub(crate) fn failed(action: &str, directory: &Path, source: &Error) -> Error {
    Error::new(source.kind(), format!("cannot {action} {}: {source}", directory.display()))
}

pub(crate) fn store_error(source: Error) -> object_store::Error {
    object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::BlockError;

    #[tokio::test]
    async fn a_directory_is_made_to_last_once() {
        let root = tempfile::tempdir().unwrap();
        let dirs = DurableDirs::new(root.path());
        let below = |names: &[&str]| names.iter().map(|name| root.path().join(name)).collect::<Vec<_>>();

        let first = ObjectPath::from("volume/blocks/29f/block");
        let all = below(&["volume", "volume/blocks", "volume/blocks/29f"]);
        assert_eq!(dirs.unsettled(&first), all);
        dirs.prepare(&first).await.unwrap();
        assert!(root.path().join("volume/blocks/29f").is_dir());
        assert!(dirs.unsettled(&first).is_empty());

        let beside = ObjectPath::from("volume/blocks/205/block");
        assert_eq!(dirs.unsettled(&beside), below(&["volume/blocks/205"]));
    }

    #[tokio::test]
    async fn a_directory_of_another_writer_is_made_to_last_too() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("volume/blocks/29f")).unwrap();
        let dirs = DurableDirs::new(root.path());
        let object = ObjectPath::from("volume/blocks/29f/block");
        assert_eq!(dirs.unsettled(&object).len(), 3);
        dirs.prepare(&object).await.unwrap();
        assert!(dirs.unsettled(&object).is_empty());
    }

    #[tokio::test]
    async fn the_stores_own_directory_is_never_made() {
        let gone = tempfile::tempdir().unwrap().path().join("store");
        let dirs = DurableDirs::new(&gone);
        let object = ObjectPath::from("volume/blocks/29f/block");
        assert!(dirs.prepare(&object).await.is_err());
        assert!(!gone.exists());
        assert_eq!(dirs.unsettled(&object).len(), 3);
    }

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let error = |kind: ErrorKind| store_error(failed("make", Path::new("/store/29"), &kind.into()));
        let told = |kind| BlockError::from_store("file:///store", "store a block", error(kind));
        assert!(matches!(told(ErrorKind::StorageFull), BlockError::Full { .. }));
        assert!(matches!(told(ErrorKind::PermissionDenied), BlockError::Refused { .. }));
        assert!(matches!(told(ErrorKind::NotFound), BlockError::Store { .. }));
    }
}
