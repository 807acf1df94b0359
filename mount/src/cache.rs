//! How long the kernel may keep what a reply tells it.
//!
//! *Sole*: every change is the kernel's own request, and it forgets what it changed. What the
//! kernel cannot know is what the volume does by itself: bytes that were written get their
//! final times and block counts when they are committed. So the attributes of an inode that is
//! open to be written are not cached, and once more forgotten after it is closed
//! (`afterwards`). The pages may stay: only the kernel writes them.
//!
//! *Followed*: the log tells of every change, see `invalidate`. Here the gate decides whether
//! what a handler read may still be cached.
//!
//! Entries of a directory are not cached as a listing (`FOPEN_CACHE_DIR`): a listing that is
//! filled by several requests cannot be told apart from one that straddles a change.

use std::time::Duration;

use farshore_meta::Ino;

use crate::gate::{Gate, Noted, Passage};
use crate::handed::Handed;
use crate::options::CachePolicy;
use crate::writers::Writers;

/// For ever, as far as a mount is concerned.
const LONG: Duration = Duration::from_hours(365 * 24);

/// What decides about the kernel's caches.
#[derive(Debug)]
pub(crate) struct Cache {
    policy: CachePolicy,
    gate: Gate,
    handed: Handed,
    writers: Writers,
}

/// Permission to send one reply; no invalidation begins while it lives.
pub(crate) struct Permit<'c> {
    cache: &'c Cache,
    passage: Passage<'c>,
}

impl Cache {
    pub(crate) fn new(policy: CachePolicy) -> Self {
        Self { policy, gate: Gate::default(), handed: Handed::default(), writers: Writers::default() }
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(crate) fn handed(&self) -> &Handed {
        &self.handed
    }

    pub(crate) fn writers(&self) -> &Writers {
        &self.writers
    }

    /// To be called before a handler reads anything that its reply lets the kernel cache.
    pub(crate) fn note(&self) -> Noted {
        self.gate.note()
    }

    /// To be held from the question how long to cache until the reply is sent.
    pub(crate) fn permit(&self, noted: Noted) -> Permit<'_> {
        Permit { cache: self, passage: self.gate.pass(noted) }
    }

    /// The kernel gives `lookups` of an inode back.
    pub(crate) fn forget(&self, ino: Ino, lookups: u64) {
        if self.policy == CachePolicy::Followed {
            self.handed.forget(ino, lookups);
        }
    }

    /// True if a changed inode may have to be forgotten although the kernel changed it itself.
    pub(crate) fn wants_afterwards(&self) -> bool {
        self.policy == CachePolicy::Sole
    }
}

impl Permit<'_> {
    /// How long the names in a directory may be cached, or that there is no such name.
    pub(crate) fn names(&self, parent: Ino) -> Duration {
        match self.cache.policy {
            CachePolicy::Sole => LONG,
            CachePolicy::Followed if self.passage.unchanged(parent) => LONG,
            CachePolicy::Followed => Duration::ZERO,
            CachePolicy::Brief(time) => time,
        }
    }

    /// How long an inode's attributes may be cached.
    pub(crate) fn attributes(&self, ino: Ino) -> Duration {
        match self.cache.policy {
            CachePolicy::Followed if self.passage.unchanged(ino) => LONG,
            CachePolicy::Followed => Duration::ZERO,
            CachePolicy::Sole | CachePolicy::Brief(_) if self.cache.writers.has(ino) => Duration::ZERO,
            CachePolicy::Sole => LONG,
            CachePolicy::Brief(time) => time,
        }
    }

    /// The reply hands an inode to the kernel, found in `parent`.
    pub(crate) fn hand(&self, ino: Ino, parent: Ino) {
        if self.cache.policy == CachePolicy::Followed {
            self.cache.handed.add(ino, parent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHILD: Ino = Ino(7);

    fn times(cache: &Cache, noted: Noted) -> (Duration, Duration) {
        let permit = cache.permit(noted);
        (permit.names(Ino::ROOT), permit.attributes(CHILD))
    }

    #[test]
    fn attributes_of_what_is_being_written_are_not_cached() {
        let cache = Cache::new(CachePolicy::Sole);
        assert_eq!(times(&cache, cache.note()), (LONG, LONG));
        cache.writers().opened(CHILD);
        assert_eq!(times(&cache, cache.note()), (LONG, Duration::ZERO));
    }

    #[test]
    fn a_follower_caches_what_the_log_has_not_changed() {
        let cache = Cache::new(CachePolicy::Followed);
        let noted = cache.note();
        cache.gate().advance([CHILD].into_iter());
        assert_eq!(times(&cache, noted), (LONG, Duration::ZERO));
        cache.gate().advance([Ino::ROOT].into_iter());
        assert_eq!(times(&cache, noted), (Duration::ZERO, Duration::ZERO));
        assert_eq!(times(&cache, cache.note()), (LONG, LONG));
    }
}
