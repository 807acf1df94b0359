//! Tests of a volume as a store: on an embedded engine, with blocks in a directory and in memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use farshore_blocks::StoreUrl;
use farshore_meta::engine::EmbeddedEngine;
use farshore_meta::{Name, NewInode, Region};
use parking_lot::Mutex;
use proptest::prelude::*;

use super::support::{BLOCK_BYTES, Scratch, engine_options, formatted, options, scratch, serve};
use super::*;
use crate::attributes::Posix;
use crate::key_range::KeyRange;
use crate::store::{ByteRange, contract, read_whole};

fn key(text: &str) -> Key {
    Key::try_from(text).unwrap()
}

async fn put(store: &VolumeStore, name: &str, bytes: &Bytes) {
    let request = PutRequest::object(key(name), bytes.len() as u64);
    store.put(&request, Body::Whole(bytes.clone())).await.unwrap();
}

async fn keys(store: &VolumeStore, range: KeyRange, limit: usize) -> Vec<String> {
    let mut request = Some(ListRequest { limit, ..ListRequest::first(range) });
    let mut all = Vec::new();
    while let Some(current) = request {
        let page = store.list(&current).await.unwrap();
        assert!(page.unlisted.is_empty() && page.entries.len() <= limit);
        request = current.following(&page);
        all.extend(page.entries.iter().map(|entry| entry.key.to_string()));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_with_blocks_in_a_directory_and_in_memory() {
    let kept = Mutex::new(Vec::new());
    for in_memory in [true, false] {
        contract::run_all(async || {
            let directory = tempfile::tempdir().unwrap();
            let name = format!("mem://contract-{}", kept.lock().len());
            let url = StoreUrl::directory(&directory.path().join("blocks"));
            let url = if in_memory { name.parse() } else { url }.unwrap();
            let volume = serve(formatted(directory.path()).await, &url);
            // A directory within the volume is a store as its root is.
            let path = if kept.lock().len() % 2 == 0 { "" } else { "within" };
            let store = VolumeStore::open(volume, &options(path)).await.unwrap();
            kept.lock().push(directory);
            Arc::new(store)
        })
        .await;
    }
}

#[tokio::test]
async fn attributes_links_and_holes_are_kept() {
    let Scratch { store, directory: _kept, .. } = scratch().await;
    let xattrs = BTreeMap::from([(b"user.kept".to_vec(), vec![0, 0xFF]), (b"system.refused".to_vec(), vec![1])]);
    let modified = Timestamp::new(-5, 123_456_789);
    let posix = Posix { mode: 0o4751, uid: 12, gid: 34, modified, xattrs, sparse: true };
    let mut bytes = vec![0; 5 * BLOCK_BYTES as usize];
    bytes[2 * BLOCK_BYTES as usize] = 1;
    let mut request = PutRequest::object(key("a/file"), bytes.len() as u64);
    request.attributes.posix = Some(posix.clone());
    let stored = store.put(&request, Body::Whole(bytes.clone().into())).await.unwrap();
    assert_eq!(stored.left_out, AttributeSet::of(&[AttributeKind::ExtendedAttributes]));
    let head = store.head(&key("a/file"), AttributeSet::all()).await.unwrap();
    let xattrs = BTreeMap::from([(b"user.kept".to_vec(), vec![0, 0xFF])]);
    assert_eq!(head.attributes.posix.as_ref(), Some(&Posix { xattrs, ..posix.clone() }));
    let (_, _, attr) = store.look(&key("a/file"), "look at").await.unwrap();
    assert_eq!(attr.allocated, 4096, "the holes are not stored");

    store.link(&key("a/file"), &key("b/link")).await.unwrap();
    // In place of another file, and of the link itself.
    put(&store, "b/link", &Bytes::from_static(b"another")).await;
    store.link(&key("a/file"), &key("b/link")).await.unwrap();
    store.link(&key("a/file"), &key("b/link")).await.unwrap();
    let link = store.head(&key("b/link"), AttributeSet::NONE).await.unwrap().entry;
    assert_eq!((link.file, link.links), (head.entry.file, 2));
    let read = store.read(&ReadRequest::whole(&key("b/link"), &link.identity())).await.unwrap();
    assert_eq!(read_whole(read.bytes, bytes.len()).await.unwrap(), bytes);

    let xattrs = BTreeMap::from([(b"user.other".to_vec(), b"value".to_vec())]);
    let attributes = Attributes { posix: Some(Posix { mode: 0o600, xattrs, ..posix }), ..Attributes::default() };
    let before = store.set_attributes(&key("a/file"), &head.entry.identity(), &attributes).await;
    assert!(matches!(before, Err(StoreError::Changed { .. })), "the link changed it: {before:?}");
    store.set_attributes(&key("a/file"), &link.identity(), &attributes).await.unwrap();
    let posix = store.head(&key("b/link"), AttributeSet::all()).await.unwrap().attributes.posix.unwrap();
    assert_eq!((posix.mode, posix.modified), (0o600, modified));
    assert_eq!(posix.xattrs.into_keys().collect::<Vec<_>>(), [b"user.other".to_vec()]);
    let parent = store.head(&key("a/"), AttributeSet::all()).await.unwrap().attributes.posix.unwrap();
    assert_eq!((parent.mode, parent.uid, parent.gid), (0o755, 7, 8));
}

#[tokio::test]
async fn what_cannot_be_beside_each_other_is_refused_and_not_lost() {
    let Scratch { store, directory: _kept, .. } = scratch().await;
    let try_put =
        async |name: &str| store.put(&PutRequest::object(key(name), 1), Body::Whole(Bytes::from_static(b"x"))).await;
    try_put("a").await.unwrap();
    assert!(matches!(try_put("a/b").await, Err(StoreError::Unholdable { .. })));
    try_put("b/c").await.unwrap();
    assert!(matches!(try_put("b").await, Err(StoreError::Unholdable { .. })));
    let directory = PutRequest { kind: Kind::Directory, ..PutRequest::object(key("a/"), 0) };
    assert!(matches!(store.put(&directory, Body::empty()).await, Err(StoreError::Unholdable { .. })));
    assert_eq!(keys(&store, KeyRange::all(), 10).await, ["a", "b/", "b/c"]);
}

#[tokio::test]
async fn what_was_replaced_or_given_up_leaves_no_rows() {
    let Scratch { store, volume, directory: _kept } = scratch().await;
    let large = Bytes::from(vec![7; 3 * BLOCK_BYTES as usize + 1]);
    let before = volume.statistics().await.unwrap();
    for _ in 0..3 {
        put(&store, "file", &large).await;
    }
    let upload = async || {
        let request = PutRequest::object(key("file"), large.len() as u64);
        let id = store.begin_multipart(&request).await.unwrap();
        let upload = Upload { key: key("file"), id };
        let range = ByteRange { offset: 0, len: large.len() as u64 };
        let part = PartRequest { number: 1, range, checksums: crate::checksum::Checksums::none() };
        store.put_part(&upload, &part, Body::Whole(large.clone())).await.unwrap();
        upload
    };
    let (old, ended) = (upload().await, upload().await);
    store.abort_multipart(&ended).await.unwrap();
    let now = inode::timestamp(volume.now());
    store.sweep(now).await.unwrap();
    assert_eq!(store.list_uploads(None).await.unwrap().uploads.len(), 1, "a young upload stays");
    let later = Timestamp::new(now.seconds() + 8 * 24 * 3_600, 0);
    store.sweep(later).await.unwrap();
    assert!(matches!(store.list_parts(&old, None).await, Err(StoreError::Missing { .. })));
    store.delete(&[key("file")]).await.unwrap().into_iter().for_each(Result::unwrap);
    volume.shut_down().await.unwrap();
    assert_eq!(volume.statistics().await.unwrap(), before);
}

#[tokio::test]
async fn an_upload_outlives_the_process_and_a_file_that_was_not_named_does_not() {
    let Scratch { store, volume, directory } = scratch().await;
    let bytes = Bytes::from((0..200_000_u32).map(|at| (at % 253) as u8).collect::<Vec<_>>());
    let request = PutRequest::object(key("dir/file"), bytes.len() as u64);
    let upload = Upload { key: key("dir/file"), id: store.begin_multipart(&request).await.unwrap() };
    let part = |number: u32| {
        let range = ByteRange { offset: u64::from(number - 1) * 100_000, len: 100_000 };
        let body = bytes.slice(range.offset as usize..range.end() as usize);
        (PartRequest { number, range, checksums: crate::checksum::Checksums::none() }, Body::Whole(body))
    };
    let (two, body) = part(2);
    store.put_part(&upload, &two, body).await.unwrap();
    let inode = NewInode { mode: 0o600, ..inode::new_inode(&Kind::Object, &Attributes::default(), store.owner) };
    volume.begin_unnamed(&inode, &[], false).await.unwrap();
    volume.make_durable().await.unwrap();
    volume.region().engine().close().await.unwrap();
    drop((store, volume));

    let engine = EmbeddedEngine::open(directory.path().join("meta"), &engine_options()).unwrap();
    let region = Arc::new(Region::open(Arc::new(engine)).await.unwrap());
    let volume = serve(region, &StoreUrl::directory(&directory.path().join("blocks")).unwrap());
    let store = VolumeStore::open(Arc::clone(&volume), &options("")).await.unwrap();
    let (one, body) = part(1);
    store.put_part(&upload, &one, body).await.unwrap();
    let parts = store.list_parts(&upload, None).await.unwrap().parts;
    assert_eq!(parts.iter().map(|part| part.number).collect::<Vec<_>>(), [1, 2]);
    store.complete_multipart(&upload, &request, &parts).await.unwrap();
    let entry = store.head(&key("dir/file"), AttributeSet::NONE).await.unwrap().entry;
    let read = store.read(&ReadRequest::whole(&entry.key, &entry.identity())).await.unwrap();
    assert_eq!(read_whole(read.bytes, bytes.len()).await.unwrap(), bytes);
    for _ in 0..100 {
        if volume.statistics().await.unwrap().used_inodes == 3 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the file that was never named is still there");
}

#[tokio::test]
async fn a_file_of_more_extents_than_a_transaction_takes_comes_at_once() {
    let Scratch { store, directory: _kept, .. } = scratch().await;
    // Every other page is a hole, so that there is an extent for each of the others.
    let pages = 2 * farshore_meta::WHOLE_EXTENTS + 100;
    let bytes = Bytes::from((0..2 * pages * 4096).map(|at| u8::from((at / 4096) % 2 == 1)).collect::<Vec<_>>());
    let mut request = PutRequest::object(key("file"), bytes.len() as u64);
    let modified = Timestamp::new(9, 9);
    let posix = Posix { mode: 0o600, uid: 1, gid: 2, modified, xattrs: BTreeMap::new(), sparse: true };
    request.attributes.posix = Some(posix);
    store.put(&request, Body::Whole(bytes.clone())).await.unwrap();
    let head = store.head(&key("file"), AttributeSet::all()).await.unwrap();
    assert_eq!((head.entry.modified, head.entry.links), (Some(modified), 1));
    let read = store.read(&ReadRequest::whole(&key("file"), &head.entry.identity())).await.unwrap();
    assert!(read_whole(read.bytes, bytes.len()).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_changed() {
    let Scratch { store, volume, directory: _kept } = scratch().await;
    let bytes = Bytes::from(vec![1; 16 << 20]);
    put(&store, "file", &bytes).await;
    let (_, ino, attr) = store.look(&key("file"), "look at").await.unwrap();
    let entry = store.head(&key("file"), AttributeSet::NONE).await.unwrap().entry;
    let mut reading = store.read(&ReadRequest::whole(&key("file"), &entry.identity())).await.unwrap();
    reading.bytes.next().await.unwrap().unwrap();
    // Written in place, with its old time set again.
    let handle = volume.open(ino, true).await.unwrap().handle;
    volume.write(handle, 15 << 20, Bytes::from_static(b"other")).await.unwrap();
    volume.release(handle).await;
    let change = farshore_meta::AttrChange { mtime: Some(attr.mtime), ..farshore_meta::AttrChange::default() };
    volume.set_attr(ino, change).await.unwrap();
    let rest: Vec<_> = reading.bytes.collect().await;
    assert!(matches!(rest.last(), Some(Err(StoreError::Changed { .. }))), "{} chunks came", rest.len());
}

#[tokio::test]
async fn roots_that_are_none_are_told() {
    let Scratch { store, volume, directory: _kept } = scratch().await;
    put(&store, "dir/file", &Bytes::from_static(b"x")).await;
    let open = async |path: &str, make: bool| {
        VolumeStore::open(Arc::clone(&volume), &VolumeOptions { make, ..options(path) }).await
    };
    assert!(matches!(open("dir/none", false).await, Err(StoreError::Missing { .. })));
    assert!(matches!(open("no/such/place", true).await, Err(StoreError::Missing { .. })));
    for path in ["dir/file", "dir/file/below", "dir//x", "../x", "/"] {
        assert!(matches!(open(path, true).await, Err(StoreError::Invalid { .. })) || path == "/", "{path}");
    }
    let below = open("dir/made/", true).await.unwrap();
    put(&below, "in", &Bytes::from_static(b"in")).await;
    assert_eq!(keys(&store, KeyRange::all(), 10).await, ["dir/", "dir/file", "dir/made/", "dir/made/in"]);
}

/// A tree of empty files and directories by these paths; a name that is one already cannot be the other.
async fn plant(store: &VolumeStore, paths: &[String]) -> Vec<String> {
    for path in paths {
        let put = store.put(&PutRequest::object(key(path), 0), Body::empty()).await;
        assert!(matches!(put, Ok(_) | Err(StoreError::Unholdable { .. })), "{put:?}");
    }
    let mut all = Vec::new();
    let mut open = vec![(Ino::ROOT, String::new())];
    while let Some((ino, prefix)) = open.pop() {
        for entry in store.volume.entries_from(ino, &[], 1_000).await.unwrap() {
            let path = format!("{prefix}{}", String::from_utf8_lossy(entry.name.as_bytes()));
            if entry.kind == FileKind::Directory {
                open.push((entry.ino, format!("{path}/")));
                all.push(format!("{path}/"));
            } else {
                all.push(path);
            }
        }
    }
    all.sort();
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn every_range_lists_its_keys_in_the_order_of_bytes(
        paths in prop::collection::vec("[ab!.-]{1,3}(/[ab!.-]{1,3}){0,2}", 1..40),
        places in prop::collection::vec("[ab!./-]{0,5}", 6),
        limit in 1_usize..5,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let Scratch { store, directory: _kept, .. } = scratch().await;
            let all = plant(&store, &paths).await;
            for pair in places.chunks(2) {
                let range = KeyRange::new(pair[0].clone(), Some(Bytes::from(pair[1].clone())));
                let expected: Vec<_> = all.iter().filter(|key| range.contains(key.as_bytes())).cloned().collect();
                assert_eq!(keys(&store, range, limit).await, expected);
                let open = KeyRange::new(pair[0].clone(), None);
                let expected: Vec<_> = all.iter().filter(|key| open.contains(key.as_bytes())).cloned().collect();
                assert_eq!(keys(&store, open, limit).await, expected);
            }
        });
    }
}

#[tokio::test]
async fn what_is_no_object_is_told_and_hides_nothing() {
    let Scratch { store, volume, directory: _kept } = scratch().await;
    let pipe = NewInode { kind: FileKind::Fifo, mode: 0o600, uid: 0, gid: 0, rdev: 0, target: Bytes::new() };
    volume.create(Ino::ROOT, &Name::new(b"pipe").unwrap(), &pipe).await.unwrap();
    put(&store, "z", &Bytes::new()).await;
    let page = store.list(&ListRequest::first(KeyRange::all())).await.unwrap();
    assert_eq!(page.entries.len(), 1);
    assert!(page.unlisted.len() == 1 && !page.unlisted[0].hides_keys, "{:?}", page.unlisted);
}
