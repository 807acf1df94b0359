//! Files by handle: opening, reading, writing, flushing, closing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use farshore_meta::{Attr, AttrChange, FileKind, FsError, Ino, Name, NewInode, Result, Seek};
use farshore_proto::limits::MAX_FILE_BYTES;

use crate::flush::COMMIT_PIECES;
use crate::handles::HandleId;
use crate::open_file::{OpenFile, State};
use crate::volume::Volume;

/// A file that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// What to read and write by.
    pub handle: HandleId,
    /// What the kernel has cached of this file is still right.
    pub keep_cache: bool,
}

/// What `fallocate` does to a range of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllocateMode {
    /// Lengthen the file to the end of the range, if it is shorter.
    Extend,
    /// Change nothing: space is never reserved.
    KeepSize,
    /// Make the range a hole; the size stays.
    PunchHole,
    /// Make the range zeros, and lengthen the file to its end unless `keep_size`.
    ZeroRange {
        /// The size stays.
        keep_size: bool,
    },
}

impl Volume {
    /// Makes a regular file and opens it.
    pub async fn create_open(&self, parent: Ino, name: &Name, new: &NewInode) -> Result<(Ino, Attr, Opened)> {
        let (ino, attr) = self.tree.create(parent, name, new, self.now()).await?;
        let (handle, _) = self.handles.open_file(OpenFile::new(ino, &attr));
        Ok((ino, attr, Opened { handle, keep_cache: true }))
    }

    /// Opens a regular file, to write it too if `write`.
    ///
    /// # Errors
    /// `ReadOnly` when a mirror's file is opened to be written.
    pub async fn open(&self, ino: Ino, write: bool) -> Result<Opened> {
        if write && self.read_only() {
            return Err(FsError::ReadOnly);
        }
        let attr = self.tree.attr(ino).await?;
        if attr.kind != FileKind::File {
            return Err(FsError::Invalid("not a regular file"));
        }
        let (handle, _) = self.handles.open_file(OpenFile::new(ino, &attr));
        Ok(Opened { handle, keep_cache: true })
    }

    /// At most `len` bytes from `offset` on; fewer only at the file's end.
    pub async fn read(&self, handle: HandleId, offset: u64, len: u32) -> Result<Bytes> {
        let handle = self.handles.file(handle)?;
        let (sequential, ahead) = handle.read_ahead.lock().note(offset, u64::from(len), self.options.read_ahead_bytes);
        if !ahead.is_empty() {
            let (reader, file) = (Arc::clone(&self.reader), Arc::clone(&handle.file));
            tokio::spawn(async move {
                if let Err(error) = reader.prefetch(&file, ahead).await {
                    tracing::debug!(%error, ino = %file.ino(), "reading ahead failed");
                }
            });
        }
        self.reader.read(&handle.file, offset, len, sequential).await
    }

