//! A store of which only selected keys are listed. All else goes to the store as it is.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::FutureExt;
use futures::stream::{self, StreamExt};

use super::selection::{Item, Selection};
use crate::attributes::{AttributeSet, Attributes};
use crate::entry::{Entry, Identity, Object};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::key_range::{KeyRange, place_after};
use crate::store::{
    Body, Capabilities, CopyRequest, ListPage, ListRequest, PageEnd, PartPage, PartRequest, PutRequest, ReadRequest,
    Reading, Store, Stored, StoredPart, Upload, UploadId, UploadPage,
};

/// Keys that are asked for at once.
const HEADS_AT_ONCE: usize = 32;
/// Keys that are asked for in one page, whether they are there or not.
const HEADS_OF_A_PAGE: usize = 1_000;

/// A store of which only some keys are listed.
#[derive(Debug, Clone)]
pub struct Selected {
    store: Arc<dyn Store>,
    selection: Arc<Selection>,
}

impl Selected {
    /// These keys of this store.
    pub fn new(store: Arc<dyn Store>, selection: Arc<Selection>) -> Self {
        Self { store, selection }
    }

    /// Single keys in a row, from the start of the range on, at most so many.
    fn keys(&self, range: &KeyRange, most: usize) -> Vec<Key> {
        let mut keys = Vec::new();
        let mut rest = range.clone();
        while keys.len() < most {
            let Some(Item::Key(key)) = self.selection.next(&rest) else { break };
            rest = rest.from(place_after(&key));
            keys.push(key);
        }
        keys
    }

    /// The entries of those keys that are there.
    async fn look(&self, keys: &[Key]) -> Result<Vec<Entry>> {
        let heads = stream::iter(keys.to_vec()).map(|key| self.look_at(key).boxed());
        let found: Vec<Result<Option<Entry>>> = heads.buffered(HEADS_AT_ONCE).collect().await;
        found.into_iter().filter_map(Result::transpose).collect()
    }

    async fn look_at(&self, key: Key) -> Result<Option<Entry>> {
        match self.store.head(&key, AttributeSet::NONE).await {
            Ok(object) => Ok(Some(object.entry)),
            // What a store cannot hold, it does not have.
            Err(StoreError::Missing { .. } | StoreError::Unholdable { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Store for Selected {
    fn name(&self) -> &str {
        self.store.name()
    }

    fn capabilities(&self) -> &Capabilities {
        self.store.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        let limit = request.limit.clamp(1, self.capabilities().page_entries);
        let mut page = ListPage::last(Vec::new());
        let (mut rest, mut looked) = (request.range.clone(), 0);
        while let Some(item) = self.selection.next(&rest) {
            let room = limit - page.entries.len();
            if room == 0 || looked >= HEADS_OF_A_PAGE {
                page.end = PageEnd::More { next: rest.start().clone(), token: None };
                break;
            }
            match item {
                Item::Key(_) => {
                    let keys = self.keys(&rest, room.min(HEADS_AT_ONCE));
                    looked += keys.len();
                    page.entries.extend(self.look(&keys).await?);
                    rest = keys.last().map_or(rest.clone(), |last| rest.after(last));
                }
                Item::Range(range) => {
                    let part = ListRequest { range: range.clone(), limit: room, token: None };
                    let listed = self.store.list(&part).await?;
                    page.entries.extend(listed.entries);
                    page.unlisted.extend(listed.unlisted);
                    let next = match listed.end {
                        PageEnd::More { next, .. } => Some(next),
                        PageEnd::Complete => range.end().cloned(),
                    };
                    let Some(next) = next else { break };
                    rest = rest.from(next);
                    looked += 1;
                }
            }
        }
        Ok(page)
    }

    async fn head(&self, key: &Key, wanted: AttributeSet) -> Result<Object> {
        self.store.head(key, wanted).await
    }

    async fn read(&self, request: &ReadRequest) -> Result<Reading> {
        self.store.read(request).await
    }

    async fn put(&self, request: &PutRequest, body: Body) -> Result<Stored> {
        self.store.put(request, body).await
    }

    async fn flush(&self) -> Result<()> {
        self.store.flush().await
    }

    async fn begin_multipart(&self, request: &PutRequest) -> Result<UploadId> {
        self.store.begin_multipart(request).await
    }

    async fn put_part(&self, upload: &Upload, part: &PartRequest, body: Body) -> Result<StoredPart> {
        self.store.put_part(upload, part, body).await
    }

    async fn complete_multipart(&self, upload: &Upload, request: &PutRequest, parts: &[StoredPart]) -> Result<Stored> {
        self.store.complete_multipart(upload, request, parts).await
    }

    async fn abort_multipart(&self, upload: &Upload) -> Result<()> {
        self.store.abort_multipart(upload).await
    }

    async fn list_uploads(&self, after: Option<&str>) -> Result<UploadPage> {
        self.store.list_uploads(after).await
    }

    async fn list_parts(&self, upload: &Upload, after: Option<u32>) -> Result<PartPage> {
        self.store.list_parts(upload, after).await
    }

    fn copies_from(&self, source: &dyn Store) -> bool {
        self.store.copies_from(source)
    }

    async fn copy(&self, source: &dyn Store, request: &CopyRequest) -> Result<Stored> {
        self.store.copy(source, request).await
    }

    async fn copy_part(
        &self,
        source: &dyn Store,
        read: &ReadRequest,
        upload: &Upload,
        number: u32,
    ) -> Result<StoredPart> {
        self.store.copy_part(source, read, upload, number).await
    }

    async fn link(&self, existing: &Key, new: &Key) -> Result<()> {
        self.store.link(existing, new).await
    }

    async fn set_attributes(&self, key: &Key, identity: &Identity, attributes: &Attributes) -> Result<Stored> {
        self.store.set_attributes(key, identity, attributes).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<Vec<Result<()>>> {
        self.store.delete(keys).await
    }
}
