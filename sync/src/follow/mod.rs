//! Following a volume: from its change log to the keys that have to be looked at again, so that a pass costs what
//! changed and not what exists.
//!
//! The argument. Let everything that was committed up to a position P be at the target. The log tells each row that
//! was changed between P and Q. A key can differ at Q only if a name on its path, or the inode that it leads to, was
//! changed. For each changed name the key is taken, and all keys below it where it leads to a directory; for each changed
//! inode the keys of all its names, and all keys below a name where a directory was: what is moved or removed is changed
//! itself. These are found in the tree *as it is now*: what changes after Q is
//! in the log after Q, and is looked at once more. Then both sides are compared at those keys alone, by the same job
//! that compares everything. Only when nothing of it failed is Q the new place.
//!
//! A volume does not keep which names an inode has, so we do (`names.rs`): every name that was there when the first
//! pass began, and every one that the log tells since. Each is looked up before it is believed.
//!
//! Read `changed.rs`, `names.rs`, `paths.rs`, `record.rs`, and of the crate `selection.rs`, `store/selected.rs`.

mod changed;
mod names;
mod paths;
mod record;
mod rows;
#[cfg(test)]
mod tests;

pub use changed::Changed;
pub use names::Names;
pub use paths::select;
pub use record::{Place, WatchRecord};
