//! What goes over the wire, and what comes of answers that refuse, lie or break.

use std::time::Duration;

use bytes::Bytes;
use farshore_sync::store::s3::{Credentials, S3Options, S3Store};
use farshore_sync::store::{
    Body, Condition, CopyRequest, ListRequest, PageEnd, PutRequest, ReadRequest, Store, StoredPart, Upload, UploadId,
    read_whole,
};
use farshore_sync::{
    AttributeSet, Checksum, Checksums, ETag, Entry, Identity, Key, KeyRange, Remedy, StoreError, checksum_of,
};
use futures::stream::{self, StreamExt};

use crate::recorder::{Recorder, answer, error};

const ETAG: &str = "ETag: \"5d41402abc4b2a76b9719d911017c592\"";

/// Whether an error is the one that is expected.
type Right = fn(&StoreError) -> bool;

fn options(recorder: &Recorder) -> S3Options {
    let mut options = S3Options::new("bucket");
    options.endpoint = Some(recorder.endpoint());
    options.credentials = Credentials::Keys { id: "id".into(), secret: "secret".into(), token: None };
    options
}

fn store(recorder: &Recorder) -> S3Store {
    S3Store::new(&options(recorder)).expect("the options are right")
}

fn key(text: &str) -> Key {
    Key::try_from(text).expect("it is a key")
}

fn identity(size: u64) -> Identity {
    let mut entry = Entry::object(key("k"), size);
    entry.etag = Some(ETag::new("5d41402abc4b2a76b9719d911017c592"));
    entry.identity()
}

async fn read(recorder: &Recorder, size: u64) -> farshore_sync::Result<Bytes> {
    let reading = store(recorder).read(&ReadRequest::whole(&key("k"), &identity(size))).await?;
    read_whole(reading.bytes, size as usize).await
}

#[tokio::test]
async fn odd_keys_are_sent_byte_for_byte() {
    let odd = [
        ("a/../c", "a/../c"),
        ("./d", "./d"),
        ("..", ".."),
        ("a//b", "a//b"),
        ("/lead", "/lead"),
        ("tail//", "tail//"),
        ("back\\slash", "back%5Cslash"),
        ("%2e%2e/x", "%252e%252e/x"),
        ("sp ace+?#&", "sp%20ace%2B%3F%23%26"),
        ("\u{1}\n", "%01%0A"),
        ("e\u{301}é", "e%CC%81%C3%A9"),
    ];
    // The first key makes the store ask which server it is.
    let answers = vec![answer("200 OK", &[ETAG, "Server: other"], ""); odd.len() + 1];
    let recorder = Recorder::start(answers).await;
    let mut options = options(&recorder);
    "p/".clone_into(&mut options.prefix);
    let store = S3Store::new(&options).unwrap();
    for (name, _) in odd {
        let result = store.put(&PutRequest::object(key(name), 1), Body::Whole("x".into())).await;
        assert!(result.is_ok(), "{name}: {result:?}");
    }
    let targets: Vec<_> = recorder.requests().iter().map(|request| request.target().to_owned()).collect();
    let expected: Vec<_> = odd.iter().map(|(_, path)| format!("/bucket/p/{path}")).collect();
    assert_eq!(targets[0], "/bucket");
    assert_eq!(targets[1..], expected);
}

#[tokio::test]
async fn a_write_carries_its_attributes_checksum_and_condition() {
    let recorder = Recorder::start([answer("200 OK", &[ETAG, "x-amz-version-id: v1"], "")]).await;
    let mut request = PutRequest::object(key("k"), 5);
    request.attributes.content.content_type = Some("text/plain".into());
    request.attributes.user.insert("name".into(), "a value".into());
    request.attributes.tags.insert("a&b".into(), "c d".into());
    request.attributes.storage_class = Some("GLACIER_IR".into());
    request.checksums = checksum_of(farshore_sync::Algorithm::Crc64Nvme, b"hello").into_iter().collect();
    request.condition = Condition::Absent;
    let stored = store(&recorder).put(&request, Body::Whole("hello".into())).await.unwrap();
    assert_eq!(stored.version.unwrap().as_str(), "v1");
    let [sent] = &recorder.requests()[..] else { panic!("one request is sent") };
    assert_eq!(sent.line, "PUT /bucket/k HTTP/1.1");
    assert_eq!(sent.body, b"hello");
    for (name, value) in [
        ("content-type", "text/plain"),
        ("x-amz-meta-name", "a value"),
        ("x-amz-tagging", "a%26b=c%20d"),
        ("x-amz-storage-class", "glacier_ir"),
        ("if-none-match", "*"),
        ("content-length", "5"),
        ("x-amz-content-sha256", "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"),
    ] {
        assert_eq!(sent.header(name), Some(value), "{name}");
    }
    assert!(sent.header("x-amz-checksum-crc64nvme").is_some());
}

