//! Tests of the local store as a whole.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use futures::stream::{self, StreamExt};

use super::*;
use crate::attributes::Posix;
use crate::key_range::KeyRange;
use crate::store::{ByteRange, contract, read_whole};
use crate::timestamp::Timestamp;

/// A store in a directory that goes with it.
#[derive(Debug)]
struct Scratch {
    store: LocalStore,
    directory: tempfile::TempDir,
}

fn scratch() -> Scratch {
    let directory = tempfile::tempdir().unwrap();
    let options = LocalOptions { durability: Durability::AtFlush, ..LocalOptions::default() };
    Scratch { store: LocalStore::open(directory.path(), options).unwrap(), directory }
}

fn key(text: &str) -> Key {
    Key::try_from(text).unwrap()
}

async fn entry(store: &LocalStore, name: &str) -> crate::entry::Entry {
    store.head(&key(name), AttributeSet::NONE).await.unwrap().entry
}

#[tokio::test]
async fn the_contract_holds() {
    let kept = Mutex::new(Vec::new());
    for durability in [Durability::AtFlush, Durability::Each] {
        contract::run_all(async || {
            let directory = tempfile::tempdir().unwrap();
            let options = LocalOptions { durability, ..LocalOptions::default() };
            let store = Arc::new(LocalStore::open(directory.path(), options).unwrap());
            kept.lock().push(directory);
            store
        })
        .await;
    }
}

#[tokio::test]
async fn attributes_of_files_are_kept() {
    let Scratch { store, directory } = scratch();
    let modified = Timestamp::new(1_234_567_890, 123_456_789);
    let posix = Posix { mode: 0o640, uid: 0, gid: 0, modified, xattrs: BTreeMap::new(), sparse: false };
    let own = std::fs::metadata(directory.path()).unwrap();
    let posix = Posix { uid: own.uid(), gid: own.gid(), ..posix };
    let mut request = PutRequest::object(key("a/file"), 5);
    request.attributes.posix = Some(posix.clone());
    let stored = store.put(&request, Body::Whole(Bytes::from_static(b"bytes"))).await.unwrap();
    assert!(stored.left_out.is_empty());
    let head = store.head(&key("a/file"), AttributeSet::all()).await.unwrap();
    let found = head.attributes.posix.unwrap();
    assert_eq!((found.mode, found.modified, head.entry.modified), (0o640, modified, Some(modified)));
    let changed = Posix { mode: 0o4755, ..posix };
    let attributes = Attributes { posix: Some(changed), ..Attributes::default() };
    store.set_attributes(&key("a/file"), &head.entry.identity(), &attributes).await.unwrap();
    let metadata = std::fs::metadata(directory.path().join("a/file")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o4755);
    assert_eq!(metadata.mtime_nsec(), 123_456_789);
}

#[tokio::test]
async fn extended_attributes_are_kept_where_the_filesystem_has_them() {
    let Scratch { store, directory } = scratch();
    let own = std::fs::metadata(directory.path()).unwrap();
    let xattrs = BTreeMap::from([(b"user.farshore.test".to_vec(), vec![0, 1, 0xFF])]);
    let modified = Timestamp::new(1, 0);
    let posix = Posix { mode: 0o600, uid: own.uid(), gid: own.gid(), modified, xattrs: xattrs.clone(), sparse: false };
    let mut request = PutRequest::object(key("file"), 0);
    request.attributes.posix = Some(posix);
    let stored = store.put(&request, Body::empty()).await.unwrap();
    let found = store.head(&key("file"), AttributeSet::all()).await.unwrap().attributes.posix.unwrap();
    if stored.left_out.has(AttributeKind::ExtendedAttributes) {
        eprintln!("NOT SHOWN: this filesystem has no extended attributes");
    } else {
        assert_eq!(found.xattrs.get(&b"user.farshore.test"[..]), xattrs.get(&b"user.farshore.test"[..]));
    }
}

