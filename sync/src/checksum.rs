//! Checksums that stores tell and that are computed here: their kinds, their scope, and when two of them agree.

use std::fmt;

/// A checksum of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Checksum {
    /// CRC-32 of ISO HDLC, as zip has it.
    Crc32(u32),
    /// CRC-32C (Castagnoli).
    Crc32c(u32),
    /// CRC-64/NVME.
    Crc64Nvme(u64),
    /// MD5.
    Md5([u8; 16]),
    /// SHA-256.
    Sha256([u8; 32]),
    /// BLAKE3, without a key.
    Blake3([u8; 32]),
}

/// The kinds of checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// CRC-32 of ISO HDLC.
    Crc32,
    /// CRC-32C.
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// MD5.
    Md5,
    /// SHA-256.
    Sha256,
    /// BLAKE3.
    Blake3,
}

/// What a checksum was computed of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The whole object's bytes.
    Whole,
    /// The checksums of its parts, one after another: the ETags and composite checksums of multipart uploads.
    Composite {
        /// How many parts.
        parts: u32,
    },
}

/// What is known of an object's checksums: at most one of each algorithm and scope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checksums(Vec<(Scope, Checksum)>);

/// Whether two objects' checksums say that their bytes are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// Every checksum that both know is equal, and there is at least one.
    Equal,
    /// One that both know differs.
    Different(Algorithm),
    /// There is none that both know.
    Unknown,
}

impl Checksum {
    /// Its kind.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Crc32(_) => Algorithm::Crc32,
            Self::Crc32c(_) => Algorithm::Crc32c,
            Self::Crc64Nvme(_) => Algorithm::Crc64Nvme,
            Self::Md5(_) => Algorithm::Md5,
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Blake3(_) => Algorithm::Blake3,
        }
    }

    /// Its bytes, the highest first, as every store writes them before base64.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Crc32(value) | Self::Crc32c(value) => value.to_be_bytes().to_vec(),
            Self::Crc64Nvme(value) => value.to_be_bytes().to_vec(),
            Self::Md5(value) => value.to_vec(),
            Self::Sha256(value) | Self::Blake3(value) => value.to_vec(),
        }
    }

    /// The checksum of this kind that has these bytes; none if their number is wrong.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        Some(match algorithm {
            Algorithm::Crc32 => Self::Crc32(u32::from_be_bytes(bytes.try_into().ok()?)),
            Algorithm::Crc32c => Self::Crc32c(u32::from_be_bytes(bytes.try_into().ok()?)),
            Algorithm::Crc64Nvme => Self::Crc64Nvme(u64::from_be_bytes(bytes.try_into().ok()?)),
            Algorithm::Md5 => Self::Md5(bytes.try_into().ok()?),
            Algorithm::Sha256 => Self::Sha256(bytes.try_into().ok()?),
            Algorithm::Blake3 => Self::Blake3(bytes.try_into().ok()?),
        })
    }
}

impl Checksums {
    /// Nothing known.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Adds one; the first of an algorithm and scope stays.
    pub fn add(&mut self, scope: Scope, checksum: Checksum) {
        if self.get(scope, checksum.algorithm()).is_none() {
            self.0.push((scope, checksum));
            self.0.sort_unstable();
        }
    }

    /// With one of the whole object's bytes.
    #[must_use]
    pub fn with(mut self, checksum: Checksum) -> Self {
        self.add(Scope::Whole, checksum);
        self
    }

    /// The one of this algorithm over the whole object.
    pub fn whole(&self, algorithm: Algorithm) -> Option<Checksum> {
        self.get(Scope::Whole, algorithm)
    }

    /// The one of this algorithm and scope.
    pub fn get(&self, scope: Scope, algorithm: Algorithm) -> Option<Checksum> {
        self.iter().find(|(known, sum)| *known == scope && sum.algorithm() == algorithm).map(|(_, sum)| sum)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Scope, Checksum)> + '_ {
        self.0.iter().copied()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares what both know over whole objects. Composite checksums depend on the lengths of the parts, which
    /// are not known here, so those that are equal prove nothing unless the whole ones are unknown, and those that
    /// differ prove nothing at all.
    pub fn agreement(&self, other: &Self) -> Agreement {
        let mut compared = Agreement::Unknown;
        for (scope, mine) in self.iter() {
            match (other.get(scope, mine.algorithm()), scope) {
                (Some(theirs), _) if theirs == mine => compared = Agreement::Equal,
                (Some(_), Scope::Whole) => return Agreement::Different(mine.algorithm()),
                _ => {}
            }
        }
        compared
    }
}

impl FromIterator<Checksum> for Checksums {
    fn from_iter<I: IntoIterator<Item = Checksum>>(sums: I) -> Self {
        sums.into_iter().fold(Self::none(), Self::with)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crc32 => "crc32",
            Self::Crc32c => "crc32c",
            Self::Crc64Nvme => "crc64nvme",
            Self::Md5 => "md5",
            Self::Sha256 => "sha256",
            Self::Blake3 => "blake3",
        })
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.algorithm())?;
        self.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_checksums_tell_a_difference() {
        let crc = |value| Checksums::none().with(Checksum::Crc32c(value));
        let parts = |value| {
            let mut sums = Checksums::none();
            sums.add(Scope::Composite { parts: 2 }, Checksum::Crc32c(value));
            sums
        };
        assert_eq!(crc(1).agreement(&crc(1)), Agreement::Equal);
        assert_eq!(crc(1).agreement(&crc(2)), Agreement::Different(Algorithm::Crc32c));
        assert_eq!(crc(1).agreement(&parts(1)), Agreement::Unknown);
        assert_eq!(parts(1).agreement(&parts(2)), Agreement::Unknown);
        assert_eq!(parts(1).agreement(&parts(1)), Agreement::Equal);
        let md5 = Checksums::none().with(Checksum::Md5([0; 16]));
        assert_eq!(crc(1).agreement(&md5), Agreement::Unknown);
        assert_eq!(
            crc(1).with(Checksum::Md5([0; 16])).agreement(&crc(2).with(Checksum::Md5([0; 16]))),
            Agreement::Different(Algorithm::Crc32c)
        );
    }

    #[test]
    fn bytes_give_the_same_checksum() {
        for sum in [
            Checksum::Crc32(1),
            Checksum::Crc32c(2),
            Checksum::Crc64Nvme(3),
            Checksum::Md5([4; 16]),
            Checksum::Sha256([5; 32]),
            Checksum::Blake3([6; 32]),
        ] {
            assert_eq!(Checksum::from_bytes(sum.algorithm(), &sum.to_bytes()), Some(sum));
            assert_eq!(Checksum::from_bytes(sum.algorithm(), &[0; 5]), None);
        }
        assert_eq!(Checksum::Crc32c(0xE3).to_string(), "crc32c:000000e3");
    }
}