#[tokio::test]
async fn refusals_become_errors_with_a_remedy() {
    let retry = "Retry-After: 7";
    let cases: [(String, Right); 9] = [
        (error("503 Slow Down", "SlowDown", &[retry]), |error| {
            error.remedy() == Remedy::SlowDown(Some(Duration::from_secs(7)))
        }),
        (answer("429 Too Many Requests", &[retry], ""), |error| {
            error.remedy() == Remedy::SlowDown(Some(Duration::from_secs(7)))
        }),
        (error("500 Oops", "InternalError", &[retry]), |error| {
            error.remedy() == Remedy::Retry(Some(Duration::from_secs(7)))
        }),
        (answer("502 Bad Gateway", &[], "<html>no</html>"), |error| matches!(error, StoreError::Unavailable { .. })),
        (error("403 Forbidden", "AccessDenied", &[]), |error| matches!(error, StoreError::Refused { .. })),
        (error("404 Not Found", "NoSuchKey", &[]), |error| matches!(error, StoreError::Missing { .. })),
        (error("404 Not Found", "NoSuchBucket", &[]), |error| error.to_string().contains("the bucket bucket")),
        (error("412 Precondition Failed", "PreconditionFailed", &[]), |error| error.remedy() == Remedy::LookAgain),
        (error("403 Forbidden", "QuotaExceeded", &[]), |error| matches!(error, StoreError::Full { .. })),
    ];
    for (answer, right) in cases {
        let recorder = Recorder::start([answer.clone()]).await;
        let refused = read(&recorder, 5).await.unwrap_err();
        assert!(right(&refused), "{answer}: {refused:?}");
        assert!(!format!("{refused} {refused:?}").contains("secret"));
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let mut options = options(&Recorder::start([]).await);
    options.endpoint = Some("http://127.0.0.1:1".into());
    let store = S3Store::new(&options).unwrap();
    let result = store.list(&ListRequest::first(KeyRange::all())).await;
    assert!(matches!(result, Err(StoreError::Unavailable { .. })), "{result:?}");
}

#[tokio::test]
async fn a_body_that_is_not_what_was_asked_for_is_an_error() {
    let whole = |headers: &[&str], body: &str| answer("200 OK", &[headers, &[ETAG]].concat(), body);
    assert_eq!(read(&Recorder::start([whole(&[], "hello")]).await, 5).await.unwrap(), "hello");
    for (what, lie) in [
        ("it is cut", whole(&["Content-Length: 5"], "hel")),
        ("it has no length and is cut", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n".to_owned()),
        ("it is longer", whole(&[], "hello!")),
        ("it is shorter", whole(&[], "hell")),
        ("it is a part", answer("206 Partial Content", &[ETAG, "Content-Range: bytes 0-2/5"], "hel")),
        ("it is another object", answer("200 OK", &["ETag: \"other\""], "hello")),
    ] {
        let result = read(&Recorder::start([lie]).await, 5).await;
        assert!(result.is_err(), "{what}: {result:?}");
    }
}

#[tokio::test]
async fn a_range_that_is_ignored_or_another_is_an_error() {
    let request = ReadRequest {
        range: farshore_sync::store::ByteRange { offset: 1, len: 2 },
        ..ReadRequest::whole(&key("k"), &identity(5))
    };
    let ranged = |range: &str, body: &str| {
        answer("206 Partial Content", &[ETAG, &format!("Content-Range: bytes {range}")], body)
    };
    let recorder = Recorder::start([ranged("1-2/5", "el")]).await;
    let reading = store(&recorder).read(&request).await.unwrap();
    assert_eq!(reading.object.entry.size, 5);
    assert_eq!(read_whole(reading.bytes, 2).await.unwrap(), "el");
    assert_eq!(recorder.requests()[0].header("range"), Some("bytes=1-2"));
    assert_eq!(recorder.requests()[0].header("if-match"), Some("\"5d41402abc4b2a76b9719d911017c592\""));
    for lie in [answer("200 OK", &[ETAG], "hello"), ranged("0-1/5", "he"), ranged("1-2/6", "el"), ranged("1-2/*", "el")]
    {
        let result = store(&Recorder::start([lie.clone()]).await).read(&request).await;
        assert!(result.is_err(), "{lie}");
    }
}

fn page(truncated: bool, keys: &[&str], token: Option<&str>) -> String {
    let contents = keys.iter().flat_map(|key| ["<Contents><Key>", *key, "</Key><Size>1</Size></Contents>"]);
    let contents = contents.collect::<String>();
    let token =
        token.map(|token| format!("<NextContinuationToken>{token}</NextContinuationToken>")).unwrap_or_default();
    let document = format!(
        "<ListBucketResult><IsTruncated>{truncated}</IsTruncated><EncodingType>url</EncodingType>{contents}{token}</ListBucketResult>"
    );
    answer("200 OK", &[], &document)
}

#[tokio::test]
async fn pages_start_after_places_and_get_past_empty_ones_by_token() {
    let recorder = Recorder::start([page(true, &[], Some("t/1")), page(true, &["b", "c%0A"], Some("t2"))]).await;
    let range = KeyRange::new("a\0", Some("x".into()));
    let listed = store(&recorder).list(&ListRequest { limit: 2, ..ListRequest::first(range) }).await.unwrap();
    assert_eq!(listed.entries[1].key, key("c\n"));
    assert_eq!(listed.end, PageEnd::more("c\n\0".into()));
    let targets: Vec<_> = recorder.requests().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(targets[0], "/bucket?encoding-type=url&list-type=2&max-keys=2&start-after=a");
    assert_eq!(targets[1], "/bucket?continuation-token=t%2F1&encoding-type=url&list-type=2&max-keys=2&start-after=a");
}

#[tokio::test]
async fn a_listing_that_lies_is_damaged() {
    let list = async |answers: Vec<String>| {
        store(&Recorder::start(answers).await).list(&ListRequest::first(KeyRange::all())).await
    };
    for (what, answers) in [
        ("it repeats", vec![page(false, &["a", "a"], None)]),
        ("it is out of order", vec![page(false, &["b", "a"], None)]),
        ("it is cut", vec![page(false, &["a"], None).replace("</ListBucketResult>", "                   ")]),
        ("there is more, but nowhere", vec![page(true, &[], None)]),
        ("it goes around", vec![page(true, &[], Some("t")), page(true, &[], Some("t"))]),
        ("it is a login page", vec![answer("200 OK", &[], "<html><body>welcome</body></html>")]),
        ("it is an error in disguise", vec![error("200 OK", "InternalError", &[])]),
        ("it is nothing", vec![answer("200 OK", &[], "")]),
    ] {
        let result = list(answers).await;
        assert!(matches!(result, Err(StoreError::Corrupt { .. })), "{what}: {result:?}");
    }
}

#[tokio::test]
async fn a_body_that_fails_is_told_as_what_it_was_and_never_whole() {
    let bytes = Bytes::from_static(b"hello");
    let broken = || Err(StoreError::changed(&key("source"), "while it was read"));
    for chunks in
        [vec![Ok(bytes.clone()), broken()], vec![broken()], vec![Ok(bytes.slice(..2)), Ok(bytes.slice(2..)), broken()]]
    {
        let recorder = Recorder::start([answer("200 OK", &[ETAG], "")]).await;
        let body = Body::Stream { len: 5, bytes: stream::iter(chunks).boxed() };
        let result = store(&recorder).put(&PutRequest::object(key("k"), 5), body).await;
        assert!(matches!(&result, Err(StoreError::Changed { .. })), "{result:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(recorder.requests().iter().all(|request| request.body.len() < 5), "the body was never whole");
    }
    for (len, chunks) in [(5, vec![&b"hell"[..]]), (5, vec![b"hello", b"!"]), (0, vec![b"!"])] {
        let recorder = Recorder::start([answer("200 OK", &[ETAG], "")]).await;
        let chunks: Vec<_> = chunks.into_iter().map(|chunk| Ok(Bytes::from_static(chunk))).collect();
        let body = Body::Stream { len, bytes: stream::iter(chunks).boxed() };
        let result = store(&recorder).put(&PutRequest::object(key("k"), len), body).await;
        assert!(matches!(&result, Err(StoreError::Invalid { .. })), "{result:?}");
    }
}

#[tokio::test]
async fn a_completion_or_copy_may_fail_after_it_was_accepted() {
    let failed = || error("200 OK", "InternalError", &[]);
    let upload = Upload { key: key("k"), id: UploadId::new("u&1") };
    let part = StoredPart { number: 1, size: 5, etag: ETag::new("e"), checksums: Checksums::none() };
    let recorder = Recorder::start([failed()]).await;
    let result = store(&recorder).complete_multipart(&upload, &PutRequest::object(key("k"), 5), &[part]).await;
    assert!(matches!(result, Err(StoreError::Unavailable { .. })), "{result:?}");
    assert_eq!(recorder.requests()[0].target(), "/bucket/k?uploadId=u%261");
    let recorder = Recorder::start([failed()]).await;
    let store = store(&recorder);
    let target = PutRequest::object(key("t"), 5);
    let request = CopyRequest { source: key("s +é"), identity: identity(5), target };
    let result = store.copy(&store, &request).await;
    assert!(matches!(result, Err(StoreError::Unavailable { .. })), "{result:?}");
    assert_eq!(recorder.requests()[0].header("x-amz-copy-source"), Some("/bucket/s%20%2b%c3%a9"));
}

#[tokio::test]
async fn keys_that_xml_cannot_carry_are_deleted_by_themselves() {
    let deleted = "<DeleteResult><Deleted><Key>a&amp;b</Key></Deleted><Error><Key>c</Key><Code>SlowDown</Code></Error></DeleteResult>";
    let none = || answer("204 No Content", &["Content-Length: 0"], "");
    let recorder = Recorder::start([answer("200 OK", &[], deleted), none(), none()]).await;
    let keys = [key("a&b"), key("c"), key("d"), key("\u{1}"), key("cr\rlf\n")];
    let outcomes = store(&recorder).delete(&keys).await.unwrap();
    assert!(outcomes[0].is_ok() && outcomes[3].is_ok() && outcomes[4].is_ok(), "{outcomes:?}");
    assert!(matches!(outcomes[1], Err(StoreError::Throttled { .. })), "{outcomes:?}");
    assert!(matches!(outcomes[2], Err(StoreError::Unavailable { .. })), "the server did not name it: {outcomes:?}");
    let requests = recorder.requests();
    let body = String::from_utf8_lossy(&requests[0].body).into_owned();
    assert!(body.contains("<Key>a&amp;b</Key>") && body.contains("<Quiet>false</Quiet>"), "{body}");
    let mut lines: Vec<_> = requests[1..].iter().map(|request| request.line.as_str()).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["DELETE /bucket/%01 HTTP/1.1", "DELETE /bucket/cr%0Dlf%0A HTTP/1.1"]);
}

#[tokio::test]
async fn an_object_that_is_not_there_is_deleted_and_one_of_a_bucket_that_is_not_there_is_not() {
    let absent = |code| error("404 Not Found", code, &[]);
    let recorder = Recorder::start([absent("NoSuchKey"), absent("NoSuchBucket")]).await;
    let store = store(&recorder);
    assert!(store.delete(&[key("gone")]).await.unwrap()[0].is_ok());
    let outcomes = store.delete(&[key("lost")]).await.unwrap();
    assert!(matches!(outcomes[0], Err(StoreError::Missing { .. })), "{outcomes:?}");
}

#[tokio::test]
async fn a_server_of_paths_is_given_no_key_that_it_would_rewrite() {
    let recorder = Recorder::start([answer("200 OK", &["Server: SeaweedFS 4.48"], "")]).await;
    let store = store(&recorder);
    for odd in ["a//b", "/lead", "back\\slash", "tail//", "./d", "a/..", "nul\0"] {
        let result = store.put(&PutRequest::object(key(odd), 0), Body::empty()).await;
        assert!(matches!(result, Err(StoreError::Unholdable { .. })), "{odd}: {result:?}");
        let result = store.head(&key(odd), AttributeSet::NONE).await;
        assert!(matches!(result, Err(StoreError::Missing { .. })), "{odd}: {result:?}");
        assert!(store.delete(&[key(odd)]).await.unwrap()[0].is_ok());
    }
    assert_eq!(recorder.requests().len(), 1, "it was asked once what it is");
}

#[tokio::test]
async fn composite_checksums_are_told_as_such() {
    let headers = [ETAG, "x-amz-checksum-crc32c: 4waSgw==-2", "x-amz-checksum-type: COMPOSITE", "Content-Length: 5"];
    let recorder = Recorder::start([answer("200 OK", &headers, "")]).await;
    let object = store(&recorder).head(&key("k"), AttributeSet::NONE).await.unwrap();
    let composite = farshore_sync::Scope::Composite { parts: 2 };
    let sum = object.entry.checksums.get(composite, farshore_sync::Algorithm::Crc32c);
    assert_eq!(sum, Some(Checksum::Crc32c(0xE306_9283)));
}
