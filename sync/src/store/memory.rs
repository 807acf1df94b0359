//! A store in memory: the reference of the contract, and the ground that simulations stand on. Its clock counts
//! writes, so that a history is the same each time it runs.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use parking_lot::Mutex;

use super::{
    Body, ByteStream, Capabilities, Condition, CopyRequest, ListPage, ListRequest, OpenUpload, PageEnd, PartLimits,
    PartPage, PartRequest, PutRequest, ReadRequest, Reading, Seek, Store, Stored, StoredPart, Upload, UploadId,
    UploadPage,
};
use crate::attributes::{AttributeKind, AttributeSet, Attributes, ContentHeaders};
use crate::checksum::{Agreement, Algorithm, Checksums};
use crate::digest::{Extra, Hasher};
use crate::entry::{ETag, Entry, Identity, Kind, Object};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::CHUNK_BYTES;
use crate::timestamp::Timestamp;

/// Objects in memory.
#[derive(Debug)]
pub struct MemoryStore {
    name: String,
    capabilities: Capabilities,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<Key, Held>,
    uploads: BTreeMap<Upload, Pending>,
    /// Counts writes: the clock and the source of ids.
    writes: u64,
}

#[derive(Debug, Clone)]
struct Held {
    entry: Entry,
    attributes: Attributes,
    bytes: Bytes,
}

#[derive(Debug)]
struct Pending {
    request: PutRequest,
    parts: BTreeMap<u32, (StoredPart, Bytes)>,
}

/// Parts may be this small, so that tests need little.
const MIN_PART_BYTES: u64 = 1024;

impl MemoryStore {
    /// A store that is like an object store: it holds headers, metadata and tags, and its times are those of writing.
    pub fn objects(name: &str) -> Self {
        use AttributeKind::{ContentHeaders, StorageClass, Tags, UserMetadata};
        Self::new(name, AttributeSet::of(&[ContentHeaders, UserMetadata, Tags, StorageClass]))
    }

    /// A store that is like a filesystem without its restrictions: it holds modes, owners, times, links, directories.
    pub fn files(name: &str) -> Self {
        use AttributeKind::{Directories, ExtendedAttributes, Mode, ModifiedTime, Owner, Symlinks};
        Self::new(name, AttributeSet::of(&[Mode, Owner, ModifiedTime, ExtendedAttributes, Symlinks, Directories]))
    }

    fn new(name: &str, holds: AttributeSet) -> Self {
        let parts = PartLimits {
            min_bytes: MIN_PART_BYTES,
            max_bytes: 1 << 30,
            max_count: 10_000,
            max_object_bytes: 1 << 40,
            equal: false,
        };
        let capabilities = Capabilities {
            writable: true,
            seek: Seek::Anywhere,
            max_put_bytes: 1 << 30,
            parts: Some(parts),
            verifies: vec![Algorithm::Crc64Nvme, Algorithm::Crc32c, Algorithm::Md5],
            reports: vec![Algorithm::Crc64Nvme, Algorithm::Crc32c],
            holds,
            conditional: true,
            max_copy_bytes: 1 << 30,
            lists_source_times: holds.has(AttributeKind::ModifiedTime),
            time_precision_ns: 1,
            ..Capabilities::read_only()
        };
        Self { name: format!("mem://{name}"), capabilities, state: Mutex::default() }
    }

    /// The same store with other capabilities, as tests want them.
    #[must_use]
    pub fn with_capabilities(mut self, change: impl FnOnce(&mut Capabilities)) -> Self {
        change(&mut self.capabilities);
        self
    }

    /// Every object and its bytes, for tests.
    pub fn snapshot(&self) -> BTreeMap<Key, (Object, Bytes)> {
        let state = self.state.lock();
        let object = |held: &Held| (held.object(&self.capabilities), held.bytes.clone());
        state.objects.iter().map(|(key, held)| (key.clone(), object(held))).collect()
    }

    fn missing(&self, what: &impl ToString) -> StoreError {
        StoreError::missing(&self.name, what)
    }

