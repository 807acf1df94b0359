//! An object store as an origin.

use std::ops::Range;

use async_trait::async_trait;
use farshore_proto::BlockName;

use crate::error::BlockError;
use crate::origin::{BlockPiece, Origin};
use crate::store::BlockStore;

/// Reads blocks straight from an object store.
#[derive(Debug, Clone)]
pub struct StoreOrigin(BlockStore);

impl StoreOrigin {
    /// The origin that is this store.
    pub fn new(store: BlockStore) -> Self {
        Self(store)
    }
}

#[async_trait]
impl Origin for StoreOrigin {
    async fn fetch(&self, name: BlockName, groups: Range<u32>) -> Result<BlockPiece, BlockError> {
        self.0.get(name, groups).await
    }

    fn label(&self) -> &str {
        self.0.label()
    }
}
