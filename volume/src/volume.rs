//! A volume as a mount uses it: names, attributes, and what serves its files.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use farshore_blocks::{BlockReader, BlockWriter};
use farshore_meta::{
    Attr, AttrChange, DurableKey, FileKind, FsError, Ino, Name, NewInode, Region, RenameMode, Result, Role, Settings,
    Tree, UnixTime, XattrMode,
};

use crate::directory::{DirectoryPage, OpenDirectory};
use crate::flush::{Budget, Flusher};
use crate::handles::{HandleId, Handles};
use crate::open_file::State;
use crate::options::VolumeOptions;
use crate::read::FileReader;
use crate::reaper::Reaper;

/// How often written bytes are looked at for their age.
const FLUSH_TICK: Duration = Duration::from_secs(1);
/// Orphans looked at together when a volume starts.
const SWEEP_BATCH: usize = 1_000;

/// What `statfs` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Inodes in use.
    pub used_inodes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
}

/// One volume in one region.
pub struct Volume {
    pub(crate) tree: Arc<Tree>,
    pub(crate) handles: Handles,
    pub(crate) reader: Arc<FileReader>,
    pub(crate) flusher: Arc<Flusher>,
    pub(crate) options: VolumeOptions,
    reaper: Option<Reaper>,
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volume").field("region", &self.tree.region().id()).finish_non_exhaustive()
    }
}

impl Volume {
    /// Starts to serve a region's volume. With a `writer`, on a primary, what is written is
    /// stored, and what has no name is removed; without one it is read-only. To be called in a
    /// tokio runtime.
    pub fn start(
        region: Arc<Region>,
        settings: &Settings,
        blocks: BlockReader,
        writer: Option<BlockWriter>,
        options: VolumeOptions,
    ) -> Arc<Self> {
        let primary = writer.is_some() && matches!(region.role(), Role::Primary { .. });
        let tree = Arc::new(Tree::new(region, settings.inline_bytes));
        let reaper = primary.then(|| Reaper::start(Arc::clone(&tree), options.clock));
        let budget = Budget::new(options.dirty_bytes);
        let flusher = Flusher { tree: Arc::clone(&tree), writer, block_bytes: settings.block_bytes, budget };
        let volume = Arc::new(Self {
            reader: Arc::new(FileReader { tree: Arc::clone(&tree), blocks }),
            tree,
            handles: Handles::default(),
            flusher: Arc::new(flusher),
            options,
            reaper,
        });
        if primary {
            tokio::spawn(flush_by_age(Arc::downgrade(&volume)));
            tokio::spawn(sweep_orphans(Arc::clone(&volume)));
        }
        volume
    }

    /// The time that changes are stamped with.
    pub fn now(&self) -> UnixTime {
        (self.options.clock)()
    }

    /// True on a mirror, where nothing can be written.
    pub fn read_only(&self) -> bool {
        self.reaper.is_none()
    }

    /// The region that is served.
    pub fn region(&self) -> &Arc<Region> {
        self.tree.region()
    }

    /// The inode that `name` in `parent` leads to.
    pub async fn lookup(&self, parent: Ino, name: &Name) -> Result<(Ino, Attr)> {
        let (ino, mut attr) = self.tree.lookup(parent, name).await?;
        self.show_written(ino, &mut attr).await?;
        Ok((ino, attr))
    }

    /// An inode's attributes, with what is written and not committed yet.
    pub async fn attr(&self, ino: Ino) -> Result<Attr> {
        let mut attr = self.tree.attr(ino).await?;
        self.show_written(ino, &mut attr).await?;
        Ok(attr)
    }

    /// Makes `attr` that of an open file with what is written and not committed. It is read again
    /// while no commit can come in between: or one that did would show neither side of it.
    async fn show_written(&self, ino: Ino, attr: &mut Attr) -> Result<()> {
        if let Some(file) = self.handles.open_inode(ino).filter(|_| !self.read_only()) {
            let state = file.state.read().await;
            *attr = self.tree.attr(ino).await?;
            state.show_in(attr);
        }
        Ok(())
    }

