//! Checksums computed of bytes on their way, by part, and combined to those of the whole object.
//!
//! CRCs combine by arithmetic. BLAKE3 combines because parts of one power of two of bytes are subtrees of its tree;
//! for other parts there is no whole BLAKE3, only CRCs. MD5 does not combine: it is there for single bodies.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use crc_fast::CrcAlgorithm;
use md5::Digest as _;

use crate::checksum::{Algorithm, Checksum, Checksums};

/// What is to be computed beside CRC-32C and CRC-64/NVME, which always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extra {
    /// BLAKE3: for manifests, and against what farshore stored.
    pub blake3: bool,
    /// MD5: for stores that tell nothing else.
    pub md5: bool,
}

/// Computes the checksums of one body or part.
#[derive(Debug)]
pub struct Hasher {
    len: u64,
    crc32c: crc_fast::Digest,
    crc64nvme: crc_fast::Digest,
    blake3: Option<Tree>,
    md5: Option<md5::Md5>,
}

/// A BLAKE3 hasher, and whether its bytes are a part of more.
#[derive(Debug)]
struct Tree {
    hasher: blake3::Hasher,
    subtree: bool,
}

/// The checksums of one part, as far as they can be combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartDigest {
    /// Its length in bytes.
    pub len: u64,
    /// Its CRC-32C.
    pub crc32c: u32,
    /// Its CRC-64/NVME.
    pub crc64nvme: u64,
    /// The chaining value of its subtree of the whole object's BLAKE3 tree.
    pub subtree: Option<ChainingValue>,
}

impl Hasher {
    /// For a whole body.
    pub fn new(extra: Extra) -> Self {
        Self::with(extra.blake3.then(|| Tree { hasher: blake3::Hasher::new(), subtree: false }), extra.md5)
    }

    /// For the part at `offset` of a larger object whose parts, but for the last, have `part_bytes`.
    pub fn of_part(offset: u64, part_bytes: u64, extra: Extra) -> Self {
        let tree = (extra.blake3 && is_subtree(part_bytes)).then(|| {
            let mut hasher = blake3::Hasher::new();
            hasher.set_input_offset(offset);
            Tree { hasher, subtree: true }
        });
        Self::with(tree, extra.md5)
    }

    fn with(blake3: Option<Tree>, md5: bool) -> Self {
        Self {
            len: 0,
            crc32c: crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi),
            crc64nvme: crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme),
            blake3,
            md5: md5.then(md5::Md5::new),
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        self.crc32c.update(bytes);
        self.crc64nvme.update(bytes);
        if let Some(tree) = &mut self.blake3 {
            tree.hasher.update(bytes);
        }
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
    }

    /// How many bytes it took.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it took none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The checksums of what it took; the BLAKE3 only of a whole body.
    pub fn checksums(&self) -> Checksums {
        let crcs = [Checksum::Crc32c(self.crc32c.finalize() as u32), Checksum::Crc64Nvme(self.crc64nvme.finalize())];
        let whole = self.blake3.as_ref().filter(|tree| !tree.subtree);
        let blake3 = whole.map(|tree| Checksum::Blake3(*tree.hasher.finalize().as_bytes()));
        let md5 = self.md5.clone().map(|md5| Checksum::Md5(md5.finalize().into()));
        crcs.into_iter().chain(blake3).chain(md5).collect()
    }

    /// What can be combined with the digests of the other parts.
    pub fn part(&self) -> PartDigest {
        let tree = self.blake3.as_ref().filter(|tree| tree.subtree && self.len > 0);
        PartDigest {
            len: self.len,
            crc32c: self.crc32c.finalize() as u32,
            crc64nvme: self.crc64nvme.finalize(),
            subtree: tree.map(|tree| tree.hasher.finalize_non_root()),
        }
    }
}

/// Whether parts of this size are subtrees: powers of two of at least one of BLAKE3's chunks.
fn is_subtree(part_bytes: u64) -> bool {
    part_bytes.is_power_of_two() && part_bytes >= blake3::CHUNK_LEN as u64
}

/// The checksums of the object that these parts make up, in their order; all but the last of one size.
pub fn combine(parts: &[PartDigest]) -> Checksums {
    let Some((first, rest)) = parts.split_first() else { return Hasher::new(Extra::default()).checksums() };
    let (mut crc32c, mut crc64nvme) = (u64::from(first.crc32c), first.crc64nvme);
    for part in rest {
        crc32c = crc_fast::checksum_combine(CrcAlgorithm::Crc32Iscsi, crc32c, u64::from(part.crc32c), part.len);
        crc64nvme = crc_fast::checksum_combine(CrcAlgorithm::Crc64Nvme, crc64nvme, part.crc64nvme, part.len);
    }
    let crcs = [Checksum::Crc32c(crc32c as u32), Checksum::Crc64Nvme(crc64nvme)];
    crcs.into_iter().chain(combine_trees(parts).map(Checksum::Blake3)).collect()
}

