//! Checks of reads and of the identity that they are bound to.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{head, key, must, pattern, put};
use crate::attributes::AttributeSet;
use crate::entry::{ETag, FileId, Identity};
use crate::error::{Result, StoreError};
use crate::store::{ByteRange, ReadRequest, Store, read_whole};

async fn read(store: &Arc<dyn Store>, request: &ReadRequest) -> Result<Bytes> {
    let reading = store.read(request).await?;
    read_whole(reading.bytes, request.range.len as usize).await
}

pub(super) async fn a_range_has_its_bytes(store: Arc<dyn Store>) {
    let bytes = pattern(300_000);
    put(&store, "object", &bytes).await;
    let identity = head(&store, &key("object")).await.entry.identity();
    for (offset, len) in [(0, 300_000), (0, 1), (299_999, 1), (1, 299_998), (131_072, 100_000)] {
        let request = ReadRequest { range: ByteRange { offset, len }, ..ReadRequest::whole(&key("object"), &identity) };
        assert_eq!(must(read(&store, &request).await), bytes.slice(offset as usize..(offset + len) as usize));
    }
    let reading = must(store.read(&ReadRequest::whole(&key("object"), &identity)).await);
    assert!(reading.object.entry.identity().may_be(&identity), "a whole read tells the object that it reads");
}

pub(super) async fn an_object_that_was_written_again_is_changed(store: Arc<dyn Store>) {
    put(&store, "object", &Bytes::from_static(b"before")).await;
    let before = head(&store, &key("object")).await.entry.identity();
    // A store that tells states apart by time alone has one of some precision.
    tokio::time::sleep(Duration::from_millis(20)).await;
    put(&store, "object", &Bytes::from_static(b"after!")).await;
    let result = read(&store, &ReadRequest::whole(&key("object"), &before)).await;
    assert!(matches!(result, Err(StoreError::Changed { .. })), "{result:?}");
}

pub(super) async fn a_state_that_never_was_is_changed(store: Arc<dyn Store>) {
    put(&store, "object", &Bytes::from_static(b"bytes")).await;
    let identity = head(&store, &key("object")).await.entry.identity();
    let wrong = Identity {
        etag: identity.etag.as_ref().map(|_| ETag::new("00000000000000000000000000000000")),
        file: identity.file.map(|file| FileId { inode: file.inode ^ 1, ..file }),
        ..identity
    };
    let result = read(&store, &ReadRequest::whole(&key("object"), &wrong)).await;
    assert!(matches!(result, Err(StoreError::Changed { .. })), "{result:?}");
}

pub(super) async fn what_is_not_there_is_missing(store: Arc<dyn Store>) {
    put(&store, "object", &Bytes::from_static(b"bytes")).await;
    for absent in ["objec", "object2", "other/object"] {
        let result = store.head(&key(absent), AttributeSet::NONE).await;
        assert!(matches!(result, Err(StoreError::Missing { .. })), "{absent}: {result:?}");
        let identity = head(&store, &key("object")).await.entry.identity();
        let result = read(&store, &ReadRequest::whole(&key(absent), &identity)).await;
        assert!(matches!(result, Err(StoreError::Missing { .. })), "{absent}: {result:?}");
    }
}
