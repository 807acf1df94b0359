//! Groups: the 64 KiB runs of a block that can be verified each on its own. Arithmetic only.

use std::ops::Range;

use farshore_proto::limits::{GROUP_BYTES, MAX_BLOCK_BYTES};

/// Most groups a block can have.
pub(crate) const MAX_GROUPS: u32 = MAX_BLOCK_BYTES / GROUP_BYTES;

/// Every group of any block: a range that may pass the block's end.
pub const ALL_GROUPS: Range<u32> = 0..MAX_GROUPS;

/// The number of groups of a block of `block_len` bytes; none for an empty block.
pub fn group_count(block_len: u32) -> u32 {
    block_len.div_ceil(GROUP_BYTES)
}

/// The groups that a range of a block's bytes touches.
pub fn groups_of(range: &Range<u32>) -> Range<u32> {
    if range.is_empty() {
        return 0..0;
    }
    range.start / GROUP_BYTES..range.end.div_ceil(GROUP_BYTES)
}

/// The bytes of group `index` in a block of `block_len` bytes; the last group may be short.
pub(crate) fn bytes_of_group(index: u32, block_len: u32) -> Range<u32> {
    let start = index.saturating_mul(GROUP_BYTES).min(block_len);
    start..start.saturating_add(GROUP_BYTES).min(block_len)
}

/// The bytes of `groups` in a block of `block_len` bytes.
pub(crate) fn bytes_of_groups(groups: &Range<u32>, block_len: u32) -> Range<u32> {
    let at = |index: u32| index.saturating_mul(GROUP_BYTES).min(block_len);
    at(groups.start)..at(groups.end)
}

/// `groups` cut at the end of a block of `block_len` bytes.
pub(crate) fn clamp_groups(groups: &Range<u32>, block_len: u32) -> Range<u32> {
    let end = groups.end.min(group_count(block_len));
    groups.start.min(end)..end
}

/// `groups` widened to whole runs of `run` groups, so that near reads share a fetch.
pub(crate) fn widen_groups(groups: &Range<u32>, run: u32) -> Range<u32> {
    let run = run.max(1);
    groups.start / run * run..groups.end.div_ceil(run).saturating_mul(run).min(MAX_GROUPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_ranges_agree_at_the_edges() {
        assert_eq!([0, 1, 65_536, 65_537].map(group_count), [0, 1, 1, 2]);
        assert_eq!(groups_of(&(65_535..65_537)), 0..2);
        assert_eq!(groups_of(&(5..5)), 0..0);
        assert_eq!(bytes_of_group(1, 65_540), 65_536..65_540);
        assert_eq!(bytes_of_groups(&(0..9), 65_540), 0..65_540);
        assert_eq!(clamp_groups(&ALL_GROUPS, 65_540), 0..2);
        assert_eq!(widen_groups(&(5..6), 4), 4..8);
        assert_eq!(widen_groups(&(255..256), 4), 252..256);
    }
}