    fn check_checksums(&self, what: &Key, wanted: &Checksums, found: &Checksums) -> Result<()> {
        match wanted.agreement(found) {
            Agreement::Different(algorithm) => {
                Err(StoreError::corrupt(&self.name, what, format!("its {algorithm} is not the one that was sent")))
            }
            Agreement::Equal | Agreement::Unknown => Ok(()),
        }
    }

    /// Puts bytes under a key, in one step.
    fn store(&self, request: &PutRequest, bytes: Bytes) -> Result<Stored> {
        let sums = checksums_of(&bytes);
        self.check_checksums(&request.key, &request.checksums, &sums)?;
        let mut state = self.state.lock();
        state.check_condition(request)?;
        state.writes += 1;
        let held = Held::new(request, bytes, sums, state.writes, self.capabilities.holds);
        let stored = held.stored();
        state.objects.insert(request.key.clone(), held);
        Ok(stored)
    }

    async fn collect(&self, what: &Key, size: u64, body: Body) -> Result<Bytes> {
        let bytes = super::read_whole(body.into_stream(), size as usize).await?;
        if bytes.len() as u64 != size {
            let reason = format!("{} bytes came where {size} were announced", bytes.len());
            return Err(StoreError::corrupt(&self.name, what, reason));
        }
        Ok(bytes)
    }
}

impl State {
    fn check_condition(&self, request: &PutRequest) -> Result<()> {
        let present = self.objects.get(&request.key);
        let holds = match (&request.condition, present) {
            (Condition::Always, _) | (Condition::Absent, None) => true,
            (Condition::Is(identity), Some(held)) => identity.may_be(&held.entry.identity()),
            (Condition::Absent, Some(_)) | (Condition::Is(_), None) => false,
        };
        holds.then_some(()).ok_or_else(|| StoreError::changed(&request.key, "the write's condition does not hold"))
    }

    fn find(&self, key: &Key, identity: &Identity) -> Option<Result<&Held>> {
        let held = self.objects.get(key)?;
        let same = identity.may_be(&held.entry.identity());
        Some(if same { Ok(held) } else { Err(StoreError::changed(key, "its identity is another")) })
    }
}

impl Held {
    fn new(request: &PutRequest, bytes: Bytes, checksums: Checksums, writes: u64, holds: AttributeSet) -> Self {
        let kept_time = request.modified.filter(|_| holds.has(AttributeKind::ModifiedTime));
        let entry = Entry {
            kind: request.kind.clone(),
            modified: Some(kept_time.unwrap_or_else(|| Timestamp::new(writes as i64, 0))),
            etag: Some(ETag::new(&format!("tag-{writes}"))),
            checksums: if request.kind == Kind::Object { checksums } else { Checksums::none() },
            ..Entry::object(request.key.clone(), bytes.len() as u64)
        };
        Self { entry, attributes: kept(&request.attributes, holds), bytes }
    }

    fn object(&self, capabilities: &Capabilities) -> Object {
        Object { entry: self.entry.clone(), attributes: self.attributes.clone(), known: capabilities.holds }
    }

    fn stored(&self) -> Stored {
        Stored {
            etag: self.entry.etag.clone(),
            version: None,
            size: Some(self.entry.size),
            checksums: self.entry.checksums.clone(),
            left_out: AttributeSet::NONE,
            escaped: false,
        }
    }
}

/// The attributes that are held; the rest is left out.
fn kept(attributes: &Attributes, holds: AttributeSet) -> Attributes {
    let mut kept = attributes.clone();
    if !holds.has(AttributeKind::ContentHeaders) {
        kept.content = ContentHeaders::default();
    }
    if !holds.has(AttributeKind::UserMetadata) {
        kept.user.clear();
    }
    if !holds.has(AttributeKind::Tags) {
        kept.tags.clear();
    }
    if !holds.has(AttributeKind::StorageClass) {
        kept.storage_class = None;
    }
    if !holds.has(AttributeKind::Mode) {
        kept.posix = None;
    }
    kept
}

fn checksums_of(bytes: &[u8]) -> Checksums {
    let mut hasher = Hasher::new(Extra { md5: true, blake3: false });
    hasher.update(bytes);
    hasher.checksums()
}

