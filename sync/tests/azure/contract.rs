//! The contract of stores on Azurite, and what of Azure the contract does not know.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use farshore_sync::store::azure::AzureStore;
use farshore_sync::store::{
    Body, CheckedListing, CopyRequest, PartRequest, PutRequest, ReadRequest, Store, Upload, contract, read_whole,
};
use farshore_sync::{AttributeSet, Attributes, Checksums, Key, KeyRange, StoreError};

use crate::servers::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azurite_keeps_the_contract() {
    let Some(server) = Server::azurite().await else { return };
    contract::run_all(async || server.store()).await;
    keys_that_azure_refuses_are_refused_unless_told(server.store(), server.exact()).await;
    attributes_change_without_the_bytes(server.store()).await;
    metadata_of_any_name_and_value_is_kept(server.store()).await;
    pages_go_on_without_a_token(server.store()).await;
    a_copy_has_the_attributes_that_were_asked_for(server.store()).await;
    an_abort_leaves_what_is_there(server.store()).await;
    a_container_that_is_not_there_is_told(&server).await;
}

fn key(text: &str) -> Key {
    Key::try_from(text).expect("it is a key")
}

async fn put(store: &Arc<AzureStore>, name: &str, bytes: &[u8]) {
    let request = PutRequest::object(key(name), bytes.len() as u64);
    store.put(&request, Body::Whole(Bytes::copy_from_slice(bytes))).await.expect("it is written");
}

async fn get(store: &Arc<AzureStore>, name: &str) -> Bytes {
    let identity = store.head(&key(name), AttributeSet::NONE).await.expect("it is there").entry.identity();
    let reading = store.read(&ReadRequest::whole(&key(name), &identity)).await.expect("it can be read");
    read_whole(reading.bytes, identity.size as usize).await.expect("it is read")
}

async fn attributes_of(store: &Arc<AzureStore>, name: &str) -> Attributes {
    store.head(&key(name), AttributeSet::all()).await.expect("it is there").attributes
}

/// Azurite keeps keys that Azure would rewrite or reject.
async fn keys_that_azure_refuses_are_refused_unless_told(store: Arc<AzureStore>, exact: Arc<AzureStore>) {
    for odd in ["a/../c", "./d", "..", "trail.", "back\\slash"] {
        let result = store.put(&PutRequest::object(key(odd), 0), Body::empty()).await;
        assert!(matches!(result, Err(StoreError::Unholdable { .. })), "{odd}: {result:?}");
        assert!(matches!(store.head(&key(odd), AttributeSet::NONE).await, Err(StoreError::Missing { .. })));
        put(&exact, odd, odd.as_bytes()).await;
        assert_eq!(get(&exact, odd).await, odd.as_bytes());
    }
}

async fn attributes_change_without_the_bytes(store: Arc<AzureStore>) {
    let name = "dir/a b+é";
    put(&store, name, b"bytes").await;
    let mut wanted = Attributes { storage_class: Some("Cool".to_owned()), ..Attributes::default() };
    wanted.content.content_type = Some("text/x-other".to_owned());
    wanted.user.insert("colour".to_owned(), "red".to_owned());
    for step in 0..3 {
        let identity = store.head(&key(name), AttributeSet::NONE).await.expect("it is there").entry.identity();
        // First everything, then only tags, then nothing.
        wanted.tags.insert("step".to_owned(), step.min(1).to_string());
        store.set_attributes(&key(name), &identity, &wanted).await.expect("they can be changed");
        assert_eq!(attributes_of(&store, name).await, wanted, "step {step}");
        let object = store.head(&key(name), AttributeSet::NONE).await.expect("it is there");
        assert!(!object.entry.checksums.is_empty(), "its MD5 is kept");
        assert_eq!(get(&store, name).await.as_ref(), b"bytes");
    }
}

async fn metadata_of_any_name_and_value_is_kept(store: Arc<AzureStore>) {
    let mut request = PutRequest::object(key("object"), 0);
    for (name, value) in [
        ("plain", "a value"),
        ("content-hash", "has a hyphen"),
        ("a_", "an underscore"),
        ("a1", "a digit"),
        ("1st", "begins with a digit"),
        ("accent", "café – 日本"),
        ("space", " lead "),
    ] {
        request.attributes.user.insert(name.to_owned(), value.to_owned());
    }
    store.put(&request, Body::empty()).await.expect("it is written");
    assert_eq!(attributes_of(&store, "object").await.user, request.attributes.user);
}

