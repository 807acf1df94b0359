//! The name of a block: the keyed BLAKE3 hash of its bytes.

use std::fmt;
use std::str::FromStr;

use crate::Malformed;
use crate::position::{parse_hex, write_hex};

/// Names a block by its content: BLAKE3 of its bytes, keyed with the volume's own key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockName([u8; 32]);

impl BlockName {
    /// The name that equals this keyed hash.
    pub fn from_hash(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }

    /// The 32 bytes as they are stored and sent.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<&[u8]> for BlockName {
    type Error = Malformed;
    fn try_from(bytes: &[u8]) -> Result<Self, Malformed> {
        let array = bytes.try_into();
        array.map(Self).map_err(|_| Malformed::bytes("block name", bytes, "32 bytes"))
    }
}

impl FromStr for BlockName {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed::text("block name", text, "64 hex digits");
        let bytes = parse_hex(text).ok_or_else(malformed)?;
        Self::try_from(bytes.as_slice()).map_err(|_| malformed())
    }
}

impl fmt::Display for BlockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for BlockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0[..6])
    }
}
