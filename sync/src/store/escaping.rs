//! A store that holds every key: those that the store below it cannot hold are kept under escaped names in a directory of
//! their own (`key_escape.rs`), and are listed, read and deleted under their keys.
//!
//! A key is looked for under its own name first. Written under its own name it goes from the escaped one, so that a
//! key that became holdable, because what was beside it is gone, is there once.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{
    Body, Capabilities, CopyRequest, ListPage, ListRequest, PageEnd, PartPage, PartRequest, PutRequest, ReadRequest,
    Reading, Store, Stored, StoredPart, Upload, UploadId, UploadPage,
};
use crate::attributes::{AttributeSet, Attributes};
use crate::entry::{Entry, Identity, Kind, Object};
use crate::error::{Result, StoreError};
use crate::key::{Key, escaped};
use crate::key_escape::{RESERVED, escape, place, unescape};
use crate::key_range::{KeyRange, place_after};
use crate::limits::MAX_EMPTY_PAGES;
use crate::origin::Origin;
use crate::store::Unlisted;

/// Keys of streamed bodies that are to be escaped, which are remembered until they are sent again.
const CONFLICTS_KEPT: usize = 4096;

/// What ids of uploads of escaped keys begin with.
const ESCAPED_UPLOAD: &str = "escaped:";

/// A store, and what is known of its escaped names.
#[derive(Debug)]
pub struct EscapingStore {
    inner: Arc<dyn Store>,
    /// Whether it has escaped names; none before it was asked.
    used: Mutex<Option<bool>>,
    /// Keys that turned out to be unholdable only after their bytes had been taken.
    conflicts: Mutex<BTreeSet<Key>>,
}

/// Escaped names that were listed, under their keys.
#[derive(Debug, Default)]
struct Escaped {
    entries: Vec<Entry>,
    unlisted: Vec<Unlisted>,
    /// Up to where; none if to the end of the range.
    to: Option<bytes::Bytes>,
}

impl EscapingStore {
    /// Lets this store hold every key.
    pub fn over(inner: Arc<dyn Store>) -> Self {
        Self { inner, used: Mutex::new(None), conflicts: Mutex::default() }
    }

    /// Whether there may be escaped names.
    async fn is_used(&self) -> Result<bool> {
        if let Some(used) = *self.used.lock() {
            return Ok(used);
        }
        let request = ListRequest { limit: 1, ..ListRequest::first(KeyRange::of_prefix(RESERVED)) };
        let page = self.inner.list(&request).await?;
        let found = !page.entries.is_empty() || !page.unlisted.is_empty() || page.end != PageEnd::Complete;
        let mut used = self.used.lock();
        // What was written meanwhile counts.
        Ok(*used.get_or_insert(found))
    }

    fn escaped_name(&self, key: &Key, reason: StoreError) -> Result<Key> {
        escape(key).ok_or(match reason {
            StoreError::Unholdable { reason, .. } => {
                StoreError::unholdable(self.name(), key, format!("{reason}, and its escaped name would be too long"))
            }
            error => error,
        })
    }

    /// The page of escaped names in a range, with at least one entry unless there is none.
    async fn list_escaped(&self, request: &ListRequest) -> Result<Escaped> {
        let start = place(request.range.start());
        let end = request.range.end().map(|end| place(end).into());
        let mut range = KeyRange::of_prefix(RESERVED).intersect(&KeyRange::new(start, end));
        let mut found = Escaped::default();
        for _ in 0..MAX_EMPTY_PAGES {
            if range.is_empty() {
                return Ok(found);
            }
            let inner = ListRequest { range: range.clone(), token: None, limit: (request.limit / 2).max(1) };
            let page = self.inner.list(&inner).await?;
            found.take(page.entries);
            found.unlisted.extend(page.unlisted);
            match page.end {
                PageEnd::Complete => return Ok(found),
                PageEnd::More { next, .. } => range = range.from(next),
            }
            if let Some(last) = found.entries.last() {
                found.to = Some(place_after(&last.key));
                return Ok(found);
            }
        }
        Err(StoreError::unavailable(self.name(), "list escaped keys", "too many pages in a row had none"))
    }

