//! How an embedded engine is opened.

use farshore_proto::limits::MAX_TRANSACTION_AGE_MS;

/// What a commit that returned has survived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// A power cut: each group of commits is synced to the disk before it returns.
    #[default]
    Commit,
    /// The death of the process, by `kill -9` too, but not of the machine: the operating
    /// system has the bytes, and they are synced every second.
    Os,
}

/// Settings of an embedded engine. None of them is stored: each opening chooses anew.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// What a commit survives. Default: `Durability::Commit`.
    pub durability: Durability,
    /// Bytes of the cache for blocks read from disk. Default: 64 MiB.
    pub cache_bytes: u64,
    /// Bytes of written rows kept in memory until they are in tables on disk. Default: 64 MiB.
    pub write_buffer_bytes: u64,
    /// Oldest a transaction may grow, in milliseconds. Default: `MAX_TRANSACTION_AGE_MS`.
    pub max_transaction_age_ms: u64,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            cache_bytes: 64 << 20,
            write_buffer_bytes: 64 << 20,
            max_transaction_age_ms: MAX_TRANSACTION_AGE_MS,
        }
    }
}
