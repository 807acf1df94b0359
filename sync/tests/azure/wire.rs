//! What goes over the wire, and what comes of answers that refuse, lie or break.

use std::time::Duration;

use bytes::Bytes;
use farshore_sync::store::azure::{AzureOptions, AzureStore, Credentials};
use farshore_sync::store::{
    Body, Condition, CopyRequest, ListRequest, PageEnd, PutRequest, ReadRequest, Store, StoredPart, Upload, UploadId,
    read_whole,
};
use farshore_sync::{
    Algorithm, AttributeSet, Checksums, ETag, Entry, Identity, Key, KeyRange, Remedy, StoreError, checksum_of,
};

use crate::recorder::{Recorder, answer, error};
use crate::servers::KEY;

const ETAG: &str = "ETag: \"0x8D\"";
const SIGNATURE: &str = "sv=2026-02-06&sp=r&sig=hush%2Fhush";

/// Whether an error is the one that is expected.
type Right = fn(&StoreError) -> bool;

fn options(recorder: &Recorder) -> AzureOptions {
    let mut options = AzureOptions::new("acct", "c", Credentials::Key(KEY.to_owned()));
    options.endpoint = Some(recorder.endpoint());
    options
}

fn store(recorder: &Recorder) -> AzureStore {
    AzureStore::new(&options(recorder)).expect("the options are right")
}

fn key(text: &str) -> Key {
    Key::try_from(text).expect("it is a key")
}

fn identity(size: u64) -> Identity {
    let mut entry = Entry::object(key("k"), size);
    entry.etag = Some(ETag::new("0x8D"));
    entry.identity()
}

async fn read(recorder: &Recorder, size: u64) -> farshore_sync::Result<Bytes> {
    let reading = store(recorder).read(&ReadRequest::whole(&key("k"), &identity(size))).await?;
    read_whole(reading.bytes, size as usize).await
}

#[tokio::test]
async fn odd_keys_are_sent_byte_for_byte_and_signed() {
    let odd = [
        ("a//b", "a//b"),
        ("/lead", "/lead"),
        ("tail//", "tail//"),
        ("...a", "...a"),
        ("%2e/x +?#&é", "%252e/x%20%2B%3F%23%26%C3%A9"),
    ];
    let recorder = Recorder::start(vec![answer("201 Created", &[ETAG], ""); odd.len()]).await;
    let mut options = options(&recorder);
    "p/".clone_into(&mut options.prefix);
    let store = AzureStore::new(&options).unwrap();
    for (name, _) in odd {
        let result = store.put(&PutRequest::object(key(name), 1), Body::Whole("x".into())).await;
        assert!(result.is_ok(), "{name}: {result:?}");
    }
    for (request, (_, path)) in recorder.requests().iter().zip(odd) {
        assert_eq!(request.target(), format!("/acct/c/p/{path}"));
        assert!(request.header("authorization").unwrap().starts_with("sharedkey acct:"));
        assert_eq!(request.header("x-ms-blob-type"), Some("blockblob"));
    }
}

#[tokio::test]
async fn signatures_and_tokens_are_sent_and_never_told() {
    let recorder =
        Recorder::start([error("403 Forbidden", "AuthenticationFailed", &[]), error("403 No", "x", &[])]).await;
    let mut options = options(&recorder);
    for credentials in [Credentials::Sas(SIGNATURE.to_owned()), Credentials::Token("hush".to_owned())] {
        options.credentials = credentials;
        let store = AzureStore::new(&options).unwrap();
        let refused = store.list(&ListRequest::first(KeyRange::all())).await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused { .. }), "{refused:?}");
        assert!(!format!("{refused} {refused:?} {store:?} {options:?}").contains("hush"));
    }
    let requests = recorder.requests();
    assert!(requests[0].target().ends_with(&format!("restype=container&{SIGNATURE}")), "{}", requests[0].target());
    assert_eq!(requests[0].header("authorization"), None);
    assert_eq!(requests[1].header("authorization"), Some("bearer hush"));
}

