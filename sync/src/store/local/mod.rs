//! The local store: a directory of this machine, listed in the order of keys however large its directories are,
//! written atomically, with all that a filesystem keeps of a file.

mod appender;
mod inode;
pub(super) mod names;
mod note;
mod reading;
mod root;
mod temporary;
mod upload;
mod walk;
mod writing;

use std::any::Any;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{Stream, StreamExt, TryStreamExt};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, OFlags, syncfs, unlinkat};
use rustix::io::Errno;
use tokio::sync::{Semaphore, mpsc};

use self::root::Root;
use self::upload::PartWriter;
use self::walk::Walk;
use self::writing::{Sink, Writer};
use super::walks::{Resumable, Walks};
use super::{
    Body, ByteStream, Capabilities, Condition, ListPage, ListRequest, PageEnd, PartLimits, PartPage, PartRequest,
    PutRequest, ReadRequest, Reading, Seek, Store, Stored, StoredPart, Upload, UploadId, UploadPage, if_there,
};
use crate::attributes::{AttributeKind, AttributeSet, Attributes};
use crate::entry::{Entry, Identity, Kind, Object};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::{
    DISK_CALLS, HANDED_BYTES, LOCAL_PART_ABOVE_BYTES, QUEUED_CHUNKS, READ_HERE_BYTES, SYNCED_DISK_CALLS,
};
use crate::origin::Origin;
use crate::waiting::may_wait;

/// A directory of this machine.
#[derive(Debug)]
pub struct LocalStore {
    root: Arc<Root>,
    options: LocalOptions,
    capabilities: Capabilities,
    walks: Arc<Mutex<Walks<Walk>>>,
    /// As many calls wait for the disk at once as there are of these.
    turns: Arc<Semaphore>,
}

/// How a local store is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalOptions {
    /// When what was written is durable.
    pub durability: Durability,
    /// Whether temporary files that killed writers left are removed as they are met: for a store that is written to.
    pub sweep: bool,
    /// What is done about the objects of which files are copies.
    pub origins: Origins,
}

/// When what was written survives a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When `put` returns: each file and its directory are synced.
    Each,
    /// When `flush` returns: the filesystem is synced as a whole.
    AtFlush,
}

/// What is done about the objects of which files are copies (`origin.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origins {
    /// Nothing: the other side has no objects.
    Ignored,
    /// What files remember is listed.
    Read,
    /// And what is written remembers it.
    Kept,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self { durability: Durability::Each, sweep: true, origins: Origins::Ignored }
    }
}

impl LocalStore {
    /// Opens a directory that is there. That it is not there is an error, also for a target: a disk that is not
    /// mounted looks like it.
    pub fn open(path: &Path, options: LocalOptions) -> Result<Self> {
        let root = Arc::new(Root::open(path)?);
        let turns = Arc::new(Semaphore::new(disk_calls(options.durability)));
        Ok(Self { root, options, capabilities: capabilities(options.durability), walks: Arc::default(), turns })
    }

    /// Runs what may wait for the disk where that is allowed: here, or on another thread.
    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Arc<Root>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if may_wait() {
            return act(&self.root);
        }
        // More at once would only stand in each other's way: in one directory, one writes at a time.
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let root = Arc::clone(&self.root);
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            act(&root)
        });
        let done = done.await;
        done.unwrap_or_else(|error| Err(StoreError::unavailable(self.name(), "go on", &error)))
    }

    /// Writes what comes as a stream: it is awaited here and written where waiting is allowed. What is large is written
    /// by a thread of its own in any case, so that reading and writing go on side by side.
    async fn write<S: Sink>(
        &self,
        key: &Key,
        len: u64,
        mut bytes: ByteStream,
        begin: impl FnOnce(&Arc<Root>) -> Result<S> + Send + 'static,
    ) -> Result<S::Done>
    where
        S::Done: Send + 'static,
    {
        if may_wait() && len <= READ_HERE_BYTES {
            let mut sink = begin(&self.root)?;
            while let Some(chunk) = bytes.try_next().await? {
                sink.write(&chunk)?;
            }
            return sink.finish();
        }
        let (sender, mut receiver) = mpsc::channel::<Option<Vec<Bytes>>>(QUEUED_CHUNKS);
        let (root, key) = (Arc::clone(&self.root), key.clone());
        let write = tokio::task::spawn_blocking(move || {
            let mut sink = begin(&root)?;
            while let Some(chunks) = receiver.blocking_recv() {
                match chunks {
                    Some(chunks) => chunks.iter().try_for_each(|chunk| sink.write(chunk))?,
                    None => return sink.finish(),
                }
            }
            // The sender went without saying that all bytes came.
            Err(StoreError::unavailable(root.name(), format!("write {key}"), "its bytes stopped coming"))
        });
        let mut bytes = bytes.fuse();
        let feed = async move {
            loop {
                let chunks = some_chunks(&mut bytes).await?;
                let is_end = chunks.is_empty();
                // The writer says why it ended, if it did.
                if sender.send((!is_end).then_some(chunks)).await.is_err() || is_end {
                    return Ok(());
                }
            }
        };
        let (fed, written) = futures::join!(feed, write);
        fed.and(written.unwrap_or_else(|error| Err(StoreError::unavailable(self.name(), "go on", &error))))
    }

    /// Writes bytes that are all there, or as they come.
    async fn write_body<S: Sink>(
        &self,
        key: &Key,
        body: Body,
        begin: impl FnOnce(&Arc<Root>) -> Result<S> + Send + 'static,
    ) -> Result<S::Done>
    where
        S::Done: Send + 'static,
    {
        match body {
            Body::Stream { len, bytes } => self.write(key, len, bytes, begin).await,
            Body::Whole(bytes) => {
                self.blocking(move |root| {
                    let mut sink = begin(root)?;
                    sink.write(&bytes)?;
                    sink.finish()
                })
                .await
            }
        }
    }
}

