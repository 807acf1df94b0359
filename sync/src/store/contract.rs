//! The contract suite: what every store must do, as small named checks.
//!
//! Each check gets a fresh, empty store. What a store cannot do, by its own [`Capabilities`](super::Capabilities), is
//! not asked of it. The suite panics at the first check that fails.

mod deleting;
mod listing;
mod multipart;
mod reading;
mod writing;

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::{Body, ByteStream, ListRequest, PutRequest, ReadRequest, Store, StoredPart, Upload, read_whole};
use crate::attributes::AttributeSet;
use crate::entry::{Entry, Object};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::key_range::KeyRange;

/// Runs each check on a store of its own.
macro_rules! run {
    ($make:expr, $($module:ident :: $check:ident),* $(,)?) => {
        $($module::$check($make().await).await;)*
    };
}

/// Runs every check on writable stores that `make` gives, each of them empty.
pub async fn run_all<S: Store>(make: impl AsyncFn() -> Arc<S>) {
    let make = async || make().await as Arc<dyn Store>;
    run!(
        make,
        listing::an_empty_store_lists_nothing_and_says_so,
        listing::pages_make_up_the_listing_in_the_order_of_bytes,
        listing::a_page_may_start_anywhere,
        listing::ranges_have_their_keys_and_no_others,
        listing::entries_tell_what_a_head_tells,
        listing::many_names_in_one_directory_are_listed_once_each,
        listing::directories_of_any_size_are_listed_whole,
        listing::a_place_ahead_has_keys_on_both_sides,
        reading::a_range_has_its_bytes,
        reading::an_object_that_was_written_again_is_changed,
        reading::a_state_that_never_was_is_changed,
        reading::what_is_not_there_is_missing,
        writing::what_was_put_is_read,
        writing::an_object_is_replaced_whole,
        writing::a_body_that_fails_leaves_what_was_there,
        writing::a_body_of_another_length_leaves_what_was_there,
        writing::a_wrong_checksum_is_refused,
        writing::reported_checksums_are_right,
        writing::odd_keys_are_kept_or_refused,
        writing::attributes_are_kept,
        writing::symbolic_links_are_kept,
        writing::conditions_hold,
        multipart::parts_in_any_order_make_the_object,
        multipart::nothing_is_seen_before_completion,
        multipart::uploads_and_parts_are_listed_and_go_on,
        multipart::a_part_sent_again_counts,
        multipart::an_aborted_upload_is_gone,
        multipart::a_server_side_copy_is_equal,
        deleting::what_was_deleted_is_gone,
        deleting::deleting_what_is_not_there_succeeds,
        deleting::a_directory_goes_after_what_is_in_it,
    );
}

/// The value, where a failure is a failure of the check.
#[track_caller]
fn must<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

fn key(text: &str) -> Key {
    Key::try_from(text).expect("a check's key is a key")
}

/// Bytes that differ from place to place.
fn pattern(len: usize) -> Bytes {
    (0..len).map(|at| (at * 31 % 251) as u8).collect::<Vec<_>>().into()
}

async fn put(store: &Arc<dyn Store>, name: &str, bytes: &Bytes) {
    let request = PutRequest::object(key(name), bytes.len() as u64);
    must(store.put(&request, Body::Whole(bytes.clone())).await);
}

async fn put_all(store: &Arc<dyn Store>, names: &[&str]) {
    for name in names {
        put(store, name, &Bytes::copy_from_slice(name.as_bytes())).await;
    }
}

async fn head(store: &Arc<dyn Store>, key: &Key) -> Object {
    must(store.head(key, AttributeSet::all()).await)
}

async fn try_get(store: &Arc<dyn Store>, key: &Key) -> Result<Bytes> {
    let object = store.head(key, AttributeSet::NONE).await?;
    let reading = store.read(&ReadRequest::whole(key, &object.entry.identity())).await?;
    read_whole(reading.bytes, object.entry.size as usize).await
}

async fn get(store: &Arc<dyn Store>, name: &str) -> Bytes {
    must(try_get(store, &key(name)).await)
}

/// All entries of a range but directories, which some stores list and others do not have.
async fn objects(store: &Arc<dyn Store>, range: KeyRange, limit: usize) -> Vec<Entry> {
    let mut request = Some(ListRequest { limit, ..ListRequest::first(range) });
    let mut all = Vec::new();
    while let Some(current) = request {
        let page = must(store.list(&current).await);
        assert!(page.entries.len() <= limit, "a page of at most {limit}");
        assert!(page.unlisted.is_empty(), "{:?}", page.unlisted);
        request = current.following(&page);
        all.extend(page.entries);
    }
    assert!(all.is_sorted_by(|one, next| one.key < next.key), "the listing is in order");
    all.retain(|entry| entry.kind != crate::entry::Kind::Directory);
    all
}

async fn names(store: &Arc<dyn Store>, range: KeyRange, limit: usize) -> Vec<String> {
    objects(store, range, limit).await.iter().map(|entry| entry.key.to_string()).collect()
}

/// A stream that gives some bytes and then fails.
fn failing(bytes: &Bytes) -> ByteStream {
    let broken = StoreError::unavailable("a test", "read", "the connection broke");
    stream::iter([Ok(bytes.clone()), Err(broken)]).boxed()
}

/// Begins an upload of `bytes` in parts of `part` bytes and sends them in this order of their numbers.
async fn send_parts(
    store: &Arc<dyn Store>,
    name: &str,
    bytes: &Bytes,
    part: usize,
    order: &[u32],
) -> (PutRequest, Upload, Vec<StoredPart>) {
    let request = PutRequest::object(key(name), bytes.len() as u64);
    let id = must(store.begin_multipart(&request).await);
    let upload = Upload { key: request.key.clone(), id };
    let mut sent = Vec::new();
    for number in order {
        sent.push(must(multipart::send(store, &upload, bytes, part, *number).await));
    }
    sent.sort_by_key(|part| part.number);
    (request, upload, sent)
}
