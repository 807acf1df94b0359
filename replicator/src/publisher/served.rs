//! Where a publisher takes blocks from: what its own region's caches hold whole, and otherwise
//! the origin itself, so that 64 KiB asked of a chain of mirrors cost no whole block on the way.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use farshore_blocks::{BlockError, BlockKey, BlockPiece, BlockReader, BlockTree, GroupHashes, Origin, ReadHint};
use farshore_proto::BlockName;
use farshore_proto::limits::MAX_BLOCK_BYTES;
use parking_lot::Mutex;

/// Blocks whose hashes are remembered: 2 kB each at the default block size.
const REMEMBERED: usize = 1_024;

/// A region's blocks for its mirrors: its reader's caches before its origin.
pub struct ServedBlocks {
    reader: BlockReader,
    key: BlockKey,
    origin: Arc<dyn Origin>,
    hashes: Mutex<Remembered>,
}

impl ServedBlocks {
    /// The blocks that `reader` has cached, and those of `origin`. `key` is the volume's.
    pub fn new(reader: BlockReader, key: BlockKey, origin: Arc<dyn Origin>) -> Self {
        Self { reader, key, origin, hashes: Mutex::default() }
    }

    /// A whole block of the caches.
    async fn whole(&self, name: BlockName) -> Option<Bytes> {
        let in_memory = self.reader.read_memory(&name, &(0..1)).is_some();
        if !in_memory && !self.reader.seems_cached(&name) {
            return None;
        }
        let len = self.len_of(name).await?;
        self.reader.read(name, 0..len, ReadHint::Sequential).await.ok()
    }

    /// The length of a block that is cached: a read past any block's end brings it whole and says it.
    async fn len_of(&self, name: BlockName) -> Option<u32> {
        match self.reader.read(name, 0..MAX_BLOCK_BYTES, ReadHint::Sequential).await {
            Ok(block) => Some(block.len() as u32),
            Err(BlockError::OutOfBlock { block_len, .. }) => Some(block_len),
            Err(_) => None,
        }
    }

    fn hashes_of(&self, name: BlockName, block: &Bytes) -> GroupHashes {
        if let Some(hashes) = self.hashes.lock().get(&name) {
            return hashes;
        }
        let tree = BlockTree::of(&self.key, block);
        self.hashes.lock().put(name, tree.hashes().clone());
        tree.hashes().clone()
    }
}

#[async_trait]
impl Origin for ServedBlocks {
    async fn fetch(&self, name: BlockName, groups: Range<u32>) -> Result<BlockPiece, BlockError> {
        let Some(block) = self.whole(name).await else {
            return self.origin.fetch(name, groups).await;
        };
        let hashes = self.hashes_of(name, &block);
        Ok(BlockPiece { block_len: block.len() as u32, hashes, first_group: 0, data: block })
    }

    fn label(&self) -> &str {
        self.origin.label()
    }
}

/// The hashes of the blocks that were served last, oldest forgotten first.
#[derive(Default)]
struct Remembered {
    hashes: HashMap<BlockName, GroupHashes>,
    order: VecDeque<BlockName>,
}

impl Remembered {
    fn get(&self, name: &BlockName) -> Option<GroupHashes> {
        self.hashes.get(name).cloned()
    }

    fn put(&mut self, name: BlockName, hashes: GroupHashes) {
        if self.hashes.insert(name, hashes).is_none() {
            self.order.push_back(name);
        }
        while self.order.len() > REMEMBERED {
            let oldest = self.order.pop_front();
            oldest.and_then(|name| self.hashes.remove(&name));
        }
    }
}
