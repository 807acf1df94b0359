//! Bytes of a file between being written and being committed: pieces on their way to the store.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use farshore_meta::Extent;
use farshore_proto::BlockName;

use crate::dirty::lay_over;

/// Runs of a file that become one block.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// The block's bytes: the runs' bytes, one after the other.
    pub(crate) data: Bytes,
    /// Where in the file each run lies: its offset and length.
    pub(crate) runs: Vec<(u64, u32)>,
}

impl Piece {
    /// The extents that refer to the piece once it is the block `name`.
    pub(crate) fn extents(&self, name: BlockName) -> Vec<Extent> {
        let block_len = self.data.len() as u32;
        let mut block_offset = 0;
        let extent = |&(offset, len): &(u64, u32)| {
            let extent = Extent { offset, len, block: name, block_len, block_offset };
            block_offset += len;
            extent
        };
        self.runs.iter().map(extent).collect()
    }

    /// Lays what it holds of [offset, offset + buffer) over `buffer`.
    fn read_over(&self, offset: u64, buffer: &mut [u8]) {
        let mut at = 0;
        for (start, len) in &self.runs {
            lay_over(offset, buffer, *start, &self.data[at..at + *len as usize]);
            at += *len as usize;
        }
    }

    fn overlaps(&self, begin: u64, end: u64) -> bool {
        self.runs.iter().any(|(start, len)| *start < end && begin < start + u64::from(*len))
    }
}

/// Packs runs, in order, into pieces of at most `block` bytes, so that scattered small writes
/// share a block.
pub(crate) fn pack(runs: Vec<(u64, Bytes)>, block: usize) -> Vec<Piece> {
    let mut pieces: Vec<Vec<(u64, Bytes)>> = Vec::new();
    let mut room = 0;
    for (mut offset, mut data) in runs {
        while !data.is_empty() {
            if room == 0 || (data.len() > room && data.len() >= block / 2) {
                pieces.push(Vec::new());
                room = block;
            }
            let part = data.split_to(room.min(data.len()));
            room -= part.len();
            let next = offset + part.len() as u64;
            pieces.last_mut().expect("a piece was begun").push((offset, part));
            offset = next;
        }
    }
    pieces.iter().map(|parts| join(parts)).collect()
}

fn join(parts: &[(u64, Bytes)]) -> Piece {
    let runs = parts.iter().map(|(offset, data)| (*offset, data.len() as u32)).collect();
    let data = match parts {
        [(_, only)] => only.clone(),
        _ => parts
            .iter()
            .fold(BytesMut::new(), |mut all, (_, data)| {
                all.extend_from_slice(data);
                all
            })
            .freeze(),
    };
    Piece { data, runs }
}

/// How far a piece has come.
#[derive(Debug, Clone)]
enum Stage {
    /// It is being stored, or storing it failed; its bytes are read from here.
    Unstored(Piece),
    /// It is stored; its bytes are read as a block.
    Stored(Vec<Extent>),
}

/// The pieces of a file that no commit refers to yet, in the order in which they were written.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    stages: BTreeMap<u64, Stage>,
    next: u64,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.stages.len()
    }

    /// Takes a piece in; returns its number.
    pub(crate) fn push(&mut self, piece: Piece) -> u64 {
        let number = self.next;
        self.next += 1;
        self.stages.insert(number, Stage::Unstored(piece));
        number
    }

    /// The piece is stored as the block `name`.
    pub(crate) fn stored(&mut self, number: u64, name: BlockName) {
        if let Some(stage) = self.stages.get_mut(&number)
            && let Stage::Unstored(piece) = stage
        {
            *stage = Stage::Stored(piece.extents(name));
        }
    }

    /// The pieces that are not stored.
    pub(crate) fn unstored(&self) -> Vec<(u64, Piece)> {
        let unstored = |(number, stage): (&u64, &Stage)| match stage {
            Stage::Unstored(piece) => Some((*number, piece.clone())),
            Stage::Stored(_) => None,
        };
        self.stages.iter().filter_map(unstored).collect()
    }

    /// The number that the next piece gets: those that are here now have smaller ones.
    pub(crate) fn next_number(&self) -> u64 {
        self.next
    }

    /// Of the pieces with numbers below `before`, the stored ones before the first unstored one: how
    /// many, and their extents, later ones laid over earlier ones, in the order of their offsets.
    pub(crate) fn committable(&self, before: u64) -> (usize, Vec<Extent>) {
        let mut count = 0;
        let mut extents = Vec::new();
        for stage in self.stages.range(..before).map(|(_, stage)| stage) {
            let Stage::Stored(more) = stage else { break };
            count += 1;
            extents.extend_from_slice(more);
        }
        (count, overlay(&extents))
    }

    /// The first `count` pieces are committed.
    pub(crate) fn committed(&mut self, count: usize) {
        for _ in 0..count {
            self.stages.pop_first();
        }
    }

    /// What of [begin, end) is in pieces, in the order in which it was written.
    pub(crate) fn layers(&self, begin: u64, end: u64) -> Vec<Layer> {
        let layer = |stage: &Stage| match stage {
            Stage::Unstored(piece) => piece.overlaps(begin, end).then(|| Layer::Bytes(piece.clone())),
            Stage::Stored(extents) => {
                let within: Vec<_> = extents.iter().filter_map(|extent| extent.clip(begin, end)).collect();
                (!within.is_empty()).then_some(Layer::Extents(within))
            }
        };
        self.stages.values().filter_map(layer).collect()
    }
}