fn stream_of(bytes: &Bytes) -> ByteStream {
    let pieces: Vec<_> = bytes.chunks(CHUNK_BYTES).map(|piece| Ok(bytes.slice_ref(piece))).collect();
    stream::iter(pieces).boxed()
}

#[async_trait]
impl Store for MemoryStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        if request.range.is_empty() {
            return Ok(ListPage::last(Vec::new()));
        }
        let state = self.state.lock();
        let end = request.range.end().map_or(Bound::Unbounded, |end| Bound::Excluded(end.as_ref()));
        let mut objects = state.objects.range::<[u8], _>((Bound::Included(request.range.start().as_ref()), end));
        let mut entries: Vec<_> =
            objects.by_ref().take(request.limit + 1).map(|(_, held)| held.entry.clone()).collect();
        if entries.len() > request.limit {
            entries.truncate(request.limit);
            let mut page = ListPage::with_more(entries);
            if let PageEnd::More { ahead, .. } = &mut page.end {
                *ahead = objects.nth(request.limit).map(|(key, _)| key.to_bytes());
            }
            return Ok(page);
        }
        Ok(ListPage::last(entries))
    }

    async fn head(&self, key: &Key, _wanted: AttributeSet) -> Result<Object> {
        let state = self.state.lock();
        let held = state.objects.get(key).ok_or_else(|| self.missing(key))?;
        Ok(held.object(&self.capabilities))
    }

    async fn read(&self, request: &ReadRequest) -> Result<Reading> {
        let state = self.state.lock();
        let held = state.find(&request.key, &request.identity).ok_or_else(|| self.missing(&request.key))??;
        let range = request.range.offset as usize..request.range.end() as usize;
        let bytes = held.bytes.get(range.clone()).map(|_| held.bytes.slice(range));
        let bytes = bytes.ok_or_else(|| StoreError::bug(format!("a read beyond the end of {}", request.key)))?;
        Ok(Reading { object: held.object(&self.capabilities), bytes: stream_of(&bytes) })
    }

    async fn put(&self, request: &PutRequest, body: Body) -> Result<Stored> {
        let bytes = self.collect(&request.key, request.size, body).await?;
        self.store(request, bytes)
    }

    async fn begin_multipart(&self, request: &PutRequest) -> Result<UploadId> {
        let mut state = self.state.lock();
        state.writes += 1;
        let upload = Upload { key: request.key.clone(), id: UploadId::new(format!("upload-{}", state.writes)) };
        let id = upload.id.clone();
        state.uploads.insert(upload, Pending { request: request.clone(), parts: BTreeMap::new() });
        Ok(id)
    }

    async fn put_part(&self, upload: &Upload, part: &PartRequest, body: Body) -> Result<StoredPart> {
        let bytes = self.collect(&upload.key, part.range.len, body).await?;
        let sums = checksums_of(&bytes);
        self.check_checksums(&upload.key, &part.checksums, &sums)?;
        let mut state = self.state.lock();
        state.writes += 1;
        let etag = ETag::new(&format!("part-{}", state.writes));
        let stored = StoredPart { number: part.number, size: bytes.len() as u64, etag, checksums: sums };
        let pending = state.uploads.get_mut(upload).ok_or_else(|| self.missing(&upload.id))?;
        pending.parts.insert(part.number, (stored.clone(), bytes));
        Ok(stored)
    }

    async fn complete_multipart(&self, upload: &Upload, request: &PutRequest, parts: &[StoredPart]) -> Result<Stored> {
        let (bytes, begun) = {
            let state = self.state.lock();
            let pending = state.uploads.get(upload).ok_or_else(|| self.missing(&upload.id))?;
            (join(upload, pending, parts)?, pending.request.clone())
        };
        let put = PutRequest { checksums: request.checksums.clone(), condition: request.condition.clone(), ..begun };
        let stored = self.store(&put, bytes)?;
        self.state.lock().uploads.remove(upload);
        Ok(stored)
    }

    async fn abort_multipart(&self, upload: &Upload) -> Result<()> {
        self.state.lock().uploads.remove(upload);
        Ok(())
    }

    async fn list_uploads(&self, after: Option<&str>) -> Result<UploadPage> {
        let state = self.state.lock();
        let uploads = state.uploads.keys().filter(|upload| after.is_none_or(|after| upload.id.as_str() > after));
        let uploads = uploads.map(|upload| OpenUpload { upload: upload.clone(), begun: None }).collect();
        Ok(UploadPage { uploads, next: None })
    }

    async fn list_parts(&self, upload: &Upload, after: Option<u32>) -> Result<PartPage> {
        let state = self.state.lock();
        let pending = state.uploads.get(upload).ok_or_else(|| self.missing(&upload.id))?;
        let later = pending.parts.range(after.map_or(0, |after| after + 1)..);
        Ok(PartPage { parts: later.map(|(_, (part, _))| part.clone()).collect(), more: false })
    }

    fn copies_from(&self, source: &dyn Store) -> bool {
        (source as &dyn Any).is::<Self>() && self.capabilities.max_copy_bytes > 0
    }

    async fn copy(&self, source: &dyn Store, request: &CopyRequest) -> Result<Stored> {
        let read = ReadRequest::whole(&request.source, &request.identity);
        let bytes = self.bytes_of(source, &read)?;
        self.store(&request.target, bytes)
    }

    async fn copy_part(
        &self,
        source: &dyn Store,
        read: &ReadRequest,
        upload: &Upload,
        number: u32,
    ) -> Result<StoredPart> {
        let bytes = self.bytes_of(source, read)?;
        let part = PartRequest { number, range: read.range, checksums: Checksums::none() };
        self.put_part(upload, &part, Body::Whole(bytes)).await
    }

    async fn set_attributes(&self, key: &Key, identity: &Identity, attributes: &Attributes) -> Result<Stored> {
        let mut state = self.state.lock();
        let mut held = state.find(key, identity).ok_or_else(|| self.missing(key))??.clone();
        held.attributes = kept(attributes, self.capabilities.holds);
        if let (true, Some(posix)) = (self.capabilities.lists_source_times, &attributes.posix) {
            held.entry.modified = Some(posix.modified);
        }
        let stored = held.stored();
        state.objects.insert(key.clone(), held);
        Ok(stored)
    }

    async fn delete(&self, keys: &[Key]) -> Result<Vec<Result<()>>> {
        let mut state = self.state.lock();
        for key in keys {
            state.objects.remove(key);
        }
        Ok(keys.iter().map(|_| Ok(())).collect())
    }
}