    /// Changes attributes. Of a file with uncommitted bytes they are committed together with them,
    /// by the flush that its `close` brings; a new size commits those bytes first.
    pub async fn set_attr(&self, ino: Ino, change: AttrChange) -> Result<Attr> {
        let Some(file) = self.handles.open_inode(ino).filter(|_| !self.read_only()) else {
            return self.tree.set_attr(ino, change, self.now()).await;
        };
        if change.size.is_none() {
            let mut state = file.state.write().await;
            if !state.is_clean() {
                return self.set_attr_later(ino, &mut state, change).await;
            }
        }
        let mut state = self.flusher.settle(&file).await?;
        let attr = self.tree.set_attr(ino, change, self.now()).await?;
        state.committed(&attr);
        file.extents.lock().forget();
        Ok(attr)
    }

    async fn set_attr_later(&self, ino: Ino, state: &mut State, change: AttrChange) -> Result<Attr> {
        let mut attr = self.tree.attr(ino).await?;
        let now = AttrChange { ctime: Some(self.now()), ..AttrChange::default() };
        state.change = state.change.then(now).then(change);
        state.show_in(&mut attr);
        Ok(attr)
    }

    /// Makes a new inode of any kind.
    pub async fn create(&self, parent: Ino, name: &Name, new: &NewInode) -> Result<(Ino, Attr)> {
        self.tree.create(parent, name, new, self.now()).await
    }

    /// Gives an inode one more name.
    pub async fn link(&self, ino: Ino, parent: Ino, name: &Name) -> Result<Attr> {
        let mut attr = self.tree.link(ino, parent, name, self.now()).await?;
        self.show_written(ino, &mut attr).await?;
        Ok(attr)
    }

    /// Removes a name of an inode that is no directory; what is open lives on until it is closed.
    pub async fn unlink(&self, parent: Ino, name: &Name) -> Result<()> {
        let (ino, attr) = self.tree.unlink(parent, name, self.now()).await?;
        self.lost_name(ino, &attr).await;
        Ok(())
    }

    /// Removes an empty directory.
    pub async fn remove_directory(&self, parent: Ino, name: &Name) -> Result<()> {
        let (ino, attr) = self.tree.remove_directory(parent, name, self.now()).await?;
        self.lost_name(ino, &attr).await;
        Ok(())
    }

    /// Moves a name.
    pub async fn rename(&self, from: (Ino, &Name), to: (Ino, &Name), mode: RenameMode) -> Result<()> {
        if let Some((ino, attr)) = self.tree.rename(from, to, mode, self.now()).await? {
            self.lost_name(ino, &attr).await;
        }
        Ok(())
    }

    pub(crate) async fn lost_name(&self, ino: Ino, attr: &Attr) {
        if attr.nlink > 0 {
            return;
        }
        if let Some(file) = self.handles.open_inode(ino) {
            file.orphan.store(true, Ordering::Release);
            // A handle closed since then has not seen the mark; the inode is then not open any more.
            if self.handles.open_inode(ino).is_some() {
                return;
            }
        }
        self.reap(ino).await;
    }

    pub(crate) async fn reap(&self, ino: Ino) {
        if let Some(reaper) = &self.reaper {
            reaper.reap(ino).await;
        }
    }

    /// A symlink's target.
    pub async fn read_link(&self, ino: Ino) -> Result<Bytes> {
        self.tree.read_link(ino).await
    }

    /// An extended attribute's value.
    pub async fn xattr(&self, ino: Ino, name: &[u8]) -> Result<Bytes> {
        self.tree.xattr(ino, name).await
    }

    /// The names of an inode's extended attributes.
    pub async fn xattrs(&self, ino: Ino) -> Result<Vec<Bytes>> {
        self.tree.xattrs(ino).await
    }

    /// Sets an extended attribute.
    pub async fn set_xattr(&self, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        self.tree.set_xattr(ino, name, value, mode, self.now()).await
    }

    /// Removes an extended attribute.
    pub async fn remove_xattr(&self, ino: Ino, name: &[u8]) -> Result<()> {
        self.tree.remove_xattr(ino, name, self.now()).await
    }

