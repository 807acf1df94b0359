//! The contract, any mix of links and files in any page, and what is never written over.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::key_range::KeyRange;
use crate::store::{CheckedListing, LocalOptions, LocalStore, Unlisted, contract};

fn key(text: &str) -> Key {
    Key::try_from(text).unwrap()
}

fn over(directory: &Path) -> RcloneLinksStore {
    RcloneLinksStore::over(Arc::new(LocalStore::open(directory, LocalOptions::default()).unwrap()))
}

fn open(directory: &Path) -> Arc<dyn Store> {
    Arc::new(over(directory))
}

async fn put(store: &dyn Store, name: &str, bytes: &[u8]) -> Result<Stored> {
    let request = PutRequest::object(key(name), bytes.len() as u64);
    store.put(&request, Body::Whole(Bytes::copy_from_slice(bytes))).await
}

async fn get(store: &dyn Store, name: &str) -> Result<Bytes> {
    let object = store.head(&key(name), AttributeSet::NONE).await?;
    let reading = store.read(&ReadRequest::whole(&key(name), &object.entry.identity())).await?;
    read_whole(reading.bytes, object.entry.size as usize).await
}

async fn delete(store: &dyn Store, name: &str) -> Result<()> {
    store.delete(&[key(name)]).await?.remove(0)
}

/// What is listed but for directories, page by page, and what could not be.
async fn listed(store: &Arc<dyn Store>, range: KeyRange, page: usize) -> (BTreeMap<Key, u64>, Vec<Unlisted>) {
    let mut listing = CheckedListing::new(store.clone(), range, page);
    let (mut entries, mut unlisted) = (BTreeMap::new(), Vec::new());
    while let Some(found) = listing.next_page().await.unwrap() {
        let objects = found.entries.into_iter().filter(|entry| entry.kind == Kind::Object);
        entries.extend(objects.map(|entry| (entry.key, entry.size)));
        unlisted.extend(found.unlisted);
    }
    (entries, unlisted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_the_contract() {
    let directories = parking_lot::Mutex::new(Vec::new());
    contract::run_all(async || {
        let directory = tempfile::tempdir().unwrap();
        let store = over(directory.path());
        directories.lock().push(directory);
        Arc::new(store)
    })
    .await;
}

#[tokio::test]
async fn links_are_objects_whose_bytes_are_where_they_point() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    put(store.as_ref(), "dir/up.rclonelink", b"../else\xffwhere").await.unwrap();
    let link = std::fs::read_link(directory.path().join("dir/up")).unwrap();
    assert_eq!(link.as_os_str().as_encoded_bytes(), b"../else\xffwhere");
    assert_eq!(get(store.as_ref(), "dir/up.rclonelink").await.unwrap(), &b"../else\xffwhere"[..]);
    assert!(matches!(get(store.as_ref(), "dir/up").await, Err(StoreError::Missing { .. })));
    // Another target is another state.
    let object = store.head(&key("dir/up.rclonelink"), AttributeSet::NONE).await.unwrap();
    put(store.as_ref(), "dir/up.rclonelink", b"elsewhere").await.unwrap();
    let read = store.read(&ReadRequest::whole(&object.entry.key, &object.entry.identity())).await;
    assert!(matches!(read.err(), Some(StoreError::Changed { .. })));
    // Its own name names nothing here, so nothing is deleted.
    delete(store.as_ref(), "dir/up").await.unwrap();
    assert_eq!(get(store.as_ref(), "dir/up.rclonelink").await.unwrap(), &b"elsewhere"[..]);
    delete(store.as_ref(), "dir/up.rclonelink").await.unwrap();
    assert!(std::fs::symlink_metadata(directory.path().join("dir/up")).is_err());
}

#[tokio::test]
async fn what_no_link_holds_is_a_file_and_each_takes_the_others_place() {
    let directory = tempfile::tempdir().unwrap();
    let (store, at) = (open(directory.path()), |name: &str| directory.path().join(name));
    for bytes in [&b""[..], b"a\0b", &[b'x'; 5000]] {
        put(store.as_ref(), "l.rclonelink", b"somewhere").await.unwrap();
        assert!(at("l").is_symlink() && !at("l.rclonelink").exists());
        put(store.as_ref(), "l.rclonelink", bytes).await.unwrap();
        assert!(!at("l").is_symlink() && at("l.rclonelink").is_file());
        assert_eq!(get(store.as_ref(), "l.rclonelink").await.unwrap(), bytes);
    }
    let request = PutRequest::object(key("m.rclonelink"), 9);
    let wrong = store.put(&request, Body::Whole(Bytes::from_static(b"short"))).await;
    assert!(matches!(wrong, Err(StoreError::Corrupt { .. })) && !at("m").is_symlink());
}

#[tokio::test]
async fn neither_a_link_nor_a_file_is_written_over_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let (store, at) = (open(directory.path()), |name: &str| directory.path().join(name));
    put(store.as_ref(), "file", b"bytes").await.unwrap();
    let refused = put(store.as_ref(), "file.rclonelink", b"somewhere").await;
    assert!(matches!(refused, Err(StoreError::Unholdable { .. })));
    assert_eq!(std::fs::read(at("file")).unwrap(), b"bytes");
    put(store.as_ref(), "link.rclonelink", b"somewhere").await.unwrap();
    assert!(matches!(put(store.as_ref(), "link", b"bytes").await, Err(StoreError::Unholdable { .. })));
    assert!(at("link").is_symlink());
    // Of two that would be one object, the file is seen and the link is told.
    std::fs::write(at("link.rclonelink"), "a file").unwrap();
    let (entries, unlisted) = listed(&store, KeyRange::all(), 100).await;
    assert_eq!(entries.get(&key("link.rclonelink")), Some(&6));
    assert!(unlisted.len() == 1 && unlisted[0].hides_keys, "{unlisted:?}");
    assert_eq!(get(store.as_ref(), "link.rclonelink").await.unwrap(), &b"a file"[..]);
}

/// Names around the suffix's first byte, so that many lie between a link's name and its key.
fn names() -> impl Strategy<Value = BTreeMap<String, bool>> {
    let letter = prop_oneof![Just('a'), Just('-'), Just('.'), Just('/'), Just('r')];
    let name = proptest::collection::vec(letter, 1..6).prop_map(String::from_iter);
    proptest::collection::btree_map(name, any::<bool>(), 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn links_and_files_are_listed_in_the_order_of_their_keys(names in names(), page in 1..6_usize, from in 0..24_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let (store, mut held) = (open(directory.path()), BTreeMap::new());
            for (name, is_link) in names {
                let shown = if is_link { format!("{name}.rclonelink") } else { name };
                // What a disk cannot hold, or what is in the way of another, is another layer's.
                if put(store.as_ref(), &shown, b"x").await.is_ok() {
                    held.insert(key(&shown), 1);
                }
            }
            let (entries, unlisted) = listed(&store, KeyRange::all(), page).await;
            assert_eq!((&entries, &unlisted), (&held, &Vec::new()));
            let start = held.keys().nth(from).map(Key::to_bytes).unwrap_or_default();
            let (entries, _) = listed(&store, KeyRange::new(start.clone(), None), page).await;
            held.retain(|key, _| key.as_bytes() >= start.as_ref());
            assert_eq!(entries, held);
            for name in held.keys() {
                assert_eq!(get(store.as_ref(), &name.to_string()).await.unwrap(), &b"x"[..]);
                store.delete(std::slice::from_ref(name)).await.unwrap().remove(0).unwrap();
                assert!(matches!(store.head(name, AttributeSet::NONE).await, Err(StoreError::Missing { .. })));
            }
        });
    }
}
