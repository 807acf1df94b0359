//! Servers that lie, lead elsewhere, or have nothing that can be understood.

use std::time::Duration;

use bytes::Bytes;
use farshore_sync::store::http::{HttpOptions, HttpStore};
use farshore_sync::store::{ByteRange, ReadRequest, Store, read_whole};
use farshore_sync::{AttributeSet, ETag, Entry, Identity, Key, KeyRange, Remedy, StoreError};

use crate::recorder::{Recorder, answer};
use crate::site::{Site, list, names};

const ETAG: &str = "ETag: \"e1\"";

fn key(text: &str) -> Key {
    Key::try_from(text).expect("it is a key")
}

fn index(links: &[&str]) -> String {
    let links: String = links.iter().flat_map(|link| ["<a href=\"", link, "\">x</a>\n"]).collect();
    html(&format!("<html><head><title>Index of /</title></head><body>{links}</body></html>"))
}

fn html(body: &str) -> String {
    answer("200 OK", &["Content-Type: text/html"], body)
}

fn file(bytes: &str) -> String {
    answer("200 OK", &[ETAG, "Content-Type: text/plain"], bytes)
}

#[tokio::test]
async fn nothing_outside_the_address_is_asked_for() {
    let links = [
        "../",
        "/",
        "/base/",
        "?C=M",
        "https://127.0.0.1/base/x",
        "//evil/base/x",
        "/etc/passwd",
        "../secret",
        "%2e%2e/secret",
        "..%2fsecret",
        "a/b",
        "fine",
        "sub/",
        "./fine",
        "/base/fine",
        "sub/",
    ];
    let site = Site::start([
        ("/base/", index(&links)),
        ("/base/sub/", index(&["../../secret", "/base/fine", "in"])),
        ("/base/fine", file("fine")),
        ("/base/sub/in", file("in")),
        ("/secret", file("secret")),
    ])
    .await;
    let (entries, unlisted) = list(&site.store("base/"), KeyRange::all(), 1000).await.unwrap();
    assert_eq!(names(&entries), ["fine", "sub/in"]);
    assert_eq!(
        unlisted.iter().map(|one| (one.place.as_str(), one.hides_keys)).collect::<Vec<_>>(),
        [("../secret", true)]
    );
    let asked = site.asked();
    assert_eq!(asked, ["GET /base/", "GET /base/sub/", "HEAD /base/fine", "HEAD /base/sub/in"]);
}

