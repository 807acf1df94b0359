//! Reading a file: the committed contents, with what is pending and dirty over them.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use farshore_blocks::{BlockReader, ReadHint};
use farshore_meta::{Contents, Extent, FsError, InodeState, Result, Tree};
use futures::future::try_join_all;
use futures::stream::{FuturesUnordered, TryStreamExt};

use crate::flush::block_error;
use crate::open_file::OpenFile;
use crate::pending::Layer;

/// How much of a file's extents is read, and remembered, at once.
const WINDOW_BYTES: u64 = 32 << 20;
/// Blocks up to this size are fetched whole at the first read: a second request costs more.
const WHOLE_BLOCK_BYTES: u32 = 1 << 20;

/// What a read has to put together, taken at one moment.
struct Plan {
    len: usize,
    contents: Contents,
    layers: Vec<Layer>,
    dirty: Option<Vec<(u64, Vec<u8>)>>,
}

/// Reads files of a volume.
pub(crate) struct FileReader {
    pub(crate) tree: Arc<Tree>,
    pub(crate) blocks: BlockReader,
}

impl FileReader {
    /// At most `len` bytes from `offset` on; fewer only at the end of the file.
    pub(crate) async fn read(&self, file: &OpenFile, offset: u64, len: u32, sequential: bool) -> Result<Bytes> {
        let plan = self.plan(file, offset, len).await?;
        if plan.layers.is_empty() && plan.dirty.is_none() {
            return self.read_committed(&plan, offset, sequential).await;
        }
        let mut buffer = self.read_committed(&plan, offset, sequential).await?.to_vec();
        for layer in &plan.layers {
            if let Layer::Extents(extents) = layer {
                self.read_extents_over(extents, offset, &mut buffer, sequential).await?;
            }
            layer.read_over(offset, &mut buffer);
        }
        for (start, data) in plan.dirty.into_iter().flatten() {
            crate::dirty::lay_over(offset, &mut buffer, start, &data);
        }
        Ok(buffer.into())
    }

    /// At most `len` bytes of a file in this state from `offset` on, as they are committed.
    pub(crate) async fn read_state(&self, state: &InodeState, offset: u64, len: u32) -> Result<Bytes> {
        let (attr, contents) = self.tree.contents(state.ino, offset, u64::from(len)).await?;
        if InodeState::of(state.ino, &attr) != *state {
            return Err(FsError::Stale);
        }
        let end = attr.size.min(offset.saturating_add(u64::from(len)));
        let len = end.saturating_sub(offset) as usize;
        self.read_committed(&Plan { len, contents, layers: Vec::new(), dirty: None }, offset, true).await
    }

    async fn plan(&self, file: &OpenFile, offset: u64, len: u32) -> Result<Plan> {
        let state = file.state.read().await;
        let (attr, contents) = self.committed(file, offset, u64::from(len)).await?;
        let clean = state.is_clean();
        let size = if clean { attr.size } else { state.size.max(attr.size) };
        let end = size.min(offset.saturating_add(u64::from(len)));
        let len = end.saturating_sub(offset) as usize;
        if clean || len == 0 {
            return Ok(Plan { len, contents, layers: Vec::new(), dirty: None });
        }
        let layers = state.pending.layers(offset, end);
        let dirty = state.dirty.overlaps(offset, end).then(|| state.dirty.copy(offset, end));
        Ok(Plan { len, contents, layers, dirty })
    }

    async fn committed(&self, file: &OpenFile, offset: u64, len: u64) -> Result<(farshore_meta::Attr, Contents)> {
        let end = offset.saturating_add(len);
        let generation = {
            let cache = file.extents.lock();
            if let Some(found) = cache.get(offset, end) {
                return Ok(found);
            }
            cache.generation()
        };
        let wanted = len.max(WINDOW_BYTES);
        let (attr, contents) = self.tree.contents(file.ino(), offset, wanted).await?;
        let mut cache = file.extents.lock();
        cache.put(generation, offset, offset.saturating_add(wanted), attr, contents.clone());
        Ok(cache.get(offset, end).unwrap_or((attr, contents)))
    }

    async fn read_committed(&self, plan: &Plan, offset: u64, sequential: bool) -> Result<Bytes> {
        let end = offset + plan.len as u64;
        match &plan.contents {
            Contents::Inline(bytes) => {
                let from = (offset as usize).min(bytes.len());
                let to = (end as usize).min(bytes.len()).max(from);
                if to - from == plan.len {
                    return Ok(bytes.slice(from..to));
                }
                let mut buffer = vec![0; plan.len];
                buffer[..to - from].copy_from_slice(&bytes[from..to]);
                Ok(buffer.into())
            }
            Contents::Extents(extents) => {
                let within: Vec<_> = extents.iter().filter_map(|extent| extent.clip(offset, end)).collect();
                if let [only] = within.as_slice()
                    && only.len as usize == plan.len
                {
                    return self.read_extent(only, sequential).await;
                }
                let mut buffer = vec![0; plan.len];
                self.read_extents_over(&within, offset, &mut buffer, sequential).await?;
                Ok(buffer.into())
            }
        }
    }

    async fn read_extents_over(&self, extents: &[Extent], offset: u64, buffer: &mut [u8], hint: bool) -> Result<()> {
        let parts = try_join_all(extents.iter().map(|extent| self.read_extent(extent, hint))).await?;
        for (extent, part) in extents.iter().zip(parts) {
            crate::dirty::lay_over(offset, buffer, extent.offset, &part);
        }
        Ok(())
    }

    async fn read_extent(&self, extent: &Extent, sequential: bool) -> Result<Bytes> {
        let whole = sequential || extent.block_len <= WHOLE_BLOCK_BYTES;
        let hint = if whole { ReadHint::Sequential } else { ReadHint::Demand };
        let range = extent.block_offset..extent.block_offset + extent.len;
        self.blocks.read(extent.block, range, hint).await.map_err(block_error)
    }

    /// Fetches the blocks of a range of the file before anyone asks for them.
    pub(crate) async fn prefetch(&self, file: &OpenFile, range: Range<u64>) -> Result<()> {
        let (_, contents) = self.committed(file, range.start, range.end - range.start).await?;
        let Contents::Extents(extents) = contents else { return Ok(()) };
        let fetches: FuturesUnordered<_> = extents.iter().map(|extent| self.blocks.prefetch(extent.block)).collect();
        fetches.map_err(block_error).try_collect().await
    }
}
