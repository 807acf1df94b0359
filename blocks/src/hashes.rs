//! The hashes of a block's groups, from which its name is computed again, and the tree that
//! is known to belong to a name. With a tree in hand any single group verifies by itself.
//!
//! The shape is BLAKE3's own (section 2.1 of its paper): groups are subtrees of 64 chunks, and
//! pairs are merged left to right, level by level, an odd one moving up unmerged.

use std::ops::Range;

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use bytes::Bytes;
use farshore_proto::BlockName;
use farshore_proto::limits::GROUP_BYTES;

use crate::error::Fault;
use crate::group::{MAX_GROUPS, bytes_of_group, bytes_of_groups, group_count};
use crate::key::BlockKey;

/// Bytes of one group's hash.
pub(crate) const HASH_BYTES: usize = 32;

/// The BLAKE3 chaining values of a block's groups, 32 bytes each, in order. Nothing is proven
/// about them yet: [`BlockTree::check`] does that.
///
/// The hash of a block's only group is the block's name itself; an empty block has none.
#[derive(Clone, PartialEq, Eq)]
pub struct GroupHashes(Bytes);

impl GroupHashes {
    /// The hashes of a block's groups. `block` must not be longer than a block may be.
    pub fn of(key: &BlockKey, block: &[u8]) -> Self {
        let count = block.len().div_ceil(GROUP_BYTES as usize);
        let mut all = Vec::with_capacity(count * HASH_BYTES);
        for (index, group) in block.chunks(GROUP_BYTES as usize).enumerate() {
            all.extend_from_slice(&hash_group(key, index as u32, count == 1, group));
        }
        Self(all.into())
    }

    /// How many groups these are.
    pub fn count(&self) -> u32 {
        (self.0.len() / HASH_BYTES) as u32
    }

    /// The hashes one after the other, as they are stored and sent.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The name of the block whose groups have these hashes.
    pub fn root(&self, key: &BlockKey) -> BlockName {
        match self.count() {
            0 => crate::key::name_of(key, &[]),
            1 => BlockName::from_hash(blake3::Hash::from_bytes(self.hash(0))),
            _ => BlockName::from_hash(self.merge(key)),
        }
    }

    fn hash(&self, index: u32) -> ChainingValue {
        let at = index as usize * HASH_BYTES;
        self.0[at..at + HASH_BYTES].try_into().expect("32 bytes were sliced")
    }

    fn merge(&self, key: &BlockKey) -> blake3::Hash {
        let mode = || Mode::KeyedHash(key.as_bytes());
        let mut level: Vec<ChainingValue> = (0..self.count()).map(|at| self.hash(at)).collect();
        while level.len() > 2 {
            let parent = |pair: &[ChainingValue]| match pair {
                [left, right] => merge_subtrees_non_root(left, right, mode()),
                odd => odd[0],
            };
            level = level.chunks(2).map(parent).collect();
        }
        merge_subtrees_root(&level[0], &level[1], mode())
    }
}

impl TryFrom<Bytes> for GroupHashes {
    type Error = Fault;

    /// Hashes that came from a store or a peer: whole ones, and not more than a block may have.
    fn try_from(bytes: Bytes) -> Result<Self, Fault> {
        if !bytes.len().is_multiple_of(HASH_BYTES) || bytes.len() / HASH_BYTES > MAX_GROUPS as usize {
            return Err(Fault::Hashes { found_bytes: bytes.len() });
        }
        Ok(Self(bytes))
    }
}

impl std::fmt::Debug for GroupHashes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GroupHashes({})", self.count())
    }
}

fn hash_group(key: &BlockKey, index: u32, only: bool, group: &[u8]) -> ChainingValue {
    if only {
        return *blake3::keyed_hash(key.as_bytes(), group).as_bytes();
    }
    let mut hasher = blake3::Hasher::new_keyed(key.as_bytes());
    hasher.set_input_offset(u64::from(index) * u64::from(GROUP_BYTES));
    hasher.update(group).finalize_non_root()
}

/// Group hashes that merge to a block's name.
///
/// The hashes alone do not prove `block_len`, and a liar can pass inner nodes off as groups;
/// both are found out when a group is verified, so a tree proves groups, never lengths, until its
/// last group has verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockTree {
    name: BlockName,
    block_len: u32,
    hashes: GroupHashes,
}

impl BlockTree {
    /// Accepts the hashes if they are as many as `block_len` needs and merge to `name`.
    pub fn check(key: &BlockKey, name: BlockName, block_len: u32, hashes: GroupHashes) -> Result<Self, Fault> {
        if hashes.count() != group_count(block_len) {
            return Err(Fault::HashCount { block_len, found: hashes.count() });
        }
        if hashes.root(key) != name {
            return Err(Fault::Root);
        }
        Ok(Self { name, block_len, hashes })
    }

    /// The tree of bytes that are at hand. `block` must not be longer than a block may be.
    pub fn of(key: &BlockKey, block: &[u8]) -> Self {
        let hashes = GroupHashes::of(key, block);
        Self { name: hashes.root(key), block_len: block.len() as u32, hashes }
    }

