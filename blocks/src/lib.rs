//! Blocks: their names and stored format, the object stores that hold them, and verified reads
//! of them through memory, local disk and origins. No file, row or kernel is known here.
//!
//! Safety: no byte leaves this crate that was not hashed against the name it was asked by.
//! What a store, a peer or a disk returns is input: it gives a [`BlockError`], never a panic.
//! Read `group.rs`, `hashes.rs` and `format.rs` first, then `store.rs`, `origin.rs`,
//! `runs.rs`, `memory.rs`, `disk/` and last `reader.rs` and `writer.rs`, which join them.

mod client;
mod compression;
mod disk;
mod durable_dirs;
mod error;
mod fetch;
mod flight;
mod format;
mod group;
mod hashes;
mod head_cache;
mod key;
mod limiter;
mod memory;
mod origin;
mod probe;
mod reader;
mod runs;
mod source;
mod stats;
mod store;
mod store_origin;
mod store_url;
mod unsynced;
mod writer;

pub use compression::Compression;
pub use disk::{DiskCache, DiskOptions};
pub use error::{BlockError, Fault, Remedy};
pub use farshore_proto::BlockName;
pub use format::{BlockHead, EncodedBlock, HEADER_BYTES, decode, encode};
pub use group::{ALL_GROUPS, group_count, groups_of};
pub use hashes::{BlockTree, GroupHashes};
pub use key::{BlockKey, name_of};
pub use memory::MemoryTier;
pub use origin::{BlockPiece, Origin};
pub use reader::{BlockReader, ReadHint, ReaderOptions};
pub use stats::ReaderStats;
pub use store::{BlockStore, StoreOptions, StoredBlock};
pub use store_origin::StoreOrigin;
pub use store_url::StoreUrl;
pub use writer::{BlockWriter, WriterOptions};
