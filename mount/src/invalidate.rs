//! Makes the kernel forget what the log has changed, so that after it nobody sees older state.
//!
//! The safety argument, for one batch of changes that the region already holds:
//!
//! 1. The volume forgets its own memory of the changed files, and the gate begins a new epoch.
//!    Whatever a handler reads from now on is the new state. A reply with older state is from
//!    now on sent uncacheable (`gate`), so only replies written before this point matter.
//! 2. Such a reply may be written, but not yet taken in by the thread that waits for it. For
//!    *names* that is no danger: a LOOKUP and a READDIRPLUS hold their directory's lock
//!    until what they brought is in the caches, and `forget_name` takes that lock alone. It
//!    waits for them and then removes the name, there or not. A revalidation takes no lock, but
//!    all it can do is prolong the very entry that was removed from the tree.
//! 3. For *attributes* of an inode that the kernel has: `forget_inode` raises the inode's
//!    attribute version, and the kernel drops every reply to a request begun before that.
//! 4. For attributes of an inode that the kernel does *not* have (`Unknown`), there may
//!    be a LOOKUP or READDIRPLUS just about to bring it, with old attributes. `handed` knows:
//!    an inode is counted before it is handed out. If it is counted, the lock of each directory
//!    under which it was handed out is taken and released once, by forgetting a name that no
//!    directory can hold. After that the inode is there and is forgotten, or it was given
//!    back and the kernel's FORGET is under way.
//! 5. For *data*: pages are locked from before their READ is sent until it is answered, and
//!    forgetting data takes each page's lock. A READ that began before is waited for and its pages
//!    are dropped; one that begins later reads the new state.
//!
//! What was never handed out, or was given back, is not told to the kernel at all.
//! The order of positions is the caller's: one batch at a time, each after it was applied.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use farshore_meta::{DurableKey, Ino, Name};
use farshore_volume::Volume;

use crate::cache::Cache;
use crate::kernel::{Answer, Kernel, Scope};

/// A name that no directory holds: forgetting it only takes the directory's lock.
const NO_NAME: &[u8] = b"/";
/// How long to look for an inode of which not every directory is known: 20 ms in all.
const RETRIES: u32 = 9;
const FIRST_PAUSE: Duration = Duration::from_micros(40);

/// The changes of some commits, each name and inode once.
#[derive(Debug, Default, PartialEq, Eq)]
struct Batch {
    names: BTreeSet<(Ino, Name)>,
    inodes: BTreeMap<Ino, Scope>,
}

impl Batch {
    fn of(changed: &[DurableKey]) -> Self {
        let mut batch = Self::default();
        for key in changed {
            batch.add(key);
        }
        batch
    }

    fn add(&mut self, key: &DurableKey) {
        match key {
            DurableKey::Attr(ino) | DurableKey::Xattr(ino, _) => self.add_inode(*ino, Scope::Attributes),
            // The kernel keeps a symlink's target as a page.
            DurableKey::Contents(ino) | DurableKey::Extent(ino, _) | DurableKey::Symlink(ino) => {
                self.add_inode(*ino, Scope::Data);
            }
            DurableKey::Entry(parent, name) => {
                self.names.insert((*parent, name.clone()));
                self.add_inode(*parent, Scope::Attributes);
            }
            DurableKey::Settings | DurableKey::NextIno | DurableKey::Block(_) | DurableKey::Orphan(_) => {}
        }
    }

    fn add_inode(&mut self, ino: Ino, scope: Scope) {
        let known = self.inodes.entry(ino).or_insert(scope);
        *known = scope.max(*known);
    }
}

/// Tells a mirror's mount what the log has changed.
#[derive(Clone)]
pub struct Invalidator {
    volume: Option<Arc<Volume>>,
    cache: Arc<Cache>,
    kernel: Arc<dyn Kernel>,
    unsettled: Arc<AtomicU64>,
}

impl std::fmt::Debug for Invalidator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invalidator").field("unsettled", &self.unsettled()).finish_non_exhaustive()
    }
}

impl Invalidator {
    pub(crate) fn new(volume: Option<Arc<Volume>>, cache: Arc<Cache>, kernel: Arc<dyn Kernel>) -> Self {
        Self { volume, cache, kernel, unsettled: Arc::default() }
    }

    /// Makes the kernel forget these rows, which the region already holds in their new state.
    /// When it returns, everything up to their position is visible to readers.
    ///
    /// It blocks while a lookup in a changed directory or a read of a changed file is in flight;
    /// call it on a thread of its own, in the order of positions, and never from a
    /// request's handler. It returns at once when the mount has ended.
    pub fn invalidate(&self, changed: &[DurableKey]) {
        let batch = Batch::of(changed);
        if let Some(volume) = &self.volume {
            volume.forget(changed);
        }
        self.cache.gate().advance(batch.inodes.keys().copied());
        if let Err(error) = self.tell(&batch) {
            tracing::error!(%error, "the kernel refused to forget what has changed; readers may see older state");
        }
    }

    /// Inodes that the kernel was handed and that could neither be forgotten nor shown to be
    /// gone. Readers may see their older attributes.
    pub fn unsettled(&self) -> u64 {
        self.unsettled.load(Ordering::Relaxed)
    }

    fn tell(&self, batch: &Batch) -> io::Result<()> {
        let handed = self.cache.handed();
        for (parent, name) in &batch.names {
            if handed.holds(*parent) && self.kernel.forget_name(*parent, name.as_bytes())? == Answer::Gone {
                return Ok(());
            }
        }
        for (ino, scope) in &batch.inodes {
            if !handed.holds(*ino) {
                continue;
            }
            match self.kernel.forget_inode(*ino, *scope)? {
                Answer::Done => {}
                Answer::Gone => return Ok(()),
                Answer::Unknown => self.settle(*ino, *scope)?,
            }
        }
        Ok(())
    }

