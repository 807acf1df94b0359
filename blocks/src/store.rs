//! The blocks of one volume in one object store: put, get by groups, exists, delete, list.
//!
//! What it returns has the form of a block and is otherwise unproven: readers verify it.
//! Every operation ends within the options' deadline.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farshore_proto::limits::{DEFAULT_BLOCK_BYTES, GROUP_BYTES};
use farshore_proto::{BlockName, VolumeId};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::client;
use crate::durable_dirs::DurableDirs;
use crate::error::{BlockError, Fault};
use crate::format::{BlockHead, EncodedBlock};
use crate::head_cache::HeadCache;
use crate::key::BlockKey;
use crate::origin::BlockPiece;
use crate::store_url::{Place, StoreUrl};
use crate::unsynced::Unsynced;

/// How a store is used. Plain settings; the defaults suit a store in the same region.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The longest any operation takes, retries included. Default 30 s.
    pub deadline: Duration,
    /// The longest one request takes, which must suffice to send a block of 4 MiB. Default 20 s.
    pub request_timeout: Duration,
    /// Retries of one operation within the deadline. Default 5.
    pub max_retries: usize,
    /// Leaves the fsync of a local directory's files to `BlockStore::sync`: until then a power cut may
    /// lose blocks that a committed file refers to. Default false.
    pub deferred_sync: bool,
    /// Makes the directory of a `file:` store if it is not there, which only `format` should:
    /// later its absence means that its disk is not mounted. Default false.
    pub create_directory: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            request_timeout: Duration::from_secs(20),
            max_retries: 5,
            deferred_sync: false,
            create_directory: false,
        }
    }
}

/// A block as a listing shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBlock {
    /// Its name.
    pub name: BlockName,
    /// Bytes of the object.
    pub stored_bytes: u64,
    /// When the store says it was written, in milliseconds of the Unix epoch by the store's clock.
    pub written_unix_ms: i64,
}

/// One volume's blocks in one object store.
#[derive(Debug, Clone)]
pub struct BlockStore {
    objects: Arc<dyn ObjectStore>,
    label: Arc<str>,
    prefix: Path,
    key: BlockKey,
    deadline: Duration,
    heads: Arc<HeadCache>,
    local: Option<Arc<Local>>,
}

/// How the writes of a local directory are made to last.
#[derive(Debug)]
enum Local {
    /// Each at once: object_store syncs the file, and these are the directories above it.
    AtOnce(DurableDirs),
    /// Together, by `BlockStore::sync`.
    Deferred(Unsynced),
}

impl Local {
    fn new(directory: &std::path::Path, options: &StoreOptions) -> Self {
        if options.deferred_sync {
            Self::Deferred(Unsynced::new(directory))
        } else {
            Self::AtOnce(DurableDirs::new(directory))
        }
    }
}

impl BlockStore {
    /// Opens the store at `url` for the volume's blocks. Contacts nothing yet: `probe` does.
    ///
    /// Fails if the URL's settings do not do, or the directory of a `file:` store is absent.
    pub fn open(url: &StoreUrl, volume: VolumeId, key: BlockKey, options: &StoreOptions) -> Result<Self, BlockError> {
        let objects = client::connect(url, options)?;
        let (bucket_prefix, directory) = match &url.place {
            Place::File(path) => ("", Some(path)),
            Place::Memory(_) => ("", None),
            Place::S3(bucket) | Place::Gcs(bucket) | Place::Azure(bucket) => (bucket.prefix.as_str(), None),
        };
        let mut store = Self::over(objects, &url.to_string(), bucket_prefix, volume, key, options.deadline);
        store.local = directory.map(|directory| Arc::new(Local::new(directory, options)));
        Ok(store)
    }

    /// A store over any client, such as one that injects faults. `label` names it in messages.
    pub fn over(
        objects: Arc<dyn ObjectStore>,
        label: &str,
        bucket_prefix: &str,
        volume: VolumeId,
        key: BlockKey,
        deadline: Duration,
    ) -> Self {
        let prefix = Path::from(format!("{bucket_prefix}/{volume}"));
        Self { objects, label: label.into(), prefix, key, deadline, heads: Arc::default(), local: None }
    }

    /// The store's address for messages, without secrets.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The volume's key.
    pub fn key(&self) -> &BlockKey {
        &self.key
    }

    /// Stores a block; when this returns it will survive a power cut (unless that is left to `sync`).
    /// Storing one that is there already does no harm.
    pub async fn put(&self, name: BlockName, block: EncodedBlock) -> Result<(), BlockError> {
        let payload: PutPayload = block.into_parts().into_iter().filter(|part| !part.is_empty()).collect();
        self.put_object(&self.path_of(name), payload, "store a block").await
    }

    /// Makes every block stored before this call survive a power cut; at once where all of them do.
    ///
    /// # Errors
    /// What the disk said. Blocks may be lost then, and every later sync fails too.
    pub async fn sync(&self) -> Result<(), BlockError> {
        let Some(Local::Deferred(unsynced)) = self.local.as_deref() else { return Ok(()) };
        unsynced.sync().await.map_err(|source| BlockError::from_store(&self.label, "sync its blocks", source))
    }

