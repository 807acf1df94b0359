//! The values of a journal's rows: the one door of its durable format. Each value begins with the format's version; a
//! value of another version stops whoever reads it.

use bytes::Bytes;

use crate::checksum::{Algorithm, Checksum, Checksums, Scope};
use crate::digest::PartDigest;
use crate::entry::{ETag, FileId, Identity, Kind, VersionId};
use crate::journal::codec::{Reader, Writer};
use crate::journal::range::{Holder, ProcessId, RangeRecord};
use crate::journal::shared_uploads::{PartHolder, Share};
use crate::journal::{Deletion, Failure, FinishedPart, JobIdentity, Result, UploadRecord, WorkerId};
use crate::key::Key;
use crate::key_range::KeyRange;
use crate::limits::MAX_REASON_BYTES;
use crate::manifest::Recorded;
use crate::store::{StoredPart, Upload, UploadId};
use crate::timestamp::Timestamp;

/// What the header begins with: Farshore sync journal.
const MAGIC: &[u8; 4] = b"FSSJ";
/// The format of all rows.
const VERSION: u8 = 1;

/// The first row of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// The random name of this journal: one that was begun anew at the same place has another.
    pub(super) born: [u8; 16],
    /// The job.
    pub(super) job: JobIdentity,
    /// How far it is.
    pub(super) state: JobState,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobState {
    /// It is under way.
    Begun,
    /// All of it is done.
    Finished,
    /// Its rows are being removed.
    Forgotten,
}

fn begin() -> Writer {
    Writer::new().u8(VERSION)
}

fn open<'b>(what: &'static str, value: &'b [u8]) -> Result<Reader<'b>> {
    let mut reader = Reader::new(what, value);
    reader.version(VERSION)?;
    Ok(reader)
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let state = match self.state {
            JobState::Begun => 0,
            JobState::Finished => 1,
            JobState::Forgotten => 2,
        };
        let writer = Writer::new().bytes(MAGIC).u8(VERSION).bytes(&self.born).u8(state);
        let writer = writer.bytes(&self.job.fingerprint).sized(self.job.description.as_bytes());
        write_range(writer, &self.job.range).finish()
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self> {
        let mut reader = Reader::new("header", value);
        if reader.array()? != *MAGIC {
            return Err(reader.damaged("it does not begin as a journal does"));
        }
        reader.version(VERSION)?;
        let born = reader.array()?;
        let state = match reader.u8()? {
            0 => JobState::Begun,
            1 => JobState::Finished,
            2 => JobState::Forgotten,
            other => return Err(reader.damaged(format!("{other} is no state of a job"))),
        };
        let fingerprint = reader.array()?;
        let description = reader.text()?.to_owned();
        let job = JobIdentity { fingerprint, description, range: read_range(&mut reader)? };
        reader.end()?;
        Ok(Self { born, job, state })
    }
}

pub(super) fn encode_range(record: &RangeRecord) -> Vec<u8> {
    let writer = write_range(begin().sized(&record.origin), &record.keys).u64(record.fence);
    writer.optional(record.holder.as_ref(), write_holder).finish()
}

pub(super) fn decode_range(value: &[u8]) -> Result<RangeRecord> {
    let mut reader = open("range", value)?;
    let origin = Bytes::copy_from_slice(reader.sized()?);
    let (keys, fence) = (read_range(&mut reader)?, reader.u64()?);
    let holder = reader.optional(read_holder)?;
    reader.end()?;
    Ok(RangeRecord { origin, keys, fence, holder })
}

pub(super) fn encode_share(share: &Share) -> Vec<u8> {
    write_holder(begin().u32(share.next), &share.holder).finish()
}

pub(super) fn decode_share(value: &[u8]) -> Result<Share> {
    let mut reader = open("shared upload", value)?;
    let (next, holder) = (reader.u32()?, read_holder(&mut reader)?);
    reader.end()?;
    Ok(Share { holder, next })
}