/// As after a kill: each page is asked for by its place alone.
async fn pages_go_on_without_a_token(store: Arc<AzureStore>) {
    let mut all = BTreeSet::new();
    for number in 0..40 {
        let name = format!("{}/{}{}", number % 3, ["a-", "a/", "a", "b"][number % 4], number);
        put(&store, &name, b"").await;
        all.insert(name);
    }
    for limit in [1, 7, 1000] {
        let (mut rest, mut names) = (KeyRange::all(), BTreeSet::new());
        while !rest.is_empty() {
            let mut listing = CheckedListing::new(store.clone(), rest, limit);
            let Some(page) = listing.next_page().await.expect("it is listed") else { break };
            names.extend(page.entries.iter().map(|entry| entry.key.to_string()));
            if listing.is_complete() {
                break;
            }
            rest = listing.rest().clone();
        }
        assert_eq!(names, all, "in pages of {limit}");
    }
}

async fn a_copy_has_the_attributes_that_were_asked_for(store: Arc<AzureStore>) {
    let mut source = PutRequest::object(key("source +é"), 5);
    source.attributes.content.content_type = Some("text/x-one".to_owned());
    source.attributes.user.insert("name".to_owned(), "value".to_owned());
    store.put(&source, Body::Whole("bytes".into())).await.expect("it is written");
    let identity = store.head(&source.key, AttributeSet::NONE).await.expect("it is there").entry.identity();
    let mut same = PutRequest { attributes: source.attributes.clone(), ..PutRequest::object(key("same"), 5) };
    same.attributes.tags.insert("one".to_owned(), "tag".to_owned());
    let mut other = PutRequest::object(key("other"), 5);
    other.attributes.content.content_type = Some("text/x-other".to_owned());
    for target in [same, other] {
        let request = CopyRequest { source: source.key.clone(), identity: identity.clone(), target: target.clone() };
        let stored = store.copy(store.as_ref(), &request).await.expect("it is copied");
        let name = target.key.to_string();
        let found = store.head(&target.key, AttributeSet::all()).await.expect("it is there");
        assert_eq!(found.attributes, target.attributes, "{name}");
        assert_eq!((stored.etag, stored.size), (found.entry.etag, Some(5)), "{name}");
        assert_eq!(get(&store, &name).await.as_ref(), b"bytes");
    }
}

async fn an_abort_leaves_what_is_there(store: Arc<AzureStore>) {
    put(&store, "object", b"before").await;
    let request = PutRequest::object(key("object"), 5);
    let upload = Upload { key: key("object"), id: store.begin_multipart(&request).await.expect("it begins") };
    let range = farshore_sync::store::ByteRange { offset: 0, len: 5 };
    let part = PartRequest { number: 1, range, checksums: Checksums::none() };
    store.put_part(&upload, &part, Body::Whole("bytes".into())).await.expect("it is sent");
    let before = store.head(&key("object"), AttributeSet::NONE).await.expect("it is there");
    store.abort_multipart(&upload).await.expect("it is aborted");
    assert_eq!(store.head(&key("object"), AttributeSet::NONE).await.expect("it is there"), before);
    assert_eq!(get(&store, "object").await.as_ref(), b"before");
}

async fn a_container_that_is_not_there_is_told(server: &Server) {
    let mut options = server.options.clone();
    "not-there".clone_into(&mut options.container);
    let store = AzureStore::new(&options).expect("the options are right");
    let refused = [
        store
            .list(&farshore_sync::store::ListRequest::first(KeyRange::all()))
            .await
            .map(drop)
            .expect_err("it is refused"),
        store.put(&PutRequest::object(key("k"), 0), Body::empty()).await.map(drop).expect_err("it is refused"),
        store.delete(&[key("k")]).await.expect("each has its outcome").remove(0).expect_err("it is refused"),
    ];
    for error in refused {
        assert!(error.to_string().contains("the container not-there"), "{error}");
    }
    options.credentials = farshore_sync::store::azure::Credentials::Key("d3Jvbmc=".to_owned());
    let store = AzureStore::new(&options).expect("the options are right");
    let error = store.head(&key("k"), AttributeSet::NONE).await.expect_err("it is refused");
    assert!(matches!(error, StoreError::Refused { .. }) && !error.to_string().contains("d3Jvbmc"), "{error}");
}
