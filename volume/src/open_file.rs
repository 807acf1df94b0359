//! An open file: what all handles of one inode share.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use farshore_meta::{Attr, AttrChange, Ino, Result, UnixTime};
use farshore_proto::BlockName;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::dirty::Dirty;
use crate::extent_cache::ExtentCache;
use crate::pending::Pending;

/// An upload under way.
pub(crate) type Upload = JoinHandle<Result<BlockName>>;

/// What of a file is not committed yet, and what is known of the committed rest.
///
/// The layers, oldest first: the committed contents, the pending pieces in the order in which
/// they were sealed, the dirty bytes. Each lies over those before it.
pub(crate) struct State {
    /// The file's size, with everything written.
    pub(crate) size: u64,
    /// How its attributes changed, by writes and otherwise, since it was not clean any more.
    pub(crate) change: AttrChange,
    /// The committed contents are inline.
    pub(crate) inline: bool,
    /// The committed contents have extents.
    pub(crate) has_extents: bool,
    /// The inline contents were copied into the layers above: what follows replaces them.
    pub(crate) carried: bool,
    pub(crate) dirty: Dirty,
    pub(crate) pending: Pending,
    pub(crate) uploads: BTreeMap<u64, Upload>,
    /// When the oldest uncommitted byte was written.
    pub(crate) since: Option<Instant>,
}

impl State {
    fn new(attr: &Attr) -> Self {
        Self {
            size: attr.size,
            change: AttrChange::default(),
            inline: attr.inline,
            has_extents: !attr.inline && attr.allocated > 0,
            carried: false,
            dirty: Dirty::default(),
            pending: Pending::default(),
            uploads: BTreeMap::new(),
            since: None,
        }
    }

    /// Everything written is committed.
    pub(crate) fn is_clean(&self) -> bool {
        self.dirty.is_empty() && self.pending.is_empty()
    }

    /// Takes over what a commit made of the file.
    pub(crate) fn committed(&mut self, attr: &Attr) {
        self.inline = attr.inline;
        self.has_extents = !attr.inline && attr.allocated > 0;
        self.carried = false;
        if self.is_clean() {
            self.size = attr.size;
            self.change = AttrChange::default();
            self.since = None;
        }
    }

    /// Something was written at `now`.
    pub(crate) fn written(&mut self, now: UnixTime) {
        let times = AttrChange { mtime: Some(now), ctime: Some(now), ..AttrChange::default() };
        self.change = self.change.then(times);
        self.since.get_or_insert_with(Instant::now);
    }

    /// Shows in `attr` what is written and not committed.
    pub(crate) fn show_in(&self, attr: &mut Attr) {
        if self.is_clean() {
            return;
        }
        attr.size = attr.size.max(self.size);
        attr.change(&self.change, attr.ctime);
    }
}

/// An inode that is open, once for all its handles.
pub(crate) struct OpenFile {
    ino: Ino,
    pub(crate) state: tokio::sync::RwLock<State>,
    /// Held by the one flush at a time.
    pub(crate) flushing: tokio::sync::Mutex<()>,
    pub(crate) extents: Mutex<ExtentCache>,
    /// No name leads to it any more: its rows go when it is closed.
    pub(crate) orphan: std::sync::atomic::AtomicBool,
}

impl OpenFile {
    pub(crate) fn new(ino: Ino, attr: &Attr) -> Self {
        Self {
            ino,
            state: tokio::sync::RwLock::new(State::new(attr)),
            flushing: tokio::sync::Mutex::default(),
            extents: Mutex::default(),
            orphan: std::sync::atomic::AtomicBool::new(attr.nlink == 0),
        }
    }

    pub(crate) fn ino(&self) -> Ino {
        self.ino
    }
}

/// The bytes of an inline file, with what lies over them, at the file's size.
pub(crate) fn flatten_inline(base: &Bytes, state: &State) -> Bytes {
    let mut whole = base.to_vec();
    whole.resize(state.size as usize, 0);
    state.dirty.read_over(0, &mut whole);
    whole.into()
}