/// The next chunks, as many as are handed over at once; none at the end.
async fn some_chunks(bytes: &mut (impl Stream<Item = Result<Bytes>> + Unpin)) -> Result<Vec<Bytes>> {
    let (mut chunks, mut len) = (Vec::new(), 0);
    while len < HANDED_BYTES {
        let Some(chunk) = bytes.try_next().await? else { break };
        len += chunk.len();
        chunks.push(chunk);
    }
    Ok(chunks)
}

/// What a disk keeps beside bytes.
const HOLDS: AttributeSet = AttributeSet::of(&[
    AttributeKind::Mode,
    AttributeKind::Owner,
    AttributeKind::ModifiedTime,
    AttributeKind::ExtendedAttributes,
    AttributeKind::Symlinks,
    AttributeKind::HardLinks,
    AttributeKind::Directories,
    AttributeKind::Holes,
]);

fn disk_calls(durability: Durability) -> usize {
    match durability {
        // Waits for the disk are joined: the more wait, the fewer are needed.
        Durability::Each => SYNCED_DISK_CALLS,
        Durability::AtFlush => DISK_CALLS,
    }
}

fn capabilities(durability: Durability) -> Capabilities {
    Capabilities {
        writable: true,
        seek: Seek::Anywhere,
        max_put_bytes: u64::MAX,
        preferred_put_bytes: LOCAL_PART_ABOVE_BYTES,
        parts: Some(PartLimits {
            min_bytes: 1,
            max_bytes: u64::MAX,
            max_count: 1_000_000,
            max_object_bytes: i64::MAX as u64,
            equal: false,
        }),
        holds: HOLDS,
        lists_source_times: true,
        time_precision_ns: 1,
        disk_calls: Some(disk_calls(durability)),
        ..Capabilities::read_only()
    }
}

/// One page of a walk; the walk itself if it is not at its end.
fn page(root: &Root, mut walk: Walk, limit: usize) -> Result<(ListPage, Option<Walk>)> {
    let mut page = ListPage::last(Vec::new());
    while page.entries.len() < limit {
        let Some(entry) = walk.next(root)? else {
            page.unlisted = walk.take_unlisted();
            return Ok((page, None));
        };
        page.entries.push(entry);
    }
    page.unlisted = walk.take_unlisted();
    Ok((page, Some(walk)))
}

#[async_trait]
impl Store for LocalStore {
    fn name(&self) -> &str {
        self.root.name()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        let (request, options) = (request.clone(), self.options);
        let walk = self.walks.lock().take(&request);
        let mut walk = walk.unwrap_or_else(|| Walk::new(request.range.clone(), options));
        if let Some(end) = request.range.end() {
            walk.narrow(end.clone());
        }
        let walks = Arc::clone(&self.walks);
        self.blocking(move |root| {
            let (mut page, walk) = page(root, walk, request.limit.max(1))?;
            if let Some(walk) = walk {
                let (next, ahead) = (walk.rest().start().clone(), walk.ahead());
                page.end = PageEnd::More { next, token: Some(walks.lock().keep(walk)), ahead };
            }
            Ok(page)
        })
        .await
    }

    async fn look(&self, key: &Key) -> Result<Option<Entry>> {
        let (key, origins) = (key.clone(), self.options.origins);
        if_there(self.blocking(move |root| look_as_listed(root, &key, origins)).await)
    }

