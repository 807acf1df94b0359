//! The keys of all rows. Durable rows begin with `D`, the change log with `G`, local rows with `L`.
//!
//! ```text
//! D S                                  settings
//! D N                                  the next inode number
//! D I ino:8 'a'                        attributes
//! D I ino:8 'c'                        inline contents
//! D I ino:8 'd' name                   directory entry
//! D I ino:8 'e' offset:8               extent
//! D I ino:8 'l'                        symlink target
//! D I ino:8 'x' name                   extended attribute
//! D B block:32                         block references
//! D O ino:8                            orphan: no name leads to it, its rows still stand
//! G partition:1 incarnation:16 version:10 chunk:2   change log
//! L ...                                local rows, see `local`
//! ```
//! All integers are big-endian, so that a directory's entries and a file's extents are
//! contiguous and in order.

use farshore_proto::{BlockName, Incarnation, Position, RegionId, Version};

use crate::codec::Reader;
use crate::error::{FsError, Result};
use crate::ino::{Ino, Name};

/// The durable rows: [begin, end).
pub const DURABLE: (&[u8], &[u8]) = (b"D", b"E");
/// The change log: [begin, end).
pub(crate) const LOG: (&[u8], &[u8]) = (b"G", b"H");

pub(crate) const SETTINGS: &[u8] = b"DS";
pub(crate) const NEXT_INO: &[u8] = b"DN";

/// The keys of local rows: rows of one region alone.
pub(crate) mod local {
    /// Which region this is and what it does.
    pub(crate) const REGION: &[u8] = b"Lr";
    /// The state digest of the durable rows: 32 bytes, little-endian, added to atomically.
    pub(crate) const DIGEST: &[u8] = b"Ld";
    /// Inodes in use: 8 bytes, little-endian, added to atomically.
    pub(crate) const USED_INODES: &[u8] = b"Lui";
    /// Bytes in use: 8 bytes, little-endian, added to atomically.
    pub(crate) const USED_BYTES: &[u8] = b"Lub";
    /// The position up to which a mirror has applied its upstream's log.
    pub(crate) const APPLIED: &[u8] = b"Lp";
    /// How far a bootstrap has come.
    pub(crate) const BOOTSTRAP: &[u8] = b"Lb";
    /// The position up to which the change log has been trimmed.
    pub(crate) const TRIMMED: &[u8] = b"Lt";
    /// Mirrors registered here, one row each.
    pub(crate) const MIRRORS: &[u8] = b"Lm";
    /// Marks of transactions whose commit may have to be found out.
    pub(crate) const ONCE: &[u8] = b"Lo";
    /// Blocks whose count fell to zero, in the order in which it did.
    pub(crate) const CONDEMNED: &[u8] = b"Lc";
}

fn inode(ino: Ino, tag: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(11 + rest.len());
    key.extend_from_slice(b"DI");
    key.extend_from_slice(&ino.0.to_be_bytes());
    key.push(tag);
    key.extend_from_slice(rest);
    key
}

pub(crate) fn attr(ino: Ino) -> Vec<u8> {
    inode(ino, b'a', &[])
}

pub(crate) fn contents(ino: Ino) -> Vec<u8> {
    inode(ino, b'c', &[])
}

pub(crate) fn entry(parent: Ino, name: &Name) -> Vec<u8> {
    inode(parent, b'd', name.as_bytes())
}

pub(crate) fn entries(parent: Ino) -> Vec<u8> {
    inode(parent, b'd', &[])
}

pub(crate) fn extent(ino: Ino, offset: u64) -> Vec<u8> {
    inode(ino, b'e', &offset.to_be_bytes())
}

pub(crate) fn extents(ino: Ino) -> Vec<u8> {
    inode(ino, b'e', &[])
}

pub(crate) fn symlink(ino: Ino) -> Vec<u8> {
    inode(ino, b'l', &[])
}

pub(crate) fn xattr(ino: Ino, name: &[u8]) -> Vec<u8> {
    inode(ino, b'x', name)
}

pub(crate) fn xattrs(ino: Ino) -> Vec<u8> {
    inode(ino, b'x', &[])
}

pub(crate) fn block(name: &BlockName) -> Vec<u8> {
    [b"DB".as_slice(), name.as_bytes()].concat()
}

pub(crate) fn orphan(ino: Ino) -> Vec<u8> {
    [b"DO".as_slice(), &ino.0.to_be_bytes()].concat()
}

pub(crate) const ORPHANS: &[u8] = b"DO";

pub(crate) fn mirror(id: &RegionId) -> Vec<u8> {
    [local::MIRRORS, id.as_bytes()].concat()
}

/// Everything of the log's key before the version.
pub(crate) fn log_prefix(partition: u8, incarnation: &Incarnation) -> Vec<u8> {
    [b"G".as_slice(), &[partition], incarnation.as_bytes()].concat()
}

/// The key of a chunk of the commit at `position`.
pub(crate) fn log_chunk(partition: u8, position: &Position, chunk: u16) -> Vec<u8> {
    let mut key = log_prefix(partition, &position.incarnation);
    key.extend_from_slice(position.version.as_bytes());
    key.extend_from_slice(&chunk.to_be_bytes());
    key
}

