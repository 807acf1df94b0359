//! S3 and what speaks like it: Amazon's, SeaweedFS, radosgw, MinIO and others.
//!
//! One call is one request, sent byte for byte as it was made, or a few where S3 has no single one. Read
//! `options.rs`, `address.rs` and `client.rs` first. It uses object_store's credentials, and none of its requests,
//! whose paths lose keys. It does not list versions yet and knows nothing of locks and customers' keys.

mod address;
mod client;
mod copying;
mod credentials;
mod deleting;
mod grants;
mod headers;
mod listing;
mod multipart;
mod options;
mod paths;
mod reading;
mod refusal;
mod sign;
mod writing;

use async_trait::async_trait;
use http::Method;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

pub use credentials::Credentials;
pub use options::{Addressing, Dialect, KeyRules, S3Options, SignBodies};

pub(in crate::store) use self::client::Call;
use self::client::Client;
use super::walks::Walks;
use super::{
    Body, Capabilities, CopyRequest, ListPage, ListRequest, PartLimits, PartPage, PartRequest, PutRequest, ReadRequest,
    Reading, Seek, Store, Stored, StoredPart, Upload, UploadId, UploadPage, if_there, look_in_listing,
};
use crate::attributes::{AttributeKind, AttributeSet, Attributes};
use crate::checksum::Algorithm;
use crate::entry::{Entry, Identity, Object};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::MAX_ANSWER_BYTES;
use crate::store::transport::xml;

const GIB: u64 = 1 << 30;

/// S3's limits of objects in parts: 10,000 parts of 5 MiB to 5 GiB, 50 TB in all.
const PARTS: PartLimits = PartLimits {
    min_bytes: 5 << 20,
    max_bytes: 5 * GIB,
    max_count: 10_000,
    max_object_bytes: 50_000_000_000_000,
    equal: false,
};

/// A bucket, or what has a prefix in it.
#[derive(Debug)]
pub struct S3Store {
    client: Client,
    capabilities: Capabilities,
    md5_etags: bool,
    /// Whose the bucket is, once somebody else is granted something.
    owner: OnceCell<Option<String>>,
    /// Listings of a server that keeps paths, between their pages.
    walks: Mutex<Walks<paths::Open>>,
}

impl S3Store {
    /// Opens a store; contacts nobody.
    pub fn new(options: &S3Options) -> Result<Self> {
        let client = Client::new(options)?;
        let md5_etags = options.md5_etags.unwrap_or(!client.address().is_amazon());
        Ok(Self {
            client,
            capabilities: capabilities(options),
            md5_etags,
            walks: Mutex::default(),
            owner: OnceCell::new(),
        })
    }

    /// Makes the bucket. One that is there already and belongs to who asks is fine.
    pub async fn create_bucket(&self) -> Result<()> {
        let call = Call::bucket(Method::PUT, "create the bucket");
        let region = self.client.region();
        let elsewhere = self.client.address().is_amazon() && region != "us-east-1";
        let document = if elsewhere { location(region) } else { String::new() };
        match self.client.call(&call, Body::Whole(document.into())).await {
            Ok(answer) => self.client.collect(&call, answer, MAX_ANSWER_BYTES).await.map(drop),
            Err(StoreError::Invalid { reason, .. }) if reason.contains("BucketAlreadyOwnedByYou") => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn location(region: &str) -> String {
    let mut document = "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">".to_owned();
    xml::element(&mut document, "LocationConstraint", region);
    document.push_str("</CreateBucketConfiguration>");
    document
}

fn capabilities(options: &S3Options) -> Capabilities {
    use AttributeKind::{ContentHeaders, Grants, StorageClass, Tags, UserMetadata};
    if options.dialect == Dialect::Google {
        return super::gcs::capabilities();
    }
    let tags: &[AttributeKind] = if options.tags { &[Tags] } else { &[] };
    Capabilities {
        writable: true,
        seek: Seek::Anywhere,
        max_put_bytes: 5 * GIB,
        parts: Some(PARTS),
        verifies: options.verifies.clone(),
        reports: vec![Algorithm::Crc64Nvme, Algorithm::Crc32c, Algorithm::Crc32, Algorithm::Sha256, Algorithm::Md5],
        holds: AttributeSet::of(&[ContentHeaders, UserMetadata, StorageClass, Grants]).or(AttributeSet::of(tags)),
        conditional: options.conditional,
        max_copy_bytes: 5 * GIB,
        ..Capabilities::read_only()
    }
}

#[async_trait]
impl Store for S3Store {
    fn name(&self) -> &str {
        self.client.name()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        self.list_page(request).await
    }

    async fn look(&self, key: &Key) -> Result<Option<Entry>> {
        if self.client.is_known_to_keep_paths() == Some(true) {
            // Its listing would tell of each directory on the way.
            return Ok(if_there(self.head_object(key, AttributeSet::NONE).await)?.map(|object| object.entry));
        }
        look_in_listing(self, key).await
    }

    async fn head(&self, key: &Key, wanted: AttributeSet) -> Result<Object> {
        self.head_object(key, wanted).await
    }

    async fn read(&self, request: &ReadRequest) -> Result<Reading> {
        self.read_range(request).await
    }

    async fn put(&self, request: &PutRequest, body: Body) -> Result<Stored> {
        self.put_object(request, body).await
    }

    async fn begin_multipart(&self, request: &PutRequest) -> Result<UploadId> {
        self.begin_upload(request).await
    }

    async fn put_part(&self, upload: &Upload, part: &PartRequest, body: Body) -> Result<StoredPart> {
        self.send_part(upload, part, body).await
    }

    async fn complete_multipart(&self, upload: &Upload, request: &PutRequest, parts: &[StoredPart]) -> Result<Stored> {
        self.complete_upload(upload, request, parts).await
    }

    async fn abort_multipart(&self, upload: &Upload) -> Result<()> {
        self.abort_upload(upload).await
    }

    async fn list_uploads(&self, after: Option<&str>) -> Result<UploadPage> {
        self.uploads_page(after).await
    }

    async fn list_parts(&self, upload: &Upload, after: Option<u32>) -> Result<PartPage> {
        self.parts_page(upload, after).await
    }

    fn copies_from(&self, source: &dyn Store) -> bool {
        self.can_copy_from(source)
    }

    async fn copy(&self, source: &dyn Store, request: &CopyRequest) -> Result<Stored> {
        self.copy_object(source, request).await
    }

    async fn copy_part(
        &self,
        source: &dyn Store,
        read: &ReadRequest,
        upload: &Upload,
        number: u32,
    ) -> Result<StoredPart> {
        self.copy_range(source, read, upload, number).await
    }

    async fn set_attributes(&self, key: &Key, identity: &Identity, attributes: &Attributes) -> Result<Stored> {
        self.change_attributes(key, identity, attributes).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<Vec<Result<()>>> {
        self.delete_all(keys).await
    }
}
