//! Files of a volume: names pass through to the tree, contents are buffered on the way in and
//! read ahead on the way out. No kernel is known here.
//!
//! The safety argument: a block is stored before the transaction that refers to it commits, and made to
//! survive a power cut before that commit is at the latest by `fsync`; and what was written stays in memory, readable, until that commit. `flush` returns after
//! it (close-to-open), `fsync` when it is durable; an upload that failed keeps its bytes and
//! is tried again by the next flush, whose caller is told.
//!
//! Read `dirty.rs`, `pending.rs` and `open_file.rs` first, then `volume.rs`.

mod directory;
mod dirty;
mod extent_cache;
mod files;
mod flush;
mod handles;
mod open_file;
mod options;
mod pending;
mod read;
mod read_ahead;
mod reaper;
mod volume;
mod whole;
mod whole_writer;

pub use directory::{DirectoryPage, ListedEntry};
pub use files::{AllocateMode, Opened};
pub use handles::HandleId;
pub use options::VolumeOptions;
pub use volume::{Statistics, Volume};
pub use whole_writer::{Stored, WholeWriter};
