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

/// An upload of `odd/` and a name, begun and with its first part of 4,096 bytes written.
async fn begun(store: &LocalStore, sparse: bool) -> (PutRequest, Upload, StoredPart) {
    let mut request = PutRequest::object(key("dir/large"), 8192);
    let posix = Posix { mode: 0o640, uid: 0, gid: 0, modified: Timestamp::new(7, 0), xattrs: BTreeMap::new(), sparse };
    request.attributes.posix = Some(posix);
    let upload = Upload { key: request.key.clone(), id: store.begin_multipart(&request).await.unwrap() };
    let part = put_part(store, &upload, 1, vec![1; 4096]).await.unwrap();
    (request, upload, part)
}

async fn put_part(store: &LocalStore, upload: &Upload, number: u32, bytes: Vec<u8>) -> Result<StoredPart> {
    let range = ByteRange { offset: u64::from(number - 1) * 4096, len: bytes.len() as u64 };
    let request = PartRequest { number, range, checksums: crate::checksum::Checksums::none() };
    store.put_part(upload, &request, Body::Whole(bytes.into())).await
}

fn table_of(directory: &tempfile::TempDir, upload: &Upload) -> std::path::PathBuf {
    directory.path().join("dir").join(format!("{}.parts", upload.id))
}

#[tokio::test]
async fn an_upload_goes_on_in_another_process_and_leaves_nothing_beside_it() {
    let Scratch { store, directory } = scratch();
    let (request, upload, first) = begun(&store, false).await;
    let other = LocalStore::open(directory.path(), LocalOptions::default()).unwrap();
    let second = put_part(&other, &upload, 2, vec![2; 4096]).await.unwrap();
    other.complete_multipart(&upload, &request, &[first, second]).await.unwrap();
    let names: Vec<_> = std::fs::read_dir(directory.path().join("dir")).unwrap().map(|name| name.unwrap()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    let bytes = std::fs::read(names[0].path()).unwrap();
    assert!(bytes[..4096].iter().all(|byte| *byte == 1) && bytes[4096..].iter().all(|byte| *byte == 2));
    let metadata = std::fs::metadata(names[0].path()).unwrap();
    assert_eq!((metadata.len(), metadata.permissions().mode() & 0o7777, metadata.mtime()), (8192, 0o640, 7));
}

#[tokio::test]
async fn parts_that_are_not_all_there_make_no_object() {
    let Scratch { store, directory: _kept } = scratch();
    let (request, upload, first) = begun(&store, false).await;
    let short = put_part(&store, &upload, 2, vec![2; 4000]).await.unwrap();
    for parts in [vec![], vec![first.clone()], vec![first.clone(), short.clone()], vec![short, first]] {
        let completed = store.complete_multipart(&upload, &request, &parts).await;
        assert!(matches!(completed, Err(StoreError::Corrupt { .. })), "{completed:?}");
    }
    let beyond = put_part(&store, &upload, 3, vec![3; 1]).await;
    assert!(beyond.is_err(), "{beyond:?}");
    assert!(matches!(store.head(&key("dir/large"), AttributeSet::NONE).await, Err(StoreError::Missing { .. })));
}

#[tokio::test]
async fn parts_that_a_power_cut_may_have_lost_count_as_gone() {
    let Scratch { store, directory } = scratch();
    let (_, upload, _) = begun(&store, false).await;
    let table = table_of(&directory, &upload);
    let whole = std::fs::read(&table).unwrap();
    // Another boot's name, under the right checksum.
    let mut other = whole.clone();
    other[17..53].fill(b'x');
    let covered = 53 + 2 + "dir/large".len();
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &other[..covered]) as u32;
    other[covered..covered + 4].copy_from_slice(&sum.to_le_bytes());
    // A byte that a disk changed, a table that was cut off, one that is empty.
    let mut flipped = whole.clone();
    flipped[10] ^= 1;
    for damaged in [other, flipped, whole[..30].to_vec(), Vec::new()] {
        std::fs::write(&table, damaged).unwrap();
        let listed = store.list_parts(&upload, None).await;
        assert!(matches!(listed, Err(StoreError::Missing { .. })), "{listed:?}");
        assert!(matches!(put_part(&store, &upload, 2, vec![2; 4096]).await, Err(StoreError::Missing { .. })));
    }
    std::fs::write(&table, whole).unwrap();
    assert_eq!(store.list_parts(&upload, None).await.unwrap().parts.len(), 1);
}

#[tokio::test]
async fn an_upload_that_names_a_path_is_none() {
    let Scratch { store, directory } = scratch();
    std::fs::write(directory.path().join("file"), "kept").unwrap();
    for id in ["../file", "file", "", "/etc/passwd", ".farshore-upload-", ".farshore-upload-0123456789abcdef"] {
        let upload = Upload { key: key("dir/large"), id: UploadId::new(id) };
        assert!(matches!(store.list_parts(&upload, None).await, Err(StoreError::Missing { .. })), "{id}");
        store.abort_multipart(&upload).await.unwrap();
    }
    assert_eq!(std::fs::read(directory.path().join("file")).unwrap(), b"kept");
}

#[tokio::test]
async fn zeros_of_a_sparse_file_stay_holes_in_parts_too() {
    let Scratch { store, directory } = scratch();
    let (request, upload, _) = begun(&store, true).await;
    // The first attempt at the first part wrote bytes; this one counts.
    let first = put_part(&store, &upload, 1, vec![0; 4096]).await.unwrap();
    let second = put_part(&store, &upload, 2, [vec![0; 4095], vec![9]].concat()).await.unwrap();
    store.complete_multipart(&upload, &request, &[first, second]).await.unwrap();
    let path = directory.path().join("dir/large");
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes[..8191].iter().all(|byte| *byte == 0) && bytes[8191] == 9 && bytes.len() == 8192);
    assert!(std::fs::metadata(&path).unwrap().blocks() * 512 <= 4096);
}

#[tokio::test]
async fn an_upload_stays_for_a_week_and_is_no_key() {
    let Scratch { store, directory } = scratch();
    let (_, upload, _) = begun(&store, false).await;
    let list = async || store.list(&ListRequest::first(KeyRange::all())).await.unwrap().entries.len();
    assert_eq!(list().await, 1, "the directory alone");
    assert_eq!(store.list_uploads(None).await.unwrap().uploads.len(), 1);
    let table = table_of(&directory, &upload);
    let long_ago = std::time::SystemTime::now() - crate::limits::ABANDONED_UPLOAD - std::time::Duration::from_mins(1);
    for path in [table.with_extension(""), table] {
        std::fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }
    assert_eq!(list().await, 1);
    assert_eq!(std::fs::read_dir(directory.path().join("dir")).unwrap().count(), 0);
}