    /// Opens a directory.
    pub async fn open_directory(&self, ino: Ino) -> Result<HandleId> {
        match self.tree.attr(ino).await?.kind {
            FileKind::Directory => Ok(self.handles.open_directory(OpenDirectory::new(ino))),
            _ => Err(FsError::NotDirectory),
        }
    }

    /// Entries from `offset` on (0: the first), `.` and `..` not among them; none at the end.
    /// Offsets stay right while the handle is open. From offset 0 they are as they are now, names
    /// and attributes at one moment; what follows may come from what was read then.
    pub async fn read_directory(&self, handle: HandleId, offset: u64, with_attrs: bool) -> Result<DirectoryPage> {
        let directory = self.handles.directory(handle)?;
        let mut page = directory.read(&self.tree, offset, with_attrs).await?;
        for listed in &mut page {
            if let Some(attr) = &mut listed.entry.attr {
                self.show_written(listed.entry.ino, attr).await?;
            }
        }
        Ok(page)
    }

    /// Closes a directory.
    pub fn release_directory(&self, handle: HandleId) {
        self.handles.close_directory(handle);
    }

    /// Stores, commits and makes durable everything written so far.
    pub async fn sync(&self) -> Result<()> {
        let mut outcome = Ok(());
        for file in self.handles.open_files() {
            outcome = outcome.and(self.flusher.flush(&file).await);
        }
        outcome?;
        self.make_durable().await
    }

    /// Makes what is committed survive a power cut: blocks first, then the rows that refer to them.
    pub async fn make_durable(&self) -> Result<()> {
        self.flusher.sync_blocks().await?;
        Ok(self.tree.region().engine().sync().await?)
    }

    /// Inodes and bytes in use.
    pub async fn statistics(&self) -> Result<Statistics> {
        let usage = self.tree.region().usage().await?;
        Ok(Statistics { used_inodes: usage.inodes, used_bytes: usage.bytes })
    }

    /// Rows changed under a mirror: what this volume remembers of them is forgotten.
    pub fn forget(&self, changed: &[DurableKey]) {
        for key in changed {
            let (DurableKey::Attr(ino) | DurableKey::Contents(ino) | DurableKey::Extent(ino, _)) = key else {
                continue;
            };
            if let Some(file) = self.handles.open_inode(*ino) {
                file.extents.lock().forget();
            }
        }
    }

    /// Stores and commits everything written, and removes what lost its name.
    ///
    /// # Errors
    /// What could not be stored; it is lost when the process ends.
    pub async fn shut_down(&self) -> Result<()> {
        if self.read_only() {
            return Ok(());
        }
        self.sync().await?;
        if let Some(reaper) = &self.reaper {
            reaper.finish().await;
        }
        Ok(())
    }
}

/// Stores what was written some time ago, though nobody asked: readers elsewhere want it. And syncs the
/// blocks of files that are closed and that nobody will fsync.
async fn flush_by_age(volume: std::sync::Weak<Volume>) {
    loop {
        tokio::time::sleep(FLUSH_TICK).await;
        let Some(volume) = volume.upgrade() else { return };
        for file in volume.handles.open_files() {
            let since = file.state.read().await.since;
            let old = since.is_some_and(|since| since.elapsed().as_millis() as u64 >= volume.options.flush_age_ms);
            if old && !file.orphan.load(Ordering::Acquire) {
                volume.flush_behind(&file);
            }
        }
        if let Err(error) = volume.flusher.sync_blocks().await {
            tracing::error!(%error, "stored blocks could not be synced");
        }
    }
}

/// Removes orphans that an earlier process left.
async fn sweep_orphans(volume: Arc<Volume>) {
    let sweep = async || -> Result<()> {
        loop {
            let orphans = volume.tree.orphans(SWEEP_BATCH).await?;
            let closed: Vec<_> = orphans.into_iter().filter(|ino| volume.handles.open_inode(*ino).is_none()).collect();
            if closed.is_empty() {
                return Ok(());
            }
            volume.tree.reap(&closed, volume.now()).await?;
        }
    };
    match sweep().await {
        Ok(()) | Err(FsError::Engine(farshore_meta::engine::EngineError::Closed)) => {}
        Err(error) => tracing::warn!(%error, "removed files of an earlier run keep their rows for now"),
    }
}