    /// The block's name.
    pub fn name(&self) -> BlockName {
        self.name
    }

    /// The block's length in bytes, as it was told with the hashes.
    pub fn block_len(&self) -> u32 {
        self.block_len
    }

    /// The hashes of the groups.
    pub fn hashes(&self) -> &GroupHashes {
        &self.hashes
    }

    /// Whether `bytes` are group `index` of the block, length included.
    pub fn verify_group(&self, key: &BlockKey, index: u32, bytes: &[u8]) -> bool {
        if index >= self.hashes.count() || bytes.len() != bytes_of_group(index, self.block_len).len() {
            return false;
        }
        hash_group(key, index, self.hashes.count() == 1, bytes) == self.hashes.hash(index)
    }

    /// Verifies a run of whole groups that begins at `first_group`.
    pub fn verify_run(&self, key: &BlockKey, first_group: u32, run: &[u8]) -> Result<(), Fault> {
        let groups = self.groups_of_run(first_group, run.len())?;
        for (index, bytes) in groups.zip(run.chunks(GROUP_BYTES as usize)) {
            if !self.verify_group(key, index, bytes) {
                return Err(Fault::Group { index });
            }
        }
        Ok(())
    }

    fn groups_of_run(&self, first_group: u32, run_bytes: usize) -> Result<Range<u32>, Fault> {
        let misfit = Fault::Run { first_group, run_bytes, block_len: self.block_len };
        let count = u32::try_from(run_bytes.div_ceil(GROUP_BYTES as usize)).map_err(|_| misfit.clone())?;
        let groups = first_group..first_group.checked_add(count).ok_or_else(|| misfit.clone())?;
        if groups.end > self.hashes.count() || bytes_of_groups(&groups, self.block_len).len() != run_bytes {
            return Err(misfit);
        }
        Ok(groups)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::name_of;

    const KEY: [u8; 32] = [3; 32];

    fn pattern(len: usize) -> Vec<u8> {
        (0..len as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    fn assert_agrees(len: usize) {
        let (key, block) = (BlockKey::new(KEY), pattern(len));
        let tree = BlockTree::of(&key, &block);
        assert_eq!(tree.name(), name_of(&key, &block), "{len} bytes");
        assert_eq!(tree.verify_run(&key, 0, &block), Ok(()), "{len} bytes");
    }

    #[test]
    fn the_root_of_the_groups_is_the_keyed_hash() {
        let group = GROUP_BYTES as usize;
        for len in [0, 1, 1024, group - 1, group, group + 1, 2 * group, 3 * group, 5 * group + 77, 64 * group] {
            assert_agrees(len);
        }
        for groups in 2..=33 {
            assert_agrees(groups * group - 1);
            assert_agrees(groups * group + 1025);
        }
    }

    #[test]
    fn a_group_verifies_only_at_its_place_and_whole() {
        let key = BlockKey::new(KEY);
        let block = vec![0; 3 * GROUP_BYTES as usize - 9];
        let tree = BlockTree::of(&key, &block);
        let group = &block[..GROUP_BYTES as usize];
        assert!(tree.verify_group(&key, 0, group) && tree.verify_group(&key, 1, group));
        assert!(!tree.verify_group(&key, 2, group) && !tree.verify_group(&key, 3, group));
        assert!(!tree.verify_group(&key, 0, &group[1..]));
        assert!(tree.verify_run(&key, 1, &block[GROUP_BYTES as usize..]).is_ok());
        assert!(tree.verify_run(&key, u32::MAX, group).is_err());
    }

    #[test]
    fn inner_nodes_passed_off_as_groups_verify_no_group() {
        let key = BlockKey::new(KEY);
        let block = pattern(4 * GROUP_BYTES as usize);
        let honest = GroupHashes::of(&key, &block);
        let mode = || Mode::KeyedHash(key.as_bytes());
        let inner = merge_subtrees_non_root(&honest.hash(2), &honest.hash(3), mode());
        let forged = [&honest.as_bytes()[..64], &inner].concat();
        let forged = GroupHashes::try_from(Bytes::from(forged)).unwrap();
        let name = name_of(&key, &block);
        let tree = BlockTree::check(&key, name, 3 * GROUP_BYTES, forged).unwrap();
        assert!(!tree.verify_group(&key, 2, &block[2 * GROUP_BYTES as usize..][..GROUP_BYTES as usize]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_length_agrees_and_any_flip_is_seen(len in 1usize..600_000, at: prop::sample::Index, bit in 0u8..8) {
            let (key, mut block) = (BlockKey::new(KEY), pattern(len));
            let tree = BlockTree::of(&key, &block);
            prop_assert_eq!(tree.name(), name_of(&key, &block));
            block[at.index(len)] ^= 1 << bit;
            let group = at.index(len) as u32 / GROUP_BYTES;
            prop_assert_eq!(tree.verify_run(&key, 0, &block), Err(Fault::Group { index: group }));
        }
    }
}