pub(super) fn encode_part_claim(holder: &PartHolder) -> Vec<u8> {
    begin().optional(holder.as_ref(), write_holder).finish()
}

pub(super) fn decode_part_claim(value: &[u8]) -> Result<PartHolder> {
    let mut reader = open("claim on a part", value)?;
    let holder = reader.optional(read_holder)?;
    reader.end()?;
    Ok(holder)
}

/// The end of a span whose first place is in its row's key.
pub(super) fn encode_done(span: &KeyRange) -> Vec<u8> {
    begin().optional(span.end(), |writer, end| writer.sized(end)).finish()
}

pub(super) fn decode_done(origin: Bytes, value: &[u8]) -> Result<KeyRange> {
    let mut reader = open("finished span", value)?;
    let end = reader.optional(|reader| Ok(Bytes::copy_from_slice(reader.sized()?)))?;
    reader.end()?;
    Ok(KeyRange::new(origin, end))
}

/// The process in which a worker waits, and a number that changes as long as it does.
pub(super) fn encode_waiting(process: ProcessId, beat: u64) -> Vec<u8> {
    begin().bytes(&process.0).u64(beat).finish()
}

pub(super) fn decode_waiting(value: &[u8]) -> Result<(ProcessId, u64)> {
    let mut reader = open("waiting worker", value)?;
    let waiting = (ProcessId(reader.array()?), reader.u64()?);
    reader.end()?;
    Ok(waiting)
}

pub(super) fn encode_next(number: u64) -> Vec<u8> {
    begin().u64(number).finish()
}

pub(super) fn decode_next(value: &[u8]) -> Result<u64> {
    let mut reader = open("next number", value)?;
    let number = reader.u64()?;
    reader.end()?;
    Ok(number)
}

/// A sum, as engines add to it: little-endian, without a version.
pub(super) fn decode_count(value: &[u8]) -> Result<u64> {
    let mut reader = Reader::new("sum", value);
    let sum = u64::from_le_bytes(reader.array()?);
    reader.end()?;
    Ok(sum)
}

/// The fields of a failure; a long reason loses its end.
pub(crate) fn encode_failure(failure: &Failure) -> Vec<u8> {
    let reason = &failure.reason[..failure.reason.floor_char_boundary(MAX_REASON_BYTES)];
    begin().sized(failure.place.as_bytes()).sized(failure.word.as_bytes()).sized(reason.as_bytes()).finish()
}

pub(crate) fn decode_failure(value: &[u8]) -> Result<Failure> {
    let mut reader = open("failure", value)?;
    let mut text = || reader.text().map(str::to_owned);
    let failure = Failure { place: text()?, word: text()?, reason: text()? };
    reader.end()?;
    Ok(failure)
}

pub(crate) fn encode_deletions(deletions: &[Deletion]) -> Vec<u8> {
    let write = |writer: Writer, deletion: &Deletion| writer.sized(deletion.key.as_bytes()).u64(deletion.size);
    deletions.iter().fold(begin().u32(deletions.len() as u32), write).finish()
}

pub(crate) fn decode_deletions(value: &[u8]) -> Result<Vec<Deletion>> {
    let mut reader = open("planned deletions", value)?;
    let count = reader.u32()?;
    let deletions: Vec<Deletion> = (0..count)
        .map(|_| {
            let key = read_key(&mut reader)?;
            Ok(Deletion { key, size: reader.u64()? })
        })
        .collect::<Result<_>>()?;
    reader.end()?;
    Ok(deletions)
}

pub(crate) fn encode_recorded(recorded: &[Recorded]) -> Vec<u8> {
    let write = |writer: Writer, one: &Recorded| {
        let writer = match &one.kind {
            Kind::Object => writer.u8(0),
            Kind::Directory => writer.u8(1),
            Kind::Symlink { target } => writer.u8(2).sized(target),
        };
        let writer = writer.sized(one.key.as_bytes()).u64(one.size);
        one.checksums.iter().fold(writer.u32(one.checksums.iter().count() as u32), write_checksum)
    };
    recorded.iter().fold(begin().u32(recorded.len() as u32), write).finish()
}