/// The root above the parts' subtrees; none for a single part, whose root only a whole hasher knows.
fn combine_trees(parts: &[PartDigest]) -> Option<[u8; 32]> {
    let (last, full) = parts.split_last()?;
    let part_bytes = full.first()?.len;
    let regular = full.iter().all(|part| part.len == part_bytes) && last.len <= part_bytes && last.len > 0;
    let values: Option<Vec<ChainingValue>> = parts.iter().map(|part| part.subtree).collect();
    let values = values.filter(|_| regular && is_subtree(part_bytes))?;
    let (left, right) = values.split_at(left_len(values.len()));
    Some(*merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).as_bytes())
}

fn subtree(values: &[ChainingValue]) -> ChainingValue {
    if let [one] = values {
        return *one;
    }
    let (left, right) = values.split_at(left_len(values.len()));
    merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
}

/// How many of `count` equal leaves are left of the root: the largest power of two below the count.
fn left_len(count: usize) -> usize {
    count.next_power_of_two() / 2
}

/// The checksum of these bytes, of an algorithm that is computed here; none for others.
pub fn checksum_of(algorithm: Algorithm, bytes: &[u8]) -> Option<Checksum> {
    Some(match algorithm {
        Algorithm::Crc32 => Checksum::Crc32(crc_fast::checksum(CrcAlgorithm::Crc32IsoHdlc, bytes) as u32),
        Algorithm::Crc32c => Checksum::Crc32c(crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32),
        Algorithm::Crc64Nvme => Checksum::Crc64Nvme(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)),
        Algorithm::Md5 => Checksum::Md5(md5::Md5::digest(bytes).into()),
        Algorithm::Blake3 => Checksum::Blake3(*blake3::hash(bytes).as_bytes()),
        Algorithm::Sha256 => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: Extra = Extra { blake3: true, md5: true };

    fn whole(bytes: &[u8]) -> Checksums {
        let mut hasher = Hasher::new(ALL);
        hasher.update(bytes);
        hasher.checksums()
    }

    fn in_parts(bytes: &[u8], part_bytes: usize) -> Checksums {
        let parts: Vec<_> = bytes
            .chunks(part_bytes)
            .enumerate()
            .map(|(index, part)| {
                let mut hasher = Hasher::of_part((index * part_bytes) as u64, part_bytes as u64, ALL);
                hasher.update(part);
                hasher.part()
            })
            .collect();
        combine(&parts)
    }

    #[test]
    fn the_check_values_of_the_catalogue_come_out() {
        let sums = whole(b"123456789");
        assert_eq!(sums.whole(Algorithm::Crc32c), Some(Checksum::Crc32c(0xE306_9283)));
        assert_eq!(sums.whole(Algorithm::Crc64Nvme), Some(Checksum::Crc64Nvme(0xAE8B_1486_0A79_9888)));
        assert_eq!(checksum_of(Algorithm::Crc32, b"123456789"), Some(Checksum::Crc32(0xCBF4_3926)));
        assert_eq!(sums.whole(Algorithm::Md5).unwrap().to_string(), "md5:25f9e794323b453885f5181f1b624d0b");
    }

    proptest! {
        #[test]
        fn parts_combine_to_the_whole(len in 1_usize..20_000, log2 in 10_u32..13) {
            let bytes: Vec<u8> = (0..len).map(|at| (at * 31 % 251) as u8).collect();
            let (whole, parts) = (whole(&bytes), in_parts(&bytes, 1 << log2));
            for (_, sum) in parts.iter() {
                prop_assert_eq!(whole.whole(sum.algorithm()), Some(sum));
            }
            prop_assert_eq!(parts.whole(Algorithm::Blake3).is_some(), len > 1 << log2);
        }

        #[test]
        fn odd_parts_combine_their_crcs_alone(len in 1_usize..5_000, part in 1_usize..1_500) {
            prop_assume!(!part.is_power_of_two());
            let bytes = vec![3; len];
            let (whole, parts) = (whole(&bytes), in_parts(&bytes, part));
            prop_assert_eq!(parts.whole(Algorithm::Crc32c), whole.whole(Algorithm::Crc32c));
            prop_assert_eq!(parts.whole(Algorithm::Crc64Nvme), whole.whole(Algorithm::Crc64Nvme));
            prop_assert_eq!(parts.whole(Algorithm::Blake3), None);
        }
    }
}
