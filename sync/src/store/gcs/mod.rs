//! Google Cloud Storage, by its XML API.
//!
//! That API has the requests and documents of S3 under other names, so that the store is the one in `store/s3/`, which
//! speaks Google's dialect: `dialect.rs` has all that differs. Who asks is a bearer token (`tokens.rs`); HMAC keys are for
//! `s3://` with Google's endpoint.

pub(in crate::store) mod dialect;
mod options;
mod tokens;

use std::any::Any;

use async_trait::async_trait;

pub(in crate::store) use dialect::capabilities;
pub use options::GcsOptions;
pub use tokens::{Secret, Source, Tokens};

use super::s3::S3Store;
use super::{
    Body, Capabilities, CopyRequest, ListPage, ListRequest, PartPage, PartRequest, PutRequest, ReadRequest, Reading,
    Store, Stored, StoredPart, Upload, UploadId, UploadPage,
};
use crate::attributes::{AttributeSet, Attributes};
use crate::entry::{Identity, Object};
use crate::error::{Result, StoreError};
use crate::key::Key;

/// A bucket, or what has a prefix in it.
#[derive(Debug)]
pub struct GcsStore(S3Store);

impl GcsStore {
    /// Opens a store; contacts nobody.
    pub fn new(options: &GcsOptions) -> Result<Self> {
        S3Store::new(&options.spoken()?).map(Self)
    }
}

#[async_trait]
impl Store for GcsStore {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        self.0.list(request).await
    }

    async fn head(&self, key: &Key, wanted: AttributeSet) -> Result<Object> {
        self.0.head(key, wanted).await
    }

    async fn read(&self, request: &ReadRequest) -> Result<Reading> {
        self.0.read(request).await
    }

    async fn put(&self, request: &PutRequest, body: Body) -> Result<Stored> {
        self.0.put(request, body).await
    }

    async fn begin_multipart(&self, request: &PutRequest) -> Result<UploadId> {
        self.0.begin_multipart(request).await
    }

    async fn put_part(&self, upload: &Upload, part: &PartRequest, body: Body) -> Result<StoredPart> {
        self.0.put_part(upload, part, body).await
    }

    async fn complete_multipart(&self, upload: &Upload, request: &PutRequest, parts: &[StoredPart]) -> Result<Stored> {
        self.0.complete_multipart(upload, request, parts).await
    }

    async fn abort_multipart(&self, upload: &Upload) -> Result<()> {
        self.0.abort_multipart(upload).await
    }

    async fn list_uploads(&self, after: Option<&str>) -> Result<UploadPage> {
        self.0.list_uploads(after).await
    }

    async fn list_parts(&self, upload: &Upload, after: Option<u32>) -> Result<PartPage> {
        self.0.list_parts(upload, after).await
    }

    fn copies_from(&self, source: &dyn Store) -> bool {
        (source as &dyn Any).downcast_ref::<Self>().is_some_and(|source| self.0.copies_from(&source.0))
    }

    async fn copy(&self, source: &dyn Store, request: &CopyRequest) -> Result<Stored> {
        match (source as &dyn Any).downcast_ref::<Self>() {
            Some(source) => self.0.copy(&source.0, request).await,
            None => Err(StoreError::unsupported(self.name(), format!("copy from {} server-side", source.name()))),
        }
    }

    async fn set_attributes(&self, key: &Key, identity: &Identity, attributes: &Attributes) -> Result<Stored> {
        self.0.set_attributes(key, identity, attributes).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<Vec<Result<()>>> {
        self.0.delete(keys).await
    }
}
