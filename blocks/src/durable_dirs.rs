//! The directories of a `file:` store that are known to survive a power cut.
//!
//! object_store fsyncs each file, the directory it lands in and the directories it made itself. A
//! directory that another writer made a moment ago, and has not fsynced yet, it takes for
//! safe: the file would be lost with it. So the parents are fsynced here once per process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use object_store::path::Path as ObjectPath;
use parking_lot::Mutex;

use crate::error::BlockError;

#[derive(Debug)]
pub(crate) struct DurableDirs {
    root: PathBuf,
    /// At most the 65,536 leaf directories of a volume and a few more.
    settled: Mutex<BTreeSet<ObjectPath>>,
}

impl DurableDirs {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), settled: Mutex::new(BTreeSet::new()) }
    }

    /// Makes the directories above `object` last, if this process has not done so yet.
    pub(crate) async fn settle(&self, object: &ObjectPath) -> Result<(), BlockError> {
        let mut parts: Vec<_> = object.parts().collect();
        parts.pop();
        let parent = ObjectPath::from_iter(parts);
        if self.settled.lock().contains(&parent) {
            return Ok(());
        }
        let (root, below) = (self.root.clone(), parent.to_string());
        let synced = tokio::task::spawn_blocking(move || sync_upwards(&root, &root.join(below))).await;
        synced.map_err(|_| BlockError::Stopped { what: "the fsync of a store's directories".to_owned() })??;
        self.settled.lock().insert(parent);
        Ok(())
    }
}

/// The leaf itself was fsynced with the file; its name is in its parent, and so on up to the root.
fn sync_upwards(root: &Path, leaf: &Path) -> Result<(), BlockError> {
    for directory in leaf.ancestors().skip(1).take_while(|directory| directory.starts_with(root)) {
        let synced = std::fs::File::open(directory).and_then(|opened| opened.sync_all());
        synced.map_err(|source| BlockError::directory(directory, "fsync it", source))?;
    }
    Ok(())
}
