//! What the writer believes about the cache's files: which groups may be in them, how many bytes
//! they take, and which to give up when the budget is spent. A hint: reads verify anyway.

use std::ops::Range;
use std::sync::Arc;

use farshore_proto::BlockName;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

use crate::group::MAX_GROUPS;

/// A set of a block's groups.
type GroupBits = [u64; (MAX_GROUPS / 64) as usize];

/// What is believed of one file.
#[derive(Debug)]
struct Hint {
    believed: Mutex<Believed>,
    allocated_bytes: u64,
}

#[derive(Debug, Clone)]
struct Believed {
    /// Set: a read of the group may succeed.
    maybe: GroupBits,
    /// Known once the file was read or written.
    group_count: Option<u32>,
}

impl Believed {
    const NOTHING: Self = Self { maybe: [0; 4], group_count: None };
    /// After a restart: anything may be there.
    const ANYTHING: Self = Self { maybe: [u64::MAX; 4], group_count: None };

    fn set(&mut self, index: u32, maybe: bool) {
        let (word, bit) = ((index / 64) as usize, 1 << (index % 64));
        if maybe {
            self.maybe[word] |= bit;
        } else {
            self.maybe[word] &= !bit;
        }
    }

    fn has(&self, index: u32) -> bool {
        self.maybe[(index / 64) as usize] & (1 << (index % 64)) != 0
    }
}

#[derive(Debug, Clone)]
struct ByAllocation;

impl Weighter<BlockName, Arc<Hint>> for ByAllocation {
    fn weight(&self, _: &BlockName, hint: &Arc<Hint>) -> u64 {
        // An entry without weight could not be evicted.
        hint.allocated_bytes.max(1)
    }
}

/// Collects the names that an insertion pushed out.
#[derive(Debug, Clone)]
struct TellEvicted;

impl Lifecycle<BlockName, Arc<Hint>> for TellEvicted {
    type RequestState = Vec<BlockName>;

    fn on_evict(&self, evicted: &mut Vec<BlockName>, name: BlockName, _: Arc<Hint>) {
        evicted.push(name);
    }
}

/// The accounting of a disk cache.
#[derive(Debug)]
pub(super) struct Index {
    files: Cache<BlockName, Arc<Hint>, ByAllocation, DefaultHashBuilder, TellEvicted>,
}

impl Index {
    pub(super) fn new(budget_bytes: u64) -> Self {
        // One shard: the budget is one, and files are touched far more rarely than memory.
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity((budget_bytes >> 20).clamp(64, 1 << 20) as usize)
            .weight_capacity(budget_bytes)
            .build()
            .expect("both capacities are set");
        Self { files: Cache::with_options(options, ByAllocation, DefaultHashBuilder::default(), TellEvicted) }
    }

    pub(super) fn allocated_bytes(&self) -> u64 {
        self.files.weight()
    }

    /// Takes up a file that a scan found; returns those that no longer fit.
    pub(super) fn add_scanned(&self, name: BlockName, allocated_bytes: u64) -> Vec<BlockName> {
        self.put(name, allocated_bytes, Believed::ANYTHING)
    }

    /// Makes room so that the file of `name` may take `more_bytes` more; returns the files to remove
    /// first. If `name` itself is among them it does not fit.
    pub(super) fn reserve(&self, name: BlockName, more_bytes: u64) -> Vec<BlockName> {
        let (allocated, believed) = match self.files.peek(&name) {
            Some(hint) => (hint.allocated_bytes, hint.believed.lock().clone()),
            None => (0, Believed::NOTHING),
        };
        self.put(name, allocated + more_bytes, believed)
    }

    /// Notes what was written: the file's true size, and groups that may now be read.
    pub(super) fn written(
        &self,
        name: BlockName,
        allocated_bytes: u64,
        groups: Range<u32>,
        group_count: u32,
        renewed: bool,
    ) -> Vec<BlockName> {
        let mut believed = match self.files.peek(&name) {
            Some(hint) if !renewed => hint.believed.lock().clone(),
            _ => Believed::NOTHING,
        };
        groups.for_each(|index| believed.set(index, true));
        believed.group_count = Some(group_count);
        self.put(name, allocated_bytes, believed)
    }

