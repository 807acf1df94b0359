//! The local disk cache of verified groups: bounded, kept over restarts, verified on every read.
//!
//! One file a block, sparse; nothing in it is trusted. Reads run on blocking threads; one writer
//! thread owns every change of the directory: it creates, fills and evicts. A cache
//! whose disk fails or is full is a cache that has nothing: never an error to a reader.

mod file;
mod index;
mod layout;
mod queue;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use farshore_proto::{BlockName, VolumeId};

use crate::error::BlockError;
use crate::fetch::VerifiedPiece;
use crate::group::ALL_GROUPS;
use crate::key::BlockKey;
use crate::runs::RunSet;
use file::CacheFile;
use index::Index;
use layout::Layout;
use queue::WriteQueue;

/// How large a disk cache may be.
#[derive(Debug, Clone)]
pub struct DiskOptions {
    /// Bytes of disk that its files may allocate. Default 10 GiB.
    pub budget_bytes: u64,
    /// Bytes that may wait to be written; what comes while they wait is not cached. Default 64 MiB.
    pub queue_bytes: usize,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self { budget_bytes: 10 << 30, queue_bytes: 64 << 20 }
    }
}

/// A directory of cached blocks of one volume.
#[derive(Debug)]
pub struct DiskCache {
    key: BlockKey,
    layout: Layout,
    index: Arc<Index>,
    queue: WriteQueue,
}

/// What the disk had of some groups.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) runs: RunSet,
    /// Groups that were there and did not verify.
    pub(crate) corrupt: u32,
}

impl DiskCache {
    /// Opens the cache of `volume` under `directory`, and measures what is there. This blocks: it
    /// looks at every cached file once. One process at a time may have it open.
    pub fn open(directory: &Path, volume: VolumeId, key: BlockKey, options: &DiskOptions) -> Result<Self, BlockError> {
        let layout = Layout::open(directory.join(volume.to_string()))?;
        let index = Arc::new(Index::new(options.budget_bytes));
        for cached in layout.scan() {
            for evicted in index.add_scanned(cached.name, cached.allocated_bytes) {
                layout.remove(&evicted);
            }
        }
        let queue = WriteQueue::start(layout.clone(), Arc::clone(&index), options.queue_bytes);
        Ok(Self { key, layout, index, queue })
    }

    /// The directory of the volume's cached blocks.
    pub fn directory(&self) -> PathBuf {
        self.layout.root().to_owned()
    }

    /// Bytes that the cached files have allocated.
    pub fn allocated_bytes(&self) -> u64 {
        self.index.allocated_bytes()
    }

    /// Waits until everything queued so far is written.
    pub async fn flush(&self) {
        self.queue.flush().await;
    }

    /// Where in `groups` reading may find something: a hint that saves vain reads.
    pub(crate) fn likely(&self, name: &BlockName, groups: &Range<u32>) -> Range<u32> {
        self.index.likely(name, groups)
    }

    /// Whether all of the block seems to be in the cache.
    pub(crate) fn may_have_whole(&self, name: &BlockName) -> bool {
        self.index.may_have_whole(name)
    }

    /// Reads and verifies groups. Blocks.
    pub(crate) fn read(&self, name: BlockName, groups: &Range<u32>) -> Found {
        let Ok(file) = CacheFile::open(&self.layout.path_of(&name)) else {
            self.index.mark_absent(&name, groups);
            return Found::default();
        };
        let Some(read) = file.read(&self.key, name, groups) else {
            self.index.mark_absent(&name, &ALL_GROUPS);
            let runs = RunSet::default();
            return Found { runs, corrupt: 1 };
        };
        self.index.learn(&name, read.group_count, &read.absent);
        let (runs, corrupt) = (read.runs, read.corrupt);
        Found { runs, corrupt }
    }

    /// Queues a piece to be written; tells whether there was room.
    pub(crate) fn offer(&self, piece: VerifiedPiece) -> bool {
        self.queue.offer(piece)
    }

    /// Queues a piece, waiting for room.
    pub(crate) async fn push(&self, piece: VerifiedPiece) {
        self.queue.push(piece).await;
    }
}
