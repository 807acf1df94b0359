//! The manifest: which objects a target has when a job is done, each with its size and its BLAKE3 as far as its bytes
//! passed by, in a file that can be held against the target years later.
//!
//! What is recorded goes to the journal with the frontier, in one step: no object that is settled is missing, however
//! often a job is killed, and none is there twice, whoever settled it. The file is made of that at the job's end, in the
//! order of keys, and gets its name when it is whole. Read `recorded.rs`, `line.rs` (the format), `writer.rs`, `store.rs`.

mod line;
mod recorded;
mod store;
mod writer;

pub use line::{End, Header, ManifestError};
pub use recorded::Recorded;
pub use store::ManifestStore;
pub use writer::ManifestFile;

/// What is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestOptions {
    /// Whether objects of the target whose BLAKE3 is not known are read for it: those that are equal and were not copied,
    /// and those that a store copied by itself.
    pub reads: bool,
}

#[cfg(test)]
mod tests;
