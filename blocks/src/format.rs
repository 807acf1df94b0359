//! The stored form of a block: a header of 32 bytes, the hashes of its groups, the payload.
//!
//! All numbers are big-endian. Offset 0: magic `farblock` (8), version (2), compression (1),
//! encryption (1), group size (4), plain length (4), stored length (4), zeros (8); at 32 the group
//! hashes, 32 bytes each; then the payload of `stored length` bytes, to the object's end.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use farshore_proto::BlockName;
use farshore_proto::limits::{GROUP_BYTES, MAX_BLOCK_BYTES};

use crate::compression::Compression;
use crate::error::{BlockError, Fault};
use crate::group::{bytes_of_groups, group_count};
use crate::hashes::{BlockTree, GroupHashes, HASH_BYTES};
use crate::key::BlockKey;

/// Bytes of the fixed part of a stored block's head.
pub const HEADER_BYTES: usize = 32;
const MAGIC: &[u8; 8] = b"farblock";
const FORMAT_VERSION: u16 = 1;
/// The only value of the encryption field that exists so far.
const NOT_ENCRYPTED: u8 = 0;

/// A block as it is put into a store: two pieces, so that an uncompressed payload is not copied.
#[derive(Debug, Clone)]
pub struct EncodedBlock {
    head: Bytes,
    payload: Bytes,
}

impl EncodedBlock {
    /// Header and group hashes, then the payload: the object is one after the other.
    pub fn into_parts(self) -> [Bytes; 2] {
        [self.head, self.payload]
    }

    /// Bytes of the object.
    pub fn stored_bytes(&self) -> usize {
        self.head.len() + self.payload.len()
    }
}

/// Hashes a block and gives it its stored form. A payload that compression does not make clearly
/// smaller is stored as it is.
///
/// Fails if `plain` is longer than a block may be.
pub fn encode(
    key: &BlockKey,
    plain: &Bytes,
    compression: Compression,
) -> Result<(BlockTree, EncodedBlock), BlockError> {
    let limit = MAX_BLOCK_BYTES as usize;
    if plain.len() > limit {
        return Err(BlockError::TooLarge { len: plain.len(), limit });
    }
    let tree = BlockTree::of(key, plain);
    let (way, payload) = match compression.pack(plain) {
        Some(packed) => (compression, Bytes::from(packed)),
        None => (Compression::None, plain.clone()),
    };
    let head = encode_head(&tree, way, payload.len() as u32);
    Ok((tree, EncodedBlock { head, payload }))
}

fn encode_head(tree: &BlockTree, way: Compression, stored_len: u32) -> Bytes {
    let hashes = tree.hashes().as_bytes();
    let mut head = BytesMut::with_capacity(HEADER_BYTES + hashes.len());
    head.put_slice(MAGIC);
    head.put_u16(FORMAT_VERSION);
    head.put_u8(way.code());
    head.put_u8(NOT_ENCRYPTED);
    head.put_u32(GROUP_BYTES);
    head.put_u32(tree.block_len());
    head.put_u32(stored_len);
    head.put_u64(0);
    head.put_slice(hashes);
    head.freeze()
}

/// The fixed part of a stored block's head. Its lengths are within the limits, and no more is
/// known: it does not verify by itself, the tree and the groups do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHead {
    compression: Compression,
    plain_len: u32,
    stored_len: u32,
}

impl BlockHead {
    /// Reads the fixed part from the first bytes of an object.
    pub fn parse(object: &[u8]) -> Result<Self, Fault> {
        let short = Fault::Length { expected: HEADER_BYTES as u64, found: object.len() as u64 };
        let head: &[u8; HEADER_BYTES] = object.first_chunk().ok_or(short)?;
        check_marks(head)?;
        let compression = Compression::from_code(head[10])
            .ok_or(Fault::Unknown { field: "compression", found: u64::from(head[10]) })?;
        let parsed = Self { compression, plain_len: number(head, 16), stored_len: number(head, 20) };
        parsed.check_lengths()?;
        Ok(parsed)
    }

