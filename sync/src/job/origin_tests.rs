//! Copies that remember their objects: a pass asks for the metadata of no object whose copy knows it, and of every other.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::attributes::{AttributeSet, Attributes, Posix};
use crate::entry::Object;
use crate::error::Result as StoreResult;
use crate::journal::MemoryJournal;
use crate::key::Key;
use crate::outcome::Silent;
use crate::posix_metadata::TimeForm;
use crate::store::layer::Layer;
use crate::store::{Body, Durability, LocalOptions, LocalStore, MemoryStore, Origins, PosixStore, PutRequest};
use crate::timestamp::Timestamp;

/// A source that counts how often it is asked for an object's metadata.
#[derive(Debug)]
struct Asked {
    inner: Arc<dyn Store>,
    heads: AtomicUsize,
}

#[async_trait]
impl Layer for Asked {
    fn below(&self) -> &dyn Store {
        self.inner.as_ref()
    }

    async fn head(&self, key: &Key, wanted: AttributeSet) -> StoreResult<Object> {
        self.heads.fetch_add(1, Ordering::Relaxed);
        self.inner.head(key, wanted).await
    }
}

/// Objects with the metadata of files, and the directory that they are copied to.
struct Sides {
    source: Arc<Asked>,
    directory: tempfile::TempDir,
}

impl Sides {
    async fn with_files(count: u32) -> Self {
        let inner = Arc::new(PosixStore::over(Arc::new(MemoryStore::objects("objects")), TimeForm::Seconds));
        // Where the temporary directory has no extended attributes, /dev/shm has.
        let directory = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "." }).unwrap();
        let sides = Self { source: Arc::new(Asked { inner, heads: AtomicUsize::new(0) }), directory };
        for number in 0..count {
            sides.put(number, 0o640).await;
        }
        sides
    }

    async fn put(&self, number: u32, mode: u32) {
        let stat = std::fs::metadata(self.directory.path()).unwrap();
        let (uid, gid) = (stat.uid(), stat.gid());
        let modified = Timestamp::new(-7, 9);
        let posix = Posix { mode, uid, gid, modified, xattrs: std::collections::BTreeMap::new(), sparse: false };
        let attributes = Attributes { posix: Some(posix), ..Attributes::default() };
        let request = PutRequest { attributes, ..PutRequest::object(key(number), 4) };
        self.source.inner.put(&request, Body::Whole(Bytes::from_static(b"four"))).await.unwrap();
    }

    /// A pass; what it counted, and how many objects it asked about.
    async fn pass(&self, origins: Origins) -> (Counts, usize) {
        let options = LocalOptions { durability: Durability::AtFlush, origins, ..LocalOptions::default() };
        let target = Arc::new(LocalStore::open(self.directory.path(), options).unwrap());
        self.source.heads.store(0, Ordering::Relaxed);
        let job = Job::new(Arc::clone(&self.source) as Arc<dyn Store>, target, JobOptions::default());
        let journal = Arc::new(MemoryJournal::new().unwrap());
        let summary = job.run(journal, Arc::new(Silent)).await.unwrap();
        assert!(summary.is_clean(), "{summary:?}");
        (summary.counts, self.source.heads.load(Ordering::Relaxed))
    }

    fn chmod(&self, number: u32, mode: u32) {
        let path = self.directory.path().join(key(number).to_string());
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
}

fn key(number: u32) -> Key {
    Key::try_from(format!("file-{number}").as_str()).unwrap()
}

#[tokio::test]
async fn only_what_changed_is_asked_about() {
    let sides = Sides::with_files(5).await;
    let (counts, heads) = sides.pass(Origins::Kept).await;
    assert_eq!((counts.copied, heads), (5, 0), "a read tells all");
    let (counts, heads) = sides.pass(Origins::Kept).await;
    assert_eq!((counts.skipped, heads), (5, 0));

    sides.chmod(0, 0o600);
    let (counts, heads) = sides.pass(Origins::Kept).await;
    assert!((counts.updated, counts.skipped) == (1, 4) && heads > 0, "{counts:?}, {heads} asked about");
    assert_eq!(sides.pass(Origins::Kept).await.1, 0, "it is again as its note says");

    sides.put(1, 0o600).await;
    let (counts, _) = sides.pass(Origins::Kept).await;
    assert_eq!((counts.skipped, counts.copied + counts.updated), (4, 1), "another object of the same size");
    std::fs::write(sides.directory.path().join("file-2"), b"FOUR").unwrap();
    let (counts, _) = sides.pass(Origins::Kept).await;
    assert_eq!((counts.skipped, counts.copied), (4, 1), "another file of the same size");
}

#[tokio::test]
async fn a_look_changes_nothing_and_what_remembers_nothing_is_asked_about() {
    let sides = Sides::with_files(3).await;
    assert_eq!(sides.pass(Origins::Ignored).await.0.copied, 3);
    for origins in [Origins::Ignored, Origins::Read, Origins::Read, Origins::Kept] {
        let (counts, heads) = sides.pass(origins).await;
        assert_eq!((counts.skipped, heads), (3, 3), "{origins:?}");
    }
    assert_eq!(sides.pass(Origins::Read).await.1, 0);
    assert_eq!(sides.pass(Origins::Ignored).await.1, 3);
}
