//! What is overwritten or deleted is in safety first, and nothing that lies there is overwritten.

use bytes::Bytes;

use super::*;
use crate::copy::Backup;
use crate::journal::MemoryJournal;
use crate::key::Key;
use crate::outcome::Silent;
use crate::policy::Compare;
use crate::store::{Body, LocalOptions, LocalStore, MemoryStore, PutRequest};

fn key(text: &str) -> Key {
    Key::try_from(text).unwrap()
}

async fn put(store: &dyn Store, name: &str, bytes: &[u8]) {
    let request = PutRequest::object(key(name), bytes.len() as u64);
    store.put(&request, Body::Whole(Bytes::copy_from_slice(bytes))).await.unwrap();
}

fn objects(name: &str) -> Arc<MemoryStore> {
    Arc::new(MemoryStore::objects(name).with_capabilities(|can| {
        can.max_copy_bytes = 0;
        can.preferred_put_bytes = 1 << 20;
    }))
}

fn bytes_of(store: &MemoryStore, name: &str) -> Option<Bytes> {
    store.snapshot().get(&key(name)).map(|(_, bytes)| bytes.clone())
}

async fn run(source: &Arc<MemoryStore>, target: &Arc<dyn Store>, place: &Arc<dyn Store>, suffix: &str) -> Summary {
    let policy = ComparePolicy { by: Compare::Checksum, delete: true, ..ComparePolicy::default() };
    let backup = Backup { target: Arc::clone(target), place: Arc::clone(place), suffix: suffix.to_owned() };
    let options = JobOptions { policy, ..JobOptions::default() };
    let job = Job::new(source.clone(), Arc::clone(target), options).with_backup(backup);
    job.run(Arc::new(MemoryJournal::new().unwrap()), Arc::new(Silent)).await.unwrap()
}

#[tokio::test]
async fn old_objects_are_kept_and_older_backups_stay() {
    let (source, target, place) = (objects("source"), objects("target"), objects("place"));
    let (there, kept) = (Arc::clone(&target) as Arc<dyn Store>, Arc::clone(&place) as Arc<dyn Store>);
    let large = vec![7; 20 << 20];
    for (name, bytes) in [("same", &b"same"[..]), ("new", b"new"), ("changed", b"one"), ("large", b"small now")] {
        put(source.as_ref(), name, bytes).await;
    }
    for (name, bytes) in [("same", &b"same"[..]), ("changed", b"zero"), ("gone", b"gone"), ("large", &large)] {
        put(target.as_ref(), name, bytes).await;
    }
    let summary = run(&source, &there, &kept, "").await;
    assert!(summary.is_clean(), "{summary:?}");
    assert_eq!((summary.counts.backed_up, summary.counts.copied, summary.counts.deleted), (3, 3, 1));
    assert_eq!(place.snapshot().len(), 3);
    assert_eq!(bytes_of(&place, "changed").unwrap(), "zero");
    assert_eq!(bytes_of(&place, "gone").unwrap(), "gone");
    assert!(bytes_of(&place, "large").unwrap() == large, "in parts, as it was");
    assert!(place.list_uploads(None).await.unwrap().uploads.is_empty());

    // Another state of a key of which there is a backup: neither of the three is lost.
    put(source.as_ref(), "changed", b"two").await;
    let summary = run(&source, &there, &kept, "").await;
    assert_eq!((summary.counts.failed, summary.counts.backed_up), (1, 0));
    assert_eq!(bytes_of(&target, "changed").unwrap(), "one");
    assert_eq!(bytes_of(&place, "changed").unwrap(), "zero");
    let summary = run(&source, &there, &kept, ".2").await;
    assert!(summary.is_clean(), "{summary:?}");
    assert_eq!(bytes_of(&target, "changed").unwrap(), "two");
    assert_eq!(bytes_of(&place, "changed.2").unwrap(), "one");

    // A backup that was made before a kill is found, and what it is of goes then.
    put(source.as_ref(), "changed", b"three").await;
    put(place.as_ref(), "changed.3", b"two").await;
    assert!(run(&source, &there, &kept, ".3").await.is_clean());
    assert_eq!(bytes_of(&target, "changed").unwrap(), "three");
}

#[tokio::test]
async fn on_a_disk_a_backup_is_the_very_file() {
    let directory = tempfile::tempdir().unwrap();
    let open = |name: &str| -> Arc<dyn Store> {
        let path = directory.path().join(name);
        std::fs::create_dir(&path).unwrap();
        Arc::new(LocalStore::open(&path, LocalOptions::default()).unwrap())
    };
    let (source, target, place) = (objects("source"), open("target"), open("place"));
    put(source.as_ref(), "d/changed", b"new").await;
    put(target.as_ref(), "d/changed", b"old").await;
    put(target.as_ref(), "d/gone", b"gone").await;
    let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&directory.path().join(name).metadata().unwrap());
    let before = (inode("target/d/changed"), inode("target/d/gone"));
    let summary = run(&source, &target, &place, "").await;
    assert!(summary.is_clean(), "{summary:?}");
    assert_eq!((inode("place/d/changed"), inode("place/d/gone")), before);
    assert_eq!(std::fs::read(directory.path().join("target/d/changed")).unwrap(), b"new");
    assert!(!directory.path().join("target/d/gone").exists());
}
