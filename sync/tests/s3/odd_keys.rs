//! Twenty-six legal keys that tools trip over, with everything that an object has, from one bucket to another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use farshore_sync::journal::MemoryJournal;
use farshore_sync::store::s3::S3Store;
use farshore_sync::store::{Body, CheckedListing, PutRequest, ReadRequest, Store, read_whole};
use farshore_sync::{
    Algorithm, AttributeSet, Attributes, CopyOptions, Grant, Grantee, Job, JobOptions, Key, KeyRange, Observer,
    Outcome, Permission, What,
};

use crate::servers::Server;

/// Every fifth has more bytes than one request is given, and so goes in parts.
const LARGE_BYTES: usize = (16 << 20) + 3;
const EVERYBODY: &str = "http://acs.amazonaws.com/groups/global/AllUsers";

fn keys() -> Vec<Key> {
    let long = "x".repeat(1000);
    let texts = [
        "dir/",
        "dir/a",
        "a//b",
        "/lead",
        "//",
        "tail//",
        ".",
        "..",
        "./d",
        "a/../c",
        "a",
        "a/b",
        "a-b",
        "back\\slash",
        "space end ",
        " space",
        "plus+and%2Fpercent",
        "ques?tion#hash",
        "quote\"'&<>",
        "tab\tnew\nline",
        "cr\r",
        "\u{1}\u{7f}",
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{10ffff}\u{fffd}日本",
        &long,
    ];
    texts.iter().map(|text| Key::try_from(*text).expect("it is a key")).collect()
}

fn attributes(number: usize) -> Attributes {
    let mut attributes = Attributes::default();
    attributes.content.content_type = Some(format!("text/x-{number}; charset=utf-8"));
    attributes.content.content_encoding = Some("gzip".to_owned());
    attributes.content.content_language = Some("de".to_owned());
    attributes.content.content_disposition = Some("attachment; filename=\"x\"".to_owned());
    attributes.content.cache_control = Some("max-age=60".to_owned());
    attributes.user =
        BTreeMap::from([("number".to_owned(), number.to_string()), ("odd-one".to_owned(), "a = b".into())]);
    attributes.tags = BTreeMap::from([("tag".to_owned(), format!("{number} + 1"))]);
    if number.is_multiple_of(2) {
        let grant = Grant { grantee: Grantee::Group(EVERYBODY.to_owned()), permission: Permission::Read };
        attributes.grants = BTreeSet::from([grant]);
    }
    attributes
}

fn bytes_of(number: usize) -> Bytes {
    let len = if number.is_multiple_of(5) { LARGE_BYTES } else { number };
    (0..len).map(|at| (at * 31 + number * 7 + at / 251) as u8).collect::<Vec<_>>().into()
}

/// An object as its store tells it, but for what a copy cannot have: times and tags of the store's own.
async fn found(store: &dyn Store, key: &Key) -> (Bytes, Attributes) {
    let object = store.head(key, AttributeSet::all()).await.expect("it is there");
    let reading = store.read(&ReadRequest::whole(key, &object.entry.identity())).await.expect("it can be read");
    (read_whole(reading.bytes, object.entry.size as usize).await.expect("it is read"), object.attributes)
}

/// Keeps why objects failed.
#[derive(Debug, Default)]
struct Failures(Mutex<Vec<String>>);

impl Observer for Failures {
    fn outcome(&self, outcome: &Outcome) {
        if let What::Failed { reason, .. } = &outcome.what {
            self.0.lock().expect("nobody panics with it").push(format!("{}: {reason}", outcome.key));
        }
    }
}

/// Puts the objects there, copies them, and compares each.
async fn go_over(source: Arc<S3Store>, target: Arc<S3Store>, server_side: bool) {
    let keys = keys();
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 26);
    for (number, key) in keys.iter().enumerate() {
        let bytes = bytes_of(number);
        let request =
            PutRequest { attributes: attributes(number), ..PutRequest::object(key.clone(), bytes.len() as u64) };
        source.put(&request, Body::Whole(bytes)).await.expect("it is written");
    }
    let copy = CopyOptions { server_side, keep: AttributeSet::all(), ..CopyOptions::default() };
    let job = Job::new(source, Arc::clone(&target) as Arc<dyn Store>, JobOptions { copy, ..JobOptions::default() });
    let run = async || {
        let journal = Arc::new(MemoryJournal::new().expect("it can be made"));
        let failures = Arc::new(Failures::default());
        let summary = job.run(journal, Arc::clone(&failures) as Arc<dyn Observer>).await.expect("it runs");
        assert!(summary.is_clean(), "{summary:?}: {failures:?}");
        summary.counts
    };
    let counts = run().await;
    assert_eq!((counts.copied, counts.attributes_left_out), (26, 0));
    assert_eq!(counts.copied_server_side, if server_side { 26 } else { 0 });
    for (number, key) in keys.iter().enumerate() {
        let (bytes, kept) = found(target.as_ref(), key).await;
        assert!(bytes == bytes_of(number), "{key}: other bytes");
        let given = attributes(number);
        assert_eq!((&kept.content, &kept.user), (&given.content, &given.user), "{key}");
        assert_eq!((&kept.tags, &kept.grants), (&given.tags, &given.grants), "{key}");
    }
    let mut listing = CheckedListing::new(Arc::clone(&target) as Arc<dyn Store>, KeyRange::all(), 7);
    let mut listed = BTreeSet::new();
    while let Some(page) = listing.next_page().await.expect("it can be listed") {
        listed.extend(page.entries.into_iter().map(|entry| entry.key));
    }
    assert_eq!(listed, keys.into_iter().collect());
    assert_eq!(run().await.skipped, 26, "a second pass has nothing to do");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_they_have_is_kept_between_buckets() {
    let Some(server) = Server::named("FARSHORE_TEST_RADOSGW").await else { return };
    let server = server.with(|options| options.verifies = vec![Algorithm::Md5]);
    for server_side in [false, true] {
        go_over(server.store(), server.store(), server_side).await;
    }
}
