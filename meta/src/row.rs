//! The values of rows: every one begins with a format version, and an unknown one stops.
//!
//! This module is the only door between these values and bytes; docs/format.md describes them.

use farshore_proto::{BlockName, Incarnation, Position, RegionId, VolumeId};

use crate::attr::{Attr, FileKind, UnixTime};
use crate::codec::{Reader, Writer};
use crate::error::Result;
use crate::extent::Extent;
use crate::ino::Ino;
use crate::region::{MirrorRecord, RegionRecord, Role};
use crate::settings::{Compression, Settings};

/// The format version of every value here.
const V1: u8 = 1;

fn writer() -> Writer {
    Writer::new().u8(V1)
}

fn reader<'b>(what: &'static str, bytes: &'b [u8]) -> Result<Reader<'b>> {
    let mut reader = Reader::new(what, bytes);
    reader.version(V1)?;
    Ok(reader)
}

pub(crate) fn encode_kind(kind: FileKind) -> u8 {
    match kind {
        FileKind::File => 1,
        FileKind::Directory => 2,
        FileKind::Symlink => 3,
        FileKind::Fifo => 4,
        FileKind::Socket => 5,
        FileKind::CharDevice => 6,
        FileKind::BlockDevice => 7,
    }
}

fn decode_kind(reader: &mut Reader<'_>) -> Result<FileKind> {
    Ok(match reader.u8()? {
        1 => FileKind::File,
        2 => FileKind::Directory,
        3 => FileKind::Symlink,
        4 => FileKind::Fifo,
        5 => FileKind::Socket,
        6 => FileKind::CharDevice,
        7 => FileKind::BlockDevice,
        other => return Err(reader.damaged(format!("file kind {other} is not known to this build"))),
    })
}

fn time(writer: Writer, time: UnixTime) -> Writer {
    writer.u64(time.seconds as u64).u32(time.nanos)
}

fn read_time(reader: &mut Reader<'_>) -> Result<UnixTime> {
    let seconds = reader.u64()? as i64;
    let nanos = reader.u32()?;
    Ok(UnixTime { seconds, nanos })
}

pub(crate) fn encode_attr(attr: &Attr) -> Vec<u8> {
    let fields = writer()
        .u8(encode_kind(attr.kind))
        .u8(u8::from(attr.inline))
        .u16(attr.mode)
        .u32(attr.uid)
        .u32(attr.gid)
        .u32(attr.nlink)
        .u32(attr.rdev)
        .u64(attr.size)
        .u64(attr.allocated)
        .u64(attr.parent.0);
    let times = [attr.atime, attr.mtime, attr.ctime];
    times.into_iter().fold(fields, time).finish()
}

pub(crate) fn decode_attr(value: &[u8]) -> Result<Attr> {
    let mut reader = reader("an attribute row", value)?;
    let kind = decode_kind(&mut reader)?;
    let inline = match reader.u8()? {
        0 => false,
        1 => true,
        other => return Err(reader.damaged(format!("contents marker {other} is not known to this build"))),
    };
    let attr = Attr {
        kind,
        inline,
        mode: reader.u16()?,
        uid: reader.u32()?,
        gid: reader.u32()?,
        nlink: reader.u32()?,
        rdev: reader.u32()?,
        size: reader.u64()?,
        allocated: reader.u64()?,
        parent: Ino(reader.u64()?),
        atime: read_time(&mut reader)?,
        mtime: read_time(&mut reader)?,
        ctime: read_time(&mut reader)?,
    };
    reader.end()?;
    Ok(attr)
}

pub(crate) fn encode_entry(ino: Ino, kind: FileKind) -> Vec<u8> {
    writer().u64(ino.0).u8(encode_kind(kind)).finish()
}

pub(crate) fn decode_entry(value: &[u8]) -> Result<(Ino, FileKind)> {
    let mut reader = reader("a directory entry", value)?;
    let ino = Ino(reader.u64()?);
    let kind = decode_kind(&mut reader)?;
    reader.end()?;
    Ok((ino, kind))
}

/// The value of an extent; its offset is in its key.
pub(crate) fn encode_extent(extent: &Extent) -> Vec<u8> {
    writer().u32(extent.len).u32(extent.block_offset).u32(extent.block_len).bytes(extent.block.as_bytes()).finish()
}