#[tokio::test]
async fn a_write_carries_its_attributes_checksum_and_condition() {
    let recorder = Recorder::start([answer("201 Created", &[ETAG, "x-ms-content-crc64: YeJLfssylmU="], "")]).await;
    let mut request = PutRequest::object(key("k"), 11);
    request.attributes.content.content_type = Some("text/plain".into());
    request.attributes.user.insert("a-name".into(), "a value".into());
    request.attributes.tags.insert("a".into(), "c d".into());
    request.attributes.storage_class = Some("Cool".into());
    request.checksums = checksum_of(Algorithm::Crc64Nvme, b"Hello World").into_iter().collect();
    request.condition = Condition::Absent;
    let stored = store(&recorder).put(&request, Body::Whole("Hello World".into())).await.unwrap();
    assert_eq!(stored.checksums.whole(Algorithm::Crc64Nvme), checksum_of(Algorithm::Crc64Nvme, b"Hello World"));
    let [sent] = &recorder.requests()[..] else { panic!("one request is sent") };
    assert_eq!((sent.line.as_str(), sent.body.as_slice()), ("PUT /acct/c/k HTTP/1.1", &b"Hello World"[..]));
    for (name, value) in [
        ("x-ms-blob-content-type", "text/plain"),
        ("x-ms-meta-a_x2d_name", "a value"),
        ("x-ms-tags", "a=c%20d"),
        ("x-ms-access-tier", "cool"),
        ("if-none-match", "*"),
        ("content-length", "11"),
        ("x-ms-content-crc64", "yejlfssylmu="),
        ("x-ms-version", "2026-02-06"),
    ] {
        assert_eq!(sent.header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn refusals_become_errors_with_a_remedy() {
    let retry = "Retry-After: 7";
    let slow: Right = |error| error.remedy() == Remedy::SlowDown(Some(Duration::from_secs(7)));
    let cases: [(String, Right); 8] = [
        (error("503 Busy", "ServerBusy", &[retry]), slow),
        (answer("429 Too Many Requests", &[retry], ""), slow),
        (error("500 Oops", "InternalError", &[]), |error| error.remedy() == Remedy::Retry(None)),
        (error("401 No", "InvalidAuthenticationInfo", &[]), |error| matches!(error, StoreError::Refused { .. })),
        (answer("404 Not Found", &["x-ms-error-code: BlobNotFound"], ""), |error| error.remedy() == Remedy::Gone),
        (error("404 Not Found", "ContainerNotFound", &[]), |error| error.to_string().contains("the container c")),
        (error("409 Conflict", "BlobArchived", &[]), |error| matches!(error, StoreError::Unsupported { .. })),
        (answer("502 Bad Gateway", &[], "<html>no</html>"), |error| matches!(error, StoreError::Unavailable { .. })),
    ];
    for (answer, right) in cases {
        let recorder = Recorder::start([answer.clone()]).await;
        let refused = read(&recorder, 5).await.unwrap_err();
        assert!(right(&refused), "{answer}: {refused:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_was_asked_for_is_an_error() {
    let whole = |headers: &[&str], body: &str| answer("200 OK", &[headers, &[ETAG]].concat(), body);
    let recorder = Recorder::start([whole(&[], "hello")]).await;
    assert_eq!(read(&recorder, 5).await.unwrap(), "hello");
    assert_eq!(recorder.requests()[0].header("if-match"), Some("\"0x8d\""));
    for (what, lie) in [
        ("it is cut", whole(&["Content-Length: 5"], "hel")),
        ("it is longer", whole(&[], "hello!")),
        ("it is a part", answer("206 Partial Content", &[ETAG, "Content-Range: bytes 0-2/5"], "hel")),
        ("it is another object", answer("200 OK", &["ETag: \"other\""], "hello")),
    ] {
        let result = read(&Recorder::start([lie]).await, 5).await;
        assert!(result.is_err(), "{what}: {result:?}");
    }
}

fn page(names: &[&str], marker: &str) -> String {
    let blob = |name: &&str| {
        format!("<Blob><Name>{name}</Name><Properties><Content-Length>1</Content-Length></Properties></Blob>")
    };
    let blobs: String = names.iter().map(blob).collect();
    let document =
        format!("<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>");
    answer("200 OK", &[], &document)
}

#[tokio::test]
async fn listings_start_at_a_place_where_the_service_can_and_read_up_to_it_where_not() {
    let range = KeyRange::new("b\0", Some("x".into()));
    for lists_from in [true, false] {
        let recorder = Recorder::start([page(&["a", "b"], "m/1"), page(&["c", "y"], "")]).await;
        let mut options = options(&recorder);
        options.lists_from = Some(lists_from);
        let store = AzureStore::new(&options).unwrap();
        let listed = store.list(&ListRequest { limit: 2, ..ListRequest::first(range.clone()) }).await.unwrap();
        assert_eq!((listed.entries.len(), &listed.entries[0].key, listed.end), (1, &key("c"), PageEnd::Complete));
        let requests = recorder.requests();
        let (limit, from) = if lists_from { (2, "&startFrom=b") } else { (1000, "") };
        assert_eq!(requests[0].target(), format!("/acct/c?comp=list&maxresults={limit}&restype=container{from}"));
        assert!(requests[1].target().contains("marker=m%2F1"), "{}", requests[1].target());
    }
}

#[tokio::test]
async fn a_listing_that_lies_is_damaged() {
    for (what, answers) in [
        ("it repeats", vec![page(&["a", "a"], "")]),
        ("it is out of order", vec![page(&["b", "a"], "")]),
        ("it is cut", vec![page(&["a"], "").replace("</EnumerationResults>", "                     ")]),
        ("it does not say whether it is whole", vec![page(&["a"], "").replace("NextMarker", "OtherThing")]),
        ("it goes around", vec![page(&[], "m"), page(&[], "m")]),
        ("it is a login page", vec![answer("200 OK", &[], "<html><body>welcome</body></html>")]),
        ("it is nothing", vec![answer("200 OK", &[], "")]),
    ] {
        let result = store(&Recorder::start(answers).await).list(&ListRequest::first(KeyRange::all())).await;
        assert!(matches!(result, Err(StoreError::Corrupt { .. })), "{what}: {result:?}");
    }
}

#[tokio::test]
async fn a_completion_lists_its_blocks_and_one_without_them_is_forgotten() {
    let md5_of_list = "Content-MD5: sQqNsWTgdUEFt6mb5y4/5Q==";
    let answers = [answer("201 Created", &[ETAG, md5_of_list], ""), error("400 Bad", "InvalidBlockList", &[])];
    let recorder = Recorder::start(answers).await;
    let store = store(&recorder);
    let request = PutRequest::object(key("k"), 5);
    let upload = Upload { key: key("k"), id: UploadId::new("0123456789abcdef0123456789abcdef") };
    let part = StoredPart { number: 7, size: 5, etag: ETag::new("e"), checksums: Checksums::none() };
    let stored = store.complete_multipart(&upload, &request, std::slice::from_ref(&part)).await.unwrap();
    assert!(stored.checksums.is_empty(), "those of the list are none of the object");
    let sent = String::from_utf8_lossy(&recorder.requests()[0].body).into_owned();
    assert!(sent.contains("<Uncommitted>ZmFyc2hvcmUwMTIz"), "{sent}");
    let result = store.complete_multipart(&upload, &request, &[part]).await;
    assert!(matches!(result, Err(StoreError::Missing { .. })), "{result:?}");
}

#[tokio::test]
async fn a_copy_that_is_pending_is_waited_for() {
    let state = |state: &str| answer("200 OK", &[ETAG, "Content-Length: 5", &format!("x-ms-copy-status: {state}")], "");
    let target = PutRequest::object(key("t"), 5);
    let request = CopyRequest { source: key("s +é"), identity: identity(5), target };
    let begun = || answer("202 Accepted", &[ETAG], "");
    let recorder = Recorder::start([begun(), state("pending"), state("success"), begun(), state("failed")]).await;
    let mut options = options(&recorder);
    options.credentials = Credentials::Sas(SIGNATURE.to_owned());
    let store = AzureStore::new(&options).unwrap();
    let stored = store.copy(&store, &request).await.unwrap();
    assert_eq!((stored.size, stored.etag.unwrap().as_str()), (Some(5), "0x8D"));
    let sent = &recorder.requests()[0];
    let source = format!("{}/acct/c/s%20%2b%c3%a9?{}", recorder.endpoint(), SIGNATURE.to_lowercase());
    assert_eq!(sent.header("x-ms-copy-source"), Some(source.as_str()));
    assert_eq!(sent.header("x-ms-source-if-match"), Some("\"0x8d\""));
    let result = store.copy(&store, &request).await;
    assert!(matches!(result, Err(StoreError::Unavailable { .. })), "{result:?}");
    options.credentials = Credentials::Token("t".to_owned());
    let token = AzureStore::new(&options).unwrap();
    assert!(!token.copies_from(&token) && !token.copies_from(&store), "a token proves nothing of a source");
}

#[tokio::test]
async fn a_body_that_fails_is_never_whole() {
    let recorder = Recorder::start([answer("201 Created", &[ETAG], "")]).await;
    let broken = Err(StoreError::changed(&key("source"), "while it was read"));
    let bytes = futures::stream::iter([Ok(Bytes::from_static(b"hello")), broken]);
    let body = Body::Stream { len: 5, bytes: Box::pin(bytes) };
    let result = store(&recorder).put(&PutRequest::object(key("k"), 5), body).await;
    assert!(matches!(&result, Err(StoreError::Changed { .. })), "{result:?}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(recorder.requests().iter().all(|request| request.body.len() < 5), "the body was never whole");
    let result = store(&recorder).head(&key("k"), AttributeSet::NONE).await;
    assert!(result.is_err(), "the server is gone");
}
