//! Checks of whole writes: atomic, verified, byte for byte, with what is kept beside the bytes.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::{failing, get, head, key, must, names, pattern, put, try_get};
use crate::attributes::AttributeKind;
use crate::checksum::{Agreement, Checksum, Checksums, Scope};
use crate::digest::checksum_of;
use crate::entry::Kind;
use crate::error::StoreError;
use crate::key::Key;
use crate::key_range::KeyRange;
use crate::limits::MAX_KEY_BYTES;
use crate::store::{Body, Condition, PutRequest, Store};

pub(super) async fn what_was_put_is_read(store: Arc<dyn Store>) {
    for len in [0, 1, 4096, 700_000] {
        let bytes = pattern(len);
        put(&store, "dir/whole", &bytes).await;
        assert_eq!(get(&store, "dir/whole").await, bytes);
        let chunks: Vec<_> = bytes.chunks(10_000).map(|chunk| Ok(bytes.slice_ref(chunk))).collect();
        let body = Body::Stream { len: len as u64, bytes: stream::iter(chunks).boxed() };
        must(store.put(&PutRequest::object(key("dir/stream"), len as u64), body).await);
        assert_eq!(get(&store, "dir/stream").await, bytes);
    }
    must(store.flush().await);
}

pub(super) async fn an_object_is_replaced_whole(store: Arc<dyn Store>) {
    put(&store, "object", &pattern(10_000)).await;
    put(&store, "object", &Bytes::from_static(b"short")).await;
    assert_eq!(get(&store, "object").await.as_ref(), b"short");
    assert_eq!(names(&store, KeyRange::all(), 1000).await, ["object"]);
}

pub(super) async fn a_body_that_fails_leaves_what_was_there(store: Arc<dyn Store>) {
    let before = Bytes::from_static(b"before");
    put(&store, "object", &before).await;
    for name in ["object", "new/object"] {
        let body = Body::Stream { len: 20_000, bytes: failing(&pattern(10_000)) };
        let result = store.put(&PutRequest::object(key(name), 20_000), body).await;
        assert!(result.is_err(), "{name}: {result:?}");
    }
    assert_eq!(get(&store, "object").await, before);
    assert_eq!(names(&store, KeyRange::all(), 1000).await, ["object"]);
}

pub(super) async fn a_body_of_another_length_leaves_what_was_there(store: Arc<dyn Store>) {
    let before = Bytes::from_static(b"before");
    put(&store, "object", &before).await;
    for sent in [0, 9_999, 10_001] {
        let body = Body::Stream { len: 10_000, bytes: stream::iter([Ok(pattern(sent))]).boxed() };
        let result = store.put(&PutRequest::object(key("object"), 10_000), body).await;
        assert!(result.is_err(), "{sent} bytes in place of 10,000: {result:?}");
        assert_eq!(get(&store, "object").await, before);
    }
}

pub(super) async fn a_wrong_checksum_is_refused(store: Arc<dyn Store>) {
    for algorithm in store.capabilities().verifies.clone() {
        let wrong = checksum_of(algorithm, b"other bytes");
        let Some(wrong) = wrong else { continue };
        let checksums = Checksums::none().with(wrong);
        let request = PutRequest { checksums, ..PutRequest::object(key("object"), 5) };
        let result = store.put(&request, Body::Whole(Bytes::from_static(b"bytes"))).await;
        assert!(matches!(result, Err(StoreError::Corrupt { .. })), "{algorithm}: {result:?}");
        let result = try_get(&store, &key("object")).await;
        assert!(matches!(result, Err(StoreError::Missing { .. })), "{algorithm}: {result:?}");
        let checksums = checksum_of(algorithm, b"bytes").into_iter().collect();
        must(store.put(&PutRequest { checksums, ..request }, Body::Whole(Bytes::from_static(b"bytes"))).await);
        must(store.delete(&[key("object")]).await);
    }
}

pub(super) async fn reported_checksums_are_right(store: Arc<dyn Store>) {
    let bytes = pattern(100_000);
    let right = |sums: &Checksums| {
        let whole = sums.iter().filter(|(scope, _)| *scope == Scope::Whole);
        let computed: Vec<Checksum> = whole.filter_map(|(_, sum)| checksum_of(sum.algorithm(), &bytes)).collect();
        let computed: Checksums = computed.into_iter().collect();
        !matches!(sums.agreement(&computed), Agreement::Different(_))
    };
    let request = PutRequest::object(key("object"), bytes.len() as u64);
    let stored = must(store.put(&request, Body::Whole(bytes.clone())).await);
    assert!(right(&stored.checksums), "{stored:?}");
    assert!(stored.size.is_none_or(|size| size == bytes.len() as u64));
    let object = head(&store, &key("object")).await;
    assert!(right(&object.entry.checksums), "{object:?}");
    assert!(stored.etag.is_none() || stored.etag == object.entry.etag, "{stored:?} {object:?}");
}