/// The first log key after every chunk of the commits up to `position`.
pub(crate) fn log_after(partition: u8, position: &Position) -> Vec<u8> {
    let mut key = log_prefix(partition, &position.incarnation);
    key.extend_from_slice(position.version.as_bytes());
    key.extend_from_slice(&[u8::MAX; 3]);
    key
}

/// The position and the chunk's number of a log key.
pub(crate) fn parse_log(key: &[u8]) -> Result<(Position, u16)> {
    let mut reader = Reader::new("a log key", key);
    reader.take(2)?;
    let incarnation = Incarnation::try_from(reader.take(16)?).expect("16 bytes");
    let version = Version::try_from(reader.take(10)?).expect("10 bytes");
    let chunk = reader.u16()?;
    reader.end()?;
    Ok((Position { incarnation, version }, chunk))
}

/// What a durable row is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DurableKey {
    /// The volume's settings.
    Settings,
    /// The next inode number.
    NextIno,
    /// An inode's attributes.
    Attr(Ino),
    /// A small file's contents.
    Contents(Ino),
    /// A name in a directory.
    Entry(Ino, Name),
    /// A run of a file's bytes from this offset.
    Extent(Ino, u64),
    /// A symlink's target.
    Symlink(Ino),
    /// An extended attribute.
    Xattr(Ino, Vec<u8>),
    /// A block's references.
    Block(BlockName),
    /// An inode without a name.
    Orphan(Ino),
}

impl DurableKey {
    /// Takes a durable row's key apart.
    ///
    /// # Errors
    /// `Corrupt` when this build does not know such a key.
    pub fn parse(key: &[u8]) -> Result<Self> {
        let mut reader = Reader::new("a durable key", key);
        if reader.u8()? != b'D' {
            return Err(reader.damaged("it is not in the space of durable rows"));
        }
        match reader.u8()? {
            b'S' => reader.end().map(|()| Self::Settings),
            b'N' => reader.end().map(|()| Self::NextIno),
            b'I' => Self::parse_inode(reader),
            b'B' => {
                let name = reader.array::<32>()?;
                reader.end()?;
                Ok(Self::Block(BlockName::from_hash(name.into())))
            }
            b'O' => {
                let ino = Ino(reader.u64()?);
                reader.end().map(|()| Self::Orphan(ino))
            }
            tag => Err(reader.damaged(format!("its kind {tag} is not known to this build"))),
        }
    }

    fn parse_inode(mut reader: Reader<'_>) -> Result<Self> {
        let ino = Ino(reader.u64()?);
        match reader.u8()? {
            b'a' => reader.end().map(|()| Self::Attr(ino)),
            b'c' => reader.end().map(|()| Self::Contents(ino)),
            b'd' => Self::parse_entry(ino, reader.rest()),
            b'e' => {
                let offset = reader.u64()?;
                reader.end().map(|()| Self::Extent(ino, offset))
            }
            b'l' => reader.end().map(|()| Self::Symlink(ino)),
            b'x' => Ok(Self::Xattr(ino, reader.rest().to_vec())),
            tag => Err(reader.damaged(format!("its inode row {tag} is not known to this build"))),
        }
    }

    fn parse_entry(parent: Ino, name: &[u8]) -> Result<Self> {
        let name = Name::new(name).map_err(|_| FsError::Corrupt("a directory entry's name".into()))?;
        Ok(Self::Entry(parent, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_durable_key_parses_back() {
        let (ino, name) = (Ino(77), Name::new(b"a name").unwrap());
        let block = BlockName::try_from([3u8; 32].as_slice()).unwrap();
        let cases = [
            (SETTINGS.to_vec(), DurableKey::Settings),
            (NEXT_INO.to_vec(), DurableKey::NextIno),
            (attr(ino), DurableKey::Attr(ino)),
            (contents(ino), DurableKey::Contents(ino)),
            (entry(ino, &name), DurableKey::Entry(ino, name)),
            (extent(ino, 1 << 40), DurableKey::Extent(ino, 1 << 40)),
            (symlink(ino), DurableKey::Symlink(ino)),
            (xattr(ino, b"user.x"), DurableKey::Xattr(ino, b"user.x".to_vec())),
            (super::block(&block), DurableKey::Block(block)),
            (orphan(ino), DurableKey::Orphan(ino)),
        ];
        for (key, parsed) in cases {
            assert_eq!(DurableKey::parse(&key).unwrap(), parsed);
            assert!(DURABLE.0 <= key.as_slice() && key.as_slice() < DURABLE.1);
        }
    }

    #[test]
    fn unknown_and_cut_keys_are_errors() {
        for bad in [b"".as_slice(), b"D", b"DZ", b"DI\0\0", b"DIxxxxxxxxq", b"DIxxxxxxxxd", b"L", b"DSx"] {
            assert!(DurableKey::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn log_keys_are_ordered_as_their_positions() {
        let position =
            |batch, order| Position { incarnation: Incarnation::new(1, [0; 12]), version: Version::new(batch, order) };
        let first = log_chunk(0, &position(1, u16::MAX), u16::MAX);
        assert!(first < log_after(0, &position(1, u16::MAX)));
        assert!(log_after(0, &position(1, u16::MAX)) < log_chunk(0, &position(2, 0), 0));
        assert_eq!(parse_log(&first).unwrap(), (position(1, u16::MAX), u16::MAX));
    }
}
