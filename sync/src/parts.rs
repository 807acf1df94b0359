//! How an object is cut into parts, within a store's limits.

use crate::limits::{MAX_STREAMED_PART_BYTES, MIN_PART_BYTES, STREAMED_PARTS};
use crate::store::{ByteRange, PartLimits};

/// An object's parts: all of one size but the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The object's length in bytes.
    pub size: u64,
    /// The length of each part but the last.
    pub part_bytes: u64,
}

impl Cut {
    /// Parts of a power of two of bytes, so that their BLAKE3 combine; of another size only where no power of two is
    /// within the limits. None if the store cannot hold the object.
    pub fn new(size: u64, limits: &PartLimits) -> Option<Self> {
        Self::of_at_least(MIN_PART_BYTES, size, limits)
    }

    /// The same with larger parts of what is large, for a store that takes them as they come: none is in memory as a
    /// whole, and a server gives one long part for less than several short ones.
    pub fn streamed(size: u64, limits: &PartLimits) -> Option<Self> {
        Self::of_at_least((size / STREAMED_PARTS).clamp(MIN_PART_BYTES, MAX_STREAMED_PART_BYTES), size, limits)
    }

    fn of_at_least(part_bytes: u64, size: u64, limits: &PartLimits) -> Option<Self> {
        if size == 0 || size > limits.max_object_bytes {
            return None;
        }
        let least = size.div_ceil(u64::from(limits.max_count)).max(limits.min_bytes).max(1);
        let usual = least.max(part_bytes.min(limits.max_bytes)).next_power_of_two();
        let part_bytes = if usual <= limits.max_bytes { usual } else { least };
        (part_bytes <= limits.max_bytes).then_some(Self { size, part_bytes })
    }

    /// How many parts.
    pub fn count(&self) -> u32 {
        self.size.div_ceil(self.part_bytes) as u32
    }

    /// The bytes of a part; numbers begin with 1.
    pub fn range(&self, number: u32) -> ByteRange {
        let offset = u64::from(number - 1) * self.part_bytes;
        ByteRange { offset, len: self.part_bytes.min(self.size - offset) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S3: PartLimits = PartLimits {
        min_bytes: 5 << 20,
        max_bytes: 5 << 30,
        max_count: 10_000,
        max_object_bytes: 50_000_000_000_000,
        equal: false,
    };

    proptest! {
        #[test]
        fn parts_cover_the_object_within_the_limits(size in 1_u64..50_000_000_000_000) {
            let cut = Cut::new(size, &S3).unwrap();
            prop_assert!(cut.count() <= S3.max_count && cut.part_bytes <= S3.max_bytes);
            prop_assert!(cut.part_bytes >= S3.min_bytes);
            prop_assert_eq!(cut.range(1).offset, 0);
            prop_assert_eq!(cut.range(cut.count()).end(), size);
            prop_assert!(cut.range(cut.count()).len > 0);
            prop_assert!(size > 10_000 * (4 << 30) || cut.part_bytes.is_power_of_two());
        }
    }

    #[test]
    fn streamed_parts_grow_with_what_is_large() {
        let mib = |part_mib: u64, size_mib: u64| {
            assert_eq!(Cut::streamed(size_mib << 20, &S3).unwrap().part_bytes, part_mib << 20, "of {size_mib} MiB");
        };
        mib(8, 20);
        mib(8, 256);
        mib(16, 512);
        mib(32, 1024);
        mib(32, 20 << 10);
        mib(256, 2 << 20);
    }

    #[test]
    fn what_a_store_cannot_hold_is_not_cut() {
        assert_eq!(Cut::new(50_000_000_000_001, &S3), None);
        assert_eq!(Cut::new(0, &S3), None);
    }
}
