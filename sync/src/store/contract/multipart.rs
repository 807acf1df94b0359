//! Checks of objects in parts and of server-side copies.

use std::sync::Arc;

use bytes::Bytes;

use super::{get, head, key, must, names, pattern, put, send_parts, try_get};
use crate::checksum::{Agreement, Checksums};
use crate::digest::{Extra, Hasher};
use crate::error::{Result, StoreError};
use crate::key_range::KeyRange;
use crate::store::{Body, ByteRange, CopyRequest, PartRequest, PutRequest, Store, StoredPart, Upload};

/// The size of parts that this store takes; none if it takes no parts.
fn part_bytes(store: &Arc<dyn Store>) -> Option<usize> {
    store.capabilities().parts.map(|parts| parts.min_bytes.max(1024) as usize)
}

/// Sends part `number` of `bytes`, with its CRCs.
pub(super) async fn send(
    store: &Arc<dyn Store>,
    upload: &Upload,
    bytes: &Bytes,
    part: usize,
    number: u32,
) -> Result<StoredPart> {
    let start = (number as usize - 1) * part;
    let body = bytes.slice(start..bytes.len().min(start + part));
    let mut hasher = Hasher::new(Extra::default());
    hasher.update(&body);
    let range = ByteRange { offset: start as u64, len: body.len() as u64 };
    let request = PartRequest { number, range, checksums: hasher.checksums() };
    store.put_part(upload, &request, Body::Whole(body)).await
}

pub(super) async fn parts_in_any_order_make_the_object(store: Arc<dyn Store>) {
    let Some(part) = part_bytes(&store) else { return };
    let bytes = pattern(2 * part + 77);
    let (request, upload, parts) = send_parts(&store, "dir/parts", &bytes, part, &[3, 1, 2]).await;
    let mut hasher = Hasher::new(Extra { md5: false, blake3: false });
    hasher.update(&bytes);
    let request = PutRequest { checksums: hasher.checksums(), ..request };
    let stored = must(store.complete_multipart(&upload, &request, &parts).await);
    assert!(!matches!(stored.checksums.agreement(&hasher.checksums()), Agreement::Different(_)), "{stored:?}");
    assert_eq!(get(&store, "dir/parts").await, bytes);
    assert_eq!(head(&store, &key("dir/parts")).await.entry.size, bytes.len() as u64);
}

pub(super) async fn nothing_is_seen_before_completion(store: Arc<dyn Store>) {
    let Some(part) = part_bytes(&store) else { return };
    let before = Bytes::from_static(b"before");
    put(&store, "parts", &before).await;
    let bytes = pattern(part + 1);
    let (request, upload, parts) = send_parts(&store, "parts", &bytes, part, &[1, 2]).await;
    assert_eq!(get(&store, "parts").await, before);
    assert_eq!(names(&store, KeyRange::all(), 1000).await, ["parts"]);
    must(store.complete_multipart(&upload, &request, &parts).await);
    assert_eq!(get(&store, "parts").await, bytes);
    assert_eq!(names(&store, KeyRange::all(), 1000).await, ["parts"]);
}

pub(super) async fn uploads_and_parts_are_listed_and_go_on(store: Arc<dyn Store>) {
    let Some(part) = part_bytes(&store) else { return };
    let bytes = pattern(2 * part + 5);
    let (request, upload, _) = send_parts(&store, "a/b", &bytes, part, &[1, 2]).await;
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let page = must(store.list_uploads(after.as_deref()).await);
        found.extend(page.uploads.into_iter().map(|open| open.upload));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, std::slice::from_ref(&upload), "open uploads are found");
    let page = must(store.list_parts(&upload, None).await);
    assert_eq!(page.parts.iter().map(|part| part.number).collect::<Vec<_>>(), [1, 2]);
    assert!(page.parts.iter().all(|stored| stored.size == part as u64));
    let later = must(store.list_parts(&upload, Some(1)).await);
    assert_eq!(later.parts.iter().map(|part| part.number).collect::<Vec<_>>(), [2]);
    let mut parts = page.parts;
    parts.push(must(send(&store, &upload, &bytes, part, 3).await));
    must(store.complete_multipart(&upload, &request, &parts).await);
    assert_eq!(get(&store, "a/b").await, bytes);
    assert!(must(store.list_uploads(None).await).uploads.is_empty(), "a completed upload is none");
}

pub(super) async fn a_part_sent_again_counts(store: Arc<dyn Store>) {
    let Some(part) = part_bytes(&store) else { return };
    let (request, upload, parts) = send_parts(&store, "object", &Bytes::from(vec![1; part]), part, &[1]).await;
    let bytes = Bytes::from(vec![2; part]);
    let again = must(send(&store, &upload, &bytes, part, 1).await);
    assert_eq!(again.number, parts[0].number);
    must(store.complete_multipart(&upload, &request, &[again]).await);
    assert_eq!(get(&store, "object").await, bytes);
}

pub(super) async fn an_aborted_upload_is_gone(store: Arc<dyn Store>) {
    let Some(part) = part_bytes(&store) else { return };
    let bytes = pattern(part);
    let (request, upload, parts) = send_parts(&store, "object", &bytes, part, &[1]).await;
    must(store.abort_multipart(&upload).await);
    must(store.abort_multipart(&upload).await);
    assert!(store.complete_multipart(&upload, &request, &parts).await.is_err());
    let result = try_get(&store, &key("object")).await;
    assert!(matches!(result, Err(StoreError::Missing { .. })), "{result:?}");
    assert!(must(store.list_uploads(None).await).uploads.is_empty());
}

pub(super) async fn a_server_side_copy_is_equal(store: Arc<dyn Store>) {
    if !store.copies_from(store.as_ref()) {
        return;
    }
    let bytes = pattern(50_000);
    put(&store, "source", &bytes).await;
    let identity = head(&store, &key("source")).await.entry.identity();
    let mut target = PutRequest::object(key("dir/copy"), bytes.len() as u64);
    target.checksums = Checksums::none();
    let request = CopyRequest { source: key("source"), identity, target };
    must(store.copy(store.as_ref(), &request).await);
    assert_eq!(get(&store, "dir/copy").await, bytes);
    put(&store, "source", &pattern(50_001)).await;
    let result = store.copy(store.as_ref(), &request).await;
    assert!(matches!(result, Err(StoreError::Changed { .. })), "{result:?}");
}
