//! What the reader counts, for `farshore status`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A snapshot of a reader's counters since it was made, and of what its tiers hold now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReaderStats {
    /// Reads answered from memory alone.
    pub memory_hits: u64,
    /// Reads that the local disk completed.
    pub disk_hits: u64,
    /// Reads that needed an origin, or waited for another's fetch from one.
    pub origin_reads: u64,
    /// Requests that were made to origins.
    pub origin_fetches: u64,
    /// Requests to origins that failed or whose answer did not verify.
    pub origin_failures: u64,
    /// Plain bytes that origins sent and that verified.
    pub origin_bytes: u64,
    /// Bytes that did not verify, from the local disk or from an origin, by occurrence.
    pub corrupt_seen: u64,
    /// Pieces that were not written to the local disk because its queue was full.
    pub disk_writes_dropped: u64,
    /// Bytes in the memory tier.
    pub memory_bytes: u64,
    /// Bytes that the local disk cache has allocated.
    pub disk_bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) memory_hits: AtomicU64,
    pub(crate) disk_hits: AtomicU64,
    pub(crate) origin_reads: AtomicU64,
    pub(crate) origin_fetches: AtomicU64,
    pub(crate) origin_failures: AtomicU64,
    pub(crate) origin_bytes: AtomicU64,
    pub(crate) corrupt_seen: AtomicU64,
    pub(crate) disk_writes_dropped: AtomicU64,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> ReaderStats {
        ReaderStats {
            memory_hits: self.memory_hits.load(Relaxed),
            disk_hits: self.disk_hits.load(Relaxed),
            origin_reads: self.origin_reads.load(Relaxed),
            origin_fetches: self.origin_fetches.load(Relaxed),
            origin_failures: self.origin_failures.load(Relaxed),
            origin_bytes: self.origin_bytes.load(Relaxed),
            corrupt_seen: self.corrupt_seen.load(Relaxed),
            disk_writes_dropped: self.disk_writes_dropped.load(Relaxed),
            memory_bytes: 0,
            disk_bytes: 0,
        }
    }
}

pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Relaxed);
}