pub(crate) fn decode_extent(offset: u64, value: &[u8]) -> Result<Extent> {
    let mut reader = reader("an extent", value)?;
    let (len, block_offset, block_len) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let block = BlockName::from_hash(reader.array::<32>()?.into());
    let inside = block_offset.checked_add(len).is_some_and(|end| end <= block_len);
    if len == 0 || !inside || offset.checked_add(u64::from(len)).is_none() {
        return Err(reader.damaged("it reaches past its block"));
    }
    reader.end()?;
    Ok(Extent { offset, len, block, block_len, block_offset })
}

/// A block's references: how many extents refer to it, and its length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockRefs {
    pub(crate) count: u64,
    pub(crate) block_len: u32,
}

pub(crate) fn encode_refs(refs: BlockRefs) -> Vec<u8> {
    writer().u64(refs.count).u32(refs.block_len).finish()
}

pub(crate) fn decode_refs(value: &[u8]) -> Result<BlockRefs> {
    let mut reader = reader("a block's references", value)?;
    let refs = BlockRefs { count: reader.u64()?, block_len: reader.u32()? };
    reader.end()?;
    Ok(refs)
}

/// Contents, symlink targets and extended attributes: the version, then the bytes.
pub(crate) fn encode_bytes(bytes: &[u8]) -> Vec<u8> {
    writer().bytes(bytes).finish()
}

pub(crate) fn decode_bytes<'b>(what: &'static str, value: &'b [u8]) -> Result<&'b [u8]> {
    Ok(reader(what, value)?.rest())
}

/// A row that is there or not, and the next inode number.
pub(crate) fn encode_number(number: u64) -> Vec<u8> {
    writer().u64(number).finish()
}

pub(crate) fn decode_number(what: &'static str, value: &[u8]) -> Result<u64> {
    let mut reader = reader(what, value)?;
    let number = reader.u64()?;
    reader.end()?;
    Ok(number)
}

pub(crate) fn encode_settings(settings: &Settings) -> Vec<u8> {
    let compression = match settings.compression {
        Compression::None => 0,
        Compression::Lz4 => 1,
        Compression::Zstd => 2,
    };
    writer()
        .bytes(settings.volume_id.as_bytes())
        .sized(settings.name.as_bytes())
        .sized(settings.store.as_bytes())
        .bytes(&settings.block_key)
        .u32(settings.block_bytes)
        .u32(settings.inline_bytes)
        .u8(compression)
        .finish()
}

pub(crate) fn decode_settings(value: &[u8]) -> Result<Settings> {
    let mut reader = reader("the volume's settings", value)?;
    let volume_id = VolumeId::try_from(reader.take(16)?).expect("16 bytes");
    let name = read_text(&mut reader)?;
    let store = read_text(&mut reader)?;
    let settings = Settings {
        volume_id,
        name,
        store,
        block_key: reader.array()?,
        block_bytes: reader.u32()?,
        inline_bytes: reader.u32()?,
        compression: match reader.u8()? {
            0 => Compression::None,
            1 => Compression::Lz4,
            2 => Compression::Zstd,
            other => return Err(reader.damaged(format!("compression {other} is not known to this build"))),
        },
    };
    reader.end()?;
    Ok(settings)
}

fn read_text(reader: &mut Reader<'_>) -> Result<String> {
    reader.text().map(str::to_owned)
}

fn read_position(reader: &mut Reader<'_>) -> Result<Position> {
    let bytes = reader.take(Position::LEN)?;
    Ok(Position::try_from(bytes).expect("the length of a position"))
}

pub(crate) fn encode_position(position: &Position) -> Vec<u8> {
    writer().bytes(&position.to_bytes()).finish()
}

pub(crate) fn decode_position(what: &'static str, value: &[u8]) -> Result<Position> {
    let mut reader = reader(what, value)?;
    let position = read_position(&mut reader)?;
    reader.end()?;
    Ok(position)
}

pub(crate) fn encode_region(region: &RegionRecord) -> Vec<u8> {
    let fields = writer().bytes(region.id.as_bytes());
    match &region.role {
        Role::Primary { incarnation } => fields.u8(1).bytes(incarnation.as_bytes()).finish(),
        Role::Mirror { volume_id } => fields.u8(2).bytes(volume_id.as_bytes()).finish(),
    }
}

