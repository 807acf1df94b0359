//! Where in the cache directory a block's file is, and which files there are.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use farshore_proto::BlockName;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::BlockError;

/// Bytes of a block that `st_blocks` counts.
const STAT_BLOCK_BYTES: u64 = 512;

/// A locked cache directory: `<root>/<2 hex>/<64 hex>`. Anything else in it is not ours.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
    /// Held while any part of the cache lives.
    _lock: Arc<File>,
}

/// A file of the cache as a scan finds it.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) name: BlockName,
    pub(super) allocated_bytes: u64,
    modified: SystemTime,
}

impl Layout {
    pub(super) fn open(root: PathBuf) -> Result<Self, BlockError> {
        let failed = |action| move |source| (action, source);
        let lock_path = root.join("lock");
        let opened = fs::create_dir_all(&root)
            .map_err(failed("create it"))
            .and_then(|()| File::create(&lock_path).map_err(failed("lock it")));
        let lock = opened.map_err(|(action, source)| BlockError::directory(&root, action, source))?;
        match lock_patiently(&lock) {
            Ok(()) => Ok(Self { root, _lock: Arc::new(lock) }),
            Err(Errno::WOULDBLOCK) => Err(BlockError::CacheInUse { path: root }),
            Err(errno) => Err(BlockError::directory(&root, "lock it", errno.into())),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn path_of(&self, name: &BlockName) -> PathBuf {
        let digits = name.to_string();
        self.root.join(&digits[..2]).join(digits)
    }

    /// Every cached block, the one longest unchanged first. What cannot be read is passed over:
    /// it is then not counted, and its file is overwritten when the block comes again.
    pub(super) fn scan(&self) -> Vec<Scanned> {
        let mut found = Vec::new();
        for fan in 0..=u8::MAX {
            let Ok(entries) = fs::read_dir(self.root.join(format!("{fan:02x}"))) else {
                continue;
            };
            found.extend(entries.flatten().filter_map(|entry| scanned(&entry, fan)));
        }
        found.sort_by_key(|cached| cached.modified);
        found
    }

    /// Removes a block's file; one that is gone or cannot be removed is passed over.
    pub(super) fn remove(&self, name: &BlockName) {
        let path = self.path_of(name);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!(path = %path.display(), %error, "a cached block could not be evicted");
        }
    }
}

/// A cache that was closed a moment ago may still be writing what it had queued.
fn lock_patiently(lock: &File) -> Result<(), Errno> {
    const TRIES: u32 = 100;
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 1..TRIES {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    flock(lock, FlockOperation::NonBlockingLockExclusive)
}

fn scanned(entry: &fs::DirEntry, fan: u8) -> Option<Scanned> {
    let name: BlockName = entry.file_name().to_str()?.parse().ok()?;
    let metadata = entry.metadata().ok()?;
    let ours = metadata.is_file() && name.as_bytes()[0] == fan && entry.file_name().to_str() == Some(&name.to_string());
    let allocated_bytes = metadata.blocks() * STAT_BLOCK_BYTES;
    ours.then_some(Scanned { name, allocated_bytes, modified: metadata.modified().ok()? })
}

/// Bytes that a file has allocated on its disk.
pub(super) fn allocated_bytes(file: &File) -> std::io::Result<u64> {
    Ok(file.metadata()?.blocks() * STAT_BLOCK_BYTES)
}
