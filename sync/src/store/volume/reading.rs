//! Reading files of a volume: bound to their state in every chunk, several chunks ahead of who takes them.

use std::sync::Arc;

use bytes::Bytes;
use farshore_meta::{FileKind, InodeState};
use futures::stream::{self, StreamExt};

use super::{VolumeStore, failure, inode};
use crate::attributes::{AttributeKind, AttributeSet, Attributes};
use crate::entry::{Kind, Object};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::store::{ByteRange, ByteStream, ReadRequest, Reading};

/// What is read at once.
const READ_BYTES: u64 = 1 << 20;
/// How many of these are under way at once for one object: enough to fill a link to a store.
const READS_AHEAD: usize = 4;

impl VolumeStore {
    pub(super) async fn open_object(&self, request: &ReadRequest) -> Result<Reading> {
        let key = &request.key;
        let (_, ino, attr) = self.look(key, "read").await?;
        if attr.kind != FileKind::File {
            return Err(StoreError::changed(key, "it is no file any more"));
        }
        let entry = inode::entry(key.clone(), Kind::Object, self.device, ino, &attr);
        if !request.identity.may_be(&entry.identity()) {
            return Err(StoreError::changed(key, "its size, time or inode is another"));
        }
        let kinds = [AttributeKind::Mode, AttributeKind::Owner, AttributeKind::ModifiedTime, AttributeKind::Holes];
        let attributes = Attributes { posix: Some(inode::posix(&attr)), ..Attributes::default() };
        let bytes = self.stream(key, InodeState::of(ino, &attr), request.range).await?;
        Ok(Reading { object: Object { entry, attributes, known: AttributeSet::of(&kinds) }, bytes })
    }

    /// The bytes of a range: at once where they are few.
    async fn stream(&self, key: &Key, state: InodeState, range: ByteRange) -> Result<ByteStream> {
        let chunk = Chunk { store: self.clone(), key: key.clone(), state };
        if range.len <= READ_BYTES {
            let bytes = chunk.read(range.offset, range.len).await?;
            let chunks = (!bytes.is_empty()).then_some(Ok(bytes));
            return Ok(stream::iter(chunks).boxed());
        }
        let starts = (range.offset..range.end()).step_by(READ_BYTES as usize);
        let chunk = Arc::new(chunk);
        let reads = starts.map(move |offset| {
            let chunk = Arc::clone(&chunk);
            async move { chunk.read(offset, READ_BYTES.min(range.end() - offset)).await }
        });
        let mut failed = false;
        let chunks = stream::iter(reads).buffered(READS_AHEAD).take_while(move |chunk| {
            let goes_on = !failed;
            failed |= chunk.is_err();
            std::future::ready(goes_on)
        });
        Ok(chunks.boxed())
    }
}

/// What the chunks of one stream have in common.
struct Chunk {
    store: VolumeStore,
    key: Key,
    state: InodeState,
}

impl Chunk {
    async fn read(&self, offset: u64, len: u64) -> Result<Bytes> {
        let read = self.store.volume.read_state(&self.state, offset, len as u32).await;
        let bytes = read.map_err(|error| failure::reading(&self.store.name, &self.key, "read", &error))?;
        if bytes.len() as u64 == len {
            return Ok(bytes);
        }
        Err(StoreError::changed(&self.key, "it is shorter than it was"))
    }
}
