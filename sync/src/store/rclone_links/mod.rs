//! A store of files whose symbolic links look as rclone's `--links` has them among objects: a link `a` is the object
//! `a.rclonelink`, whose bytes are where it points. For a pair whose other side has objects that rclone wrote or is to
//! read. Both sides then have the order of the objects' keys, and links are copied, compared and deleted as objects.
//!
//! What no link can hold (nothing, a zero byte, more than a path has) stays a file of its name. Where a link and a file
//! would have one key, the file has it and the link is told as not listed. Nothing is written over a link under its own
//! name, nor a link over anything else: such a key cannot be held.

mod listing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::layer::Layer;
use super::{
    Body, Capabilities, ListPage, ListRequest, PutRequest, ReadRequest, Reading, Store, Stored, StoredPart, Upload,
    UploadId, look_in_listing, read_whole,
};
use crate::attributes::{AttributeKind, AttributeSet, Attributes};
use crate::checksum::{Agreement, Checksums};
use crate::digest::{Extra, Hasher};
use crate::entry::{Entry, Identity, Kind, Object};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::MAX_LINK_BYTES;
use crate::origin::Origin;

/// What rclone adds to the name of a link.
const SUFFIX: &[u8] = b".rclonelink";

/// A store of files, seen so.
#[derive(Debug)]
pub struct RcloneLinksStore {
    inner: Arc<dyn Store>,
    capabilities: Capabilities,
}

impl RcloneLinksStore {
    /// Shows this store's links as rclone does.
    pub fn over(inner: Arc<dyn Store>) -> Self {
        let mut capabilities = inner.capabilities().clone();
        capabilities.holds = capabilities.holds.without(AttributeSet::of(&[AttributeKind::Symlinks]));
        Self { inner, capabilities }
    }

