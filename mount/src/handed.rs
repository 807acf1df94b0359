//! Which inodes the kernel was handed, and under which directories.
//!
//! An inode is counted before the reply that hands it out is written, and counted down by the
//! kernel's FORGET. So an inode that is not counted is neither in the kernel nor on its way
//! there. A reply that the kernel had given up waiting for is counted for ever; that costs
//! its next invalidation a little time and nothing else.

use std::collections::HashMap;

use farshore_meta::Ino;
use parking_lot::Mutex;

/// Parts with a lock each; readers of different inodes rarely meet.
const SHARDS: usize = 16;
/// Directories remembered of one inode. Only a file with more links, or moved more often while
/// the kernel held it, has more.
const PARENTS: usize = 8;

#[derive(Debug, Default)]
struct Held {
    lookups: u64,
    parents: Vec<Ino>,
    more_parents: bool,
}

/// The directories under which an inode was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parents {
    pub(crate) known: Vec<Ino>,
    /// There were others.
    pub(crate) more: bool,
}

/// The inodes that the kernel was handed.
#[derive(Debug, Default)]
pub(crate) struct Handed([Mutex<HashMap<Ino, Held>>; SHARDS]);

impl Handed {
    fn shard(&self, ino: Ino) -> &Mutex<HashMap<Ino, Held>> {
        &self.0[ino.0 as usize % SHARDS]
    }

    /// To be called before the reply that hands `ino` out as an entry of `parent`.
    pub(crate) fn add(&self, ino: Ino, parent: Ino) {
        let mut shard = self.shard(ino).lock();
        let held = shard.entry(ino).or_default();
        held.lookups += 1;
        if held.parents.contains(&parent) {
            return;
        }
        if held.parents.len() < PARENTS {
            held.parents.push(parent);
        } else {
            held.more_parents = true;
        }
    }

    /// The kernel gives `lookups` of an inode back.
    pub(crate) fn forget(&self, ino: Ino, lookups: u64) {
        let mut shard = self.shard(ino).lock();
        let Some(held) = shard.get_mut(&ino) else { return };
        held.lookups = held.lookups.saturating_sub(lookups);
        if held.lookups == 0 {
            shard.remove(&ino);
        }
    }

    /// True if the inode is in the kernel or on its way there. The root always is.
    pub(crate) fn holds(&self, ino: Ino) -> bool {
        ino == Ino::ROOT || self.shard(ino).lock().contains_key(&ino)
    }

    /// The directories under which an inode was handed out since the kernel first had it;
    /// `None` if the kernel does not have it.
    pub(crate) fn parents(&self, ino: Ino) -> Option<Parents> {
        let shard = self.shard(ino).lock();
        let held = shard.get(&ino)?;
        Some(Parents { known: held.parents.clone(), more: held.more_parents })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_is_held_until_every_lookup_is_given_back() {
        let handed = Handed::default();
        assert!(handed.holds(Ino::ROOT));
        handed.add(Ino(9), Ino(1));
        handed.add(Ino(9), Ino(2));
        handed.add(Ino(9), Ino(1));
        handed.forget(Ino(9), 2);
        assert_eq!(handed.parents(Ino(9)), Some(Parents { known: vec![Ino(1), Ino(2)], more: false }));
        handed.forget(Ino(9), 1);
        assert!(!handed.holds(Ino(9)));
        assert_eq!(handed.parents(Ino(9)), None);
    }

    #[test]
    fn too_many_directories_are_said_to_be() {
        let handed = Handed::default();
        for parent in 0..=PARENTS as u64 {
            handed.add(Ino(9), Ino(parent));
        }
        let parents = handed.parents(Ino(9)).unwrap();
        assert_eq!((parents.known.len(), parents.more), (PARENTS, true));
    }
}