    /// Whether any run of groups can be read without the rest.
    pub fn is_plain(&self) -> bool {
        self.compression == Compression::None
    }

    /// The block's length in bytes.
    pub fn block_len(&self) -> u32 {
        self.plain_len
    }

    /// Where the payload begins: after the header and the hashes.
    pub fn payload_at(&self) -> usize {
        HEADER_BYTES + group_count(self.plain_len) as usize * HASH_BYTES
    }

    /// Bytes of the whole object.
    pub fn object_bytes(&self) -> usize {
        self.payload_at() + self.stored_len as usize
    }

    /// Where in the object the plain bytes of `groups` are; only if [`is_plain`](Self::is_plain).
    pub fn plain_at(&self, groups: &Range<u32>) -> Range<usize> {
        let bytes = bytes_of_groups(groups, self.plain_len);
        let at = self.payload_at();
        at + bytes.start as usize..at + bytes.end as usize
    }

    /// The group hashes, from an object's first bytes.
    pub fn hashes(&self, object: &Bytes) -> Result<GroupHashes, Fault> {
        if object.len() < self.payload_at() {
            return Err(Fault::Length { expected: self.payload_at() as u64, found: object.len() as u64 });
        }
        GroupHashes::try_from(object.slice(HEADER_BYTES..self.payload_at()))
    }

    /// The plain bytes of a whole object.
    pub fn unpack(&self, object: &Bytes) -> Result<Bytes, Fault> {
        if object.len() != self.object_bytes() {
            return Err(Fault::Length { expected: self.object_bytes() as u64, found: object.len() as u64 });
        }
        let payload = object.slice(self.payload_at()..);
        if self.is_plain() {
            return Ok(payload);
        }
        let plain = self.compression.unpack(&payload, self.plain_len as usize);
        plain.map(Bytes::from).ok_or(Fault::Payload { plain_len: self.plain_len })
    }

    fn check_lengths(&self) -> Result<(), Fault> {
        if self.plain_len > MAX_BLOCK_BYTES {
            return Err(Fault::Field { field: "length", found: u64::from(self.plain_len) });
        }
        let equal = self.stored_len == self.plain_len;
        let smaller = self.stored_len < self.plain_len;
        let fits = if self.is_plain() { equal } else { smaller };
        fits.then_some(()).ok_or(Fault::Field { field: "stored length", found: u64::from(self.stored_len) })
    }
}

/// Magic, version, encryption, group size and the bytes kept for later.
fn check_marks(head: &[u8; HEADER_BYTES]) -> Result<(), Fault> {
    if &head[..8] != MAGIC {
        return Err(Fault::Magic);
    }
    let unknown = |field, found: u32| Err(Fault::Unknown { field, found: u64::from(found) });
    match u16::from_be_bytes([head[8], head[9]]) {
        FORMAT_VERSION => {}
        version => return unknown("format version", u32::from(version)),
    }
    if head[11] != NOT_ENCRYPTED {
        return unknown("encryption", u32::from(head[11]));
    }
    match number(head, 12) {
        GROUP_BYTES => {}
        size => return unknown("group size", size),
    }
    match head[24..].iter().find(|byte| **byte != 0) {
        Some(byte) => unknown("reserved field", u32::from(*byte)),
        None => Ok(()),
    }
}

