//! The gate between what handlers read and what the log has changed since.
//!
//! A handler notes the epoch before it reads the region. A change begins a new epoch, under the
//! gate held alone, before the kernel is told to forget. A reply is sent with the gate held
//! shared, and may be cached only if none of its inodes changed after the noted epoch. So of a
//! reply that carries what a change has made stale, one of two things is true: it was written
//! to the kernel before the change's invalidation began, which then removes it; or it
//! was written after, and says that it must not be cached.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use farshore_meta::Ino;
use parking_lot::{RwLock, RwLockReadGuard};

/// Changes remembered. A reply older than what is remembered is not cached, which costs one
/// more request later; 64 Ki changes outlast any ordinary handler at 16 bytes and a queue slot each.
const REMEMBERED: usize = 64 << 10;

/// The epoch at which a handler began to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Noted(u64);

#[derive(Debug, Default)]
struct Changes {
    epoch: u64,
    /// Changes at epochs up to this one are forgotten.
    floor: u64,
    changed: HashMap<Ino, u64>,
    /// The same changes in the order of their epochs; an inode changed twice is in it twice.
    order: VecDeque<(u64, Ino)>,
}

/// Epochs and what changed in them.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    epoch: AtomicU64,
    changes: RwLock<Changes>,
}

/// The gate held shared: while it lives, no change begins its invalidation.
pub(crate) struct Passage<'g> {
    changes: RwLockReadGuard<'g, Changes>,
    noted: Noted,
}

impl Gate {
    /// To be called before anything of the region is read.
    pub(crate) fn note(&self) -> Noted {
        Noted(self.epoch.load(Ordering::Acquire))
    }

    /// Begins a new epoch in which these inodes have changed.
    pub(crate) fn advance(&self, inos: impl Iterator<Item = Ino>) {
        let mut changes = self.changes.write();
        changes.epoch += 1;
        for ino in inos {
            changes.record(ino);
        }
        self.epoch.store(changes.epoch, Ordering::Release);
    }

    /// Holds the gate for a reply whose contents were read after `noted`.
    pub(crate) fn pass(&self, noted: Noted) -> Passage<'_> {
        Passage { changes: self.changes.read(), noted }
    }
}

impl Changes {
    fn record(&mut self, ino: Ino) {
        let epoch = self.epoch;
        self.changed.insert(ino, epoch);
        self.order.push_back((epoch, ino));
        while self.order.len() > REMEMBERED {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((epoch, ino)) = self.order.pop_front() else { return };
        self.floor = epoch;
        if self.changed.get(&ino) == Some(&epoch) {
            self.changed.remove(&ino);
        }
    }
}

impl Passage<'_> {
    /// True if what was read of the inode, or of the names in it, may be cached.
    pub(crate) fn unchanged(&self, ino: Ino) -> bool {
        let noted = self.noted.0;
        noted >= self.changes.floor && self.changes.changed.get(&ino).is_none_or(|epoch| *epoch <= noted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unchanged(gate: &Gate, noted: Noted, ino: u64) -> bool {
        gate.pass(noted).unchanged(Ino(ino))
    }

    #[test]
    fn what_was_read_before_a_change_is_not_cached_after_it() {
        let gate = Gate::default();
        let before = gate.note();
        assert!(unchanged(&gate, before, 5));
        gate.advance([Ino(5)].into_iter());
        assert!(!unchanged(&gate, before, 5));
        assert!(unchanged(&gate, before, 6));
        assert!(unchanged(&gate, gate.note(), 5));
    }

    #[test]
    fn what_is_forgotten_counts_as_changed() {
        let gate = Gate::default();
        let (first, many) = (gate.note(), REMEMBERED as u64 + 10);
        gate.advance([Ino(1)].into_iter());
        let second = gate.note();
        gate.advance((100..100 + many).map(Ino));
        assert!(!unchanged(&gate, first, 7));
        assert!(!unchanged(&gate, second, 7));
        assert!(unchanged(&gate, gate.note(), 7));
        assert!(unchanged(&gate, gate.note(), 100 + many - 1));
    }

    #[test]
    fn an_inode_changed_again_outlives_its_older_record() {
        let gate = Gate::default();
        gate.advance([Ino(1)].into_iter());
        let noted = gate.note();
        gate.advance([Ino(1)].into_iter());
        gate.changes.write().drop_oldest();
        assert!(!unchanged(&gate, noted, 1));
    }
}
