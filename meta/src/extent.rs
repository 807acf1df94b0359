//! Extents: which bytes of a file lie where in which block.

use farshore_proto::BlockName;

/// A run of a file's bytes that lies in one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First byte in the file.
    pub offset: u64,
    /// Bytes; never 0, never more than a block.
    pub len: u32,
    /// The block that holds them.
    pub block: BlockName,
    /// The length of the whole block, in bytes.
    pub block_len: u32,
    /// Where in the block they begin.
    pub block_offset: u32,
}

impl Extent {
    /// The first byte in the file after it.
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }

    /// True if it has a byte in [begin, end).
    pub fn overlaps(&self, begin: u64, end: u64) -> bool {
        self.offset < end && begin < self.end()
    }

    /// The part of it in [begin, end), if any.
    #[must_use]
    pub fn clip(&self, begin: u64, end: u64) -> Option<Self> {
        let from = self.offset.max(begin);
        let to = self.end().min(end);
        (from < to).then(|| Self {
            offset: from,
            len: (to - from) as u32,
            block_offset: self.block_offset + (from - self.offset) as u32,
            ..*self
        })
    }

    /// The same bytes, `by` further on in the file.
    #[must_use]
    pub fn moved(&self, by: u64) -> Self {
        Self { offset: self.offset + by, ..*self }
    }

    /// What is left of it, before and after, when [begin, end) is cut out.
    pub fn without(&self, begin: u64, end: u64) -> [Option<Self>; 2] {
        [self.clip(0, begin), self.clip(end, u64::MAX)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(offset: u64, len: u32) -> Extent {
        let block = BlockName::try_from([1u8; 32].as_slice()).unwrap();
        Extent { offset, len, block, block_len: 1000, block_offset: 100 }
    }

    #[test]
    fn a_cut_leaves_both_sides_in_place() {
        let [head, tail] = extent(50, 100).without(70, 80);
        assert_eq!(head, Some(extent(50, 20)));
        assert_eq!(tail, Some(Extent { block_offset: 130, ..extent(80, 70) }));
        assert_eq!(extent(50, 100).without(0, 1000), [None, None]);
    }
}
