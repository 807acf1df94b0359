//! Order among this process's own changes of one directory.
//!
//! The engine's conflict check keeps such changes right by itself; these locks only spare
//! concurrent creates in one directory from conflicting, and running again, over its times.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use tokio::sync::{Mutex, MutexGuard};

use crate::ino::Ino;

/// Locks; two directories share one now and then.
const SHARDS: usize = 256;

#[derive(Debug)]
pub(super) struct NameLocks(Box<[Mutex<()>]>);

impl Default for NameLocks {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::new(())).collect())
    }
}

impl NameLocks {
    /// Waits until no one else of this process changes either directory. The shards are taken in
    /// their order, so that two callers cannot wait for each other.
    pub(super) async fn hold(&self, directories: [Ino; 2]) -> (MutexGuard<'_, ()>, Option<MutexGuard<'_, ()>>) {
        let mut shards = directories.map(shard);
        shards.sort_unstable();
        let first = self.0[shards[0]].lock().await;
        let second = if shards[0] == shards[1] { None } else { Some(self.0[shards[1]].lock().await) };
        (first, second)
    }
}

fn shard(ino: Ino) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(ino);
    (hash % SHARDS as u64) as usize
}