/// Keys that object stores hold and many tools lose.
fn odd_keys() -> Vec<Key> {
    let long = ["x".repeat(200), "y".repeat(200), "z".repeat(622)].join("/");
    let mut odd: Vec<Vec<u8>> = [
        "a//b",
        "a/../c",
        "../up",
        "./d",
        "dir/",
        ".",
        "..",
        "/lead",
        "tail//",
        "sp ace",
        "pl+us",
        "per%20cent",
        "a%2Fb",
        "back\\slash",
        "new\nline",
        "tab\t",
        "del\u{7f}",
        "e\u{301}",
        "é",
        "日本語",
        "quo\"te'",
        "<&>",
        "q?x#y",
        "*[a]{b}",
        " lead",
        "trail ",
        "trail.",
        "x#12",
        "-dash",
        "~",
        "$var",
        "CON",
        "semi;colon,comma",
        "\u{1F600}",
        "\u{1}",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    odd.push(long.into_bytes());
    odd.push(vec![b'k'; MAX_KEY_BYTES]);
    odd.push(b"not\xFFutf8/\xC3".to_vec());
    odd.push(b"nul\0byte".to_vec());
    odd.into_iter().map(|bytes| Key::new(bytes).expect("an odd key is a key")).collect()
}

pub(super) async fn odd_keys_are_kept_or_refused(store: Arc<dyn Store>) {
    let mut kept = BTreeSet::new();
    for key in odd_keys() {
        let body = Bytes::copy_from_slice(key.as_bytes());
        match store.put(&PutRequest::object(key.clone(), body.len() as u64), Body::Whole(body)).await {
            Ok(_) => assert!(kept.insert(key.to_string())),
            Err(StoreError::Unholdable { key: refused, .. }) => assert_eq!(refused, key),
            Err(other) => panic!("{key}: {other}"),
        }
    }
    for printed in &kept {
        let key: Key = printed.parse().expect("a printed key parses");
        assert_eq!(must(try_get(&store, &key).await).as_ref(), key.as_bytes(), "{key} has its own bytes");
    }
    let listed: BTreeSet<_> = names(&store, KeyRange::all(), 7).await.into_iter().collect();
    assert_eq!(listed, kept, "every key is listed as itself");
}

pub(super) async fn attributes_are_kept(store: Arc<dyn Store>) {
    let holds = store.capabilities().holds;
    let mut request = PutRequest::object(key("object"), 5);
    request.attributes.content.content_type = Some("text/x-test; charset=utf-8".to_owned());
    request.attributes.content.cache_control = Some("max-age=60".to_owned());
    request.attributes.content.content_disposition = Some("attachment; filename=\"a b\"".to_owned());
    request.attributes.user.insert("purpose".to_owned(), "a value, with = signs".to_owned());
    request.attributes.tags.insert("project".to_owned(), "far shore".to_owned());
    must(store.put(&request, Body::Whole(Bytes::from_static(b"bytes"))).await);
    let found = head(&store, &key("object")).await.attributes;
    let sent = &request.attributes;
    assert!(!holds.has(AttributeKind::ContentHeaders) || found.content == sent.content, "{:?}", found.content);
    let user = sent.user.iter().all(|(name, value)| found.user.get(name) == Some(value));
    assert!(!holds.has(AttributeKind::UserMetadata) || user, "{:?}", found.user);
    assert!(!holds.has(AttributeKind::Tags) || found.tags == sent.tags, "{:?}", found.tags);
}

pub(super) async fn symbolic_links_are_kept(store: Arc<dyn Store>) {
    if !store.capabilities().holds.has(AttributeKind::Symlinks) {
        return;
    }
    for target in [&b"../else where"[..], b"/nowhere", b"not\xFFutf8"] {
        let kind = Kind::Symlink { target: Bytes::from_static(target) };
        let request = PutRequest { kind: kind.clone(), ..PutRequest::object(key("dir/link"), 0) };
        must(store.put(&request, Body::empty()).await);
        assert_eq!(head(&store, &key("dir/link")).await.entry.kind, kind);
    }
}

pub(super) async fn conditions_hold(store: Arc<dyn Store>) {
    if !store.capabilities().conditional {
        return;
    }
    let bytes = Bytes::from_static(b"bytes");
    let write = async |condition: Condition| {
        let request = PutRequest { condition, ..PutRequest::object(key("object"), 5) };
        store.put(&request, Body::Whole(bytes.clone())).await
    };
    must(write(Condition::Absent).await);
    assert!(matches!(write(Condition::Absent).await, Err(StoreError::Changed { .. })));
    let first = head(&store, &key("object")).await.entry.identity();
    must(write(Condition::Is(first.clone())).await);
    let second = head(&store, &key("object")).await.entry.identity();
    // A tag that is made of the bytes is the same again for the same bytes, and then holds.
    if !second.may_be(&first) {
        assert!(matches!(write(Condition::Is(first)).await, Err(StoreError::Changed { .. })));
    }
}
