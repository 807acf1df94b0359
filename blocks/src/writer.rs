//! Writing blocks: hash, compress, upload; a bounded number at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farshore_proto::BlockName;
use farshore_proto::limits::GROUP_BYTES;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::compression::Compression;
use crate::error::BlockError;
use crate::format::{EncodedBlock, encode};
use crate::memory::MemoryTier;
use crate::store::BlockStore;

/// Hashing and compressing more than this goes to a blocking thread.
const INLINE_ENCODE_BYTES: usize = 2 * GROUP_BYTES as usize;
/// Names of recent uploads that are remembered.
const RECENT_NAMES: usize = 16 << 10;

/// How a writer behaves. Plain settings.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// How payloads are compressed. Default none.
    pub compression: Compression,
    /// Blocks that may be encoded or uploaded at once. Default 16.
    pub max_uploads: usize,
    /// For how long a block that this writer uploaded is not uploaded again. It must be well below the
    /// least age at which collection may delete a block. Zero turns it off. Default 60 s.
    pub recent: Duration,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { compression: Compression::None, max_uploads: 16, recent: Duration::from_mins(1) }
    }
}

/// Writes blocks of one volume. Cloning it is cheap and shares everything.
#[derive(Clone)]
pub struct BlockWriter(Arc<Shared>);

struct Shared {
    store: BlockStore,
    memory: Option<Arc<MemoryTier>>,
    uploads: Semaphore,
    /// When each of the last uploads ended.
    uploaded: Cache<BlockName, Instant>,
    compression: Compression,
    recent: Duration,
}

impl BlockWriter {
    /// A writer into `store`. With `memory`, such as the reader's, fresh blocks are read from there.
    pub fn new(store: BlockStore, memory: Option<Arc<MemoryTier>>, options: &WriterOptions) -> Self {
        Self(Arc::new(Shared {
            store,
            memory,
            uploads: Semaphore::new(options.max_uploads.max(1)),
            uploaded: Cache::new(RECENT_NAMES),
            compression: options.compression,
            recent: options.recent,
        }))
    }

    /// Stores a block and returns its name. When this returns the store has it.
    pub async fn write(&self, data: Bytes) -> Result<BlockName, BlockError> {
        let permit = self.0.uploads.acquire().await;
        let _place = permit.map_err(|_| BlockError::Stopped { what: "the upload of a block".to_owned() })?;
        let (name, encoded) = self.encode(data.clone()).await?;
        if !self.0.was_uploaded(&name) {
            self.0.store.put(name, encoded).await?;
            self.0.uploaded.insert(name, Instant::now());
        }
        if let Some(memory) = &self.0.memory {
            memory.insert_block(name, data);
        }
        Ok(name)
    }

    /// Makes every block written before this call survive a power cut; see [`BlockStore::sync`].
    pub async fn sync(&self) -> Result<(), BlockError> {
        self.0.store.sync().await
    }

    /// Makes the next write of this block upload it, whatever was uploaded before: for when the
    /// block is being deleted.
    pub fn forget(&self, name: &BlockName) {
        self.0.uploaded.remove(name);
    }

    async fn encode(&self, data: Bytes) -> Result<(BlockName, EncodedBlock), BlockError> {
        let (key, compression) = (self.0.store.key().clone(), self.0.compression);
        let inline = data.len() <= INLINE_ENCODE_BYTES;
        let work = move || encode(&key, &data, compression).map(|(tree, encoded)| (tree.name(), encoded));
        if inline {
            return work();
        }
        let worked = tokio::task::spawn_blocking(work).await;
        worked.map_err(|_| BlockError::Stopped { what: "the encoding of a block".to_owned() })?
    }
}

impl Shared {
    fn was_uploaded(&self, name: &BlockName) -> bool {
        self.uploaded.get(name).is_some_and(|at| at.elapsed() < self.recent)
    }
}