    /// Forgets an inode that may just be on its way into the kernel.
    fn settle(&self, ino: Ino, scope: Scope) -> io::Result<()> {
        let Some(parents) = self.cache.handed().parents(ino) else { return Ok(()) };
        for parent in &parents.known {
            self.kernel.forget_name(*parent, NO_NAME)?;
        }
        // Where a directory is not known, time has to do instead of its lock.
        let retries = if parents.more { RETRIES } else { 0 };
        let mut pause = FIRST_PAUSE;
        for _ in 0..retries {
            if self.kernel.forget_inode(ino, scope)? != Answer::Unknown || !self.cache.handed().holds(ino) {
                return Ok(());
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
        let answer = self.kernel.forget_inode(ino, scope)?;
        if answer == Answer::Unknown && parents.more && self.cache.handed().holds(ino) {
            self.unsettled.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%ino, "a changed inode is not in the kernel, though it was handed out and not given back");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use parking_lot::Mutex;

    use crate::options::CachePolicy;

    use super::*;

    /// A kernel that knows some inodes, and gets others once a directory's lock was taken.
    #[derive(Default)]
    struct FakeKernel {
        inodes: Mutex<HashSet<Ino>>,
        arriving: Mutex<Vec<(Ino, Ino)>>,
        told: Mutex<Vec<String>>,
    }

    impl Kernel for FakeKernel {
        fn forget_name(&self, parent: Ino, name: &[u8]) -> io::Result<Answer> {
            self.told.lock().push(format!("{parent}/{}", String::from_utf8_lossy(name)));
            let mut arriving = self.arriving.lock();
            let arrived = arriving.extract_if(.., |(under, _)| *under == parent).map(|(_, ino)| ino);
            self.inodes.lock().extend(arrived);
            Ok(Answer::Unknown)
        }

        fn forget_inode(&self, ino: Ino, scope: Scope) -> io::Result<Answer> {
            self.told.lock().push(format!("{ino} {scope:?}"));
            Ok(if self.inodes.lock().contains(&ino) { Answer::Done } else { Answer::Unknown })
        }
    }

    fn name(name: &str) -> Name {
        Name::new(name.as_bytes()).unwrap()
    }

    struct Fixture {
        kernel: Arc<FakeKernel>,
        cache: Arc<Cache>,
        invalidator: Invalidator,
    }

    fn fixture() -> Fixture {
        let (kernel, cache) = (Arc::new(FakeKernel::default()), Arc::new(Cache::new(CachePolicy::Followed)));
        kernel.inodes.lock().insert(Ino::ROOT);
        let invalidator = Invalidator::new(None, Arc::clone(&cache), Arc::clone(&kernel) as Arc<dyn Kernel>);
        Fixture { kernel, cache, invalidator }
    }

    #[test]
    fn a_batch_tells_each_name_and_inode_once() {
        let keys = [
            DurableKey::Entry(Ino(1), name("a")),
            DurableKey::Attr(Ino(5)),
            DurableKey::Extent(Ino(5), 0),
            DurableKey::Extent(Ino(5), 4096),
            DurableKey::Attr(Ino(5)),
            DurableKey::Entry(Ino(1), name("a")),
            DurableKey::NextIno,
            DurableKey::Orphan(Ino(6)),
        ];
        let batch = Batch::of(&keys);
        assert_eq!(batch.names.len(), 1);
        assert_eq!(batch.inodes, BTreeMap::from([(Ino(1), Scope::Attributes), (Ino(5), Scope::Data)]));
    }

    #[test]
    fn what_the_kernel_was_not_handed_is_not_told() {
        let Fixture { kernel, cache, invalidator } = fixture();
        cache.handed().add(Ino(5), Ino::ROOT);
        kernel.inodes.lock().insert(Ino(5));
        invalidator.invalidate(&[
            DurableKey::Attr(Ino(5)),
            DurableKey::Attr(Ino(6)),
            DurableKey::Entry(Ino(6), name("x")),
            DurableKey::Entry(Ino(1), name("y")),
        ]);
        assert_eq!(*kernel.told.lock(), ["1/y", "1 Attributes", "5 Attributes"]);
    }

    #[test]
    fn an_inode_on_its_way_is_waited_for() {
        let Fixture { kernel, cache, invalidator } = fixture();
        cache.handed().add(Ino(5), Ino(2));
        cache.handed().add(Ino(5), Ino(3));
        kernel.arriving.lock().push((Ino(3), Ino(5)));
        invalidator.invalidate(&[DurableKey::Extent(Ino(5), 0)]);
        assert_eq!(*kernel.told.lock(), ["5 Data", "2//", "3//", "5 Data"]);
        assert_eq!(invalidator.unsettled(), 0);
    }

    #[test]
    fn an_inode_of_unknown_whereabouts_is_counted() {
        let Fixture { cache, invalidator, .. } = fixture();
        for parent in 100..120 {
            cache.handed().add(Ino(5), Ino(parent));
        }
        invalidator.invalidate(&[DurableKey::Attr(Ino(5))]);
        assert_eq!(invalidator.unsettled(), 1);
    }

    #[test]
    fn every_batch_begins_an_epoch() {
        let Fixture { cache, invalidator, .. } = fixture();
        let noted = cache.note();
        invalidator.invalidate(&[DurableKey::Attr(Ino(5))]);
        assert_eq!(cache.permit(noted).attributes(Ino(5)), Duration::ZERO);
    }
}