    async fn head(&self, key: &Key, wanted: AttributeSet) -> Result<Object> {
        let key = key.clone();
        self.blocking(move |root| head(root, &key, wanted)).await
    }

    async fn read(&self, request: &ReadRequest) -> Result<Reading> {
        let request = request.clone();
        self.blocking(move |root| reading::read(root, &request)).await
    }

    async fn put(&self, request: &PutRequest, body: Body) -> Result<Stored> {
        if request.condition != Condition::Always {
            return Err(self.cannot("write on a condition".to_owned()));
        }
        let other = request.kind != Kind::Object || (request.key.is_directory_name() && request.size == 0);
        let (owned, options) = (request.clone(), self.options);
        match body {
            body if other && !body.is_empty() => Err(StoreError::bug(format!("a {} with bytes", request.kind))),
            _ if other => self.blocking(move |root| writing::put_other(root, options, &owned)).await,
            body => self.write_body(&request.key, body, move |root| Writer::begin(root, options, &owned)).await,
        }
    }

    async fn flush(&self) -> Result<()> {
        match self.options.durability {
            Durability::Each => Ok(()),
            Durability::AtFlush => {
                self.blocking(|root| {
                    let (store, synced) = (root.name().to_owned(), syncfs(root.fd()));
                    synced.map_err(|error| StoreError::Undurable { store, reason: error.to_string() })
                })
                .await
            }
        }
    }

    async fn begin_multipart(&self, request: &PutRequest) -> Result<UploadId> {
        let (request, options) = (request.clone(), self.options);
        self.blocking(move |root| upload::begin(root, options, &request)).await
    }

    async fn put_part(&self, upload: &Upload, part: &PartRequest, body: Body) -> Result<StoredPart> {
        let (owned, part) = (upload.clone(), part.clone());
        self.write_body(&upload.key, body, move |root| PartWriter::begin(root, &owned, &part)).await
    }

    async fn complete_multipart(&self, upload: &Upload, request: &PutRequest, parts: &[StoredPart]) -> Result<Stored> {
        if request.condition != Condition::Always {
            return Err(self.cannot("write on a condition".to_owned()));
        }
        let (upload, request, parts, options) = (upload.clone(), request.clone(), parts.to_vec(), self.options);
        self.blocking(move |root| upload::complete(root, options, &upload, &request, &parts)).await
    }

    async fn abort_multipart(&self, upload: &Upload) -> Result<()> {
        let upload = upload.clone();
        self.blocking(move |root| upload::abort(root, &upload)).await
    }

    async fn list_uploads(&self, after: Option<&str>) -> Result<UploadPage> {
        let after = after.map(str::parse::<Key>);
        let after = after.transpose().map_err(|error| StoreError::invalid(self.name(), error.to_string()))?;
        self.blocking(move |root| upload::list(root, after.as_ref())).await
    }

    async fn list_parts(&self, upload: &Upload, after: Option<u32>) -> Result<PartPage> {
        let upload = upload.clone();
        self.blocking(move |root| upload::list_parts(root, &upload, after)).await
    }

    async fn link(&self, existing: &Key, new: &Key) -> Result<()> {
        let (existing, new, options) = (existing.clone(), new.clone(), self.options);
        self.blocking(move |root| writing::link(root, options, &existing, &new)).await
    }

    async fn adopt(&self, source: &dyn Store, existing: &Key, new: &Key) -> Result<()> {
        let Some(other) = (source as &dyn Any).downcast_ref::<Self>().map(|other| Arc::clone(&other.root)) else {
            return Err(self.cannot(format!("adopt {new}")));
        };
        let (existing, new, options) = (existing.clone(), new.clone(), self.options);
        self.blocking(move |root| writing::adopt(root, options, &other, &existing, &new)).await
    }

    async fn set_attributes(&self, key: &Key, identity: &Identity, attributes: &Attributes) -> Result<Stored> {
        let (key, identity, attributes) = (key.clone(), identity.clone(), attributes.clone());
        self.blocking(move |root| set_attributes(root, &key, &identity, &attributes)).await
    }

    async fn note_origin(&self, seen: &Entry, origin: &Origin) -> Result<()> {
        if self.options.origins != Origins::Kept || seen.kind != Kind::Object {
            return Ok(());
        }
        let (seen, origin) = (seen.clone(), *origin);
        self.blocking(move |root| {
            let file = root.open_beneath(seen.key.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK);
            let noted = file.and_then(|file| note::write_again(file.as_fd(), &seen, &origin));
            noted.map_err(|error| root.error(&seen.key, "note the origin of", error))
        })
        .await
    }

    async fn delete(&self, keys: &[Key]) -> Result<Vec<Result<()>>> {
        let keys = keys.to_vec();
        self.blocking(move |root| Ok(keys.iter().map(|key| delete(root, key)).collect())).await
    }
}