    pub(super) fn forget(&self, name: &BlockName) {
        self.files.remove(name);
    }

    /// The smallest range that holds all of `groups` that may be there. Counts as a use.
    pub(super) fn likely(&self, name: &BlockName, groups: &Range<u32>) -> Range<u32> {
        let Some(hint) = self.files.get(name) else {
            return 0..0;
        };
        let believed = hint.believed.lock();
        let mut likely = groups.start..groups.end.min(MAX_GROUPS);
        let first = likely.clone().find(|index| believed.has(*index));
        likely.start = first.unwrap_or(likely.end);
        let last = likely.clone().rev().find(|index| believed.has(*index));
        likely.end = last.map_or(likely.start, |index| index + 1);
        likely
    }

    pub(super) fn may_have_whole(&self, name: &BlockName) -> bool {
        let Some(hint) = self.files.get(name) else {
            return false;
        };
        let believed = hint.believed.lock();
        (0..believed.group_count.unwrap_or(MAX_GROUPS)).all(|index| believed.has(index))
    }

    /// Notes what a read found out.
    pub(super) fn learn(&self, name: &BlockName, group_count: u32, absent: &[u32]) {
        let Some(hint) = self.files.peek(name) else {
            return;
        };
        let mut believed = hint.believed.lock();
        believed.group_count = Some(group_count);
        for index in absent {
            believed.set(*index, false);
        }
    }

    pub(super) fn mark_absent(&self, name: &BlockName, groups: &Range<u32>) {
        let Some(hint) = self.files.peek(name) else {
            return;
        };
        let mut believed = hint.believed.lock();
        groups.clone().take_while(|index| *index < MAX_GROUPS).for_each(|index| believed.set(index, false));
    }

    fn put(&self, name: BlockName, allocated_bytes: u64, believed: Believed) -> Vec<BlockName> {
        let mut evicted = Vec::new();
        let hint = Arc::new(Hint { believed: Mutex::new(believed), allocated_bytes });
        self.files.insert_with_lifecycle(name, hint, &mut evicted);
        // The hook is called for the entry that this one replaces too.
        evicted.retain(|other| *other != name);
        if !self.files.contains_key(&name) {
            evicted.push(name);
        }
        evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{BlockKey, name_of};

    #[test]
    fn tells_the_groups_worth_reading() {
        let (index, name) = (Index::new(1 << 30), name_of(&BlockKey::new([0; 32]), b"a"));
        assert!(index.likely(&name, &(0..256)).is_empty());
        assert!(index.written(name, 4096, 3..5, 64, true).is_empty());
        assert!(index.written(name, 8192, 9..10, 64, false).is_empty());
        assert_eq!(index.likely(&name, &(0..256)), 3..10);
        assert_eq!(index.likely(&name, &(4..7)), 4..5);
        assert!(index.likely(&name, &(5..9)).is_empty());
        assert!(!index.may_have_whole(&name));
        index.mark_absent(&name, &(0..4));
        assert_eq!(index.likely(&name, &(0..256)), 4..10);
        index.written(name, 8192, 0..64, 64, false);
        assert!(index.may_have_whole(&name));
        assert_eq!(index.allocated_bytes(), 8192);
        index.written(name, 4096, 1..2, 64, true);
        assert_eq!(index.likely(&name, &(0..256)), 1..2);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let index = Index::new(10_000);
        let name = |seed: u8| name_of(&BlockKey::new([0; 32]), &[seed]);
        assert_eq!(index.add_scanned(name(0), 20_000), [name(0)]);
        let evicted: Vec<_> = (1..6).flat_map(|seed| index.add_scanned(name(seed), 4_000)).collect();
        assert_eq!(evicted.len(), 3);
        assert!(index.allocated_bytes() <= 10_000);
    }
}