#[tokio::test]
async fn holes_stay_holes() {
    let Scratch { store, directory } = scratch();
    let path = directory.path().join("sparse");
    let len = 3 << 20;
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(len).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"data", 1 << 20).unwrap();
    let source = entry(&store, "sparse").await;
    let read = store.read(&ReadRequest::whole(&key("sparse"), &source.identity())).await.unwrap();
    let sparse = read.object.attributes.posix.as_ref().unwrap().sparse;
    let request = PutRequest { key: key("copy"), ..PutRequest::copy_of(&read.object) };
    store.put(&request, Body::Stream { len, bytes: read.bytes }).await.unwrap();
    let copy = directory.path().join("copy");
    assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(&path).unwrap());
    let stored_bytes = std::fs::metadata(&copy).unwrap().blocks() * 512;
    assert!(!sparse || stored_bytes < 1 << 20, "{stored_bytes} bytes are stored of {len}");
}

#[tokio::test]
async fn hard_links_are_two_names_of_one_file() {
    let Scratch { store, directory: _kept } = scratch();
    store.put(&PutRequest::object(key("one"), 1), Body::Whole(Bytes::from_static(b"x"))).await.unwrap();
    store.link(&key("one"), &key("dir/two")).await.unwrap();
    let (one, two) = (entry(&store, "one").await, entry(&store, "dir/two").await);
    assert_eq!((one.file, one.links), (two.file, 2));
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_changed() {
    let Scratch { store, directory } = scratch();
    let path = directory.path().join("file");
    std::fs::write(&path, vec![1; 4 << 20]).unwrap();
    for change in [|path: &Path| std::fs::write(path, vec![2; 4 << 20]), |path: &Path| std::fs::write(path, "short")] {
        std::fs::write(&path, vec![1; 4 << 20]).unwrap();
        let identity = entry(&store, "file").await.identity();
        let mut reading = store.read(&ReadRequest::whole(&key("file"), &identity)).await.unwrap();
        reading.bytes.next().await.unwrap().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        change(&path).unwrap();
        let rest: Result<Vec<Bytes>> = reading.bytes.try_collect().await;
        assert!(matches!(rest, Err(StoreError::Changed { .. })), "{:?}", rest.map(|chunks| chunks.len()));
    }
}

#[tokio::test]
async fn what_cannot_be_beside_each_other_is_refused_and_not_lost() {
    let Scratch { store, directory: _kept } = scratch();
    let put =
        async |name: &str| store.put(&PutRequest::object(key(name), 1), Body::Whole(Bytes::from_static(b"x"))).await;
    put("a").await.unwrap();
    assert!(matches!(put("a/b").await, Err(StoreError::Unholdable { .. })));
    put("b/c").await.unwrap();
    assert!(matches!(put("b").await, Err(StoreError::Unholdable { .. })));
    let page = store.list(&ListRequest::first(KeyRange::all())).await.unwrap();
    let names: Vec<_> = page.entries.iter().map(|entry| entry.key.to_string()).collect();
    assert_eq!(names, ["a", "b/", "b/c"]);
}

#[tokio::test]
async fn a_dropped_write_leaves_nothing() {
    let Scratch { store, directory } = scratch();
    let body = Body::Stream { len: 10, bytes: stream::pending().boxed() };
    let request = PutRequest::object(key("file"), 10);
    let write = store.put(&request, body);
    let ended = tokio::time::timeout(std::time::Duration::from_millis(50), write).await;
    assert!(ended.is_err());
    // The writer's own thread removes its file.
    for _ in 0..100 {
        if std::fs::read_dir(directory.path()).unwrap().count() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("a temporary file stayed");
}

#[tokio::test]
async fn a_long_range_is_read_in_chunks() {
    let Scratch { store, directory } = scratch();
    let bytes: Vec<u8> = (0..1_000_003_u32).map(|at| (at % 251) as u8).collect();
    std::fs::write(directory.path().join("file"), &bytes).unwrap();
    let identity = entry(&store, "file").await.identity();
    let range = ByteRange { offset: 17, len: 900_000 };
    let request = ReadRequest { range, ..ReadRequest::whole(&key("file"), &identity) };
    let read = read_whole(store.read(&request).await.unwrap().bytes, 900_000).await.unwrap();
    assert_eq!(read, bytes[17..900_017]);
}