/// What is at a key: its directory, opened, its name there, and its entry.
fn look(root: &Root, key: &Key) -> Result<(OwnedFd, Entry)> {
    let place = root.place(key)?;
    let directory = root.open_directory(place.directory);
    let looked = directory.and_then(|directory| {
        let entry = inode::entry_at(directory.as_fd(), place.name, key.clone())?;
        Ok((directory, entry))
    });
    let (directory, entry) = looked.map_err(|error| reading::missing_or(root, key, "look at", error))?;
    let entry = entry.filter(|entry| (entry.kind == Kind::Directory) == place.is_directory);
    Ok((directory, entry.ok_or_else(|| StoreError::missing(root.name(), key))?))
}

fn look_as_listed(root: &Root, key: &Key, origins: Origins) -> Result<Entry> {
    let (directory, mut entry) = look(root, key)?;
    note::add_to(&mut entry, origins, directory.as_fd(), root.place(key)?.name);
    Ok(entry)
}

fn head(root: &Root, key: &Key, wanted: AttributeSet) -> Result<Object> {
    let (_, entry) = look(root, key)?;
    if matches!(entry.kind, Kind::Symlink { .. }) {
        return head_link(root, key);
    }
    let path = key.as_bytes().strip_suffix(b"/").unwrap_or(key.as_bytes());
    let read = || {
        // A file that may not be read can still be looked at, but for its extended attributes.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let file = match root.open_beneath(path, flags) {
            Err(Errno::ACCESS) => root.open_beneath(path, OFlags::PATH)?,
            opened => opened?,
        };
        let stat = inode::stat(&file)?;
        let mut posix = inode::posix(&stat);
        if wanted.has(AttributeKind::ExtendedAttributes) {
            posix.xattrs = inode::xattrs(file.as_fd())?;
        }
        Ok((stat, posix))
    };
    let (stat, posix) = read().map_err(|error| reading::missing_or(root, key, "look at", error))?;
    let unknown = AttributeSet::of(&[AttributeKind::ExtendedAttributes]).without(wanted);
    let entry = inode::entry(key.clone(), entry.kind, &stat);
    Ok(Object {
        entry,
        attributes: Attributes { posix: Some(posix), ..Attributes::default() },
        known: HOLDS.without(unknown),
    })
}

fn head_link(root: &Root, key: &Key) -> Result<Object> {
    let (directory, entry) = look(root, key)?;
    let name = root.place(key)?.name;
    let stat = rustix::fs::statat(&directory, name, root::NO_FOLLOW);
    let stat = stat.map_err(|error| reading::missing_or(root, key, "look at", error))?;
    let posix = Some(inode::posix(&stat));
    Ok(Object { entry, attributes: Attributes { posix, ..Attributes::default() }, known: HOLDS })
}

fn set_attributes(root: &Root, key: &Key, identity: &Identity, attributes: &Attributes) -> Result<Stored> {
    let (directory, entry) = look(root, key)?;
    if !identity.may_be(&entry.identity()) {
        return Err(StoreError::changed(key, "its size, time or inode is another"));
    }
    let place = root.place(key)?;
    let path = key.as_bytes().strip_suffix(b"/").unwrap_or(key.as_bytes());
    let applied = match &entry.kind {
        Kind::Symlink { .. } => inode::apply_to_link(directory.as_fd(), place.name, attributes, None),
        _ => root.open_beneath(path, OFlags::RDONLY | OFlags::NONBLOCK).and_then(|file| {
            let removed = attributes.posix.as_ref().map(|posix| inode::remove_other_xattrs(file.as_fd(), posix));
            let refused = removed.transpose()?.unwrap_or_default();
            Ok(inode::apply(file.as_fd(), attributes, None)?.or(refused))
        }),
    };
    let left_out = applied.map_err(|error| root.error(key, "change the attributes of", error))?;
    Ok(Stored { size: Some(entry.size), left_out, ..Stored::default() })
}

/// What is not there, also because it is a directory where the key names a file or the other way round, is deleted.
fn delete(root: &Root, key: &Key) -> Result<()> {
    let place = match root.place(key) {
        Err(StoreError::Unholdable { .. }) => return Ok(()),
        place => place?,
    };
    let flags = if place.is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    let deleted = root.open_directory(place.directory).and_then(|directory| unlinkat(&directory, place.name, flags));
    match deleted {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::ISDIR | Errno::LOOP) => Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Err(StoreError::changed(key, "the directory is not empty")),
        Err(error) => Err(root.error(key, "delete", error)),
    }
}

#[cfg(test)]
mod tests;
