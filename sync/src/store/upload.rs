//! Objects in parts: ids, parts and pages of them, all plain data that a journal keeps and other workers use.

use std::fmt;

use crate::checksum::Checksums;
use crate::entry::ETag;
use crate::error::Result;
use crate::key::Key;
use crate::store::{ByteRange, Store};
use crate::timestamp::Timestamp;

/// A store's name of an upload that is under way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(String);

/// An upload that is under way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Upload {
    /// The object that it will be.
    pub key: Key,
    /// The store's name of it.
    pub id: UploadId,
}

/// A part to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartRequest {
    /// From 1 on.
    pub number: u32,
    /// Which bytes of the object it is; stores that write in place need the offset.
    pub range: ByteRange,
    /// Checksums of the part that are known before it is sent.
    pub checksums: Checksums,
}

/// A part that the store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPart {
    /// From 1 on.
    pub number: u32,
    /// Its length in bytes.
    pub size: u64,
    /// What completing the upload needs of it.
    pub etag: ETag,
    /// What the store reported of it; sent again on completion where the store wants that.
    pub checksums: Checksums,
}

/// An upload as a store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpload {
    /// The upload.
    pub upload: Upload,
    /// When it was begun.
    pub begun: Option<Timestamp>,
}

/// A page of uploads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadPage {
    /// The uploads.
    pub uploads: Vec<OpenUpload>,
    /// Where the next page starts; none if this was the last.
    pub next: Option<String>,
}

/// A page of parts, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartPage {
    /// The parts.
    pub parts: Vec<StoredPart>,
    /// Whether more follow after the last of these.
    pub more: bool,
}

impl Upload {
    /// An upload of this key that is to begin: the store has not yet told its name.
    pub fn unnamed(key: Key) -> Self {
        Self { key, id: UploadId(String::new()) }
    }

    /// Whether the store's name of it is not known. There may be one at the store, or none.
    pub fn is_unnamed(&self) -> bool {
        self.id.0.is_empty()
    }

    /// Has the store forget it. Of one without a name, all of its key are forgotten: whoever began it was killed before
    /// he heard its name.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn abort_at(&self, store: &dyn Store) -> Result<()> {
        if !self.is_unnamed() {
            return store.abort_multipart(self).await;
        }
        let mut after = None;
        loop {
            let page = store.list_uploads(after.as_deref()).await?;
            for open in page.uploads.iter().filter(|open| open.upload.key == self.key) {
                store.abort_multipart(&open.upload).await?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}

impl UploadId {
    /// As the store gave it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As the store gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