    /// What has this name below, if it is there.
    async fn found(&self, name: &Key, wanted: AttributeSet) -> Result<Option<Object>> {
        match self.inner.head(name, wanted).await {
            Ok(object) => Ok(Some(object)),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The link below that has this key here, if it is there.
    async fn link_of(&self, key: &Key, wanted: AttributeSet) -> Result<Option<Object>> {
        let Some(name) = name_of_link(key) else { return Ok(None) };
        Ok(self.found(&name, wanted).await?.filter(|object| is_link(&object.entry)))
    }

    /// What has this name below and is no link.
    async fn own(&self, key: &Key, wanted: AttributeSet) -> Result<Option<Object>> {
        Ok(self.found(key, wanted).await?.filter(|object| !is_link(&object.entry)))
    }

    /// Writing under a link's own name would write over it.
    async fn refuse_over_link(&self, key: &Key) -> Result<()> {
        match self.found(key, AttributeSet::NONE).await? {
            Some(object) if is_link(&object.entry) => {
                let reason = "a symbolic link, which is another object here, has this name";
                Err(StoreError::unholdable(self.name(), key, reason))
            }
            _ => Ok(()),
        }
    }

    async fn put_file(&self, request: &PutRequest, body: Body) -> Result<Stored> {
        self.refuse_over_link(&request.key).await?;
        let stored = self.inner.put(request, body).await?;
        self.remove_link(&request.key).await.map(|()| stored)
    }

    /// Removes the link of this key, in whose place a file has come.
    async fn remove_link(&self, key: &Key) -> Result<()> {
        match self.link_of(key, AttributeSet::NONE).await? {
            Some(link) => self.inner.delete(&[link.entry.key]).await.map(drop),
            None => Ok(()),
        }
    }

    async fn put_link(&self, name: Key, request: &PutRequest, target: Bytes) -> Result<Stored> {
        if self.own(&name, AttributeSet::NONE).await?.is_some() {
            let reason = format!("{name} is no symbolic link");
            return Err(StoreError::unholdable(self.name(), &request.key, reason));
        }
        let size = target.len() as u64;
        let (checksums, kind) = (Checksums::none(), Kind::Symlink { target });
        let link = PutRequest { key: name, kind, size: 0, checksums, origin: None, ..request.clone() };
        let stored = self.inner.put(&link, Body::empty()).await?;
        if self.own(&request.key, AttributeSet::NONE).await?.is_some() {
            self.inner.delete(std::slice::from_ref(&request.key)).await?;
        }
        Ok(Stored { size: Some(size), ..stored })
    }

    /// All bytes of a body, which must be those that were announced.
    async fn whole(&self, request: &PutRequest, body: Body) -> Result<Bytes> {
        let wrong = |reason: &str| StoreError::corrupt(self.name(), &request.key, reason);
        let bytes = read_whole(body.into_stream(), request.size as usize).await?;
        if bytes.len() as u64 != request.size {
            return Err(wrong("it has another length than was announced"));
        }
        let mut hasher = Hasher::new(Extra { md5: true, blake3: true });
        hasher.update(&bytes);
        match hasher.checksums().agreement(&request.checksums) {
            Agreement::Different(_) => Err(wrong("its checksum is another than the one that was announced")),
            Agreement::Equal | Agreement::Unknown => Ok(bytes),
        }
    }
}

/// The name of the link that has this key here.
fn name_of_link(key: &Key) -> Option<Key> {
    let name = key.as_bytes().strip_suffix(SUFFIX).filter(|name| !name.ends_with(b"/"))?;
    Key::new(name.to_vec()).ok()
}

/// The key that a link of this name has here.
fn key_of_link(name: &Key) -> Option<Key> {
    Key::new([name.as_bytes(), SUFFIX].concat()).ok()
}

fn is_link(entry: &Entry) -> bool {
    matches!(entry.kind, Kind::Symlink { .. })
}

/// Whether a link can point there.
fn is_target(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.len() < MAX_LINK_BYTES as usize && !bytes.contains(&0)
}

/// A link as the object that it is here; what is none stays as it is.
fn shown(entry: Entry, key: &Key) -> Entry {
    let Kind::Symlink { target } = &entry.kind else { return entry };
    Entry { key: key.clone(), size: target.len() as u64, kind: Kind::Object, links: 1, ..entry }
}

#[async_trait]
impl Layer for RcloneLinksStore {
    fn below(&self) -> &dyn Store {
        self.inner.as_ref()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        self.list_shown(request).await
    }

    async fn look(&self, key: &Key) -> Result<Option<Entry>> {
        look_in_listing(self, key).await
    }

    async fn head(&self, key: &Key, wanted: AttributeSet) -> Result<Object> {
        if let Some(object) = self.own(key, wanted).await? {
            return Ok(object);
        }
        let link = self.link_of(key, wanted).await?;
        let object = link.ok_or_else(|| StoreError::missing(self.name(), key))?;
        Ok(Object { entry: shown(object.entry, key), ..object })
    }

    async fn read(&self, request: &ReadRequest) -> Result<Reading> {
        let key = &request.key;
        let link = match self.own(key, AttributeSet::NONE).await? {
            Some(_) => return self.inner.read(request).await,
            None => self.link_of(key, AttributeSet::all()).await?,
        };
        let link = link.ok_or_else(|| StoreError::missing(self.name(), key))?;
        let Kind::Symlink { target } = link.entry.kind.clone() else { return self.inner.read(request).await };
        let object = Object { entry: shown(link.entry, key), ..link };
        if !request.identity.may_be(&object.entry.identity()) {
            return Err(StoreError::changed(key, "the link's target, time or inode is another"));
        }
        let range = request.range.offset as usize..request.range.end() as usize;
        let bytes = target.get(range).map(|bytes| target.slice_ref(bytes));
        let bytes = bytes.ok_or_else(|| StoreError::bug(format!("a range of {key} is outside of it")))?;
        Ok(Reading { object, bytes: stream::iter([Ok(bytes)]).boxed() })
    }

    async fn put(&self, request: &PutRequest, body: Body) -> Result<Stored> {
        let name = name_of_link(&request.key).filter(|_| request.kind == Kind::Object);
        match name {
            Some(name) if request.size < MAX_LINK_BYTES => {
                let bytes = self.whole(request, body).await?;
                if is_target(&bytes) {
                    self.put_link(name, request, bytes).await
                } else {
                    self.put_file(request, Body::Whole(bytes)).await
                }
            }
            _ if matches!(request.kind, Kind::Symlink { .. }) => {
                Err(self.cannot(format!("hold {} as a symbolic link", request.key)))
            }
            _ => self.put_file(request, body).await,
        }
    }

    async fn begin_multipart(&self, request: &PutRequest) -> Result<UploadId> {
        self.refuse_over_link(&request.key).await?;
        self.inner.begin_multipart(request).await
    }

    async fn complete_multipart(&self, upload: &Upload, request: &PutRequest, parts: &[StoredPart]) -> Result<Stored> {
        self.refuse_over_link(&upload.key).await?;
        let stored = self.inner.complete_multipart(upload, request, parts).await?;
        self.remove_link(&upload.key).await.map(|()| stored)
    }

    async fn link(&self, existing: &Key, new: &Key) -> Result<()> {
        if name_of_link(new).is_some() {
            return Err(self.cannot(format!("link {new}")));
        }
        self.refuse_over_link(new).await?;
        self.inner.link(existing, new).await
    }

    async fn note_origin(&self, seen: &Entry, origin: &Origin) -> Result<()> {
        match self.own(&seen.key, AttributeSet::NONE).await? {
            Some(_) => self.inner.note_origin(seen, origin).await,
            None => Ok(()),
        }
    }

    async fn set_attributes(&self, key: &Key, identity: &Identity, attributes: &Attributes) -> Result<Stored> {
        if self.own(key, AttributeSet::NONE).await?.is_some() {
            return self.inner.set_attributes(key, identity, attributes).await;
        }
        let link = self.link_of(key, AttributeSet::NONE).await?;
        let link = link.ok_or_else(|| StoreError::missing(self.name(), key))?.entry;
        if !identity.may_be(&shown(link.clone(), key).identity()) {
            return Err(StoreError::changed(key, "the link's target, time or inode is another"));
        }
        self.inner.set_attributes(&link.key, &link.identity(), attributes).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<Vec<Result<()>>> {
        // Of each key, what is deleted below; what is nothing here is deleted already.
        let mut names = Vec::with_capacity(keys.len());
        for key in keys {
            names.push(match self.own(key, AttributeSet::NONE).await {
                Ok(Some(_)) => Ok(Some(key.clone())),
                Ok(None) => self.link_of(key, AttributeSet::NONE).await.map(|link| link.map(|link| link.entry.key)),
                Err(error) => Err(error),
            });
        }
        let there: Vec<Key> = names.iter().filter_map(|name| name.clone().ok().flatten()).collect();
        let mut deleted = self.inner.delete(&there).await?.into_iter();
        let untold = || Err(StoreError::bug("a store did not tell of each deletion what came of it"));
        let outcomes = names.into_iter().map(|name| match name? {
            Some(_) => deleted.next().unwrap_or_else(untold),
            None => Ok(()),
        });
        Ok(outcomes.collect())
    }
}
