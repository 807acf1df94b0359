//! What the tests share: a key, patterned blocks, stores, and origins that count, fail and lie.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use farshore_blocks::*;
use farshore_proto::VolumeId;

pub(crate) fn key() -> BlockKey {
    BlockKey::new([42; 32])
}

pub(crate) fn volume() -> VolumeId {
    VolumeId::from_random([1; 16])
}

/// Bytes in which no two groups are equal, and which compress well.
pub(crate) fn pattern(len: usize) -> Bytes {
    (0..len).map(|at| ((at >> 16) ^ (at >> 4)) as u8).collect()
}

pub(crate) fn open_store(url: &str) -> BlockStore {
    let options = StoreOptions { create_directory: true, ..StoreOptions::default() };
    BlockStore::open(&url.parse().unwrap(), volume(), key(), &options).unwrap()
}

pub(crate) fn reader_of(origins: Vec<Arc<dyn Origin>>) -> BlockReader {
    BlockReader::new(key(), None, origins, &ReaderOptions::default())
}

/// Stores a block and gives its name.
pub(crate) async fn store_block(store: &BlockStore, block: &Bytes) -> BlockName {
    let (tree, encoded) = encode(&key(), block, Compression::None).unwrap();
    store.put(tree.name(), encoded).await.unwrap();
    tree.name()
}

/// Counts and slows what it passes on, and can lie about it.
pub(crate) struct Watched {
    pub(crate) inner: StoreOrigin,
    pub(crate) fetches: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) delay: Duration,
    pub(crate) lie: Option<fn(BlockPiece) -> BlockPiece>,
}

impl Watched {
    pub(crate) fn new(store: &BlockStore) -> Self {
        Self {
            inner: StoreOrigin::new(store.clone()),
            fetches: AtomicU64::new(0),
            groups: AtomicU64::new(0),
            delay: Duration::ZERO,
            lie: None,
        }
    }

    pub(crate) fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::SeqCst)
    }

    pub(crate) fn groups(&self) -> u64 {
        self.groups.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Origin for Watched {
    async fn fetch(&self, name: BlockName, groups: Range<u32>) -> Result<BlockPiece, BlockError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(self.delay).await;
        let piece = self.inner.fetch(name, groups).await?;
        self.groups.fetch_add(u64::from(group_count(piece.data.len() as u32)), Ordering::SeqCst);
        Ok(self.lie.map_or(piece.clone(), |lie| lie(piece)))
    }
}
