//! From dirty bytes to committed contents: sealing, uploading, committing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farshore_blocks::{BlockError, BlockWriter};
use farshore_meta::{Contents, FsError, Result, Tree};
use farshore_proto::BlockName;
use tokio::sync::{RwLockWriteGuard, Semaphore};

use crate::open_file::{OpenFile, State, flatten_inline};
use crate::pending::{Piece, pack};

/// Longest that a write waits for room: past it the store is not taking what is written.
const RESERVE_TIMEOUT: Duration = Duration::from_mins(1);
/// Pieces of one file that wait for a commit before one is made unasked.
pub(crate) const COMMIT_PIECES: usize = 64;

/// The store has taken nothing for so long that no more can be held in memory.
#[derive(Debug, thiserror::Error)]
#[error("the store took none of what was written for {} seconds", RESERVE_TIMEOUT.as_secs())]
struct StoreStalled;

pub(crate) fn block_error(error: BlockError) -> FsError {
    FsError::Blocks(Arc::new(error))
}

/// Room for bytes that are written and not stored yet.
pub(crate) struct Budget(Semaphore);

impl Budget {
    pub(crate) fn new(bytes: u64) -> Self {
        Self(Semaphore::new(usize::try_from(bytes).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS)))
    }

    /// Takes room at once, or says that there is none.
    pub(crate) fn try_reserve(&self, bytes: u32) -> bool {
        self.0.try_acquire_many(bytes).map(tokio::sync::SemaphorePermit::forget).is_ok()
    }

    /// Waits for room.
    pub(crate) async fn reserve(&self, bytes: u32) -> Result<()> {
        match tokio::time::timeout(RESERVE_TIMEOUT, self.0.acquire_many(bytes)).await {
            Ok(Ok(permit)) => {
                permit.forget();
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(FsError::Blocks(Arc::new(StoreStalled))),
        }
    }

    pub(crate) fn release(&self, bytes: u64) {
        self.0.add_permits(bytes as usize);
    }
}

/// Stores and commits what is written to files.
pub(crate) struct Flusher {
    pub(crate) tree: Arc<Tree>,
    /// Stores blocks; a mirror has none.
    pub(crate) writer: Option<BlockWriter>,
    pub(crate) block_bytes: u32,
    pub(crate) budget: Budget,
}

impl Flusher {
    /// Stores and commits everything written to `file` before the call.
    pub(crate) async fn flush(self: &Arc<Self>, file: &Arc<OpenFile>) -> Result<()> {
        if file.state.read().await.is_clean() {
            return Ok(());
        }
        let _only_one = file.flushing.lock().await;
        let mut state = file.state.write().await;
        if state.is_clean() {
            return Ok(());
        }
        if self.stays_inline(&state) {
            return self.commit_inline(file, &mut state).await;
        }
        self.seal_all(file, &mut state);
        self.upload_again(file, &mut state);
        let (size, sealed) = (state.size, state.pending.next_number());
        let uploads = std::mem::take(&mut state.uploads);
        drop(state);
        let mut outcome = Ok(());
        for upload in uploads.into_values() {
            outcome = outcome.and(finished(upload.await).map(drop));
        }
        outcome?;
        self.commit_extents(file, size, sealed).await
    }

    /// Makes the stored blocks survive a power cut.
    pub(crate) async fn sync_blocks(&self) -> Result<()> {
        match &self.writer {
            Some(writer) => writer.sync().await.map_err(block_error),
            None => Ok(()),
        }
    }

