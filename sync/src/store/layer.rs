//! A store above another: what it does not do itself, the store below does. A new method of [`Store`] is forwarded here,
//! and nowhere else. Only what would pass by a layer is not: a store below neither copies from another nor adopts its
//! names, unless the layer says so.

use std::any::Any;
use std::fmt::Debug;

use async_trait::async_trait;

use super::{
    Body, Capabilities, CopyRequest, ListPage, ListRequest, PartPage, PartRequest, PutRequest, ReadRequest, Reading,
    Store, Stored, StoredPart, Upload, UploadId, UploadPage,
};
use crate::attributes::{AttributeSet, Attributes};
use crate::entry::{Entry, Identity, Object};
use crate::error::Result;
use crate::key::Key;
use crate::origin::Origin;

/// A store above another. Each of these is as [`Store`] says, and the store below does what is not written anew.
#[async_trait]
pub(crate) trait Layer: Any + Send + Sync + Debug {
    /// The store below.
    fn below(&self) -> &dyn Store;

    fn capabilities(&self) -> &Capabilities {
        self.below().capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        self.below().list(request).await
    }

    /// As the listing is: a layer with another listing than the store below has another of these too.
    async fn look(&self, key: &Key) -> Result<Option<Entry>> {
        self.below().look(key).await
    }

    async fn head(&self, key: &Key, wanted: AttributeSet) -> Result<Object> {
        self.below().head(key, wanted).await
    }

    async fn read(&self, request: &ReadRequest) -> Result<Reading> {
        self.below().read(request).await
    }

    async fn put(&self, request: &PutRequest, body: Body) -> Result<Stored> {
        self.below().put(request, body).await
    }

    async fn flush(&self) -> Result<()> {
        self.below().flush().await
    }

    async fn begin_multipart(&self, request: &PutRequest) -> Result<UploadId> {
        self.below().begin_multipart(request).await
    }

    async fn put_part(&self, upload: &Upload, part: &PartRequest, body: Body) -> Result<StoredPart> {
        self.below().put_part(upload, part, body).await
    }

    async fn complete_multipart(&self, upload: &Upload, request: &PutRequest, parts: &[StoredPart]) -> Result<Stored> {
        self.below().complete_multipart(upload, request, parts).await
    }

    async fn abort_multipart(&self, upload: &Upload) -> Result<()> {
        self.below().abort_multipart(upload).await
    }

    async fn list_uploads(&self, after: Option<&str>) -> Result<UploadPage> {
        self.below().list_uploads(after).await
    }

    async fn list_parts(&self, upload: &Upload, after: Option<u32>) -> Result<PartPage> {
        self.below().list_parts(upload, after).await
    }

    /// No: what is copied comes through here. A layer that leaves keys, bytes and attributes as they are can ask below.
    fn copies_from(&self, source: &dyn Store) -> bool {
        let _ = source;
        false
    }

    async fn copy(&self, source: &dyn Store, request: &CopyRequest) -> Result<Stored> {
        self.below().copy(source, request).await
    }

    async fn copy_part(
        &self,
        source: &dyn Store,
        read: &ReadRequest,
        upload: &Upload,
        number: u32,
    ) -> Result<StoredPart> {
        self.below().copy_part(source, read, upload, number).await
    }

    async fn link(&self, existing: &Key, new: &Key) -> Result<()> {
        self.below().link(existing, new).await
    }

    async fn set_attributes(&self, key: &Key, identity: &Identity, attributes: &Attributes) -> Result<Stored> {
        self.below().set_attributes(key, identity, attributes).await
    }

    async fn note_origin(&self, seen: &Entry, origin: &Origin) -> Result<()> {
        self.below().note_origin(seen, origin).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<Vec<Result<()>>> {
        self.below().delete(keys).await
    }
}

#[async_trait]
impl<L: Layer> Store for L {
    fn name(&self) -> &str {
        self.below().name()
    }

    fn capabilities(&self) -> &Capabilities {
        Layer::capabilities(self)
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        Layer::list(self, request).await
    }

    async fn look(&self, key: &Key) -> Result<Option<Entry>> {
        Layer::look(self, key).await
    }

    async fn head(&self, key: &Key, wanted: AttributeSet) -> Result<Object> {
        Layer::head(self, key, wanted).await
    }

    async fn read(&self, request: &ReadRequest) -> Result<Reading> {
        Layer::read(self, request).await
    }

    async fn put(&self, request: &PutRequest, body: Body) -> Result<Stored> {
        Layer::put(self, request, body).await
    }

    async fn flush(&self) -> Result<()> {
        Layer::flush(self).await
    }

    async fn begin_multipart(&self, request: &PutRequest) -> Result<UploadId> {
        Layer::begin_multipart(self, request).await
    }

    async fn put_part(&self, upload: &Upload, part: &PartRequest, body: Body) -> Result<StoredPart> {
        Layer::put_part(self, upload, part, body).await
    }

    async fn complete_multipart(&self, upload: &Upload, request: &PutRequest, parts: &[StoredPart]) -> Result<Stored> {
        Layer::complete_multipart(self, upload, request, parts).await
    }

    async fn abort_multipart(&self, upload: &Upload) -> Result<()> {
        Layer::abort_multipart(self, upload).await
    }

    async fn list_uploads(&self, after: Option<&str>) -> Result<UploadPage> {
        Layer::list_uploads(self, after).await
    }

    async fn list_parts(&self, upload: &Upload, after: Option<u32>) -> Result<PartPage> {
        Layer::list_parts(self, upload, after).await
    }

    fn copies_from(&self, source: &dyn Store) -> bool {
        Layer::copies_from(self, source)
    }

    async fn copy(&self, source: &dyn Store, request: &CopyRequest) -> Result<Stored> {
        Layer::copy(self, source, request).await
    }

    async fn copy_part(
        &self,
        source: &dyn Store,
        read: &ReadRequest,
        upload: &Upload,
        number: u32,
    ) -> Result<StoredPart> {
        Layer::copy_part(self, source, read, upload, number).await
    }

    async fn link(&self, existing: &Key, new: &Key) -> Result<()> {
        Layer::link(self, existing, new).await
    }

    async fn set_attributes(&self, key: &Key, identity: &Identity, attributes: &Attributes) -> Result<Stored> {
        Layer::set_attributes(self, key, identity, attributes).await
    }

    async fn note_origin(&self, seen: &Entry, origin: &Origin) -> Result<()> {
        Layer::note_origin(self, seen, origin).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<Vec<Result<()>>> {
        Layer::delete(self, keys).await
    }
}
