//! A block's groups as messages: the hashes and the length first, the bytes in pieces.

use std::ops::Range;

use bytes::Bytes;
use farshore_blocks::{BlockError, BlockPiece, Remedy};
use farshore_proto::limits::GROUP_BYTES;
use farshore_proto::wire;
use tonic::Status;

use super::options::PIECE_BYTES;

/// The messages that carry the groups `wanted` of what an origin gave.
pub(crate) fn pieces(piece: &BlockPiece, wanted: &Range<u32>) -> Vec<wire::BlockPiece> {
    let data = cut(piece, wanted);
    let first_group = wanted.start.max(piece.first_group);
    let mut messages: Vec<_> = (0..data.len().max(1).div_ceil(PIECE_BYTES))
        .map(|number| {
            let range = number * PIECE_BYTES..((number + 1) * PIECE_BYTES).min(data.len());
            wire::BlockPiece {
                block_len: 0,
                group_hashes: Bytes::new(),
                first_group: first_group + (number * PIECE_BYTES) as u32 / GROUP_BYTES,
                data: data.slice(range),
            }
        })
        .collect();
    messages[0].block_len = piece.block_len;
    messages[0].group_hashes = piece.hashes.as_bytes().clone();
    messages
}

/// The bytes of those of `wanted` that the piece has.
fn cut(piece: &BlockPiece, wanted: &Range<u32>) -> Bytes {
    let at = |group: u32| {
        let groups = group.saturating_sub(piece.first_group) as usize;
        groups.saturating_mul(GROUP_BYTES as usize).min(piece.data.len())
    };
    piece.data.slice(at(wanted.start)..at(wanted.end.max(wanted.start)))
}

/// The status for a block that could not be had.
pub(crate) fn status_of_block(error: &BlockError) -> Status {
    let text = error.to_string();
    match (error, error.remedy()) {
        (BlockError::Deadline { .. }, _) => Status::deadline_exceeded(text),
        (_, Remedy::Elsewhere) => Status::not_found(text),
        (_, Remedy::Repair) => Status::data_loss(text),
        (_, Remedy::Retry) => Status::unavailable(text),
        (_, Remedy::Bug) => Status::invalid_argument(text),
        (_, Remedy::Operator) => Status::failed_precondition(text),
    }
}

#[cfg(test)]
mod tests {
    use farshore_blocks::{BlockKey, GroupHashes};

    use super::*;

    fn piece(len: usize, first_group: u32) -> BlockPiece {
        let block = Bytes::from((0..len).map(|at| (at / 7) as u8).collect::<Vec<_>>());
        let hashes = GroupHashes::of(&BlockKey::new([1; 32]), &block);
        let data = block.slice(first_group as usize * GROUP_BYTES as usize..);
        BlockPiece { block_len: len as u32, hashes, first_group, data }
    }

    #[test]
    fn only_the_first_message_has_the_hashes_and_together_they_have_the_bytes() {
        let whole = piece(3_000_000, 0);
        let messages = pieces(&whole, &(0..256));
        assert_eq!(messages.len(), 3);
        assert_eq!(messages[0].group_hashes, *whole.hashes.as_bytes());
        assert!(messages[1..].iter().all(|message| message.group_hashes.is_empty() && message.block_len == 0));
        assert_eq!(messages.iter().map(|message| message.first_group).collect::<Vec<_>>(), [0, 16, 32]);
        let data: Vec<u8> = messages.iter().flat_map(|message| message.data.to_vec()).collect();
        assert_eq!(data, whole.data);
    }

    #[test]
    fn what_was_not_asked_for_is_not_sent() {
        let whole = piece(3_000_000, 0);
        let messages = pieces(&whole, &(3..5));
        assert_eq!((messages.len(), messages[0].first_group), (1, 3));
        assert_eq!(messages[0].data, whole.data.slice(3 * 65_536..5 * 65_536));
        let past = pieces(&whole, &(100..110));
        assert_eq!((past.len(), past[0].data.len(), past[0].block_len), (1, 0, 3_000_000));
        let from_six = pieces(&piece(600_000, 6), &(7..8));
        assert_eq!((from_six[0].first_group, from_six[0].data.len()), (7, 65_536));
    }
}
