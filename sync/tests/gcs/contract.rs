//! The contract of stores, and what of Google the contract does not know.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use farshore_sync::store::gcs::{GcsOptions, GcsStore, Secret, Source};
use farshore_sync::store::{Body, Condition, CopyRequest, ListRequest, PutRequest, Store, contract};
use farshore_sync::{Algorithm, AttributeKind, AttributeSet, Key, KeyRange, StoreError};

use crate::server::{BUCKET, Server, TOKEN};

static STORES: AtomicU32 = AtomicU32::new(0);

fn options(server: &Server) -> GcsOptions {
    let mut options = GcsOptions::new(BUCKET, Source::Token(Secret(TOKEN.to_owned())));
    options.endpoint = Some(server.endpoint());
    options.prefix = format!("store-{}/", STORES.fetch_add(1, Ordering::Relaxed));
    options
}

fn store(server: &Server) -> Arc<GcsStore> {
    Arc::new(GcsStore::new(&options(server)).expect("the options are right"))
}

fn key(text: &str) -> Key {
    Key::try_from(text).expect("it is a key")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_is_kept() {
    let server = Server::start().await;
    contract::run_all(async || store(&server)).await;
}

#[tokio::test]
async fn line_breaks_in_keys_are_refused_and_other_odd_ones_kept() {
    let server = Server::start().await;
    let store = store(&server);
    for odd in ["new\nline", "cr\r"] {
        let result = store.put(&PutRequest::object(key(odd), 0), Body::empty()).await;
        assert!(matches!(result, Err(StoreError::Unholdable { .. })), "{odd}: {result:?}");
    }
    for odd in ["a//b", "a/../c", "./d", "/lead", "dir/", "\u{1}", "back\\slash"] {
        let put = store.put(&PutRequest::object(key(odd), 0), Body::empty()).await;
        assert!(put.is_ok(), "{odd}: {put:?}");
    }
}

#[tokio::test]
async fn states_have_generations_that_conditions_are_made_of() {
    let server = Server::start().await;
    let store = store(&server);
    let write = async |condition: Condition| {
        let request = PutRequest { condition, ..PutRequest::object(key("object"), 5) };
        store.put(&request, Body::Whole("bytes".into())).await
    };
    let first = write(Condition::Absent).await.expect("nothing is there");
    let listed = store.list(&ListRequest::first(KeyRange::all())).await.expect("it is listed").entries.remove(0);
    assert!(first.version.is_some() && first.version == listed.version);
    write(Condition::Is(listed.identity())).await.expect("it is in this state");
    // The same bytes, and yet another state.
    let result = write(Condition::Is(listed.identity())).await;
    assert!(matches!(result, Err(StoreError::Changed { .. })), "{result:?}");
    let request =
        CopyRequest { source: key("object"), identity: listed.identity(), target: PutRequest::object(key("copy"), 5) };
    let result = store.copy(store.as_ref(), &request).await;
    assert!(matches!(result, Err(StoreError::Changed { .. })), "{result:?}");
}

#[tokio::test]
async fn hashes_and_classes_are_told_and_foreign_classes_left_out() {
    let server = Server::start().await;
    let store = store(&server);
    for (class, kept, left_out) in
        [("NEARLINE", "NEARLINE", false), ("GLACIER", "STANDARD", true), ("Cool", "STANDARD", true)]
    {
        let mut request = PutRequest::object(key("object"), 5);
        request.attributes.storage_class = Some(class.to_owned());
        request.attributes.user.insert("accent".to_owned(), "café – 日本".to_owned());
        let stored = store.put(&request, Body::Whole("bytes".into())).await.expect("it is written");
        assert_eq!(stored.left_out.has(AttributeKind::StorageClass), left_out, "{class}");
        let object = store.head(&key("object"), AttributeSet::all()).await.expect("it is there");
        assert_eq!(object.attributes.storage_class.as_deref(), Some(kept));
        assert_eq!(object.attributes.user, request.attributes.user);
        for algorithm in [Algorithm::Crc32c, Algorithm::Md5] {
            let sum = farshore_sync::checksum_of(algorithm, b"bytes");
            assert_eq!(object.entry.checksums.whole(algorithm), sum, "{algorithm}");
            assert_eq!(stored.checksums.whole(algorithm), sum, "{algorithm}");
        }
    }
}

#[tokio::test]
async fn a_wrong_token_and_a_missing_bucket_are_told_without_the_token() {
    let server = Server::start().await;
    let wrong = GcsOptions { source: Source::Token(Secret("hush".to_owned())), ..options(&server) };
    let elsewhere = GcsOptions { bucket: "elsewhere".to_owned(), ..options(&server) };
    let list = async |options: &GcsOptions| {
        let store = GcsStore::new(options).expect("the options are right");
        let error = store.list(&ListRequest::first(KeyRange::all())).await.expect_err("it is refused");
        assert!(!format!("{error} {error:?} {store:?}").contains("hush"));
        error
    };
    let refused = list(&wrong).await;
    assert!(matches!(refused, StoreError::Refused { .. }), "{refused:?}");
    let missing = list(&elsewhere).await;
    assert!(missing.to_string().contains("the bucket elsewhere"), "{missing}");
}
