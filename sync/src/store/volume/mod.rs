//! A farshore volume as a store: a directory of its tree as the root of keys, written through the transactions of the
//! volume itself.
//!
//! An object comes under its key in one transaction, with its contents and all its attributes. Until then its blocks
//! have nothing that refers to them, or a file without a name does, which goes when the volume is next opened. Nothing
//! temporary ever has a name. A mirror's volume is read as it is at each moment.

mod failure;
mod inode;
mod parts;
mod place;
mod reading;
mod walk;
mod writing;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use farshore_meta::{Attr, FileKind, FsError, Ino};
use farshore_proto::VolumeId;
use farshore_proto::limits::MAX_FILE_BYTES;
use farshore_volume::Volume;
use futures::future::FutureExt;
use futures::stream::{self, StreamExt};

pub use self::inode::Owner;
use self::place::Place;
use self::walk::Walk;
use super::{
    Body, Capabilities, CopyRequest, ListPage, ListRequest, PageEnd, PartLimits, PartPage, PartRequest, PutRequest,
    ReadRequest, Reading, Seek, Store, Stored, StoredPart, Upload, UploadId, UploadPage, if_there,
};
use crate::attributes::{AttributeKind, AttributeSet, Attributes};
use crate::entry::{Entry, Identity, Kind, Object};
use crate::error::{Result, StoreError};
use crate::key::{Key, escaped};
use crate::limits::MIN_PART_BYTES;
use crate::timestamp::Timestamp;

/// Objects up to this size are put whole; larger ones in parts, of which several come at once and none twice.
const PREFERRED_PUT_BYTES: u64 = 64 << 20;
/// The most parts of a file: each is a row until it is completed.
const MAX_PARTS: u32 = 10_000;
/// How many of a batch are deleted at once.
const DELETIONS_AT_ONCE: usize = 16;
/// An upload to which nobody came back for so long is given up.
const UPLOAD_KEPT: Duration = Duration::from_hours(7 * 24);

/// A directory of a farshore volume. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct VolumeStore {
    volume: Arc<Volume>,
    root: Ino,
    name: Arc<str>,
    device: u64,
    owner: Owner,
    capabilities: Arc<Capabilities>,
}

/// How a directory of a volume is opened.
#[derive(Debug, Clone)]
pub struct VolumeOptions {
    /// How messages and reports name it.
    pub name: String,
    /// The directory within the volume; names with slashes between them.
    pub path: Vec<u8>,
    /// The volume's identity.
    pub volume_id: VolumeId,
    /// Who owns what comes from a store without owners.
    pub owner: Owner,
    /// Whether the directory is made if it is not there and the one above it is.
    pub make: bool,
}

impl VolumeStore {
    /// Opens a directory of a volume that is served by this process.
    ///
    /// # Errors
    /// `Missing` when the directory is not there; `Invalid` when the path is none.
    pub async fn open(volume: Arc<Volume>, options: &VolumeOptions) -> Result<Self> {
        let root = open_root(&volume, options).await?;
        let (device, _) = options.volume_id.as_bytes().split_first_chunk().expect("an id has 16 bytes");
        Ok(Self {
            root,
            name: options.name.as_str().into(),
            device: u64::from_be_bytes(*device),
            owner: options.owner,
            capabilities: Arc::new(capabilities(&volume)),
            volume,
        })
    }

    /// The inode of the directory.
    pub fn root(&self) -> Ino {
        self.root
    }

