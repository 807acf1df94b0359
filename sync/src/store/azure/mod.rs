//! Azure Blob Storage, and its emulator Azurite.
//!
//! One call is one request, sent byte for byte as it was made and signed, or a few where Azure has no single one. Read
//! `options.rs`, `address.rs` and `client.rs` first. Of object_store it uses the identities that give tokens. It reads
//! every kind of blob and writes block blobs; it knows nothing of snapshots, versions and leases.

mod address;
mod client;
mod copying;
mod credentials;
mod deleting;
mod headers;
mod listing;
mod multipart;
mod names;
mod options;
mod reading;
mod refusal;
mod sign;
mod writing;

use async_trait::async_trait;
use http::Method;

pub use credentials::Credentials;
pub use options::{AzureOptions, KeyRules};

use self::client::{Call, Client};
use super::{
    Body, Capabilities, CopyRequest, ListPage, ListRequest, PartLimits, PartPage, PartRequest, PutRequest, ReadRequest,
    Reading, Seek, Store, Stored, StoredPart, Upload, UploadId, UploadPage,
};
use crate::attributes::{AttributeKind, AttributeSet, Attributes};
use crate::checksum::Algorithm;
use crate::entry::{Identity, Object};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::MAX_ANSWER_BYTES;

const MIB: u64 = 1 << 20;

/// Azure's limits of objects in blocks: 50,000 of up to 4,000 MiB.
const PARTS: PartLimits = PartLimits {
    min_bytes: 1,
    max_bytes: 4_000 * MIB,
    max_count: 50_000,
    max_object_bytes: 50_000 * 4_000 * MIB,
    equal: false,
};

/// A container, or what has a prefix in it.
#[derive(Debug)]
pub struct AzureStore {
    client: Client,
    capabilities: Capabilities,
    lists_from: bool,
}

impl AzureStore {
    /// Opens a store; contacts nobody.
    pub fn new(options: &AzureOptions) -> Result<Self> {
        let (client, lists_from) = (Client::new(options)?, options.can_list_from());
        Ok(Self { client, capabilities: capabilities(options), lists_from })
    }

    /// Makes the container. One that is there already is fine.
    pub async fn create_container(&self) -> Result<()> {
        let call = Call::bucket(Method::PUT, "create the container").with("restype", "container");
        match self.client.fetch(&call, MAX_ANSWER_BYTES).await {
            Ok(_) => Ok(()),
            Err(StoreError::Unavailable { reason, .. }) if reason.contains("ContainerAlreadyExists") => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn capabilities(options: &AzureOptions) -> Capabilities {
    use AttributeKind::{ContentHeaders, StorageClass, Tags, UserMetadata};
    let tags: &[AttributeKind] = if options.tags { &[Tags] } else { &[] };
    Capabilities {
        writable: true,
        seek: if options.can_list_from() { Seek::Anywhere } else { Seek::ByReading },
        max_put_bytes: 5_000 * MIB,
        parts: Some(PARTS),
        verifies: options.verifies.clone(),
        reports: vec![Algorithm::Crc64Nvme, Algorithm::Md5],
        holds: AttributeSet::of(&[ContentHeaders, UserMetadata, StorageClass]).or(AttributeSet::of(tags)),
        user_metadata_bytes: 8 << 10,
        conditional: true,
        // A copy within an account moves no bytes, so that its size does not matter.
        max_copy_bytes: PARTS.max_object_bytes,
        ..Capabilities::read_only()
    }
}

#[async_trait]
impl Store for AzureStore {
    fn name(&self) -> &str {
        self.client.name()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        self.list_page(request).await
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
        self.begin_upload(request)
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

    async fn set_attributes(&self, key: &Key, identity: &Identity, attributes: &Attributes) -> Result<Stored> {
        self.change_attributes(key, identity, attributes).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<Vec<Result<()>>> {
        self.delete_all(keys).await
    }
}