fn number(head: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

/// Reads a whole stored object back and verifies every byte of it against `name`.
///
/// `place` is where the object came from, for the error.
pub fn decode(key: &BlockKey, name: BlockName, object: &Bytes, place: &str) -> Result<(BlockTree, Bytes), BlockError> {
    decode_parts(key, name, object).map_err(|fault| BlockError::from_fault(name, place, fault))
}

fn decode_parts(key: &BlockKey, name: BlockName, object: &Bytes) -> Result<(BlockTree, Bytes), Fault> {
    let head = BlockHead::parse(object)?;
    let tree = BlockTree::check(key, name, head.block_len(), head.hashes(object)?)?;
    let plain = head.unpack(object)?;
    tree.verify_run(key, 0, &plain)?;
    Ok((tree, plain))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WAYS: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];

    fn key() -> BlockKey {
        BlockKey::new([5; 32])
    }

    fn object_of(plain: &Bytes, way: Compression) -> (BlockName, Bytes) {
        let (tree, encoded) = encode(&key(), plain, way).unwrap();
        (tree.name(), encoded.into_parts().concat().into())
    }

    fn repetitive(len: usize, period: usize) -> Bytes {
        (0..len).map(|at| (at % period) as u8).collect()
    }

    #[test]
    fn compresses_only_what_shrinks() {
        let noise: Bytes = (0..200_000u32).map(|at| blake3::hash(&at.to_le_bytes()).as_bytes()[0]).collect();
        for way in WAYS {
            let (_, object) = object_of(&noise, way);
            assert!(BlockHead::parse(&object).unwrap().is_plain());
            let (_, object) = object_of(&repetitive(200_000, 50), way);
            assert_eq!(BlockHead::parse(&object).unwrap().is_plain(), way == Compression::None);
        }
    }

    #[test]
    fn what_is_not_known_stops_with_its_own_error() {
        let plain = repetitive(70_000, 9);
        let (name, object) = object_of(&plain, Compression::None);
        for (at, field) in
            [(8, "version"), (10, "compression"), (11, "encryption"), (13, "group size"), (31, "reserved")]
        {
            let mut changed = object.to_vec();
            changed[at] ^= 0x80;
            let error = decode(&key(), name, &changed.into(), "a test").unwrap_err();
            assert!(matches!(error, BlockError::Unsupported { .. }), "{field}: {error}");
            assert!(error.to_string().contains(field), "{field}: {error}");
        }
    }

    #[test]
    fn a_huge_length_is_refused_before_anything_is_allocated() {
        let (name, object) = object_of(&repetitive(70_000, 9), Compression::Lz4);
        let mut changed = object.to_vec();
        changed[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
        let error = decode(&key(), name, &changed.into(), "a test").unwrap_err();
        assert!(matches!(error, BlockError::Corrupt { fault: Fault::Field { .. }, .. }), "{error}");
    }

    #[test]
    fn a_block_over_the_limit_is_refused() {
        let plain = Bytes::from(vec![0; MAX_BLOCK_BYTES as usize + 1]);
        assert!(matches!(encode(&key(), &plain, Compression::None), Err(BlockError::TooLarge { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn decodes_what_it_encoded(len in 0usize..300_000, period in 1usize..256, way in prop::sample::select(&WAYS)) {
            let plain = repetitive(len, period);
            let (name, object) = object_of(&plain, way);
            let (tree, back) = decode(&key(), name, &object, "a test").unwrap();
            prop_assert_eq!(tree.name(), name);
            prop_assert_eq!(back, plain);
        }

        #[test]
        fn every_flip_and_every_cut_is_an_error(
            len in 1usize..200_000, period in 1usize..256, way in prop::sample::select(&WAYS),
            at: prop::sample::Index, bit in 0u8..8,
        ) {
            let (name, object) = object_of(&repetitive(len, period), way);
            let mut flipped = object.to_vec();
            flipped[at.index(object.len())] ^= 1 << bit;
            let decoded = decode(&key(), name, &flipped.into(), "a test");
            // A compressed stream may hold bits that change nothing; the bytes must still be right.
            prop_assert!(decoded.is_err() || decoded.unwrap().1 == repetitive(len, period));
            prop_assert!(decode(&key(), name, &object.slice(..at.index(object.len())), "a test").is_err());
        }

        #[test]
        fn any_bytes_are_a_head_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..100), keep: bool) {
            if keep && bytes.len() >= 16 {
                bytes[..16].copy_from_slice(&object_of(&Bytes::new(), Compression::None).1[..16]);
            }
            if let Ok(head) = BlockHead::parse(&bytes) {
                prop_assert!(head.block_len() <= MAX_BLOCK_BYTES);
            }
        }
    }
}
