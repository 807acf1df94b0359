//! Files of a volume.

mod volume;

pub use volume::{AllocateMode, DirectoryPage, HandleId, ListedEntry, Opened, Statistics, Volume, VolumeOptions};
