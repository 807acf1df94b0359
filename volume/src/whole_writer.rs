//! Storing a file's contents before anything refers to them: bytes in order become blocks, several on their way at
//! once, and holes where runs of zeros are.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use farshore_blocks::BlockWriter;
use farshore_meta::{Extent, FsError, Result};
use farshore_proto::BlockName;
use farshore_proto::limits::MAX_FILE_BYTES;
use tokio::task::JoinHandle;

use crate::flush::{Flusher, block_error};
use crate::pending::Piece;

/// Blocks of one file that are on their way to the store at once.
const UPLOADS_AT_ONCE: usize = 4;
/// Zeros of this length, at a multiple of it, become a hole.
const HOLE_BYTES: usize = 4096;

/// What a writer stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Where the bytes are, by their place in what was written; what no extent covers is a hole.
    pub extents: Vec<Extent>,
    /// How many bytes were written.
    pub len: u64,
}

/// Stores bytes in the order in which they are given. Dropped, it leaves blocks that nothing refers to.
pub struct WholeWriter {
    store: BlockWriter,
    flusher: Arc<Flusher>,
    sparse: bool,
    buffer: BytesMut,
    stored: Stored,
    uploads: VecDeque<Upload>,
}

struct Upload {
    piece: Piece,
    task: JoinHandle<Result<BlockName>>,
}

impl WholeWriter {
    pub(crate) fn new(store: BlockWriter, flusher: Arc<Flusher>, sparse: bool) -> Self {
        let stored = Stored { extents: Vec::new(), len: 0 };
        Self { store, flusher, sparse, buffer: BytesMut::new(), stored, uploads: VecDeque::new() }
    }

    /// Appends bytes; waits where as many are on their way as may be.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        let block_bytes = self.flusher.block_bytes as usize;
        while !bytes.is_empty() {
            if self.buffer.is_empty() && bytes.len() >= block_bytes {
                let block = bytes.split_to(block_bytes);
                self.seal(block).await?;
                continue;
            }
            let part = bytes.split_to(bytes.len().min(block_bytes - self.buffer.len()));
            self.buffer.extend_from_slice(&part);
            if self.buffer.len() == block_bytes {
                let block = self.buffer.split().freeze();
                self.seal(block).await?;
            }
        }
        Ok(())
    }

    /// Stores what is left; where everything is. It can be written to no more.
    pub async fn finish(mut self) -> Result<Stored> {
        let rest = self.buffer.split().freeze();
        self.seal(rest).await?;
        while !self.uploads.is_empty() {
            self.take_first().await?;
        }
        Ok(std::mem::replace(&mut self.stored, Stored { extents: Vec::new(), len: 0 }))
    }

    /// Sends a block's worth of bytes on its way.
    async fn seal(&mut self, bytes: Bytes) -> Result<()> {
        let offset = self.stored.len;
        self.stored.len += bytes.len() as u64;
        if self.stored.len > MAX_FILE_BYTES {
            return Err(FsError::FileTooLarge);
        }
        let Some(piece) = piece(offset, &bytes, self.sparse) else { return Ok(()) };
        while self.uploads.len() >= UPLOADS_AT_ONCE {
            self.take_first().await?;
        }
        let len = piece.data.len() as u32;
        self.flusher.budget.reserve(len).await?;
        let (store, flusher, data) = (self.store.clone(), Arc::clone(&self.flusher), piece.data.clone());
        let task = tokio::spawn(async move {
            let written = store.write(data).await.map_err(block_error);
            flusher.budget.release(u64::from(len));
            written
        });
        self.uploads.push_back(Upload { piece, task });
        Ok(())
    }

    async fn take_first(&mut self) -> Result<()> {
        let Some(upload) = self.uploads.pop_front() else { return Ok(()) };
        let name = upload.task.await.unwrap_or_else(|error| Err(FsError::Blocks(Arc::new(error))))?;
        self.stored.extents.extend(upload.piece.extents(name));
        Ok(())
    }
}

/// What of the bytes is to be stored: all of them, or what is between long runs of zeros.
fn piece(offset: u64, bytes: &Bytes, sparse: bool) -> Option<Piece> {
    if bytes.is_empty() {
        return None;
    }
    let runs = if sparse { data_runs(bytes) } else { vec![(0, bytes.len())] };
    let kept: usize = runs.iter().map(|(_, len)| len).sum();
    let data = match runs.as_slice() {
        [] => return None,
        [(start, len)] => bytes.slice(*start..start + len),
        _ => {
            let mut data = BytesMut::with_capacity(kept);
            for (start, len) in &runs {
                data.extend_from_slice(&bytes[*start..start + len]);
            }
            data.freeze()
        }
    };
    let runs = runs.into_iter().map(|(start, len)| (offset + start as u64, len as u32)).collect();
    Some(Piece { data, runs })
}

/// The runs of the bytes that are not zeros, by start and length.
fn data_runs(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (number, page) in bytes.chunks(HOLE_BYTES).enumerate() {
        let start = number * HOLE_BYTES;
        if page.iter().all(|byte| *byte == 0) {
            continue;
        }
        match runs.last_mut() {
            Some((first, len)) if *first + *len == start => *len += page.len(),
            _ => runs.push((start, page.len())),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_of_zeros_are_holes_and_short_ones_are_kept() {
        let mut bytes = vec![0; 5 * HOLE_BYTES + 7];
        bytes[HOLE_BYTES + 5] = 1;
        bytes[3 * HOLE_BYTES] = 2;
        bytes[4 * HOLE_BYTES] = 3;
        let bytes = Bytes::from(bytes);
        let sparse = piece(100, &bytes, true).unwrap();
        let page = HOLE_BYTES as u32;
        assert_eq!(sparse.runs, [(100 + 4096, page), (100 + 3 * 4096, 2 * page)]);
        assert_eq!(sparse.data.len(), 3 * HOLE_BYTES);
        assert_eq!(piece(0, &bytes, false).unwrap().data, bytes);
        assert!(piece(0, &Bytes::from(vec![0; 9_000]), true).is_none() && piece(0, &Bytes::new(), false).is_none());
    }
}
