//! Where a region stands in a volume's history: an incarnation and a version in it.

use std::fmt;
use std::str::FromStr;

use crate::Malformed;

/// An engine's commit version: 10 bytes, ordered, not dense. A position, never a clock.
///
/// The first 8 bytes are the big-endian number of the commit batch, the last 2 the place of
/// the transaction in that batch, which is the form of a FoundationDB versionstamp.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version([u8; 10]);

impl Version {
    /// Before every commit.
    pub const ZERO: Self = Self([0; 10]);

    /// The version of the transaction at place `order` of the commit batch `batch`.
    pub fn new(batch: u64, order: u16) -> Self {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&batch.to_be_bytes());
        bytes[8..].copy_from_slice(&order.to_be_bytes());
        Self(bytes)
    }

    /// The version that a snapshot of everything up to `batch` has: after its last transaction.
    pub fn end_of(batch: u64) -> Self {
        Self::new(batch, u16::MAX)
    }

    /// The commit batch.
    pub fn batch(&self) -> u64 {
        let bytes: [u8; 8] = self.0[..8].try_into().expect("8 of 10 bytes");
        u64::from_be_bytes(bytes)
    }

    /// The place in the commit batch.
    pub fn order(&self) -> u16 {
        u16::from_be_bytes([self.0[8], self.0[9]])
    }

    /// The 10 bytes as they are stored and sent.
    pub fn as_bytes(&self) -> &[u8; 10] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Version {
    type Error = Malformed;
    fn try_from(bytes: &[u8]) -> Result<Self, Malformed> {
        let array = bytes.try_into();
        array.map(Self).map_err(|_| Malformed::bytes("version", bytes, "10 bytes"))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.batch(), self.order())
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One line of history. A later one sorts after every earlier one: 4 bytes of big-endian
/// epoch, then 12 random bytes that keep two lines begun apart from each other different.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation([u8; 16]);

impl Incarnation {
    /// The incarnation of `epoch` with the given random part.
    pub fn new(epoch: u32, random: [u8; 12]) -> Self {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&epoch.to_be_bytes());
        bytes[4..].copy_from_slice(&random);
        Self(bytes)
    }

    /// How many incarnations came before in this line.
    pub fn epoch(&self) -> u32 {
        let bytes: [u8; 4] = self.0[..4].try_into().expect("4 of 16 bytes");
        u32::from_be_bytes(bytes)
    }

    /// The 16 bytes as they are stored and sent.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Incarnation {
    type Error = Malformed;
    fn try_from(bytes: &[u8]) -> Result<Self, Malformed> {
        let array = bytes.try_into();
        array.map(Self).map_err(|_| Malformed::bytes("incarnation", bytes, "16 bytes"))
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// A point in a volume's history. Its printed form is a token: `fs1-` and 52 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line of history.
    pub incarnation: Incarnation,
    /// The version in that line.
    pub version: Version,
}

/// Opens every token; the digit is the version of the form.
const TOKEN_PREFIX: &str = "fs1-";
const TOKEN_FORM: &str = "a token such as `farshore token DIR` prints (fs1- and 52 hex digits)";

impl Position {
    /// The length of `to_bytes`.
    pub const LEN: usize = 26;

    /// The start of `incarnation`, before any commit of it.
    pub fn start_of(incarnation: Incarnation) -> Self {
        Self { incarnation, version: Version::ZERO }
    }

    /// Incarnation and version, one after the other, ordered as the position is.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..16].copy_from_slice(self.incarnation.as_bytes());
        bytes[16..].copy_from_slice(self.version.as_bytes());
        bytes
    }
}

impl TryFrom<&[u8]> for Position {
    type Error = Malformed;
    fn try_from(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() != Self::LEN {
            return Err(Malformed::bytes("position", bytes, "26 bytes"));
        }
        let incarnation = Incarnation::try_from(&bytes[..16])?;
        let version = Version::try_from(&bytes[16..])?;
        Ok(Self { incarnation, version })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TOKEN_PREFIX)?;
        write_hex(f, &self.to_bytes())
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.version, self.incarnation.epoch())
    }
}

impl FromStr for Position {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed::text("token", text, TOKEN_FORM);
        let digits = text.trim().strip_prefix(TOKEN_PREFIX).ok_or_else(malformed)?;
        let bytes = parse_hex(digits).ok_or_else(malformed)?;
        Self::try_from(bytes.as_slice()).map_err(|_| malformed())
    }
}

pub(crate) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

pub(crate) fn parse_hex(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tokens_print_and_parse_back(epoch: u32, random: [u8; 12], batch: u64, order: u16) {
            let position = Position {
                incarnation: Incarnation::new(epoch, random),
                version: Version::new(batch, order),
            };
            prop_assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
        }

        #[test]
        fn positions_are_ordered_as_their_bytes(a: (u32, u64, u16), b: (u32, u64, u16)) {
            let position = |(epoch, batch, order)| Position {
                incarnation: Incarnation::new(epoch, [9; 12]),
                version: Version::new(batch, order),
            };
            let (a, b) = (position(a), position(b));
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
        }

        #[test]
        fn any_text_is_a_token_or_an_error(text in ".*") {
            let parsed = text.parse::<Position>();
            prop_assert!(parsed.is_err() || text.trim() == parsed.unwrap().to_string());
        }
    }
}
