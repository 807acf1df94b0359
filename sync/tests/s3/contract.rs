//! The contract of stores on real servers, and what of S3 the contract does not know.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use farshore_sync::store::s3::S3Store;
use farshore_sync::store::{
    Body, ByteRange, CheckedListing, PutRequest, ReadRequest, Store, Upload, contract, read_whole,
};
use farshore_sync::{Algorithm, AttributeSet, Attributes, Key, KeyRange, StoreError};

use crate::servers::Server;

/// SeaweedFS keeps paths, not keys: it would write `a//b` as `a/b` and `back\slash` as `back/slash`, and refuses `.`
/// and `..` segments and zero bytes. The store knows it by its `Server` header and refuses such keys itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seaweedfs_keeps_the_contract() {
    let Some(server) = Server::seaweed().await else { return };
    contract::run_all(async || server.store()).await;
    let store = server.store();
    for odd in ["a//b", "/lead", "back\\slash", "tail//", "./d", "a/../c", ".", "..", "nul\0byte"] {
        let result = store.put(&PutRequest::object(key(odd), 0), Body::empty()).await;
        assert!(matches!(result, Err(StoreError::Unholdable { .. })), "{odd}: {result:?}");
    }
    check_attributes(&server).await;
}

/// radosgw keeps every key but those with a zero byte. It takes checksums other than MD5 without looking at them, and
/// does not report them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn radosgw_keeps_the_contract() {
    let Some(server) = Server::named("FARSHORE_TEST_RADOSGW").await else { return };
    let server = server.with(|options| options.verifies = vec![Algorithm::Md5]);
    contract::run_all(async || server.store()).await;
    let store = server.store();
    for odd in ["a//b", "/lead", "back\\slash", "tail//", "./d", "a/../c", ".", "..", "\u{1}", "cr\r"] {
        put(&store, odd, odd.as_bytes()).await;
        assert_eq!(get(&store, odd).await, odd.as_bytes(), "{odd}");
    }
    check_attributes(&server).await;
}

async fn check_attributes(server: &Server) {
    keys_that_are_odd_in_order_are_listed_in_order(server.store()).await;
    attributes_change_without_the_bytes(server.store()).await;
    metadata_beyond_ascii_is_kept(server.store()).await;
    tags_are_looked_at_only_when_wanted(server.store()).await;
    parts_are_copied_server_side(server.store(), server.store()).await;
    keys_that_xml_cannot_carry_are_deleted(server.store()).await;
}

fn key(text: &str) -> Key {
    Key::try_from(text).expect("it is a key")
}

async fn put(store: &Arc<S3Store>, name: &str, bytes: &[u8]) {
    let request = PutRequest::object(key(name), bytes.len() as u64);
    store.put(&request, Body::Whole(Bytes::copy_from_slice(bytes))).await.expect("it is written");
}

async fn get(store: &Arc<S3Store>, name: &str) -> Bytes {
    let identity = store.head(&key(name), AttributeSet::NONE).await.expect("it is there").entry.identity();
    let reading = store.read(&ReadRequest::whole(&key(name), &identity)).await.expect("it can be read");
    read_whole(reading.bytes, identity.size as usize).await.expect("it is read")
}

async fn attributes_of(store: &Arc<S3Store>, name: &str) -> Attributes {
    store.head(&key(name), AttributeSet::all()).await.expect("it is there").attributes
}

async fn attributes_change_without_the_bytes(store: Arc<S3Store>) {
    put(&store, "dir/a b+é", b"bytes").await;
    let mut wanted = Attributes::default();
    wanted.content.content_type = Some("text/x-other".to_owned());
    wanted.user.insert("colour".to_owned(), "red".to_owned());
    wanted.tags.insert("one".to_owned(), "1 + 2 = 3".to_owned());
    for step in 0..3 {
        let key = key("dir/a b+é");
        let identity = store.head(&key, AttributeSet::NONE).await.expect("it is there").entry.identity();
        // First everything, then only tags, then nothing.
        wanted.tags.insert("step".to_owned(), step.min(1).to_string());
        store.set_attributes(&key, &identity, &wanted).await.expect("they can be changed");
        let found = attributes_of(&store, "dir/a b+é").await;
        assert_eq!(found.content.content_type, wanted.content.content_type);
        assert_eq!(found.user.get("colour"), wanted.user.get("colour"));
        assert_eq!(found.tags, wanted.tags, "step {step}");
        assert_eq!(get(&store, "dir/a b+é").await.as_ref(), b"bytes");
    }
}