    /// Takes `data` in; it is stored by a later flush, or earlier as blocks fill.
    pub async fn write(&self, handle: HandleId, offset: u64, data: Bytes) -> Result<()> {
        let file = Arc::clone(&self.handles.file(handle)?.file);
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= MAX_FILE_BYTES);
        let end = end.ok_or(FsError::FileTooLarge)?;
        self.reserve(data.len() as u32).await?;
        let mut state = file.state.write().await;
        if let Err(error) = self.flusher.carry_inline(&file, &mut state, end).await {
            self.flusher.budget.release(data.len() as u64);
            return Err(error);
        }
        let added = state.dirty.write(offset, &data);
        self.flusher.budget.release(data.len() as u64 - added);
        state.size = state.size.max(end);
        state.written(self.now());
        self.flusher.seal_full(&file, &mut state);
        if state.pending.len() >= COMMIT_PIECES {
            self.flush_behind(&file);
        }
        Ok(())
    }

    /// Takes room for bytes to be written; without room, sends what all files hold on its way.
    async fn reserve(&self, bytes: u32) -> Result<()> {
        if self.flusher.budget.try_reserve(bytes) {
            return Ok(());
        }
        for file in self.handles.open_files() {
            let mut state = file.state.write().await;
            self.flusher.relieve(&file, &mut state);
        }
        self.flusher.budget.reserve(bytes).await
    }

    /// Flushes a file that nobody waits for.
    pub(crate) fn flush_behind(&self, file: &Arc<OpenFile>) {
        if file.flushing.try_lock().is_err() {
            return;
        }
        let (flusher, file) = (Arc::clone(&self.flusher), Arc::clone(file));
        tokio::spawn(async move {
            if let Err(error) = flusher.flush(&file).await {
                tracing::warn!(%error, ino = %file.ino(), "written bytes are not stored yet; they are kept and tried again");
            }
        });
    }

    /// What was written to the file through any handle is stored and committed when this returns.
    pub async fn flush(&self, handle: HandleId) -> Result<()> {
        let file = Arc::clone(&self.handles.file(handle)?.file);
        self.flusher.flush(&file).await
    }

    /// What was written to the file through any handle is durable when this returns.
    pub async fn fsync(&self, handle: HandleId) -> Result<()> {
        self.flush(handle).await?;
        self.make_durable().await
    }

    /// Closes a handle. What could not be stored until the last one is closed is lost, and logged.
    pub async fn release(&self, handle: HandleId) {
        let Ok(open) = self.handles.file(handle) else { return };
        if !open.file.orphan.load(Ordering::Acquire)
            && let Err(error) = self.flusher.flush(&open.file).await
        {
            tracing::error!(%error, ino = %open.file.ino(), "closing a file whose written bytes could not be stored");
        }
        let Some((file, last)) = self.handles.close_file(handle) else { return };
        if !last {
            return;
        }
        self.drop_unstored(&file).await;
        if file.orphan.load(Ordering::Acquire) {
            self.reap(file.ino()).await;
        }
    }

    /// Gives back the room of bytes that nobody will read or store any more.
    async fn drop_unstored(&self, file: &OpenFile) {
        let mut state = file.state.write().await;
        let State { dirty, uploads, pending, .. } = &mut *state;
        self.flusher.budget.release(dirty.bytes());
        dirty.take_all();
        let failed = pending
            .unstored()
            .into_iter()
            .filter(|(number, _)| uploads.get(number).is_none_or(tokio::task::JoinHandle::is_finished));
        self.flusher.budget.release(failed.map(|(_, piece)| piece.data.len() as u64).sum());
    }

    /// Changes how a range of a file is allocated.
    pub async fn allocate(&self, handle: HandleId, mode: AllocateMode, offset: u64, len: u64) -> Result<()> {
        let file = Arc::clone(&self.handles.file(handle)?.file);
        let end = offset.checked_add(len).filter(|end| *end <= MAX_FILE_BYTES).ok_or(FsError::FileTooLarge)?;
        if len == 0 {
            return Err(FsError::Invalid("an empty range"));
        }
        let mut state = self.flusher.settle(&file).await?;
        let ino = file.ino();
        let hole = matches!(mode, AllocateMode::PunchHole | AllocateMode::ZeroRange { .. });
        let lengthens = matches!(mode, AllocateMode::Extend | AllocateMode::ZeroRange { keep_size: false });
        if hole {
            let attr = self.tree.punch_hole(ino, offset, end, self.now()).await?;
            state.committed(&attr);
        }
        if lengthens && end > state.size {
            let change = AttrChange { size: Some(end), ..AttrChange::default() };
            let attr = self.tree.set_attr(ino, change, self.now()).await?;
            state.committed(&attr);
        }
        file.extents.lock().forget();
        Ok(())
    }

    /// The first offset from `offset` on that is data, or a hole.
    pub async fn seek(&self, handle: HandleId, offset: u64, seek: Seek) -> Result<u64> {
        let file = Arc::clone(&self.handles.file(handle)?.file);
        if !self.read_only() {
            self.flusher.flush(&file).await?;
        }
        self.tree.seek(file.ino(), offset, seek).await
    }
}
