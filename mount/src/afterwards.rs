//! What a primary's kernel must forget after its own changes.
//!
//! The kernel marks most of what its own requests change as unknown, and asks again. But of a
//! directory whose names changed, a renamed inode, or one whose extended attributes changed, it
//! only marks: a GETATTR that read the old state and is answered at the same time clears the
//! mark, and with a long time to live the old times would stay for good. The inodes of
//! such changes are therefore forgotten once more, a moment later, which raises their
//! attribute version and so drops every answer under way. Until then, a few milliseconds,
//! another process may still see the older times.
//!
//! It also makes the kernel forget what a change that outlived its deadline touched.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use farshore_meta::{Ino, Name};
use parking_lot::{Condvar, Mutex};

use crate::kernel::{Kernel, Scope};

/// How long changes are gathered: a directory that is being filled is forgotten once in it.
const GATHER: Duration = Duration::from_millis(5);

#[derive(Debug, Default, PartialEq, Eq)]
struct Queue {
    inodes: BTreeMap<Ino, Scope>,
    names: BTreeSet<(Ino, Name)>,
    closed: bool,
}

/// Names and inodes to be forgotten soon; a set, so that it is no larger than what is in use.
#[derive(Debug, Default)]
pub(crate) struct Afterwards {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Afterwards {
    /// What `scope` says of an inode is to be forgotten.
    pub(crate) fn forget_inode(&self, ino: Ino, scope: Scope) {
        let mut queue = self.queue.lock();
        let known = queue.inodes.entry(ino).or_insert(scope);
        *known = scope.max(*known);
        self.changed.notify_one();
    }

    /// A name is to be forgotten.
    pub(crate) fn forget_name(&self, parent: Ino, name: Name) {
        self.queue.lock().names.insert((parent, name));
        self.changed.notify_one();
    }

    /// Ends `run`.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.changed.notify_one();
    }

    /// Tells the kernel until closed; on a thread of its own, since the kernel may keep it waiting.
    pub(crate) fn run(&self, kernel: &Arc<dyn Kernel>) {
        while let Some(queue) = self.next() {
            if let Err(error) = tell(kernel.as_ref(), &queue) {
                tracing::warn!(%error, "the kernel refused to forget what it changed");
            }
            std::thread::sleep(GATHER);
        }
    }

    fn next(&self) -> Option<Queue> {
        let mut queue = self.queue.lock();
        loop {
            if queue.closed {
                return None;
            }
            if *queue != Queue::default() {
                return Some(std::mem::take(&mut *queue));
            }
            self.changed.wait(&mut queue);
        }
    }
}

fn tell(kernel: &dyn Kernel, queue: &Queue) -> io::Result<()> {
    for (parent, name) in &queue.names {
        kernel.forget_name(*parent, name.as_bytes())?;
    }
    for (ino, scope) in &queue.inodes {
        kernel.forget_inode(*ino, *scope)?;
    }
    Ok(())
}
