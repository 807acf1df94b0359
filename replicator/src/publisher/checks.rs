//! What a caller sends is checked here before anything is done with it.

use farshore_proto::limits::{GROUP_BYTES, MAX_BLOCK_BYTES, PROTOCOL};
use farshore_proto::{BlockName, Position, RegionId, VolumeId, wire};
use std::ops::Range;
use tonic::Status;

use crate::message::{self, BadMessage};
use crate::reason::Reason;

/// Most groups of one request: a whole block's.
const MAX_GROUPS: u32 = MAX_BLOCK_BYTES / GROUP_BYTES;

impl From<BadMessage> for Status {
    fn from(error: BadMessage) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

fn malformed(error: farshore_proto::Malformed) -> Status {
    BadMessage::from(error).into()
}

/// The caller speaks this build's protocol.
pub(crate) fn protocol(theirs: u32) -> Result<(), Status> {
    if theirs == PROTOCOL {
        return Ok(());
    }
    let text = format!("this region speaks protocol {PROTOCOL} and the caller {theirs}; run the same version in both");
    Err(Reason::Protocol.status(text))
}

/// The volume that the caller means is this one.
pub(crate) fn volume(sent: &[u8], ours: VolumeId) -> Result<(), Status> {
    let sent = VolumeId::try_from(sent).map_err(malformed)?;
    if sent == ours {
        return Ok(());
    }
    let text = format!("this region serves the volume {ours}, not {sent}");
    Err(Reason::WrongVolume.status(text))
}

/// Who calls.
pub(crate) fn mirror(sent: &[u8]) -> Result<RegionId, Status> {
    RegionId::try_from(sent).map_err(malformed)
}

/// The caller is neither this region nor above it.
pub(crate) fn no_loop(caller: RegionId, own: RegionId, upstreams: &[RegionId]) -> Result<(), Status> {
    if caller != own && !upstreams.contains(&caller) {
        return Ok(());
    }
    Err(Reason::Loop.status(format!("the region {caller} is this region itself or above it")))
}

/// Where a mirror that registers stands.
pub(crate) fn resume_from(request: &wire::RegisterRequest) -> Result<Option<Position>, Status> {
    let position = request.resume_from.as_ref().map(|position| message::position(Some(position)));
    Ok(position.transpose()?)
}

/// The block and the groups that are asked for.
pub(crate) fn groups(request: &wire::FetchBlockRequest) -> Result<(BlockName, Range<u32>), Status> {
    let name = BlockName::try_from(request.block.as_ref()).map_err(malformed)?;
    let end = request.first_group.checked_add(request.group_count);
    match end.filter(|end| *end <= MAX_GROUPS) {
        Some(end) => Ok((name, request.first_group..end)),
        None => Err(Status::invalid_argument(format!("a block has at most {MAX_GROUPS} groups"))),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn group_ranges_are_bounded() {
        let check = |first_group, group_count| {
            let block = Bytes::from_static(&[7; 32]);
            groups(&wire::FetchBlockRequest { block, first_group, group_count, ..Default::default() })
        };
        assert_eq!(check(0, 256).unwrap().1, 0..256);
        assert!(check(1, 256).is_err() && check(u32::MAX, 2).is_err());
    }

    #[test]
    fn callers_that_do_not_fit_are_refused_with_a_reason() {
        let volume_id = VolumeId::from_random([1; 16]);
        assert_eq!(Reason::of(&volume(&[2; 16], volume_id).unwrap_err()), Some(Reason::WrongVolume));
        assert_eq!(volume(&[2; 15], volume_id).unwrap_err().code(), tonic::Code::InvalidArgument);
        assert_eq!(Reason::of(&protocol(PROTOCOL + 1).unwrap_err()), Some(Reason::Protocol));
        let (a, b) = (RegionId::from_random([1; 16]), RegionId::from_random([2; 16]));
        assert_eq!(Reason::of(&no_loop(a, b, &[a]).unwrap_err()), Some(Reason::Loop));
        assert!(no_loop(a, b, &[b]).is_ok());
    }
}