    /// Gives uploads up that nobody came back to for a week before `now`.
    pub async fn sweep(&self, now: Timestamp) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.open_uploads(after.as_deref()).await?;
            for open in page.uploads {
                let old = open.begun.is_some_and(|begun| begun < now.before(UPLOAD_KEPT));
                if old {
                    tracing::info!(key = %open.upload.key, "giving up an upload to which nobody came back");
                    self.abort_parts(&open.upload).await?;
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// What a key leads to: whether it is a directory, the inode, its attributes.
    async fn look(&self, key: &Key, action: &str) -> Result<(bool, Ino, Attr)> {
        let missing = || StoreError::missing(&self.name, key);
        let place = Place::of(&self.name, key).map_err(|_| missing())?;
        let found = self.volume.resolve(self.root, &place.path()).await;
        let (ino, attr) = found.map_err(|error| failure::reading(&self.name, key, action, &error))?;
        let is_directory = attr.kind == FileKind::Directory;
        if is_directory == place.is_directory { Ok((is_directory, ino, attr)) } else { Err(missing()) }
    }

    async fn look_whole(&self, key: &Key, wanted: AttributeSet) -> Result<Object> {
        let failed = |error: FsError| failure::reading(&self.name, key, "look at", &error);
        let (_, ino, attr) = self.look(key, "look at").await?;
        let target = match attr.kind {
            FileKind::Symlink => self.volume.read_link(ino).await.map_err(failed)?,
            _ => bytes::Bytes::new(),
        };
        let kind = inode::kind_of(attr.kind, target).ok_or_else(|| StoreError::missing(&self.name, key))?;
        let mut posix = inode::posix(&attr);
        let xattrs = wanted.has(AttributeKind::ExtendedAttributes);
        if xattrs {
            let all = self.volume.all_xattrs(ino).await.map_err(failed)?;
            posix.xattrs = all.into_iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        }
        let unknown = AttributeSet::of(if xattrs { &[] } else { &[AttributeKind::ExtendedAttributes] });
        Ok(Object {
            entry: inode::entry(key.clone(), kind, self.device, ino, &attr),
            attributes: Attributes { posix: Some(posix), ..Attributes::default() },
            known: self.capabilities.holds.without(unknown),
        })
    }

    fn expect_writable(&self, what: impl FnOnce() -> String) -> Result<()> {
        if self.capabilities.writable {
            return Ok(());
        }
        let reason = "it is a mirror, which changes only by following; write to the primary";
        Err(StoreError::unsupported(&self.name, format!("{}: {reason}", what())))
    }
}

async fn open_root(volume: &Volume, options: &VolumeOptions) -> Result<Ino> {
    let VolumeOptions { name, path, make, owner, .. } = options;
    let trimmed = path.strip_suffix(b"/").unwrap_or(path);
    let invalid = |reason: &str| StoreError::invalid(format!("the path `{}` in {name}", escaped(path)), reason);
    let names = if trimmed.is_empty() { Vec::new() } else { place::names(trimmed).map_err(invalid)? };
    let failed = |error: FsError| match error {
        FsError::NotFound => StoreError::missing(name, &format!("the directory `{}`", escaped(path))),
        FsError::NotDirectory => invalid("it is no directory; name the one above it (--include chooses a file of SRC)"),
        error => failure::other(name, "open the directory", &error),
    };
    let found = match (volume.resolve(Ino::ROOT, &names).await, names.split_last()) {
        (Err(FsError::NotFound), Some((last, above))) if *make => {
            let (above, _) = volume.resolve(Ino::ROOT, above).await.map_err(failed)?;
            let new = inode::new_inode(&Kind::Directory, &Attributes::default(), *owner);
            volume.create(above, last, &new).await
        }
        (found, _) => found,
    };
    match found.map_err(failed)? {
        (ino, attr) if attr.kind == FileKind::Directory => Ok(ino),
        _ => Err(failed(FsError::NotDirectory)),
    }
}

fn capabilities(volume: &Volume) -> Capabilities {
    use AttributeKind::{Directories, ExtendedAttributes, HardLinks, Holes, Mode, ModifiedTime, Owner, Symlinks};
    let all = [Directories, ExtendedAttributes, HardLinks, Holes, Mode, ModifiedTime, Owner, Symlinks];
    let parts = PartLimits {
        min_bytes: MIN_PART_BYTES.max(u64::from(volume.block_bytes())),
        max_bytes: MAX_FILE_BYTES,
        max_count: MAX_PARTS,
        max_object_bytes: MAX_FILE_BYTES,
        equal: false,
    };
    let writable = !volume.read_only();
    Capabilities {
        writable,
        seek: Seek::Anywhere,
        max_put_bytes: MAX_FILE_BYTES,
        preferred_put_bytes: PREFERRED_PUT_BYTES,
        parts: writable.then_some(parts),
        holds: AttributeSet::of(&all),
        conditional: true,
        max_copy_bytes: if writable { MAX_FILE_BYTES } else { 0 },
        lists_source_times: true,
        time_precision_ns: 1,
        ..Capabilities::read_only()
    }
}

/// The other store, if it is a directory of the very same volume.
fn of_same_volume<'s>(own: &VolumeStore, other: &'s dyn Store) -> Option<&'s VolumeStore> {
    let other: &dyn Any = other;
    other.downcast_ref::<VolumeStore>().filter(|other| Arc::ptr_eq(&own.volume, &other.volume))
}