impl MemoryStore {
    fn bytes_of(&self, source: &dyn Store, read: &ReadRequest) -> Result<Bytes> {
        let source = (source as &dyn Any).downcast_ref::<Self>();
        let source = source.ok_or_else(|| self.cannot("copy from another kind of store".to_owned()))?;
        let state = source.state.lock();
        let held = state.find(&read.key, &read.identity).ok_or_else(|| source.missing(&read.key))??;
        Ok(held.bytes.slice(read.range.offset as usize..read.range.end() as usize))
    }
}

/// The object that the parts make up.
fn join(upload: &Upload, pending: &Pending, parts: &[StoredPart]) -> Result<Bytes> {
    let wrong = |reason: &str| StoreError::invalid(format!("the parts of {}", upload.key), reason);
    if !parts.is_sorted_by(|one, next| one.number < next.number) {
        return Err(wrong("they are out of order"));
    }
    let mut bytes = Vec::new();
    for part in parts {
        let (held, body) = pending.parts.get(&part.number).ok_or_else(|| wrong("one was never sent"))?;
        if held.etag != part.etag {
            return Err(wrong("one was sent again since"));
        }
        bytes.extend_from_slice(body);
    }
    Ok(bytes.into())
}

/// A store that is shared under another handle stays one store.
impl From<MemoryStore> for Arc<dyn Store> {
    fn from(store: MemoryStore) -> Self {
        Arc::new(store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract;

    #[tokio::test]
    async fn objects_keep_the_contract() {
        contract::run_all(async || Arc::new(MemoryStore::objects("contract"))).await;
    }

    #[tokio::test]
    async fn files_keep_the_contract() {
        contract::run_all(async || Arc::new(MemoryStore::files("contract"))).await;
    }
}
