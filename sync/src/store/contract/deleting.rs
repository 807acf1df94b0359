//! Checks of deletions.

use std::sync::Arc;

use super::{key, must, names, put_all};
use crate::attributes::AttributeKind;
use crate::entry::Kind;
use crate::error::StoreError;
use crate::key_range::KeyRange;
use crate::store::{Body, PutRequest, Store};

pub(super) async fn what_was_deleted_is_gone(store: Arc<dyn Store>) {
    put_all(&store, &["a", "b/c", "b/d", "e"]).await;
    let outcomes = must(store.delete(&[key("e"), key("b/c")]).await);
    assert_eq!(outcomes.len(), 2);
    outcomes.into_iter().for_each(must);
    assert_eq!(names(&store, KeyRange::all(), 1000).await, ["a", "b/d"]);
}

pub(super) async fn deleting_what_is_not_there_succeeds(store: Arc<dyn Store>) {
    put_all(&store, &["a"]).await;
    let outcomes = must(store.delete(&[key("z/z"), key("b"), key("a")]).await);
    outcomes.into_iter().for_each(must);
    assert!(names(&store, KeyRange::all(), 1000).await.is_empty());
}

pub(super) async fn a_directory_goes_after_what_is_in_it(store: Arc<dyn Store>) {
    if !store.capabilities().holds.has(AttributeKind::Directories) || store.name().starts_with("mem:") {
        return;
    }
    let request = PutRequest { kind: Kind::Directory, ..PutRequest::object(key("dir/"), 0) };
    must(store.put(&request, Body::empty()).await);
    put_all(&store, &["dir/a"]).await;
    let outcomes = must(store.delete(&[key("dir/")]).await);
    assert!(matches!(outcomes.as_slice(), [Err(StoreError::Changed { .. })]), "{outcomes:?}");
    let outcomes = must(store.delete(&[key("dir/a"), key("dir/")]).await);
    outcomes.into_iter().for_each(must);
}