pub(crate) fn decode_recorded(value: &[u8]) -> Result<Vec<Recorded>> {
    let mut reader = open("manifest", value)?;
    let count = reader.u32()?;
    let recorded: Vec<Recorded> = (0..count).map(|_| read_recorded(&mut reader)).collect::<Result<_>>()?;
    reader.end()?;
    Ok(recorded)
}

fn read_recorded(reader: &mut Reader<'_>) -> Result<Recorded> {
    let kind = match reader.u8()? {
        0 => Kind::Object,
        1 => Kind::Directory,
        2 => Kind::Symlink { target: Bytes::copy_from_slice(reader.sized()?) },
        other => return Err(reader.damaged(format!("{other} is no kind of object"))),
    };
    let (key, size) = (read_key(reader)?, reader.u64()?);
    Ok(Recorded { key, kind, size, checksums: read_checksums(reader)? })
}

/// An upload without its key, which is in its row's key, and without its parts, which have rows of their own.
pub(crate) fn encode_upload(record: &UploadRecord) -> Vec<u8> {
    let writer = begin().sized(record.upload.id.as_str().as_bytes()).u64(record.part_bytes);
    write_identity(writer, &record.identity).finish()
}

pub(crate) fn decode_upload(key: Key, value: &[u8]) -> Result<UploadRecord> {
    let mut reader = open("upload", value)?;
    let id = UploadId::new(reader.text()?);
    let part_bytes = reader.u64()?;
    let identity = read_identity(&mut reader)?;
    reader.end()?;
    Ok(UploadRecord { upload: Upload { key, id }, identity, part_bytes, parts: Vec::new() })
}

pub(crate) fn encode_part(part: &FinishedPart) -> Vec<u8> {
    let StoredPart { number, size, etag, checksums } = &part.stored;
    let writer = begin().u32(*number).u64(*size).sized(etag.as_str().as_bytes());
    let writer = checksums.iter().fold(writer.u32(checksums.iter().count() as u32), write_checksum);
    writer.optional(part.digest, write_digest).finish()
}

pub(crate) fn decode_part(value: &[u8]) -> Result<FinishedPart> {
    let mut reader = open("part", value)?;
    let (number, size, etag) = (reader.u32()?, reader.u64()?, read_etag(&mut reader)?);
    let checksums = read_checksums(&mut reader)?;
    let digest = reader.optional(read_digest)?;
    reader.end()?;
    Ok(FinishedPart { stored: StoredPart { number, size, etag, checksums }, digest })
}

fn write_holder(writer: Writer, holder: &Holder) -> Writer {
    writer.bytes(&holder.process.0).u64(holder.beat).sized(holder.worker.0.as_bytes())
}

fn read_holder(reader: &mut Reader<'_>) -> Result<Holder> {
    let (process, beat) = (ProcessId(reader.array()?), reader.u64()?);
    Ok(Holder { worker: WorkerId(reader.text()?.to_owned()), process, beat })
}

fn write_range(writer: Writer, range: &KeyRange) -> Writer {
    writer.sized(range.start()).optional(range.end(), |writer, end| writer.sized(end))
}

fn read_range(reader: &mut Reader<'_>) -> Result<KeyRange> {
    let start = Bytes::copy_from_slice(reader.sized()?);
    let end = reader.optional(|reader| Ok(Bytes::copy_from_slice(reader.sized()?)))?;
    Ok(KeyRange::new(start, end))
}

fn read_key(reader: &mut Reader<'_>) -> Result<Key> {
    let bytes = Bytes::copy_from_slice(reader.sized()?);
    Key::new(bytes).map_err(|error| reader.damaged(error.to_string()))
}

