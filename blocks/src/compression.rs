//! How a block's payload is compressed: which ways there are and what they do to bytes.

use std::str::FromStr;

/// zstd's own default: about three times slower than lz4 and clearly smaller.
const ZSTD_LEVEL: i32 = 3;

/// The way in which a block's payload is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// As it is; any group can be read on its own.
    #[default]
    None,
    /// lz4: fast, less small; a read fetches the whole block.
    Lz4,
    /// zstd: smaller, slower to write; a read fetches the whole block.
    Zstd,
}

impl Compression {
    /// The byte that stands for it in a stored block.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Lz4 => 1,
            Self::Zstd => 2,
        }
    }

    /// The way that a stored block's byte stands for.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [Self::None, Self::Lz4, Self::Zstd].into_iter().find(|way| way.code() == code)
    }

    /// The compressed bytes, or nothing when that is not worth it: a compressed block can only
    /// be read whole, so it must save at least an eighth.
    pub(crate) fn pack(self, plain: &[u8]) -> Option<Vec<u8>> {
        let packed = match self {
            Self::None => return None,
            Self::Lz4 => lz4_flex::block::compress(plain),
            Self::Zstd => zstd::bulk::compress(plain, ZSTD_LEVEL).ok()?,
        };
        (packed.len() <= plain.len() - plain.len().div_ceil(8)).then_some(packed)
    }

    /// The plain bytes, if there are exactly `plain_len` of them. Allocates that much: the
    /// caller has bounded it.
    pub(crate) fn unpack(self, packed: &[u8], plain_len: usize) -> Option<Vec<u8>> {
        let mut plain = vec![0; plain_len];
        let found = match self {
            Self::None => return None,
            Self::Lz4 => lz4_flex::block::decompress_into(packed, &mut plain).ok()?,
            Self::Zstd => zstd::bulk::decompress_to_buffer(packed, &mut plain[..]).ok()?,
        };
        (found == plain_len).then_some(plain)
    }
}

impl FromStr for Compression {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "lz4" => Ok(Self::Lz4),
            "zstd" => Ok(Self::Zstd),
            other => Err(format!("{other:?} is no compression; use none, lz4 or zstd")),
        }
    }
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacks_what_it_packed_and_nothing_else() {
        let plain = b"many times the same words, ".repeat(100);
        for way in [Compression::Lz4, Compression::Zstd] {
            let packed = way.pack(&plain).unwrap();
            assert_eq!(way.unpack(&packed, plain.len()).as_deref(), Some(plain.as_slice()));
            assert_eq!(way.unpack(&packed, plain.len() - 1), None);
            assert_eq!(way.unpack(&packed, plain.len() + 1), None);
            assert_eq!(way.pack(&[]), None);
            assert_eq!(way.to_string().parse(), Ok(way));
        }
        assert_eq!(Compression::None.pack(&plain), None);
    }
}
