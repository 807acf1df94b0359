//! From positions to their wire form and back; what a peer sends is checked here.

use bytes::Bytes;

use crate::{Incarnation, Malformed, Position, Version, wire};

impl From<Position> for wire::Position {
    fn from(position: Position) -> Self {
        Self {
            incarnation: Bytes::copy_from_slice(position.incarnation.as_bytes()),
            version: Bytes::copy_from_slice(position.version.as_bytes()),
        }
    }
}

impl TryFrom<&wire::Position> for Position {
    type Error = Malformed;
    fn try_from(position: &wire::Position) -> Result<Self, Malformed> {
        Ok(Self {
            incarnation: Incarnation::try_from(position.incarnation.as_ref())?,
            version: Version::try_from(position.version.as_ref())?,
        })
    }
}