#[async_trait]
impl Store for VolumeStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        let mut walk = Walk::new(&self.volume, &self.name, self.device, self.root, request.range.clone());
        let limit = request.limit.clamp(1, self.capabilities.page_entries);
        let entries = walk.take(limit).await?;
        let end = if entries.len() < limit {
            PageEnd::Complete
        } else {
            PageEnd::More { next: walk.rest().start().clone(), token: None, ahead: walk.ahead() }
        };
        Ok(ListPage { entries, unlisted: walk.into_unlisted(), end })
    }

    async fn look(&self, key: &Key) -> Result<Option<Entry>> {
        Ok(if_there(self.head(key, AttributeSet::NONE).await)?.map(|object| object.entry))
    }

    async fn head(&self, key: &Key, wanted: AttributeSet) -> Result<Object> {
        self.look_whole(key, wanted).await
    }

    async fn read(&self, request: &ReadRequest) -> Result<Reading> {
        self.open_object(request).await
    }

    async fn put(&self, request: &PutRequest, body: Body) -> Result<Stored> {
        self.expect_writable(|| format!("write {}", request.key))?;
        self.put_whole(request, body).await
    }

    async fn flush(&self) -> Result<()> {
        if !self.capabilities.writable {
            return Ok(());
        }
        let durable = self.volume.make_durable().await;
        durable.map_err(|error| failure::other(&self.name, "make durable what was written", &error))
    }

    async fn begin_multipart(&self, request: &PutRequest) -> Result<UploadId> {
        self.expect_writable(|| format!("write {} in parts", request.key))?;
        self.begin_parts(request).await
    }

    async fn put_part(&self, upload: &Upload, part: &PartRequest, body: Body) -> Result<StoredPart> {
        self.expect_writable(|| format!("write {} in parts", upload.key))?;
        self.put_one_part(upload, part, body).await
    }

    async fn complete_multipart(&self, upload: &Upload, request: &PutRequest, parts: &[StoredPart]) -> Result<Stored> {
        self.expect_writable(|| format!("complete {}", upload.key))?;
        self.complete_parts(upload, request, parts).await
    }

    async fn abort_multipart(&self, upload: &Upload) -> Result<()> {
        self.expect_writable(|| format!("abort an upload of {}", upload.key))?;
        self.abort_parts(upload).await
    }

    async fn list_uploads(&self, after: Option<&str>) -> Result<UploadPage> {
        self.open_uploads(after).await
    }

    async fn list_parts(&self, upload: &Upload, after: Option<u32>) -> Result<PartPage> {
        self.parts_page(upload, after).await
    }

    fn copies_from(&self, source: &dyn Store) -> bool {
        of_same_volume(self, source).is_some()
    }

    async fn copy(&self, source: &dyn Store, request: &CopyRequest) -> Result<Stored> {
        self.expect_writable(|| format!("copy {}", request.source))?;
        let source = of_same_volume(self, source);
        let source = source.ok_or_else(|| self.cannot(format!("copy {} from there by itself", request.source)))?;
        self.copy_within(source, request).await
    }

    async fn link(&self, existing: &Key, new: &Key) -> Result<()> {
        self.expect_writable(|| format!("link {new}"))?;
        self.link_name(existing, new).await
    }

    async fn set_attributes(&self, key: &Key, identity: &Identity, attributes: &Attributes) -> Result<Stored> {
        self.expect_writable(|| format!("change the attributes of {key}"))?;
        self.change_attributes(key, identity, attributes).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<Vec<Result<()>>> {
        self.expect_writable(|| format!("delete {} objects", keys.len()))?;
        let mut outcomes = Vec::with_capacity(keys.len());
        // A directory waits for what is in it; the others of a run do not depend on each other.
        for run in keys.chunk_by(|one, next| !one.is_directory_name() && !next.is_directory_name()) {
            let deletions = stream::iter(run.to_vec()).map(|key| self.delete_one(key).boxed());
            outcomes.extend(deletions.buffered(DELETIONS_AT_ONCE).collect::<Vec<_>>().await);
        }
        Ok(outcomes)
    }
}

#[cfg(test)]
pub(crate) mod support;
#[cfg(test)]
mod tests;