async fn metadata_beyond_ascii_is_kept(store: Arc<S3Store>) {
    let mut request = PutRequest::object(key("object"), 0);
    for (name, value) in [("plain", "a value"), ("accent", "café – 日本"), ("line", "one\ntwo"), ("space", " lead ")]
    {
        request.attributes.user.insert(name.to_owned(), value.to_owned());
    }
    store.put(&request, Body::empty()).await.expect("it is written");
    assert_eq!(attributes_of(&store, "object").await.user, request.attributes.user);
}

/// Keys of few letters around the slash, so that directories and names that begin alike are mixed.
async fn keys_that_are_odd_in_order_are_listed_in_order(store: Arc<S3Store>) {
    let mut seed = 7_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut all = BTreeSet::new();
    while all.len() < 120 {
        let letters = (0..=random(7)).map(|_| b"ab-.!0/"[random(7) as usize] as char);
        let name: String = letters.collect();
        // A name is a directory or an object, never both, as servers of paths have it.
        let odd = format!("/{name}/").contains("//") || format!("/{name}/").contains("/.");
        let clash = |other: &String| other.starts_with(&format!("{name}/")) || name.starts_with(&format!("{other}/"));
        if !odd && !name.ends_with('/') && !all.iter().any(clash) {
            all.insert(name);
        }
    }
    for name in &all {
        put(&store, name, b"").await;
    }
    let all: Vec<String> = all.into_iter().collect();
    for limit in [1, 2, 7, 50, 1000] {
        assert_eq!(listed(&store, KeyRange::all(), limit).await, all, "in pages of {limit}");
    }
    for _ in 0..200 {
        let place: Vec<u8> = (0..random(6)).map(|_| b"ab-.!0/\0"[random(8) as usize]).collect();
        let end: Vec<u8> = (0..=random(4)).map(|_| b"ab-.!0/"[random(7) as usize]).collect();
        let range = KeyRange::new(place, Some(end.into()));
        let expected: Vec<_> = all.iter().filter(|name| range.contains(name.as_bytes())).cloned().collect();
        let limit = 1 + random(20) as usize;
        assert_eq!(listed(&store, range.clone(), limit).await, expected, "{range} in pages of {limit}");
    }
}

async fn listed(store: &Arc<S3Store>, range: KeyRange, limit: usize) -> Vec<String> {
    let mut listing = CheckedListing::new(store.clone(), range, limit);
    let mut names = Vec::new();
    while let Some(page) = listing.next_page().await.expect("it is listed") {
        names.extend(page.entries.iter().map(|entry| entry.key.to_string()));
    }
    names
}

async fn tags_are_looked_at_only_when_wanted(store: Arc<S3Store>) {
    let mut request = PutRequest::object(key("object"), 0);
    request.attributes.tags.insert("a".to_owned(), "b".to_owned());
    store.put(&request, Body::empty()).await.expect("it is written");
    let object = store.head(&key("object"), AttributeSet::NONE).await.expect("it is there");
    assert!(object.attributes.tags.is_empty() && !object.known.has(farshore_sync::AttributeKind::Tags));
    assert_eq!(attributes_of(&store, "object").await.tags, request.attributes.tags);
}

async fn parts_are_copied_server_side(source: Arc<S3Store>, target: Arc<S3Store>) {
    assert!(target.copies_from(source.as_ref()));
    let part = 5 << 20;
    let bytes: Vec<u8> = (0..part + 1000).map(|at| (at % 251) as u8).collect();
    put(&source, "a+b/ü", &bytes).await;
    let identity = source.head(&key("a+b/ü"), AttributeSet::NONE).await.expect("it is there").entry.identity();
    let request = PutRequest::object(key("copy"), bytes.len() as u64);
    let id = target.begin_multipart(&request).await.expect("it begins");
    let upload = Upload { key: request.key.clone(), id };
    let mut parts = Vec::new();
    for (number, offset) in [(1, 0), (2, part)] {
        let range = ByteRange { offset, len: (bytes.len() as u64 - offset).min(part) };
        let read = ReadRequest { range, ..ReadRequest::whole(&key("a+b/ü"), &identity) };
        parts.push(target.copy_part(source.as_ref(), &read, &upload, number).await.expect("it is copied"));
    }
    target.complete_multipart(&upload, &request, &parts).await.expect("it is completed");
    assert_eq!(get(&target, "copy").await, bytes);
}

async fn keys_that_xml_cannot_carry_are_deleted(store: Arc<S3Store>) {
    let names = ["plain", "<&>", "\u{1}", "new\nline"];
    for name in names {
        put(&store, name, b"").await;
    }
    let outcomes = store.delete(&names.map(key)).await.expect("they can be deleted");
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    for name in names {
        let result = store.head(&key(name), AttributeSet::NONE).await;
        assert!(matches!(result, Err(StoreError::Missing { .. })), "{name}: {result:?}");
    }
}