/// The tag is told from one that has quotes of its own by the quotes that are put around it here.
fn read_etag(reader: &mut Reader<'_>) -> Result<ETag> {
    Ok(ETag::new(&format!("\"{}\"", reader.text()?)))
}

fn write_identity(writer: Writer, identity: &Identity) -> Writer {
    let Identity { size, etag, version, file, modified } = identity;
    writer
        .u64(*size)
        .optional(etag.as_ref(), |writer, etag| writer.sized(etag.as_str().as_bytes()))
        .optional(version.as_ref(), |writer, version| writer.sized(version.as_str().as_bytes()))
        .optional(*file, |writer, file| writer.u64(file.device).u64(file.inode))
        .optional(*modified, |writer, time| writer.u64(time.seconds() as u64).u32(time.subsec_nanos()))
}

fn read_identity(reader: &mut Reader<'_>) -> Result<Identity> {
    Ok(Identity {
        size: reader.u64()?,
        etag: reader.optional(read_etag)?,
        version: reader.optional(|reader| Ok(VersionId::new(reader.text()?)))?,
        file: reader.optional(|reader| Ok(FileId { device: reader.u64()?, inode: reader.u64()? }))?,
        modified: reader.optional(read_time)?,
    })
}

fn read_time(reader: &mut Reader<'_>) -> Result<Timestamp> {
    let (seconds, nanos) = (reader.u64()? as i64, reader.u32()?);
    if nanos >= 1_000_000_000 {
        return Err(reader.damaged("a time has more than a second of nanoseconds"));
    }
    Ok(Timestamp::new(seconds, nanos))
}

fn write_checksum(writer: Writer, (scope, checksum): (Scope, Checksum)) -> Writer {
    let parts = match scope {
        Scope::Whole => None,
        Scope::Composite { parts } => Some(parts),
    };
    let algorithm = match checksum.algorithm() {
        Algorithm::Crc32 => 1,
        Algorithm::Crc32c => 2,
        Algorithm::Crc64Nvme => 3,
        Algorithm::Md5 => 4,
        Algorithm::Sha256 => 5,
        Algorithm::Blake3 => 6,
    };
    writer.optional(parts, Writer::u32).u8(algorithm).sized(&checksum.to_bytes())
}

fn read_checksum(reader: &mut Reader<'_>) -> Result<(Scope, Checksum)> {
    let parts = reader.optional(Reader::u32)?;
    let algorithm = match reader.u8()? {
        1 => Algorithm::Crc32,
        2 => Algorithm::Crc32c,
        3 => Algorithm::Crc64Nvme,
        4 => Algorithm::Md5,
        5 => Algorithm::Sha256,
        6 => Algorithm::Blake3,
        other => return Err(reader.damaged(format!("{other} is no checksum"))),
    };
    let bytes = reader.sized()?;
    let checksum = Checksum::from_bytes(algorithm, bytes);
    let checksum = checksum.ok_or_else(|| reader.damaged(format!("a {algorithm} has another length")))?;
    Ok((parts.map_or(Scope::Whole, |parts| Scope::Composite { parts }), checksum))
}

fn read_checksums(reader: &mut Reader<'_>) -> Result<Checksums> {
    let mut checksums = Checksums::none();
    for _ in 0..reader.u32()? {
        let (scope, checksum) = read_checksum(reader)?;
        checksums.add(scope, checksum);
    }
    Ok(checksums)
}

fn write_digest(writer: Writer, digest: PartDigest) -> Writer {
    let writer = writer.u64(digest.len).u32(digest.crc32c).u64(digest.crc64nvme);
    writer.optional(digest.subtree, |writer, subtree| writer.bytes(&subtree))
}

fn read_digest(reader: &mut Reader<'_>) -> Result<PartDigest> {
    let (len, crc32c, crc64nvme) = (reader.u64()?, reader.u32()?, reader.u64()?);
    Ok(PartDigest { len, crc32c, crc64nvme, subtree: reader.optional(Reader::array)? })
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