    async fn put_escaped(&self, request: &PutRequest, body: Body, reason: StoreError) -> Result<Stored> {
        let name = self.escaped_name(&request.key, reason)?;
        *self.used.lock() = Some(true);
        // A directory's key ends with a slash, and its escaped name does not.
        let kind = if request.kind == Kind::Directory { Kind::Object } else { request.kind.clone() };
        let request = PutRequest { key: name, kind, ..request.clone() };
        let stored = self.inner.put(&request, body).await?;
        Ok(Stored { escaped: true, ..stored })
    }

    fn remember_conflict(&self, key: &Key) {
        let mut conflicts = self.conflicts.lock();
        if conflicts.len() >= CONFLICTS_KEPT {
            conflicts.pop_first();
        }
        conflicts.insert(key.clone());
    }

    /// Whether the key is not even tried under its own name.
    fn is_escaped(&self, key: &Key) -> bool {
        is_reserved(key) || self.conflicts.lock().contains(key)
    }

    /// Whether it is looked for under its escaped name alone: also if a directory has its own name, while it has bytes.
    async fn is_only_escaped(&self, key: &Key) -> Result<bool> {
        if self.is_escaped(key) || !key.is_directory_name() || !self.is_used().await? {
            return Ok(self.is_escaped(key));
        }
        let Some(name) = escape(key) else { return Ok(false) };
        match self.inner.head(&name, AttributeSet::NONE).await {
            Ok(_) => Ok(true),
            Err(StoreError::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn must_be_escaped(&self, key: &Key) -> StoreError {
        StoreError::unholdable(self.name(), key, "it begins as escaped keys do, or another key is in its way")
    }

    /// The escaped name to try after the own one failed with this error; the error itself if there is none to try.
    async fn other_name(&self, key: &Key, error: StoreError) -> Result<Key> {
        match error {
            StoreError::Missing { .. } | StoreError::Unholdable { .. } if self.is_used().await? => {
                escape(key).ok_or_else(|| StoreError::missing(self.name(), key))
            }
            StoreError::Unholdable { .. } => Err(StoreError::missing(self.name(), key)),
            error => Err(error),
        }
    }
}

impl Escaped {
    fn take(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            match unescape(entry.key.as_bytes()) {
                Some(key) if entry.kind != Kind::Directory => self.entries.push(Entry { key, ..entry }),
                _ if entry.key.is_directory_name() && entry.size == 0 => {}
                _ => {
                    let reason = "it lies among escaped keys and is none; move it elsewhere";
                    self.unlisted.push(Unlisted::incomplete(entry.key.as_bytes(), reason));
                }
            }
        }
    }
}

/// Whether the key is of the directory of escaped keys, or would be in its place.
fn is_reserved(key: &Key) -> bool {
    key.as_bytes().starts_with(RESERVED) || RESERVED.strip_suffix(b"/") == Some(key.as_bytes())
}

/// An upload as the store below knows it.
fn below(upload: &Upload) -> Upload {
    let escaped = upload.id.as_str().strip_prefix(ESCAPED_UPLOAD).zip(escape(&upload.key));
    escaped.map_or_else(|| upload.clone(), |(id, key)| Upload { key, id: UploadId::new(id) })
}

/// Both lists as one, up to a place; of a key that is in both, the one under its own name unless that is a directory.
fn merged(own: Vec<Entry>, escaped: Vec<Entry>, to: Option<&bytes::Bytes>) -> Vec<Entry> {
    let below = |entry: &Entry| to.is_none_or(|to| entry.key.as_bytes() < to.as_ref());
    let mut all: Vec<_> = own.into_iter().chain(escaped.into_iter().filter(below)).collect();
    all.sort_by(|one, other| one.key.cmp(&other.key));
    all.dedup_by(|later, earlier| {
        let same = later.key == earlier.key;
        if same && earlier.kind == Kind::Directory {
            std::mem::swap(later, earlier);
        }
        same
    });
    all
}

#[async_trait]
impl Store for EscapingStore {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        if !self.is_used().await? {
            let mut page = self.inner.list(request).await?;
            let in_the_way = page.entries.iter().position(|entry| is_reserved(&entry.key));
            if let Some(entry) = in_the_way.map(|at| page.entries.remove(at)) {
                let reason = "it is where the directory of escaped keys would be; give it another name";
                page.unlisted.push(Unlisted::incomplete(entry.key.as_bytes(), reason));
            }
            return Ok(page);
        }
        let escaped = self.list_escaped(request).await?;
        let range = escaped.to.as_ref().map_or_else(|| request.range.clone(), |to| request.range.until(to.clone()));
        let limit = request.limit.saturating_sub(escaped.entries.len()).max(1);
        let mut page = self.inner.list(&ListRequest { range, limit, token: request.token.clone() }).await?;
        page.entries.retain(|entry| !is_reserved(&entry.key));
        page.unlisted.extend(escaped.unlisted);
        page.end = match (page.end, escaped.to) {
            (PageEnd::Complete, Some(to)) => PageEnd::More { next: to, token: None },
            (end, _) => end,
        };
        let to = if let PageEnd::More { next, .. } = &page.end { Some(next) } else { None };
        page.entries = merged(page.entries, escaped.entries, to);
        Ok(page)
    }

    async fn head(&self, key: &Key, wanted: AttributeSet) -> Result<Object> {
        let escapes = self.is_only_escaped(key).await?;
        let own = if escapes { Err(self.must_be_escaped(key)) } else { self.inner.head(key, wanted).await };
        let error = match own {
            Err(error) => error,
            own => return own,
        };
        let mut object = self.inner.head(&self.other_name(key, error).await?, wanted).await?;
        object.entry.key = key.clone();
        Ok(object)
    }

    async fn read(&self, request: &ReadRequest) -> Result<Reading> {
        let escapes = self.is_only_escaped(&request.key).await?;
        let own = if escapes { Err(self.must_be_escaped(&request.key)) } else { self.inner.read(request).await };
        let error = match own {
            Err(error) => error,
            own => return own,
        };
        let name = match &error {
            // A directory of this name is no file that changed, if the file is escaped.
            StoreError::Changed { .. } if self.is_used().await? => escape(&request.key).ok_or_else(|| error.clone())?,
            _ => self.other_name(&request.key, error.clone()).await?,
        };
        let mut reading = match self.inner.read(&ReadRequest { key: name, ..request.clone() }).await {
            Err(StoreError::Missing { .. }) => return Err(error),
            reading => reading?,
        };
        reading.object.entry.key = request.key.clone();
        Ok(reading)
    }

    async fn put(&self, request: &PutRequest, body: Body) -> Result<Stored> {
        if self.is_escaped(&request.key) {
            return self.put_escaped(request, body, self.must_be_escaped(&request.key)).await;
        }
        let again = if let Body::Whole(bytes) = &body { Some(Body::Whole(bytes.clone())) } else { None };
        match (self.inner.put(request, body).await, again) {
            (Err(error @ StoreError::Unholdable { .. }), Some(again)) => self.put_escaped(request, again, error).await,
            // The bytes are taken: they are sent again, to the escaped name then.
            (Err(error @ StoreError::Unholdable { .. }), None) => {
                self.escaped_name(&request.key, error)?;
                self.remember_conflict(&request.key);
                Err(StoreError::unavailable(self.name(), format!("write {}", request.key), "its key has to be escaped"))
            }
            (Ok(stored), _) => {
                if let (true, Some(name)) = (self.is_used().await?, escape(&request.key)) {
                    self.inner.delete(&[name]).await?;
                }
                Ok(stored)
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn flush(&self) -> Result<()> {
        self.inner.flush().await
    }

    async fn begin_multipart(&self, request: &PutRequest) -> Result<UploadId> {
        let reason = if self.is_escaped(&request.key) {
            self.must_be_escaped(&request.key)
        } else {
            match self.inner.begin_multipart(request).await {
                Err(error @ StoreError::Unholdable { .. }) => error,
                begun => return begun,
            }
        };
        let key = self.escaped_name(&request.key, reason)?;
        *self.used.lock() = Some(true);
        let id = self.inner.begin_multipart(&PutRequest { key, ..request.clone() }).await?;
        Ok(UploadId::new(format!("{ESCAPED_UPLOAD}{}", id.as_str())))
    }

    async fn put_part(&self, upload: &Upload, part: &PartRequest, body: Body) -> Result<StoredPart> {
        self.inner.put_part(&below(upload), part, body).await
    }

    async fn complete_multipart(&self, upload: &Upload, request: &PutRequest, parts: &[StoredPart]) -> Result<Stored> {
        let below = below(upload);
        let request = PutRequest { key: below.key.clone(), ..request.clone() };
        match self.inner.complete_multipart(&below, &request, parts).await {
            // Something came in its way while the parts were sent: they are sent again, under the escaped name then.
            Err(error @ StoreError::Unholdable { .. }) => {
                self.escaped_name(&upload.key, error)?;
                self.remember_conflict(&upload.key);
                self.inner.abort_multipart(&below).await?;
                Err(StoreError::missing(self.name(), &format!("the upload of {}", upload.key)))
            }
            stored => Ok(Stored { escaped: below.key != upload.key, ..stored? }),
        }
    }

    async fn abort_multipart(&self, upload: &Upload) -> Result<()> {
        self.inner.abort_multipart(&below(upload)).await
    }

    async fn list_uploads(&self, after: Option<&str>) -> Result<UploadPage> {
        let mut page = self.inner.list_uploads(after).await?;
        for open in &mut page.uploads {
            let upload = &mut open.upload;
            if let Some(key) = unescape(upload.key.as_bytes()) {
                let id = UploadId::new(format!("{ESCAPED_UPLOAD}{}", upload.id.as_str()));
                *upload = Upload { key, id };
            }
        }
        Ok(page)
    }

    async fn list_parts(&self, upload: &Upload, after: Option<u32>) -> Result<PartPage> {
        self.inner.list_parts(&below(upload), after).await
    }

    fn copies_from(&self, source: &dyn Store) -> bool {
        // An escaped source has no name that the store below knows.
        !(source as &dyn Any).is::<Self>() && self.inner.copies_from(source)
    }

    async fn copy(&self, source: &dyn Store, request: &CopyRequest) -> Result<Stored> {
        match self.inner.copy(source, request).await {
            Err(error @ StoreError::Unholdable { .. }) => {
                let key = self.escaped_name(&request.target.key, error)?;
                *self.used.lock() = Some(true);
                let request = CopyRequest { target: PutRequest { key, ..request.target.clone() }, ..request.clone() };
                Ok(Stored { escaped: true, ..self.inner.copy(source, &request).await? })
            }
            copied => copied,
        }
    }

    async fn copy_part(
        &self,
        source: &dyn Store,
        read: &ReadRequest,
        upload: &Upload,
        number: u32,
    ) -> Result<StoredPart> {
        self.inner.copy_part(source, read, upload, number).await
    }

    async fn link(&self, existing: &Key, new: &Key) -> Result<()> {
        self.inner.link(existing, new).await
    }

    async fn note_origin(&self, seen: &Entry, origin: &Origin) -> Result<()> {
        self.inner.note_origin(seen, origin).await
    }

    async fn set_attributes(&self, key: &Key, identity: &Identity, attributes: &Attributes) -> Result<Stored> {
        let escapes = self.is_only_escaped(key).await?;
        let own = if escapes {
            Err(self.must_be_escaped(key))
        } else {
            self.inner.set_attributes(key, identity, attributes).await
        };
        match own {
            Err(error) => self.inner.set_attributes(&self.other_name(key, error).await?, identity, attributes).await,
            own => own,
        }
    }

    async fn delete(&self, keys: &[Key]) -> Result<Vec<Result<()>>> {
        let is_used = self.is_used().await?;
        let own: Vec<Key> = keys.iter().filter(|key| !is_reserved(key)).cloned().collect();
        let mut own = self.inner.delete(&own).await?.into_iter();
        let names: Vec<Key> = keys.iter().filter(|_| is_used).filter_map(escape).collect();
        let mut names = if names.is_empty() { Vec::new() } else { self.inner.delete(&names).await? }.into_iter();
        let mut outcomes = Vec::with_capacity(keys.len());
        for key in keys {
            let one = if is_reserved(key) { Ok(()) } else { own.next().unwrap_or_else(|| Err(gone(key))) };
            let has_name = is_used && escape(key).is_some();
            let other = if has_name { names.next().unwrap_or_else(|| Err(gone(key))) } else { Ok(()) };
            outcomes.push(match one {
                Err(StoreError::Unholdable { .. }) => other,
                one => one.and(other),
            });
        }
        Ok(outcomes)
    }
}

fn gone(key: &Key) -> StoreError {
    StoreError::bug(format!("a deletion of {} has no outcome", escaped(key.as_bytes())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::job::{Job, JobOptions};
    use crate::journal::MemoryJournal;
    use crate::outcome::Silent;
    use crate::plan::ComparePolicy;
    use crate::store::{CheckedListing, LocalOptions, LocalStore, MemoryStore, read_whole};

    /// A directory, and every key that was put and not deleted.
    struct Model {
        _directory: tempfile::TempDir,
        store: Arc<EscapingStore>,
        held: BTreeMap<Key, Vec<u8>>,
    }

    impl Model {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let local = LocalStore::open(directory.path(), LocalOptions::default()).unwrap();
            Self { store: Arc::new(EscapingStore::over(Arc::new(local))), _directory: directory, held: BTreeMap::new() }
        }

        async fn put(&mut self, key: &Key, bytes: &[u8], streamed: bool) {
            let request = PutRequest::object(key.clone(), bytes.len() as u64);
            let body = || {
                let whole = Body::Whole(bytes.to_vec().into());
                if streamed { Body::Stream { len: bytes.len() as u64, bytes: whole.into_stream() } } else { whole }
            };
            let mut put = self.store.put(&request, body()).await;
            if streamed && put.is_err() {
                put = self.store.put(&request, body()).await;
            }
            put.unwrap();
            self.held.insert(key.clone(), bytes.to_vec());
        }

        async fn delete(&mut self, key: &Key) {
            self.store.delete(std::slice::from_ref(key)).await.unwrap().remove(0).ok();
            self.held.remove(key);
        }

        /// Asserts that the listing is that of what is held, page by page, and that each is read as it was put.
        async fn check(&self, page: usize) {
            let mut listing = CheckedListing::new(self.store.clone(), KeyRange::all(), page);
            let mut listed = BTreeMap::new();
            while let Some(found) = listing.next_page().await.unwrap() {
                assert!(found.unlisted.is_empty(), "{:?}", found.unlisted);
                listed.extend(found.entries.into_iter().map(|entry| (entry.key.clone(), entry)));
            }
            // Directories are there because of what is in them.
            listed.retain(|key, entry| entry.kind != Kind::Directory || self.held.contains_key(key));
            assert_eq!(listed.keys().collect::<Vec<_>>(), self.held.keys().collect::<Vec<_>>());
            for (key, bytes) in self.held.iter().filter(|(_, bytes)| !bytes.is_empty()) {
                let identity = self.store.head(key, AttributeSet::NONE).await.unwrap().entry.identity();
                assert!(listed[key].identity().may_be(&identity));
                let reading = self.store.read(&ReadRequest::whole(key, &identity)).await.unwrap();
                assert_eq!((&reading.object.entry.key, identity.size), (key, bytes.len() as u64));
                assert_eq!(read_whole(reading.bytes, bytes.len()).await.unwrap(), bytes);
            }
        }
    }

    const ODD: [&str; 14] = [
        "a",
        "a/",
        "a/b",
        "a//b",
        "/a",
        ".",
        "./a",
        "a/..",
        "//",
        "n\0",
        ".farshore-keys",
        ".farshore-keys/a",
        "a/b/c",
        "b",
    ];

    fn odd(number: usize) -> Key {
        if number == ODD.len() { Key::new(vec![b'l'; 300]).unwrap() } else { Key::try_from(ODD[number]).unwrap() }
    }

    #[tokio::test]
    async fn every_odd_key_is_held_and_comes_back() {
        let mut model = Model::new();
        for number in 0..=ODD.len() {
            model.put(&odd(number), format!("bytes of {number}").as_bytes(), number % 2 == 0).await;
        }
        model.check(3).await;
        for number in (0..=ODD.len()).rev().step_by(2) {
            model.delete(&odd(number)).await;
        }
        model.check(1000).await;
    }

    #[tokio::test]
    async fn a_file_among_escaped_names_that_is_none_is_told() {
        let model = Model::new();
        let stray = PutRequest::object(Key::try_from(".farshore-keys/my.notes").unwrap(), 1);
        model.store.inner.put(&stray, Body::Whole("x".into())).await.unwrap();
        let page = model.store.list(&ListRequest::first(KeyRange::all())).await.unwrap();
        assert!(page.entries.is_empty() && page.unlisted.len() == 1 && page.unlisted[0].hides_keys, "{page:?}");
    }

    #[tokio::test]
    async fn every_key_goes_to_a_disk_and_back() {
        let (model, there) = (Model::new(), Arc::new(MemoryStore::objects("there")));
        let here = Arc::new(MemoryStore::objects("here").with_capabilities(|can| can.preferred_put_bytes = 4096));
        for number in 0..=ODD.len() {
            // Every third is sent in parts.
            let bytes = vec![number as u8; if number % 3 == 0 { 20 << 20 } else { 20 + number }];
            let request = PutRequest::object(odd(number), bytes.len() as u64);
            here.put(&request, Body::Whole(bytes.into())).await.unwrap();
        }
        let run = async |source: Arc<dyn Store>, target: Arc<dyn Store>| {
            let policy = ComparePolicy { delete: true, ..ComparePolicy::default() };
            let job = Job::new(source, target, JobOptions { policy, ..JobOptions::default() });
            let summary = job.run(Arc::new(MemoryJournal::new().unwrap()), Arc::new(Silent)).await.unwrap();
            assert!(summary.is_clean(), "{summary:?}");
            summary.counts
        };
        let counts = run(here.clone(), model.store.clone()).await;
        assert_eq!(counts.copied, 1 + ODD.len() as u64);
        assert!(counts.keys_escaped >= 9, "{counts:?}");
        let counts = run(here.clone(), model.store.clone()).await;
        assert_eq!((counts.copied, counts.deleted), (0, 0));
        run(model.store.clone(), there.clone()).await;
        let bytes = |store: &MemoryStore| -> BTreeMap<Key, Bytes> {
            let held = store.snapshot().into_iter().map(|(key, (_, bytes))| (key, bytes));
            held.filter(|(_, bytes)| !bytes.is_empty()).collect()
        };
        assert!(bytes(&here) == bytes(&there), "a key or its bytes did not come back");
        here.delete(&[odd(3), odd(5)]).await.unwrap();
        assert_eq!(run(here, model.store.clone()).await.deleted, 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_order_of_writing_and_deleting_keeps_every_key(
            steps in prop::collection::vec((0_usize..=ODD.len(), any::<bool>(), any::<bool>()), 1..30),
            page in 1_usize..8,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut model = Model::new();
                for (number, (key, deletes, streamed)) in steps.into_iter().enumerate() {
                    if deletes && number > 3 {
                        model.delete(&odd(key)).await;
                    } else {
                        model.put(&odd(key), format!("write {number}").as_bytes(), streamed).await;
                    }
                }
                model.check(page).await;
            });
        }
    }
}