#[tokio::test]
async fn what_cannot_be_understood_is_told_and_hides_keys() {
    let json = |body: &str| answer("200 OK", &["Content-Type: application/json"], body);
    let site = Site::start([
        ("/", index(&["app/", "cut/", "forbidden/", "image/", "json/", "moved/", "no-size", "private", "gone", "ok"])),
        ("/app/", html("<html><title>Welcome</title><a href=\"x\">x</a></html>")),
        ("/cut/", index(&["x"]).replace("</html>", "       ")),
        ("/forbidden/", answer("403 Forbidden", &[], "")),
        ("/image/", answer("200 OK", &["Content-Type: image/png"], "x")),
        ("/json/", json("[{\"name\":\"sub/up\",\"type\":\"file\"},{\"name\":\"in\",\"type\":\"file\"}]")),
        ("/json/in", file("in")),
        ("/moved/", answer("301 Moved", &["Location: http://elsewhere/"], "")),
        ("/no-size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n".to_owned()),
        ("/private", answer("401 Unauthorized", &[], "")),
        ("/ok", file("ok")),
    ])
    .await;
    let (entries, mut unlisted) = list(&site.store(""), KeyRange::all(), 1000).await.unwrap();
    assert_eq!(names(&entries), ["json/in", "ok"]);
    unlisted.sort_by(|one, other| one.place.cmp(&other.place));
    let told: Vec<_> = unlisted.iter().map(|one| (one.place.as_str(), one.hides_keys)).collect();
    let hidden = ["app/", "cut/", "forbidden/", "image/", "json/sub/up", "moved/", "no-size", "private"];
    let mut expected: Vec<_> = hidden.iter().map(|place| (*place, true)).collect();
    expected.insert(3, ("gone", false));
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_root_that_is_no_index_is_an_error_and_so_is_a_failing_server() {
    type Right = fn(&StoreError) -> bool;
    let cases: [(String, Right); 6] = [
        (html("<html><title>Welcome</title></html>"), |error| matches!(error, StoreError::Invalid { .. })),
        (answer("403 Forbidden", &[], ""), |error| matches!(error, StoreError::Invalid { .. })),
        (answer("404 Not Found", &[], ""), |error| matches!(error, StoreError::Missing { .. })),
        (answer("503 Busy", &["Retry-After: 7"], ""), |error| {
            error.remedy() == Remedy::SlowDown(Some(Duration::from_secs(7)))
        }),
        (answer("502 Bad Gateway", &[], ""), |error| matches!(error.remedy(), Remedy::Retry(_))),
        (index(&["x"]).replace("Connection", "Content-Length: 9999\r\nX"), |error| {
            matches!(error.remedy(), Remedy::Retry(_))
        }),
    ];
    for (page, right) in cases {
        let site = Site::start([("/", page.clone())]).await;
        let error = list(&site.store(""), KeyRange::all(), 10).await.unwrap_err();
        assert!(right(&error), "{page}: {error:?}");
    }
    // One name that fails makes the page fail, rather than be short.
    let site = Site::start([("/", index(&["x"])), ("/x", answer("500 Oops", &[], ""))]).await;
    assert!(list(&site.store(""), KeyRange::all(), 10).await.is_err());
}

#[tokio::test]
async fn a_directory_that_holds_itself_ends() {
    // Each level is the same page: the tree has no end but that of keys.
    let deep: Vec<(String, String)> =
        (0..400).map(|depth| (format!("/{}", "loop/".repeat(depth)), index(&["loop/"]))).collect();
    let site = Site::start(deep.iter().map(|(path, page)| (path.as_str(), page.clone()))).await;
    let (entries, unlisted) = list(&site.store(""), KeyRange::all(), 1000).await.unwrap();
    assert!(entries.is_empty() && unlisted.len() == 1 && unlisted[0].hides_keys, "{unlisted:?}");
}

fn identity(etag: Option<&str>, size: u64) -> Identity {
    let mut entry = Entry::object(key("k"), size);
    entry.etag = etag.map(ETag::new);
    entry.modified = Some(farshore_sync::Timestamp::new(1_369_353_600, 0));
    entry.identity()
}

async fn read(answers: &str, request: &ReadRequest) -> (farshore_sync::Result<Bytes>, String) {
    let recorder = Recorder::start([answers.to_owned()]).await;
    let address = format!("{}/", recorder.endpoint());
    let options = HttpOptions::at(&address.parse().expect("it is an address"), |_| None).expect("it is a place");
    let store = HttpStore::new(&options).expect("it can be opened");
    let read = async {
        let reading = store.read(request).await?;
        read_whole(reading.bytes, request.range.len as usize).await
    };
    let result = read.await;
    (result, recorder.requests().first().map(|request| request.headers.clone()).unwrap_or_default())
}

#[tokio::test]
async fn bytes_of_another_state_or_range_are_never_given() {
    let range = ByteRange { offset: 1, len: 2 };
    let part = ReadRequest { range, ..ReadRequest::whole(&key("k"), &identity(Some("e1"), 5)) };
    let ranged = |range: &str, body: &str| {
        answer("206 Partial Content", &[ETAG, &format!("Content-Range: bytes {range}")], body)
    };
    let (bytes, sent) = read(&ranged("1-2/5", "el"), &part).await;
    assert_eq!(bytes.unwrap(), "el");
    assert!(sent.contains("if-match: \"e1\"") && sent.contains("range: bytes=1-2"), "{sent}");
    // A server without ranges gives everything.
    assert_eq!(read(&file("hello"), &part).await.0.unwrap(), "el");
    for lie in [
        ranged("0-1/5", "he"),
        ranged("1-2/6", "el"),
        ranged("1-2/5", "e"),
        answer("200 OK", &["ETag: \"other\""], "hello"),
        answer("200 OK", &[ETAG], "hell"),
        answer("412 Precondition Failed", &[], ""),
        answer("302 Found", &["Location: /login"], ""),
    ] {
        let (result, _) = read(&lie, &part).await;
        assert!(result.is_err(), "{lie}: {result:?}");
    }
    // A weak tag matches nothing, so that the time is the condition.
    let weak = ReadRequest::whole(&key("k"), &identity(Some("W/\"e1\""), 5));
    let told = ["ETag: W/\"e1\"", "Last-Modified: Fri, 24 May 2013 00:00:00 GMT"];
    let (bytes, sent) = read(&answer("200 OK", &told, "hello"), &weak).await;
    assert_eq!(bytes.unwrap(), "hello");
    assert!(sent.contains("if-unmodified-since: fri, 24 may 2013 00:00:00 gmt"), "{sent}");
    assert!(!sent.contains("if-match"), "{sent}");
}

#[tokio::test]
async fn keys_that_would_lead_elsewhere_are_not_there() {
    let site = Site::start([("/secret", file("secret"))]).await;
    let store = site.store("base/");
    for odd in ["../secret", "a/../../secret", "/secret", "a//b", "./x", "x/.", "nul\0", "dir/"] {
        let result = store.head(&key(odd), AttributeSet::NONE).await;
        assert!(matches!(result, Err(StoreError::Missing { .. })), "{odd}: {result:?}");
    }
    assert!(site.asked().is_empty());
}