/// A piece as a reader sees it.
#[derive(Debug, Clone)]
pub(crate) enum Layer {
    /// Its bytes.
    Bytes(Piece),
    /// Where they are stored.
    Extents(Vec<Extent>),
}

impl Layer {
    /// Lays the bytes it holds itself over `buffer`.
    pub(crate) fn read_over(&self, offset: u64, buffer: &mut [u8]) {
        if let Self::Bytes(piece) = self {
            piece.read_over(offset, buffer);
        }
    }
}

/// Lays extents over each other, later over earlier, and sorts what is left by offset.
pub(crate) fn overlay(extents: &[Extent]) -> Vec<Extent> {
    let mut top: BTreeMap<u64, Extent> = BTreeMap::new();
    for extent in extents {
        let first = top.range(..extent.offset).next_back().map_or(extent.offset, |(start, _)| *start);
        let under: Vec<_> = top.range(first..extent.end()).map(|(_, old)| *old).collect();
        for old in under.into_iter().filter(|old| old.overlaps(extent.offset, extent.end())) {
            top.remove(&old.offset);
            let left = old.without(extent.offset, extent.end());
            top.extend(left.into_iter().flatten().map(|left| (left.offset, left)));
        }
        top.insert(extent.offset, *extent);
    }
    top.into_values().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(number: u8) -> BlockName {
        BlockName::try_from([number; 32].as_slice()).unwrap()
    }

    proptest! {
        #[test]
        fn later_extents_lie_over_earlier_ones(writes in prop::collection::vec((0..200u64, 1..50u32), 0..30)) {
            let extents: Vec<_> = writes.iter().enumerate().map(|(i, (offset, len))| Extent {
                offset: *offset, len: *len, block: name(i as u8), block_len: 1000, block_offset: 7,
            }).collect();
            let mut model = vec![None; 300];
            for extent in &extents {
                for at in extent.offset..extent.end() {
                    model[at as usize] = Some((extent.block, u64::from(extent.block_offset) + at - extent.offset));
                }
            }
            let mut found = vec![None; 300];
            let top = overlay(&extents);
            prop_assert!(top.windows(2).all(|pair| pair[0].end() <= pair[1].offset));
            for extent in top {
                for at in extent.offset..extent.end() {
                    found[at as usize] = Some((extent.block, u64::from(extent.block_offset) + at - extent.offset));
                }
            }
            prop_assert_eq!(found, model);
        }

        #[test]
        fn packing_loses_nothing(lens in prop::collection::vec(1..300usize, 0..20)) {
            let mut offset = 0;
            let runs: Vec<_> = lens.iter().enumerate().map(|(i, len)| {
                let run = (offset, Bytes::from(vec![i as u8; *len]));
                offset += *len as u64 + 1;
                run
            }).collect();
            let mut model = vec![0xEE; offset as usize];
            for (start, data) in &runs {
                lay_over(0, &mut model, *start, data);
            }
            let mut found = vec![0xEE; offset as usize];
            for piece in pack(runs, 128) {
                prop_assert!(piece.data.len() <= 128 && !piece.data.is_empty());
                piece.read_over(0, &mut found);
            }
            prop_assert_eq!(found, model);
        }
    }
}