    /// Flushes until nothing is unwritten, and keeps it so while the guard lives.
    pub(crate) async fn settle<'f>(self: &Arc<Self>, file: &'f Arc<OpenFile>) -> Result<RwLockWriteGuard<'f, State>> {
        loop {
            self.flush(file).await?;
            let state = file.state.write().await;
            if state.is_clean() {
                return Ok(state);
            }
        }
    }

    fn stays_inline(&self, state: &State) -> bool {
        let small = state.size <= u64::from(self.tree.inline_bytes());
        small && state.pending.is_empty() && !state.has_extents
    }

    async fn commit_inline(&self, file: &OpenFile, state: &mut State) -> Result<()> {
        let base = if state.inline { self.inline_contents(file).await? } else { Bytes::new() };
        let whole = flatten_inline(&base, state);
        let attr = self.tree.write_inline(file.ino(), &whole, &state.change).await?;
        self.budget.release(state.dirty.bytes());
        state.dirty.take_all();
        state.committed(&attr);
        file.extents.lock().forget();
        Ok(())
    }

    async fn inline_contents(&self, file: &OpenFile) -> Result<Bytes> {
        match self.tree.contents(file.ino(), 0, u64::MAX).await? {
            (_, Contents::Inline(bytes)) => Ok(bytes),
            (_, Contents::Extents(_)) => Err(FsError::Corrupt(format!("inode {} lost its contents row", file.ino()))),
        }
    }

    /// Copies inline contents into the layers above them, before a write that outgrows a row.
    pub(crate) async fn carry_inline(&self, file: &OpenFile, state: &mut State, end: u64) -> Result<()> {
        let outgrown = state.size.max(end) > u64::from(self.tree.inline_bytes());
        if !state.inline || state.carried || !outgrown {
            return Ok(());
        }
        let mut base = self.inline_contents(file).await?.to_vec();
        state.dirty.read_over(0, &mut base);
        self.budget.reserve(base.len() as u32).await?;
        let added = state.dirty.write(0, &base);
        self.budget.release(base.len() as u64 - added);
        state.carried = true;
        Ok(())
    }

    /// Sends every full block of the dirty bytes on its way.
    pub(crate) fn seal_full(self: &Arc<Self>, file: &Arc<OpenFile>, state: &mut State) {
        for (offset, data) in state.dirty.take_full(u64::from(self.block_bytes)) {
            let runs = vec![(offset, data.len() as u32)];
            self.seal(file, state, Piece { data, runs });
        }
    }

    /// Sends all dirty bytes on their way, unless they may stay in a row.
    pub(crate) fn seal_all(self: &Arc<Self>, file: &Arc<OpenFile>, state: &mut State) {
        let runs = state.dirty.take_all();
        for piece in pack(runs, self.block_bytes as usize) {
            self.seal(file, state, piece);
        }
    }

    /// Makes room: sends the dirty bytes of a file that has outgrown a row on their way.
    pub(crate) fn relieve(self: &Arc<Self>, file: &Arc<OpenFile>, state: &mut State) {
        if !self.stays_inline(state) && (!state.inline || state.carried) {
            self.seal_all(file, state);
        }
    }

    fn seal(self: &Arc<Self>, file: &Arc<OpenFile>, state: &mut State, piece: Piece) {
        let number = state.pending.push(piece.clone());
        self.upload(file, state, number, piece);
    }

    fn upload(self: &Arc<Self>, file: &Arc<OpenFile>, state: &mut State, number: u64, piece: Piece) {
        let (flusher, file) = (Arc::clone(self), Arc::clone(file));
        let task = async move {
            let bytes = piece.data.len() as u64;
            let writer = flusher.writer.as_ref().ok_or(FsError::ReadOnly)?;
            let name = writer.write(piece.data).await.map_err(block_error)?;
            file.state.write().await.pending.stored(number, name);
            flusher.budget.release(bytes);
            Ok(name)
        };
        state.uploads.insert(number, tokio::spawn(task));
    }

    /// Starts the uploads of pieces whose earlier upload failed.
    fn upload_again(self: &Arc<Self>, file: &Arc<OpenFile>, state: &mut State) {
        for (number, piece) in state.pending.unstored() {
            if !state.uploads.contains_key(&number) {
                self.upload(file, state, number, piece);
            }
        }
    }

    /// Commits the pieces numbered below `sealed`, with which the file had this size. Those sealed
    /// since then may lie past it, and wait for their own flush.
    async fn commit_extents(&self, file: &OpenFile, size: u64, sealed: u64) -> Result<()> {
        let mut state = file.state.write().await;
        let (count, extents) = state.pending.committable(sealed);
        if count == 0 {
            return Ok(());
        }
        let attr = self.tree.write_extents(file.ino(), &extents, size, state.carried, &state.change).await?;
        state.pending.committed(count);
        state.committed(&attr);
        file.extents.lock().forget();
        Ok(())
    }
}

fn finished(upload: std::result::Result<Result<BlockName>, tokio::task::JoinError>) -> Result<BlockName> {
    upload.unwrap_or_else(|error| Err(FsError::Blocks(Arc::new(error))))
}
