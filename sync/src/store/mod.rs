//! The store: an ordered set of objects under byte keys, which sync lists, reads, writes and deletes.
//!
//! The contract, which `contract.rs` tests on every implementation:
//! - **Keys** are relative to the store's root (a prefix of a bucket, a directory) and are kept byte for byte. A key
//!   that the store cannot hold gives `Unholdable`, never another key. The object whose key is the root's prefix
//!   itself is no object of the store.
//! - **Listing**: a page holds the entries of the range from its start on, in the order of bytes, each once, at most
//!   as many as asked for. `PageEnd::Complete` says that the range holds no more; `PageEnd::More` says where the next
//!   page starts, which lies after the page's last entry. Any place may start a page, with or without the token of an
//!   earlier one. Every object that exists from before the first page until after the last is listed. What the store
//!   could not look at is in `unlisted`; a page is never silently short. Multipart uploads that were not completed
//!   and temporary files are not listed.
//! - **Reading** is bound to an identity: bytes of any other state of the object are never returned, `Changed` is, at
//!   the start or within the stream. The stream gives exactly the bytes asked for, or ends with an error.
//! - **Writing** is atomic: under its key an object is whole or as it was before, also for readers at the same time
//!   and after a crash. A body that fails or has another length than was said leaves nothing. The checksums given
//!   with the request are sent along where the store verifies them; a mismatch is `Corrupt`. What the store reports
//!   of the stored object is returned, nothing that was not reported. Attributes that the store holds (see
//!   [`Capabilities::holds`]) are written; others are left out.
//! - **Durability**: what was put before [`Store::flush`] began survives a power cut once it has returned.
//! - **Multipart** ids and parts are plain data: another process with the same credentials can go on with them. Parts
//!   may be sent in any order and again; nothing is seen under the key before `complete_multipart`.
//! - **Deleting** what is not there succeeds. Each key of a batch has an outcome of its own. A directory that is not
//!   empty is not deleted: `Changed`.
//! - **No retries** and no waiting for limits in here: one call makes one attempt. Those around it decide.
//! - Futures may be dropped at any point: that leaves at most an unfinished upload or a temporary file behind.

mod address;
pub mod azure;
mod body;
mod capabilities;
mod checked;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod escaping;
#[cfg(any(test, feature = "contract"))]
mod faulty;
pub mod gcs;
pub mod http;
pub(crate) mod layer;
mod listing;
mod local;
mod memory;
mod posix;
mod rclone_links;
pub mod s3;
mod selected;
mod transport;
mod upload;
pub mod volume;
mod walks;
mod write;

use std::any::Any;
use std::fmt::Debug;

use async_trait::async_trait;

pub use address::{Scheme, StoreAddress};
pub use body::{Body, ByteRange, ByteStream, read_whole};
pub use capabilities::{Capabilities, PartLimits, Seek};
pub use checked::{CheckedListing, CheckedPage};
pub use escaping::EscapingStore;
#[cfg(any(test, feature = "contract"))]
pub use faulty::{Faults, FaultyStore};
pub(crate) use listing::index_to_split;
pub use listing::{ListPage, ListRequest, PageEnd, Unlisted};
pub use local::{Durability, LocalOptions, LocalStore, Origins};
pub use memory::MemoryStore;
pub use posix::PosixStore;
pub use rclone_links::RcloneLinksStore;
pub use selected::Selected;
pub use upload::{OpenUpload, PartPage, PartRequest, StoredPart, Upload, UploadId, UploadPage};
pub use write::{Condition, CopyRequest, PutRequest, Stored};

use crate::attributes::{AttributeSet, Attributes};
use crate::entry::{Entry, Identity, Object};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::key_range::{KeyRange, place_after};
use crate::origin::Origin;

/// One object, or a range of it, that is being read.
pub struct Reading {
    /// What the answer told of the object at no further request; `known` says which attributes.
    pub object: Object,
    /// The bytes.
    pub bytes: ByteStream,
}

/// What to read.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// The object.
    pub key: Key,
    /// The state that it must be in.
    pub identity: Identity,
    /// The bytes wanted; they lie within the identity's size.
    pub range: ByteRange,
    /// The attributes wanted beside them: a store that tells some of these only when it is asked, asks.
    pub wanted: AttributeSet,
}

impl ReadRequest {
    /// All bytes of the object in this state.
    pub fn whole(key: &Key, identity: &Identity) -> Self {
        let range = ByteRange { offset: 0, len: identity.size };
        Self { key: key.clone(), identity: identity.clone(), range, wanted: AttributeSet::NONE }
    }
}

/// The entry of a key in a listing of that key alone.
async fn look_in_listing<S: Store + ?Sized>(store: &S, key: &Key) -> Result<Option<Entry>> {
    let alone = KeyRange::new(key.to_bytes(), Some(place_after(key)));
    let page = store.list(&ListRequest { limit: 1, ..ListRequest::first(alone) }).await?;
    Ok(page.entries.into_iter().find(|entry| entry.key == *key))
}

/// What was found; none if it is not there, as is what a store cannot hold.
fn if_there<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Err(StoreError::Missing { .. } | StoreError::Unholdable { .. }) => Ok(None),
        found => found.map(Some),
    }
}

