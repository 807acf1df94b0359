//! What transactions and the committer share: the newest view, the way to the rows, the queue.

use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use farshore_proto::Version;
use fjall::Keyspace;

use super::layout::Layout;
use super::queue::Queue;
use super::view::View;

/// Shared by the engine, its transactions and its committer.
pub(super) struct Shared {
    pub(super) layout: Layout,
    pub(super) max_age: Duration,
    /// The newest view. The committer replaces it once a group is durable.
    pub(super) view: ArcSwap<View>,
    /// The handle that reads need; taken away when the engine closes, because whoever holds
    /// it holds the directory.
    pub(super) keyspace: ArcSwapOption<Keyspace>,
    pub(super) queue: Queue,
}

/// How far the committer has come.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// The version of the last commit that is there to be read.
    pub(super) last: Version,
    /// Up to this version commits survive a power cut: the end of a group, because a group is synced whole.
    pub(super) durable: Version,
    /// Why nothing is committed any more, after a failed write.
    pub(super) poisoned: Option<String>,
}
