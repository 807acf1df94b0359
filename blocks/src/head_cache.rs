//! Reading a few groups of a stored block in one round trip, and the heads of blocks read lately,
//! with which the next such read is a single exact range.
//!
//! Nothing here is trusted: an object may have been stored again with another compression, so what
//! a remembered head leads to is verified, and the head forgotten if it does not.

use std::ops::Range;

use bytes::Bytes;
use farshore_proto::BlockName;
use farshore_proto::limits::GROUP_BYTES;
use futures::future::Either;
use quick_cache::sync::Cache;

use crate::error::{BlockError, Fault};
use crate::format::{BlockHead, HEADER_BYTES};
use crate::group::{MAX_GROUPS, clamp_groups};
use crate::hashes::{BlockTree, HASH_BYTES};
use crate::origin::BlockPiece;
use crate::store::BlockStore;

/// Heads remembered: about 2 KiB each with blocks of 4 MiB, 8 KiB at most.
const MAX_HEADS: usize = 4096;
/// Groups this near to the block's start are read with the head in one request.
const NEAR_GROUPS: u32 = 2;

/// A stored block's head and group hashes.
#[derive(Debug, Clone)]
struct Head {
    fixed: BlockHead,
    /// Of the object, at least up to the payload.
    bytes: Bytes,
}

/// The heads of blocks that were read in part.
#[derive(Debug)]
pub(crate) struct HeadCache(Cache<BlockName, Head>);

impl Default for HeadCache {
    fn default() -> Self {
        Self(Cache::new(MAX_HEADS))
    }
}

impl HeadCache {
    /// Reads `groups` of a block; a compressed one comes whole.
    pub(crate) async fn get_part(
        &self,
        store: &BlockStore,
        name: BlockName,
        groups: Range<u32>,
    ) -> Result<BlockPiece, BlockError> {
        if let Some(head) = self.0.get(&name) {
            if let Some(piece) = get_known(store, name, &head, &groups).await {
                return Ok(piece);
            }
            self.0.remove(&name);
        }
        let guess = PartGuess::of(&groups);
        let (head, data) = guess.read(store, name).await?;
        self.0.insert(name, head.clone());
        if !head.fixed.is_plain() {
            return store.get_whole(name).await;
        }
        let empty = clamp_groups(&groups, head.fixed.block_len()).is_empty();
        let data = if empty { Bytes::new() } else { data? };
        let piece = head.piece(&groups, &data, guess.data_at());
        piece.map_err(|fault| store.fault(name, fault))
    }
}

/// The groups by a head that may be out of date; nothing if it is, or if anything fails.
async fn get_known(store: &BlockStore, name: BlockName, head: &Head, groups: &Range<u32>) -> Option<BlockPiece> {
    if !head.fixed.is_plain() {
        return store.get_whole(name).await.ok();
    }
    let wanted = head.fixed.plain_at(&clamp_groups(groups, head.fixed.block_len()));
    if wanted.is_empty() {
        return None;
    }
    let data = store.get_range(name, wanted.start as u64..wanted.end as u64).await.ok()?;
    let piece = head.piece(groups, &data, wanted.start).ok()?;
    let tree = BlockTree::check(store.key(), name, piece.block_len, piece.hashes.clone()).ok()?;
    tree.verify_run(store.key(), piece.first_group, &piece.data).ok()?;
    Some(piece)
}

impl Head {
    fn parse(object: &Bytes) -> Result<Self, Fault> {
        let fixed = BlockHead::parse(object)?;
        let hashes_end = fixed.payload_at();
        if object.len() < hashes_end {
            return Err(Fault::Length { expected: hashes_end as u64, found: object.len() as u64 });
        }
        // A copy: a slice would keep the groups that came with it in memory.
        Ok(Self { fixed, bytes: Bytes::copy_from_slice(&object[..hashes_end]) })
    }

    /// The groups, from a part of the object that begins at `part_at`.
    fn piece(&self, groups: &Range<u32>, part: &Bytes, part_at: usize) -> Result<BlockPiece, Fault> {
        let block_len = self.fixed.block_len();
        let groups = clamp_groups(groups, block_len);
        let nothing = groups.is_empty();
        let cut = || cut(part, part_at, &self.fixed.plain_at(&groups));
        let data = if nothing { Bytes::new() } else { cut()? };
        let hashes = self.fixed.hashes(&self.bytes)?;
        Ok(BlockPiece { block_len, hashes, first_group: groups.start, data })
    }
}

/// The bytes `wanted` of an object, from a part of it that begins at `part_at`.
fn cut(part: &Bytes, part_at: usize, wanted: &Range<usize>) -> Result<Bytes, Fault> {
    let found = part_at + part.len();
    if wanted.start < part_at || wanted.end > found {
        return Err(Fault::Length { expected: wanted.end as u64, found: found as u64 });
    }
    Ok(part.slice(wanted.start - part_at..wanted.end - part_at))
}

/// Which bytes of an object surely hold its head and the wanted groups, before its length is known.
///
/// The head alone tells where the groups are: the hashes before them take between 32 bytes for each
/// group up to the first wanted and 8 KiB. A range that much wider holds them wherever they
/// are, so it is asked for together with the head: one round trip, not two, across an ocean.
#[derive(Debug, PartialEq, Eq)]
struct PartGuess {
    head_bytes: u64,
    /// Absent when the head's range holds the groups too.
    data: Option<Range<u64>>,
}

impl PartGuess {
    fn of(groups: &Range<u32>) -> Self {
        let group = |index: u32| u64::from(index) * u64::from(GROUP_BYTES);
        let payload_at = |count: u32| (HEADER_BYTES + count as usize * HASH_BYTES) as u64;
        let end = payload_at(MAX_GROUPS) + group(groups.end.min(MAX_GROUPS));
        if groups.start <= NEAR_GROUPS || groups.start >= MAX_GROUPS {
            return Self { head_bytes: end, data: None };
        }
        let start = payload_at(groups.start + 1) + group(groups.start);
        Self { head_bytes: payload_at(MAX_GROUPS), data: Some(start..end) }
    }

    fn data_at(&self) -> usize {
        self.data.as_ref().map_or(0, |range| range.start as usize)
    }

    /// The head, and the part of the object that begins at `data_at`. That part may be past the
    /// end of a short or compressed block: then its error means nothing, and is not waited for.
    async fn read(&self, store: &BlockStore, name: BlockName) -> Result<(Head, Result<Bytes, BlockError>), BlockError> {
        let parse = |object: &Bytes| Head::parse(object).map_err(|fault| store.fault(name, fault));
        let head = store.get_range(name, 0..self.head_bytes);
        let Some(range) = self.data.clone() else {
            let object = head.await?;
            return Ok((parse(&object)?, Ok(object)));
        };
        let start = range.start;
        let head = async { parse(&head.await?) };
        let data = Box::pin(store.get_range(name, range));
        match futures::future::select(Box::pin(head), data).await {
            Either::Right((data, head)) => Ok((head.await?, data)),
            Either::Left((head, data)) => {
                let head = head?;
                let there = head.fixed.is_plain() && head.fixed.object_bytes() as u64 > start;
                let data = if there { data.await } else { Ok(Bytes::new()) };
                Ok((head, data))
            }
        }
    }
}
