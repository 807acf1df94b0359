//! Where blocks come from when no cache has them: the contract of an origin.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use farshore_proto::BlockName;

use crate::error::BlockError;
use crate::hashes::GroupHashes;

const UNNAMED: &str = "an origin";

/// Whole groups of a block, with what is needed to verify them. Nothing in it is proven.
#[derive(Debug, Clone)]
pub struct BlockPiece {
    /// The length of the whole block in bytes.
    pub block_len: u32,
    /// The hashes of all groups of the block.
    pub hashes: GroupHashes,
    /// The group at which `data` begins.
    pub first_group: u32,
    /// The plain bytes of whole groups; the last group of a block may be short.
    pub data: Bytes,
}

/// A place that has a volume's blocks: the store, or an upstream region.
///
/// Contract: `fetch` returns at least those of `groups` that the block has, and may return more. `groups`
/// may pass the block's end (a whole block is asked for as [`ALL_GROUPS`](crate::ALL_GROUPS)); one
/// that begins at or after the end gives an empty piece. The caller verifies everything, sets
/// the deadline, and may drop the future at any time. Any number of fetches run at once.
#[async_trait]
pub trait Origin: Send + Sync {
    /// Fetches groups of a block. [`BlockError::Missing`] when this origin does not have it.
    async fn fetch(&self, name: BlockName, groups: Range<u32>) -> Result<BlockPiece, BlockError>;

    /// What a person calls this origin, in logs and errors; without secrets.
    fn label(&self) -> &str {
        UNNAMED
    }
}
