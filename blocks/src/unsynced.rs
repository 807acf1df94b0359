//! The files of a `file:` store that were put and are not known to survive a power cut yet.
//!
//! Syncing each file when it is put makes every small file wait for the disk twice. Here they wait
//! together, for whoever asks for all of them. After an fsync that failed nobody knows what the
//! disk has, and a second one would not say: from then on every sync fails.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path as ObjectPath;
use parking_lot::Mutex;

use crate::durable_dirs::{DurableDirs, failed, store_error};

/// Files that may wait. The next put syncs them all, so that a later fsync is never long.
const MAX_WAITING: usize = 2_000;
/// Files synced at once. More of them only wait for the same disk.
const SYNCED_AT_ONCE: usize = 16;

#[derive(Debug)]
pub(crate) struct Unsynced {
    root: PathBuf,
    dirs: DurableDirs,
    waiting: Mutex<Waiting>,
    /// Held while a sync is under way: what one has taken, another must not take for synced.
    syncing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    objects: BTreeSet<ObjectPath>,
    /// Why nothing here is certain any more.
    failed: Option<String>,
}

/// Objects that a sync has taken. They wait again if it ends early, at a deadline for instance.
struct Taken<'u> {
    waiting: &'u Mutex<Waiting>,
    objects: BTreeSet<ObjectPath>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.waiting.lock().objects.append(&mut self.objects);
    }
}

impl Unsynced {
    pub(crate) fn new(root: &Path) -> Self {
        let (waiting, syncing) = Default::default();
        Self { root: root.to_owned(), dirs: DurableDirs::new(root), waiting, syncing }
    }

    /// Notes an object that was just put.
    pub(crate) async fn put(&self, object: &ObjectPath) -> object_store::Result<()> {
        let full = {
            let mut waiting = self.waiting.lock();
            waiting.objects.insert(object.clone());
            waiting.objects.len() >= MAX_WAITING
        };
        if full { self.sync().await } else { Ok(()) }
    }

    /// Makes everything that was put before this call last.
    pub(crate) async fn sync(&self) -> object_store::Result<()> {
        let _alone = self.syncing.lock().await;
        let mut taken = self.take()?;
        let synced = self.sync_all(&taken.objects).await;
        match &synced {
            Ok(()) => taken.objects.clear(),
            Err(error) => {
                let reason = format!("blocks may be lost, because an earlier sync failed ({error}); start again");
                self.waiting.lock().failed = Some(reason);
            }
        }
        synced
    }

    fn take(&self) -> object_store::Result<Taken<'_>> {
        let mut waiting = self.waiting.lock();
        if let Some(reason) = &waiting.failed {
            return Err(store_error(Error::other(reason.clone())));
        }
        Ok(Taken { waiting: &self.waiting, objects: std::mem::take(&mut waiting.objects) })
    }

    async fn sync_all(&self, objects: &BTreeSet<ObjectPath>) -> object_store::Result<()> {
        let files: Vec<PathBuf> = objects.iter().map(|object| self.root.join(object.to_string())).collect();
        let dirs: BTreeSet<PathBuf> = files.iter().filter_map(|file| file.parent().map(Path::to_owned)).collect();
        sync_each(files).await?;
        for object in objects {
            self.dirs.prepare(object).await?;
        }
        sync_each(dirs).await
    }
}

/// Syncs files or directories, several at once.
async fn sync_each(paths: impl IntoIterator<Item = PathBuf>) -> object_store::Result<()> {
    let syncs = paths.into_iter().map(|path| async move {
        let synced = tokio::task::spawn_blocking(move || sync(&path)).await;
        synced.map_err(Error::other).flatten().map_err(store_error)
    });
    stream::iter(syncs).buffer_unordered(SYNCED_AT_ONCE).try_collect().await
}

/// Syncs one; what was deleted meanwhile has nothing to lose.
fn sync(path: &Path) -> Result<()> {
    match File::open(path).and_then(|opened| opened.sync_all()) {
        Err(source) if source.kind() == ErrorKind::NotFound => Ok(()),
        synced => synced.map_err(|source| failed("fsync", path, &source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, number: usize) -> ObjectPath {
        let object = ObjectPath::from(format!("volume/blocks/{:03x}/{number}", number % 16));
        let file = root.join(object.to_string());
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "block").unwrap();
        object
    }

    fn waiting(unsynced: &Unsynced) -> usize {
        unsynced.waiting.lock().objects.len()
    }

    #[tokio::test]
    async fn what_was_put_waits_for_a_sync_and_no_more_than_so_many() {
        let root = tempfile::tempdir().unwrap();
        let unsynced = Unsynced::new(root.path());
        for number in 0..10 {
            unsynced.put(&put(root.path(), number)).await.unwrap();
        }
        assert_eq!(waiting(&unsynced), 10);
        unsynced.sync().await.unwrap();
        assert_eq!(waiting(&unsynced), 0);
        for number in 0..MAX_WAITING + 5 {
            unsynced.put(&put(root.path(), number)).await.unwrap();
        }
        assert_eq!(waiting(&unsynced), 5);
    }

    #[tokio::test]
    async fn a_sync_that_is_given_up_forgets_nothing() {
        let root = tempfile::tempdir().unwrap();
        let unsynced = Unsynced::new(root.path());
        for number in 0..10 {
            unsynced.put(&put(root.path(), number)).await.unwrap();
        }
        let mut given_up = Box::pin(unsynced.sync());
        assert!(futures::poll!(&mut given_up).is_pending());
        assert_eq!(waiting(&unsynced), 0);
        drop(given_up);
        assert_eq!(waiting(&unsynced), 10);
        unsynced.sync().await.unwrap();
        assert_eq!(waiting(&unsynced), 0);
    }

    #[tokio::test]
    async fn a_deleted_file_is_nothing_to_sync() {
        let root = tempfile::tempdir().unwrap();
        let unsynced = Unsynced::new(root.path());
        let object = put(root.path(), 1);
        unsynced.put(&object).await.unwrap();
        std::fs::remove_file(root.path().join(object.to_string())).unwrap();
        unsynced.sync().await.unwrap();
    }

    #[tokio::test]
    async fn after_a_sync_that_failed_none_succeeds() {
        let root = tempfile::tempdir().unwrap();
        let unsynced = Unsynced::new(root.path());
        // A link to itself cannot be opened.
        std::fs::create_dir_all(root.path().join("volume/blocks/001")).unwrap();
        std::os::unix::fs::symlink("loop", root.path().join("volume/blocks/001/loop")).unwrap();
        unsynced.put(&ObjectPath::from("volume/blocks/001/loop")).await.unwrap();
        assert!(unsynced.sync().await.is_err());
        std::fs::remove_file(root.path().join("volume/blocks/001/loop")).unwrap();
        unsynced.put(&put(root.path(), 2)).await.unwrap();
        let error = unsynced.sync().await.unwrap_err();
        assert!(error.to_string().contains("earlier sync failed"), "{error}");
    }
}