    /// Reads `groups` of a block, or more of it than that; a compressed block comes whole.
    /// `groups` may pass the block's end. The piece is not verified.
    pub async fn get(&self, name: BlockName, groups: Range<u32>) -> Result<BlockPiece, BlockError> {
        let whole_groups = DEFAULT_BLOCK_BYTES / GROUP_BYTES;
        if groups.start == 0 && groups.end >= whole_groups {
            return self.get_whole(name).await;
        }
        self.heads.get_part(self, name, groups).await
    }

    /// Whether the store has an object of this name. Its content is not looked at.
    pub async fn exists(&self, name: BlockName) -> Result<bool, BlockError> {
        let path = self.path_of(name);
        match self.in_time("look for a block", self.objects.head(&path)).await? {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(BlockError::from_store(&self.label, "look for a block", source)),
        }
    }

    /// Deletes a block; one that is not there is no error.
    pub async fn delete(&self, name: BlockName) -> Result<(), BlockError> {
        self.delete_object(&self.path_of(name), "delete a block").await
    }

    /// Every block of the volume in the store, in no order. Objects that are not named as blocks
    /// are passed over. The deadline holds for each step of the listing.
    pub fn list(&self) -> BoxStream<'static, Result<StoredBlock, BlockError>> {
        let label = Arc::clone(&self.label);
        let failed = move |source| BlockError::from_store(&label, "list its blocks", source);
        let listed = self.objects.list(Some(&self.prefix.clone().join("blocks")));
        listed.map_err(failed).try_filter_map(|meta| std::future::ready(Ok(stored_block(&meta)))).boxed()
    }

    pub(crate) fn path_of(&self, name: BlockName) -> Path {
        let digits = name.to_string();
        self.prefix.clone().join("blocks").join(&digits[..3]).join(digits.as_str())
    }

    pub(crate) fn prefix(&self) -> &Path {
        &self.prefix
    }

    pub(crate) async fn put_object(
        &self,
        path: &Path,
        payload: PutPayload,
        action: &'static str,
    ) -> Result<(), BlockError> {
        let put = async {
            if let Some(Local::AtOnce(dirs)) = self.local.as_deref() {
                dirs.prepare(path).await?;
            }
            self.objects.put(path, payload).await?;
            match self.local.as_deref() {
                Some(Local::Deferred(unsynced)) => unsynced.put(path).await,
                _ => Ok(()),
            }
        };
        self.in_time(action, put).await?.map_err(|source| BlockError::from_store(&self.label, action, source))
    }

    pub(crate) async fn read_object(&self, path: &Path, action: &'static str) -> Result<Bytes, BlockError> {
        let read = async { self.objects.get(path).await?.bytes().await };
        self.in_time(action, read).await?.map_err(|source| BlockError::from_store(&self.label, action, source))
    }

    pub(crate) async fn delete_object(&self, path: &Path, action: &'static str) -> Result<(), BlockError> {
        match self.in_time(action, self.objects.delete(path)).await? {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(BlockError::from_store(&self.label, action, source)),
        }
    }

    pub(crate) async fn get_whole(&self, name: BlockName) -> Result<BlockPiece, BlockError> {
        let path = self.path_of(name);
        let read = async { self.objects.get(&path).await?.bytes().await };
        let object = self.in_time("read a block", read).await?.map_err(|source| self.read_failed(name, source))?;
        let piece = BlockHead::parse(&object).and_then(|head| piece_of_whole(&head, &object));
        piece.map_err(|fault| self.fault(name, fault))
    }

    pub(crate) async fn get_range(&self, name: BlockName, range: Range<u64>) -> Result<Bytes, BlockError> {
        let path = self.path_of(name);
        let read = self.in_time("read a block", self.objects.get_range(&path, range)).await?;
        read.map_err(|source| self.read_failed(name, source))
    }

    async fn in_time<T>(&self, action: &str, work: impl Future<Output = T>) -> Result<T, BlockError> {
        tokio::time::timeout(self.deadline, work).await.map_err(|_| BlockError::Deadline {
            what: format!("{} asked to {action}", self.label),
            after_ms: self.deadline.as_millis() as u64,
        })
    }

    fn read_failed(&self, name: BlockName, source: object_store::Error) -> BlockError {
        match source {
            object_store::Error::NotFound { .. } => BlockError::Missing { name, place: self.label.to_string() },
            source => BlockError::from_store(&self.label, "read a block", source),
        }
    }

    pub(crate) fn fault(&self, name: BlockName, fault: Fault) -> BlockError {
        BlockError::from_fault(name, &self.label, fault)
    }
}

fn piece_of_whole(head: &BlockHead, object: &Bytes) -> Result<BlockPiece, Fault> {
    let hashes = head.hashes(object)?;
    let data = head.unpack(object)?;
    Ok(BlockPiece { block_len: head.block_len(), hashes, first_group: 0, data })
}

fn stored_block(meta: &object_store::ObjectMeta) -> Option<StoredBlock> {
    let name = meta.location.filename()?.parse().ok()?;
    Some(StoredBlock { name, stored_bytes: meta.size, written_unix_ms: meta.last_modified.timestamp_millis() })
}
