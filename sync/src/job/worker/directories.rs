//! The copies of directories that run: what lies in one is copied after it. There are servers that make the directory of
//! an object as they store it and, if one puts the directory itself at that very moment, keep theirs and lose the other.

use tokio::sync::watch;

use crate::key::Key;

/// The directories on the way to the last key that began, of those that are copied; the innermost last.
#[derive(Debug, Default)]
pub(super) struct Directories(Vec<(Key, Ended)>);

/// Whether the copy of a directory has ended: it has once the other side is dropped.
pub(super) type Ended = watch::Receiver<()>;

/// Kept by what copies a directory until it has ended.
#[derive(Debug)]
pub(super) struct Running(#[expect(dead_code, reason = "its drop tells")] watch::Sender<()>);

impl Directories {
    /// The innermost directory above a key. Keys are asked about in order.
    pub(super) fn above(&mut self, key: &Key) -> Option<Ended> {
        while self.0.pop_if(|(directory, _)| !key.as_bytes().starts_with(directory.as_bytes())).is_some() {}
        self.0.last().map(|(_, ended)| ended.clone())
    }

    /// The copy of a directory begins.
    pub(super) fn begin(&mut self, key: &Key) -> Running {
        let (running, ended) = watch::channel(());
        self.0.push((key.clone(), ended));
        Running(running)
    }
}

/// Waits until the copy of a directory has ended, however it did.
pub(super) async fn wait(ended: Option<Ended>) {
    if let Some(mut ended) = ended {
        while ended.changed().await.is_ok() {}
    }
}
