//! A store that fails, from a seed: a decorator for simulations. It fails as real ones do: errors, requests to slow
//! down, pages out of order, repeated, or cut short, bodies that end early or are altered on their way.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::layer::Layer;
use super::{
    Body, ListPage, ListRequest, PageEnd, PartRequest, PutRequest, ReadRequest, Reading, Store, Stored, StoredPart,
    Upload, UploadId, look_in_listing, read_whole,
};
use crate::attributes::{AttributeSet, Attributes};
use crate::entry::{Entry, Identity, Object};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::retry::Dice;

/// How often each thing goes wrong, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Faults {
    /// A request fails (5xx, or the connection breaks).
    pub unavailable: f64,
    /// A request is throttled.
    pub throttled: f64,
    /// A page has two entries swapped, or one of an earlier page, or ends early and says that it is the last.
    pub bad_page: f64,
    /// A page says that it is the last although it is not: nothing in it tells.
    pub lying_page: f64,
    /// A body that is read ends early or has a wrong byte.
    pub bad_read: f64,
    /// A body that is written is stored with a wrong byte, or stored although the request fails.
    pub bad_write: f64,
}

/// A store that fails.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Faults,
    dice: Dice,
}

impl FaultyStore {
    /// The inner store with these faults.
    pub fn new(inner: Arc<dyn Store>, faults: Faults, seed: u64) -> Self {
        Self { inner, faults, dice: Dice::new(seed) }
    }

    fn happens(&self, chance: f64) -> bool {
        self.dice.roll() < chance
    }

    fn may_fail(&self, action: &str) -> Result<()> {
        if self.happens(self.faults.unavailable) {
            return Err(StoreError::unavailable(self.name(), action, "the connection broke"));
        }
        if self.happens(self.faults.throttled) {
            return Err(StoreError::Throttled { store: self.name().to_owned(), retry_after: None });
        }
        Ok(())
    }

    /// A body with one byte altered.
    fn altered(&self, bytes: &Bytes) -> Bytes {
        let mut bytes = bytes.to_vec();
        let at = (self.dice.roll() * bytes.len() as f64) as usize;
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1;
        }
        bytes.into()
    }

    async fn body(&self, body: Body) -> Result<Bytes> {
        let len = body.len();
        let bytes = read_whole(body.into_stream(), len as usize).await?;
        Ok(if self.happens(self.faults.bad_write) { self.altered(&bytes) } else { bytes })
    }

    fn spoil(&self, page: &mut ListPage) {
        let len = page.entries.len();
        match (self.dice.roll() * 3.0) as u32 {
            0 if len > 1 => page.entries.swap(0, len - 1),
            1 if len > 0 => page.entries.extend_from_within(..1),
            _ => page.end = PageEnd::more(Bytes::new()),
        }
    }
}

#[async_trait]
impl Layer for FaultyStore {
    fn below(&self) -> &dyn Store {
        self.inner.as_ref()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        self.may_fail("list")?;
        let mut page = self.inner.list(request).await?;
        if self.happens(self.faults.bad_page) {
            self.spoil(&mut page);
        }
        if self.happens(self.faults.lying_page) {
            page.entries.truncate(page.entries.len() / 2);
            page.end = PageEnd::Complete;
        }
        Ok(page)
    }

    async fn look(&self, key: &Key) -> Result<Option<Entry>> {
        look_in_listing(self, key).await
    }

    async fn head(&self, key: &Key, wanted: AttributeSet) -> Result<Object> {
        self.may_fail("look at an object")?;
        self.inner.head(key, wanted).await
    }

    async fn read(&self, request: &ReadRequest) -> Result<Reading> {
        self.may_fail("read an object")?;
        let reading = self.inner.read(request).await?;
        if !self.happens(self.faults.bad_read) {
            return Ok(reading);
        }
        let bytes = read_whole(reading.bytes, request.range.len as usize).await?;
        let bytes = if self.happens(0.5) { self.altered(&bytes) } else { bytes.slice(..bytes.len() / 2) };
        Ok(Reading { bytes: stream::iter([Ok(bytes)]).boxed(), ..reading })
    }

    async fn put(&self, request: &PutRequest, body: Body) -> Result<Stored> {
        self.may_fail("write")?;
        let bytes = self.body(body).await?;
        let stored = self.inner.put(request, Body::Whole(bytes)).await?;
        // It was done, and the answer is lost.
        self.may_fail("write").map(|()| stored)
    }

    async fn begin_multipart(&self, request: &PutRequest) -> Result<UploadId> {
        self.may_fail("begin an upload")?;
        self.inner.begin_multipart(request).await
    }

    async fn put_part(&self, upload: &Upload, part: &PartRequest, body: Body) -> Result<StoredPart> {
        self.may_fail("write a part")?;
        let bytes = self.body(body).await?;
        self.inner.put_part(upload, part, Body::Whole(bytes)).await
    }

    async fn complete_multipart(&self, upload: &Upload, request: &PutRequest, parts: &[StoredPart]) -> Result<Stored> {
        self.may_fail("complete an upload")?;
        self.inner.complete_multipart(upload, request, parts).await
    }

    async fn abort_multipart(&self, upload: &Upload) -> Result<()> {
        self.may_fail("abort an upload")?;
        self.inner.abort_multipart(upload).await
    }

    async fn set_attributes(&self, key: &Key, identity: &Identity, attributes: &Attributes) -> Result<Stored> {
        self.may_fail("change attributes")?;
        self.inner.set_attributes(key, identity, attributes).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<Vec<Result<()>>> {
        self.may_fail("delete")?;
        self.inner.delete(keys).await
    }
}
