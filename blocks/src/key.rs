//! The secret key of a volume's block names, and the name that it gives to bytes.

use std::fmt;

use farshore_proto::{BlockName, Malformed};

/// The 32 secret bytes that key a volume's block names, so that nobody without them can tell
/// from a name what a block holds. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct BlockKey([u8; 32]);

impl BlockKey {
    /// The key of these 32 random bytes, made once at format.
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// The secret bytes, for the volume's settings alone.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<&[u8]> for BlockKey {
    type Error = Malformed;
    fn try_from(bytes: &[u8]) -> Result<Self, Malformed> {
        let found = format!("{} bytes", bytes.len());
        let malformed = |_| Malformed { what: "block key", found, expected: "32 bytes" };
        bytes.try_into().map(Self).map_err(malformed)
    }
}

impl fmt::Debug for BlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlockKey(secret)")
    }
}

/// The name of a block: the BLAKE3 hash of its bytes, keyed with the volume's key.
pub fn name_of(key: &BlockKey, bytes: &[u8]) -> BlockName {
    BlockName::from_hash(blake3::keyed_hash(key.as_bytes(), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_not_printed_and_changes_the_name() {
        let (a, b) = (BlockKey::new([7; 32]), BlockKey::new([8; 32]));
        assert_eq!(format!("{a:?}"), "BlockKey(secret)");
        assert_ne!(name_of(&a, b"same"), name_of(&b, b"same"));
        assert!(BlockKey::try_from([0u8; 31].as_slice()).is_err());
    }
}
