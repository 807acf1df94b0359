//! The metadata of a volume: engines, rows, filesystem transactions and the change log.
//!
//! The safety argument: every change of durable rows goes through `Txn`, which reads what
//! stood there (so that two transactions that change one row conflict), and writes, in the
//! engine's one transaction, the rows, their record in the change log and their share of the
//! state digest. A region's rows at a version are therefore exactly the sum of its log up to
//! that version, and two regions with equal digests hold equal rows.
//!
//! Read `engine/mod.rs` first, then `key.rs` and `row.rs`, `txn.rs`, `log.rs`, `tree/mod.rs`
//! and `follow.rs`.

mod attempts;
mod attr;
mod codec;
mod digest;
pub mod engine;
mod error;
mod extent;
mod follow;
mod ino;
mod key;
mod log;
mod region;
mod row;
mod settings;
mod tree;
mod txn;

pub use attr::{Attr, AttrChange, FileKind, UnixTime};
pub use digest::Digest;
pub use error::{FsError, Result};
pub use extent::Extent;
pub use follow::{Bootstrap, MirrorPhase};
pub use ino::{Ino, Name};
pub use key::{DURABLE, DurableKey};
pub use log::{Change, Commit, Interval};
pub use region::{MirrorRecord, Region, RegionRecord, RegionState, Role, RowsPage, Usage};
pub use settings::{Compression, Settings};
pub use tree::{
    Contents, DirectoryEntry, Expected, InodeState, NewInode, NewVolume, Placed, RenameMode, Seek, Tree, WHOLE_EXTENTS,
    Whole, Xattr, XattrChange, XattrMode, format,
};
