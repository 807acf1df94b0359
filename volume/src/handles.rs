//! What is open: handles, and the one open file that all handles of an inode share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use farshore_meta::{FsError, Ino, Result};
use parking_lot::{Mutex, RwLock};

use crate::directory::OpenDirectory;
use crate::open_file::OpenFile;
use crate::read_ahead::ReadAhead;

/// An open file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandleId(pub u64);

/// A handle of a file.
pub(crate) struct FileHandle {
    pub(crate) file: Arc<OpenFile>,
    pub(crate) read_ahead: Mutex<ReadAhead>,
}

struct Opened {
    file: Arc<OpenFile>,
    handles: usize,
}

/// All that is open in a volume.
#[derive(Default)]
pub(crate) struct Handles {
    next: AtomicU64,
    files: RwLock<HashMap<HandleId, Arc<FileHandle>>>,
    directories: RwLock<HashMap<HandleId, Arc<OpenDirectory>>>,
    inodes: RwLock<HashMap<Ino, Opened>>,
}

impl Handles {
    fn next_id(&self) -> HandleId {
        HandleId(self.next.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Opens an inode: `fresh` becomes its open file if it has none.
    pub(crate) fn open_file(&self, fresh: OpenFile) -> (HandleId, Arc<OpenFile>) {
        let id = self.next_id();
        let mut inodes = self.inodes.write();
        let opened = inodes.entry(fresh.ino()).or_insert_with(|| Opened { file: Arc::new(fresh), handles: 0 });
        opened.handles += 1;
        let file = Arc::clone(&opened.file);
        drop(inodes);
        let handle = FileHandle { file: Arc::clone(&file), read_ahead: Mutex::default() };
        self.files.write().insert(id, Arc::new(handle));
        (id, file)
    }

    pub(crate) fn file(&self, id: HandleId) -> Result<Arc<FileHandle>> {
        self.files.read().get(&id).cloned().ok_or(FsError::Invalid("the file handle is not open"))
    }

    /// The open file of an inode, if it is open.
    pub(crate) fn open_inode(&self, ino: Ino) -> Option<Arc<OpenFile>> {
        self.inodes.read().get(&ino).map(|opened| Arc::clone(&opened.file))
    }

    /// Every open file.
    pub(crate) fn open_files(&self) -> Vec<Arc<OpenFile>> {
        self.inodes.read().values().map(|opened| Arc::clone(&opened.file)).collect()
    }

    /// Closes a handle; returns its file, and whether it was the last handle of it.
    pub(crate) fn close_file(&self, id: HandleId) -> Option<(Arc<OpenFile>, bool)> {
        let handle = self.files.write().remove(&id)?;
        let mut inodes = self.inodes.write();
        let opened = inodes.get_mut(&handle.file.ino())?;
        opened.handles -= 1;
        let last = opened.handles == 0;
        if last {
            inodes.remove(&handle.file.ino());
        }
        Some((Arc::clone(&handle.file), last))
    }

    /// Opens a directory.
    pub(crate) fn open_directory(&self, directory: OpenDirectory) -> HandleId {
        let id = self.next_id();
        self.directories.write().insert(id, Arc::new(directory));
        id
    }

    pub(crate) fn directory(&self, id: HandleId) -> Result<Arc<OpenDirectory>> {
        self.directories.read().get(&id).cloned().ok_or(FsError::Invalid("the directory handle is not open"))
    }

    pub(crate) fn close_directory(&self, id: HandleId) {
        self.directories.write().remove(&id);
    }
}