pub(crate) fn decode_region(value: &[u8]) -> Result<RegionRecord> {
    let mut reader = reader("the region's record", value)?;
    let id = RegionId::try_from(reader.take(16)?).expect("16 bytes");
    let role = match reader.u8()? {
        1 => Role::Primary { incarnation: Incarnation::try_from(reader.take(16)?).expect("16 bytes") },
        2 => Role::Mirror { volume_id: VolumeId::try_from(reader.take(16)?).expect("16 bytes") },
        other => return Err(reader.damaged(format!("role {other} is not known to this build"))),
    };
    reader.end()?;
    Ok(RegionRecord { id, role })
}

pub(crate) fn encode_mirror(mirror: &MirrorRecord) -> Vec<u8> {
    writer()
        .sized(mirror.name.as_bytes())
        .bytes(&mirror.applied.to_bytes())
        .bytes(&mirror.visible.to_bytes())
        .u64(mirror.heard_unix_ms)
        .finish()
}

pub(crate) fn decode_mirror(id: RegionId, value: &[u8]) -> Result<MirrorRecord> {
    let mut reader = reader("a mirror's record", value)?;
    let mirror = MirrorRecord {
        id,
        name: read_text(&mut reader)?,
        applied: read_position(&mut reader)?,
        visible: read_position(&mut reader)?,
        heard_unix_ms: reader.u64()?,
    };
    reader.end()?;
    Ok(mirror)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_attr() -> impl Strategy<Value = Attr> {
        let kinds = prop::sample::select(vec![FileKind::File, FileKind::Directory, FileKind::Fifo]);
        let numbers = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>());
        let times = prop::array::uniform3((any::<i64>(), 0..1_000_000_000u32));
        (kinds, 0..0o10000u16, numbers, times, any::<bool>()).prop_map(|(kind, mode, n, times, inline)| {
            let [atime, mtime, ctime] = times.map(|(seconds, nanos)| UnixTime { seconds, nanos });
            let (uid, gid, nlink, rdev, size, allocated) = n;
            Attr { kind, mode, uid, gid, nlink, rdev, size, allocated, atime, mtime, ctime, parent: Ino(size), inline }
        })
    }

    proptest! {
        #[test]
        fn attributes_round_trip(attr in any_attr()) {
            prop_assert_eq!(decode_attr(&encode_attr(&attr)).unwrap(), attr);
        }

        #[test]
        fn extents_round_trip(offset in 0..1u64 << 53, block_offset in 0..1000u32, len in 1..1000u32, name: [u8; 32]) {
            let block = BlockName::from_hash(name.into());
            let extent = Extent { offset, len, block, block_len: 2000, block_offset };
            prop_assert_eq!(decode_extent(offset, &encode_extent(&extent)).unwrap(), extent);
        }

        #[test]
        fn settings_round_trip(name in ".*", store in ".*", block_key: [u8; 32], block_bytes: u32) {
            let settings = Settings {
                volume_id: VolumeId::from_random([5; 16]),
                name, store, block_key, block_bytes, inline_bytes: 7, compression: Compression::Zstd,
            };
            prop_assert_eq!(decode_settings(&encode_settings(&settings)).unwrap(), settings);
        }

        #[test]
        fn damaged_values_give_errors_not_panics(value: Vec<u8>) {
            let _attr = decode_attr(&value);
            let _entry = decode_entry(&value);
            let _extent = decode_extent(u64::MAX, &value);
            let _settings = decode_settings(&value);
            let _region = decode_region(&value);
            let _mirror = decode_mirror(RegionId::from_random([0; 16]), &value);
        }
    }

    #[test]
    fn an_unknown_version_is_refused() {
        let mut value = encode_number(9);
        assert_eq!(decode_number("a number", &value).unwrap(), 9);
        value[0] = 2;
        let error = decode_number("a number", &value).unwrap_err().to_string();
        assert!(error.contains("format version is 2"), "{error}");
    }

    #[test]
    fn region_and_mirror_records_round_trip() {
        let id = RegionId::from_random([1; 16]);
        let incarnation = Incarnation::new(3, [4; 12]);
        let volume_id = VolumeId::from_random([2; 16]);
        for role in [Role::Primary { incarnation }, Role::Mirror { volume_id }] {
            let region = RegionRecord { id, role };
            assert_eq!(decode_region(&encode_region(&region)).unwrap(), region);
        }
        let position = Position::start_of(incarnation);
        let mirror = MirrorRecord { id, name: "east".into(), applied: position, visible: position, heard_unix_ms: 5 };
        assert_eq!(decode_mirror(id, &encode_mirror(&mirror)).unwrap(), mirror);
    }
}