/// A store. See the module for the contract.
#[async_trait]
pub trait Store: Any + Send + Sync + Debug {
    /// Its address, without secrets, as messages and reports name it.
    fn name(&self) -> &str;

    /// What it can do.
    fn capabilities(&self) -> &Capabilities;

    /// One page of entries.
    async fn list(&self, request: &ListRequest) -> Result<ListPage>;

    /// The entry of a key, as a listing tells it; none if it is not there.
    async fn look(&self, key: &Key) -> Result<Option<Entry>> {
        look_in_listing(self, key).await
    }

    /// Everything known of an object; of its attributes at least those wanted that the store holds, with as few
    /// requests as possible. `Missing` if it is not there.
    async fn head(&self, key: &Key, wanted: AttributeSet) -> Result<Object>;

    /// Opens an object, or a range of it, for reading.
    async fn read(&self, request: &ReadRequest) -> Result<Reading>;

    /// Writes an object, a directory or a symbolic link, whole.
    async fn put(&self, request: &PutRequest, body: Body) -> Result<Stored> {
        let _ = body;
        Err(self.cannot(format!("write {}", request.key)))
    }

    /// Everything put so far is durable when this returns.
    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// Begins an object in parts; its attributes are given now, its condition counts at the end.
    async fn begin_multipart(&self, request: &PutRequest) -> Result<UploadId> {
        Err(self.cannot(format!("write {} in parts", request.key)))
    }

    /// Writes one part. Sent again under the same number, the later one counts.
    async fn put_part(&self, upload: &Upload, part: &PartRequest, body: Body) -> Result<StoredPart> {
        let _ = body;
        Err(self.cannot(format!("write part {} of {}", part.number, upload.key)))
    }

    /// Makes the object of its parts, in the order of their numbers.
    async fn complete_multipart(&self, upload: &Upload, request: &PutRequest, parts: &[StoredPart]) -> Result<Stored> {
        let _ = (request, parts);
        Err(self.cannot(format!("complete {}", upload.key)))
    }

    /// Forgets an upload and its parts. One that is not there is forgotten already.
    async fn abort_multipart(&self, upload: &Upload) -> Result<()> {
        Err(self.cannot(format!("abort an upload of {}", upload.key)))
    }

    /// Uploads that are neither completed nor aborted, in the store's own order, after the cursor of an earlier page.
    async fn list_uploads(&self, after: Option<&str>) -> Result<UploadPage> {
        let _ = after;
        Ok(UploadPage::default())
    }

    /// The parts of an upload that the store has, by number, after this number.
    async fn list_parts(&self, upload: &Upload, after: Option<u32>) -> Result<PartPage> {
        let _ = after;
        Err(self.cannot(format!("list the parts of {}", upload.key)))
    }

    /// Whether [`Self::copy`] and [`Self::copy_part`] can take objects of that store without their bytes coming here.
    fn copies_from(&self, source: &dyn Store) -> bool {
        let _ = source;
        false
    }

    /// Copies an object from a store from which it can, server-side. The source is bound to its identity.
    async fn copy(&self, source: &dyn Store, request: &CopyRequest) -> Result<Stored> {
        let _ = source;
        Err(self.cannot(format!("copy {} server-side", request.source)))
    }

    /// Copies a range of an object into a part of an upload, server-side.
    async fn copy_part(
        &self,
        source: &dyn Store,
        read: &ReadRequest,
        upload: &Upload,
        number: u32,
    ) -> Result<StoredPart> {
        let _ = (source, upload, number);
        Err(self.cannot(format!("copy a part of {} server-side", read.key)))
    }

    /// Gives an object that is already here another name, so that both are one file.
    async fn link(&self, existing: &Key, new: &Key) -> Result<()> {
        let _ = existing;
        Err(self.cannot(format!("link {new}")))
    }

    /// Gives an object of another store a name here too, if both can be names of one file: no byte is copied. Nothing that
    /// is here is replaced: `Changed`. `Unsupported` says that it is to be copied instead.
    async fn adopt(&self, source: &dyn Store, existing: &Key, new: &Key) -> Result<()> {
        let _ = (source, existing);
        Err(self.cannot(format!("adopt {new}")))
    }

    /// Changes an object's attributes and leaves its bytes alone. The identity is that of the object before.
    async fn set_attributes(&self, key: &Key, identity: &Identity, attributes: &Attributes) -> Result<Stored> {
        let _ = (identity, attributes);
        Err(self.cannot(format!("change the attributes of {key}")))
    }

    /// Has a file that was found to be a copy of an object remember it, if it is as it was when it was looked at. Stores of
    /// other things need not.
    async fn note_origin(&self, seen: &Entry, origin: &Origin) -> Result<()> {
        let _ = (seen, origin);
        Ok(())
    }

    /// Deletes; one outcome for each key, in their order. Keys come in descending order, so that a directory comes
    /// after what is in it. The outer error is for a batch of which nothing was done.
    async fn delete(&self, keys: &[Key]) -> Result<Vec<Result<()>>> {
        Err(self.cannot(format!("delete {} objects", keys.len())))
    }

    /// The error of what a store cannot do.
    #[doc(hidden)]
    fn cannot(&self, what: String) -> StoreError {
        StoreError::unsupported(self.name(), what)
    }
}
