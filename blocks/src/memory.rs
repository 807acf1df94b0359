//! The memory tier: verified groups of blocks, bounded by their bytes.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use farshore_proto::BlockName;
use farshore_proto::limits::GROUP_BYTES;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::runs::RunSet;

/// A shard evicts by itself, so each must hold several of the largest blocks.
const SHARD_BYTES: u64 = 64 << 20;
const MAX_SHARDS: u64 = 64;
/// What an entry weighs beside its data: key, list, pointers.
const ENTRY_BYTES: u64 = 160;

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<BlockName, Arc<RunSet>> for ByBytes {
    fn weight(&self, _: &BlockName, runs: &Arc<RunSet>) -> u64 {
        ENTRY_BYTES + runs.held_bytes() as u64
    }
}

/// Verified groups of recently used blocks. A block fetched whole is held as one piece of
/// memory, and reads of it are slices of that.
#[derive(Debug)]
pub struct MemoryTier {
    blocks: Cache<BlockName, Arc<RunSet>, ByBytes>,
}

impl MemoryTier {
    /// A tier of at most `capacity_bytes`; with 0 it holds nothing.
    pub fn new(capacity_bytes: u64) -> Self {
        let shards = (capacity_bytes / SHARD_BYTES).clamp(1, MAX_SHARDS) as usize;
        let items = (capacity_bytes / u64::from(4 * GROUP_BYTES)).clamp(16, 1 << 20) as usize;
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(items)
            .weight_capacity(capacity_bytes)
            .build()
            .expect("both capacities are set");
        let hasher = DefaultHashBuilder::default();
        Self { blocks: Cache::with_options(options, ByBytes, hasher, DefaultLifecycle::default()) }
    }

    /// Adds a whole block. The caller knows that `name` is the hash of these bytes.
    pub fn insert_block(&self, name: BlockName, block: Bytes) {
        self.blocks.insert(name, Arc::new(RunSet::whole(block)));
    }

    /// Bytes held now.
    pub fn held_bytes(&self) -> u64 {
        self.blocks.weight()
    }

    /// The bytes `range` of the block, if they are all here.
    pub(crate) fn slice(&self, name: &BlockName, range: &Range<u32>) -> Option<Bytes> {
        self.blocks.get(name)?.slice(range)
    }

    pub(crate) fn get(&self, name: &BlockName) -> Option<Arc<RunSet>> {
        self.blocks.get(name)
    }

    /// Adds verified groups to those held of the block. Two that add at once may leave only
    /// one's groups, which costs a fetch and is never wrong.
    pub(crate) fn insert(&self, name: BlockName, runs: &Arc<RunSet>) {
        let merged = match self.blocks.peek(&name) {
            Some(held) if held.held_bytes() > 0 => {
                let mut merged = (*held).clone();
                merged.absorb(runs);
                Arc::new(merged)
            }
            _ => Arc::clone(runs),
        };
        self.blocks.insert(name, merged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{BlockKey, name_of};

    fn name(seed: u32) -> BlockName {
        name_of(&BlockKey::new([0; 32]), &seed.to_le_bytes())
    }

    #[test]
    fn stays_within_its_bytes() {
        let tier = MemoryTier::new(10 << 20);
        for seed in 0..100 {
            tier.insert_block(name(seed), vec![0; 1 << 20].into());
            assert!(tier.held_bytes() <= 10 << 20);
        }
        assert!(tier.held_bytes() >= 5 << 20);
        assert_eq!(MemoryTier::new(0).held_bytes(), 0);
    }

    #[test]
    fn runs_of_a_block_come_together() {
        let tier = MemoryTier::new(10 << 20);
        let run = |first: u32| {
            let mut set = RunSet::default();
            set.insert(first, vec![first as u8; GROUP_BYTES as usize].into(), false);
            Arc::new(set)
        };
        tier.insert(name(1), &run(3));
        assert_eq!(tier.slice(&name(1), &(3 * GROUP_BYTES..5 * GROUP_BYTES)), None);
        tier.insert(name(1), &run(4));
        assert_eq!(tier.slice(&name(1), &(3 * GROUP_BYTES..5 * GROUP_BYTES)).unwrap().len(), 2 * GROUP_BYTES as usize);
    }
}
