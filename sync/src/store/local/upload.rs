//! Objects in parts on a disk: a file in the directory of what it will be, into which parts are written at their
//! offsets by whoever has them, and beside it a table of the parts that are whole. Both are under names that are no
//! objects. Another process can go on with them.
//!
//! The table's part of a file says that its bytes were written, and where each file is synced, that they were synced
//! before. Where they are not, the table names the boot of the machine in which it was begun: in another one, bytes
//! may be lost that the table tells of, and the upload counts as gone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use rustix::fs::{
    AtFlags, FallocateFlags, Mode, OFlags, RawDir, fallocate, fdatasync, fstat, ftruncate, openat, renameat, statat,
    unlinkat,
};
use rustix::io::{Errno, pread};

use super::appender::{Appender, write_all};
use super::root::{NO_FOLLOW, Root, io_error};
use super::temporary::{fresh_upload_name, is_upload, table_name};
use super::walk::Walk;
use super::writing::{Sink, failed, file_place, make_directory, new_file_mode, sync};
use super::{Durability, LocalOptions, inode, note};
use crate::checksum::Checksums;
use crate::entry::ETag;
use crate::error::{Result, StoreError};
use crate::key::{Key, escaped};
use crate::key_range::{KeyRange, place_after};
use crate::limits::{ABANDONED_UPLOAD, DIRECTORY_BUFFER_BYTES, MAX_KEY_BYTES, PAGE_ENTRIES};
use crate::store::{
    ByteRange, OpenUpload, PartPage, PartRequest, PutRequest, Stored, StoredPart, Upload, UploadId, UploadPage,
};
use crate::timestamp::Timestamp;

type Outcome<T> = std::result::Result<T, Errno>;

/// What a table begins with: its format.
const MAGIC: &[u8; 8] = b"FSHUPL01";
/// Where the records begin; the head is shorter.
const HEAD_BYTES: usize = 2048;
/// A record: where the part begins, its length, and both exclusive-ored and inverted, so that zeros are none.
const RECORD_BYTES: usize = 24;
/// The most records that are read at once.
const RECORDS_AT_ONCE: usize = 4096;
/// Names the boot of this machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const BOOT_BYTES: usize = 36;

/// What a table's head tells.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Head {
    key: Key,
    size: u64,
    sparse: bool,
    /// The boot that the parts are good in; none if they are synced.
    boot: Option<[u8; BOOT_BYTES]>,
}

/// An upload's files, opened.
#[derive(Debug)]
struct Files {
    root: Arc<Root>,
    directory: OwnedFd,
    name: String,
    data: OwnedFd,
    table: OwnedFd,
    head: Head,
}

/// A part that is being written.
pub(super) struct PartWriter {
    files: Files,
    part: PartRequest,
    appender: Appender,
    written: u64,
}

/// Begins an upload.
pub(super) fn begin(root: &Arc<Root>, options: LocalOptions, request: &PutRequest) -> Result<UploadId> {
    let place = file_place(root, &request.key)?;
    let directory = make_directory(root, options.durability, &request.key, place.directory)?;
    let sparse = request.attributes.posix.as_ref().is_some_and(|posix| posix.sparse);
    let boot = match options.durability {
        Durability::Each => None,
        Durability::AtFlush => this_boot(),
    };
    let head = Head { key: request.key.clone(), size: request.size, sparse, boot };
    let name = fresh_upload_name();
    let make = || {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let data = openat(&directory, name.as_str(), flags, new_file_mode(request))?;
        ftruncate(&data, request.size)?;
        let table = openat(&directory, table_name(&name), flags, Mode::from_raw_mode(0o600))?;
        write_all(table.as_fd(), &head.to_bytes(), 0)?;
        if head.boot.is_none() {
            fdatasync(&table)?;
            sync(directory.as_fd(), Durability::Each)?;
        }
        Ok(())
    };
    made_or_removed(make(), &directory, &name).map_err(|error| failed(root, &request.key, error))?;
    Ok(UploadId::new(name))
}

/// An upload that could not be begun leaves nothing.
fn made_or_removed(made: Outcome<()>, directory: &OwnedFd, name: &str) -> Outcome<()> {
    if made.is_err() {
        remove(directory, name).unwrap_or_default();
    }
    made
}

/// Makes the object of its parts.
pub(super) fn complete(
    root: &Arc<Root>,
    options: LocalOptions,
    upload: &Upload,
    request: &PutRequest,
    parts: &[StoredPart],
) -> Result<Stored> {
    let files = Files::open(root, upload)?;
    files.check(parts)?;
    let place = file_place(root, &upload.key)?;
    let finish = || {
        let left_out = inode::apply(files.data.as_fd(), &request.attributes, request.modified)?;
        note::keep(options, files.data.as_fd(), &upload.key, request.origin.as_ref())?;
        sync(files.data.as_fd(), options.durability)?;
        renameat(&files.directory, files.name.as_str(), &files.directory, place.name)?;
        unlinkat(&files.directory, table_name(&files.name), AtFlags::empty())?;
        sync(files.directory.as_fd(), options.durability)?;
        Ok(left_out)
    };
    let left_out = finish().map_err(|error| failed(root, &upload.key, error))?;
    Ok(Stored { size: Some(files.head.size), left_out, ..Stored::default() })
}

/// Removes an upload.
pub(super) fn abort(root: &Root, upload: &Upload) -> Result<()> {
    if !is_upload(upload.id.as_str().as_bytes()) {
        return Ok(());
    }
    let place = file_place(root, &upload.key)?;
    let removed = root.open_directory(place.directory).and_then(|directory| remove(&directory, upload.id.as_str()));
    match removed {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
        Err(error) => Err(root.error(&upload.key, "remove the parts of", error)),
    }
}

/// The parts that are whole, by number, after this number.
pub(super) fn list_parts(root: &Arc<Root>, upload: &Upload, after: Option<u32>) -> Result<PartPage> {
    let files = Files::open(root, upload)?;
    let read = || {
        let first = after.unwrap_or(0) as usize;
        let mut bytes = vec![0; RECORDS_AT_ONCE * RECORD_BYTES];
        let len = read_at(&files.table, &mut bytes, record_offset(first as u32 + 1))?;
        let records = bytes[..len].as_chunks::<RECORD_BYTES>().0;
        let numbered = (first as u32 + 1..).zip(records);
        let parts = numbered.filter_map(|(number, record)| Some(stored(number, parse_record(record)?))).collect();
        Ok(PartPage { parts, more: len == bytes.len() })
    };
    read().map_err(|error| root.error(&upload.key, "read the parts of", error))
}

/// The uploads below the directories after this one, which a page before ended with; at least a page of them if there
/// are so many.
pub(super) fn list(root: &Root, after: Option<&Key>) -> Result<UploadPage> {
    let range = after.map_or_else(KeyRange::all, |after| KeyRange::new(place_after(after), None));
    let mut walk = Walk::new(range, LocalOptions { sweep: false, ..LocalOptions::default() });
    let mut page = UploadPage::default();
    if after.is_none() {
        page.uploads = in_directory(root, b"").map_err(|error| io_error(root.name(), "list its uploads", error))?;
    }
    while let Some(entry) = walk.next(root)? {
        let Some(path) = entry.key.as_bytes().strip_suffix(b"/") else { continue };
        match in_directory(root, path) {
            Ok(found) => page.uploads.extend(found),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::PERM) => {}
            Err(error) => return Err(root.error(&entry.key, "list the uploads in", error)),
        }
        if page.uploads.len() >= PAGE_ENTRIES {
            page.next = Some(entry.key.to_string());
            return Ok(page);
        }
    }
    Ok(page)
}

fn in_directory(root: &Root, path: &[u8]) -> Outcome<Vec<OpenUpload>> {
    let directory = root.open_directory(path)?;
    let mut buffer = Vec::with_capacity(DIRECTORY_BUFFER_BYTES);
    let mut names = RawDir::new(&directory, buffer.spare_capacity_mut());
    let mut found = Vec::new();
    while let Some(name) = names.next() {
        found.extend(open_upload(&directory, name?.file_name().to_bytes()));
    }
    Ok(found)
}

/// The upload of this name, if it is one and its table is whole.
fn open_upload(directory: &OwnedFd, name: &[u8]) -> Option<OpenUpload> {
    let name = std::str::from_utf8(name).ok().filter(|name| is_upload(name.as_bytes()))?;
    let table = openat(directory, table_name(name), OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty()).ok()?;
    let head = Head::read(&table).ok()??;
    let begun = fstat(&table).ok().map(|stat| Timestamp::new(stat.st_mtime, stat.st_mtime_nsec as u32));
    Some(OpenUpload { upload: Upload { key: head.key, id: UploadId::new(name) }, begun })
}

/// Removes a file of an upload that nobody went on with for a long time.
pub(super) fn sweep(directory: BorrowedFd<'_>, name: &[u8]) {
    let oldest = SystemTime::now().checked_sub(ABANDONED_UPLOAD).map(Timestamp::from);
    let stat = statat(directory, name, NO_FOLLOW);
    let written = stat.ok().map(|stat| Timestamp::new(stat.st_mtime, stat.st_mtime_nsec as u32));
    if written < oldest && written.is_some() && unlinkat(directory, name, AtFlags::empty()).is_ok() {
        tracing::info!(name = %escaped(name), "removed an upload in parts that nobody went on with");
    }
}

impl Files {
    /// Opens the files of an upload that is one of this key and that this boot knows all about.
    fn open(root: &Arc<Root>, upload: &Upload) -> Result<Self> {
        let missing = || StoreError::missing(root.name(), &upload.id);
        let place = file_place(root, &upload.key)?;
        // The id comes from a journal: it is no path.
        let name = upload.id.as_str().to_owned();
        if !is_upload(name.as_bytes()) {
            return Err(missing());
        }
        let open = || {
            let directory = root.open_directory(place.directory)?;
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let table = openat(&directory, table_name(&name), flags, Mode::empty())?;
            let data = openat(&directory, name.as_str(), flags, Mode::empty())?;
            let head = Head::read(&table)?;
            Ok((directory, data, table, head))
        };
        let (directory, data, table, head) = match open() {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(missing()),
            opened => opened.map_err(|error| root.error(&upload.key, "go on with", error))?,
        };
        let good = |head: &Head| head.key == upload.key && (head.boot.is_none() || head.boot == this_boot());
        let head = head.filter(good).ok_or_else(missing)?;
        Ok(Self { root: Arc::clone(root), directory, name, data, table, head })
    }

    /// Whether these are the parts that the table has, and they make up the object.
    fn check(&self, parts: &[StoredPart]) -> Result<()> {
        let wrong = |reason: String| StoreError::corrupt(self.root.name(), &self.head.key, reason);
        let mut end = 0;
        for part in parts {
            let record = self.record(part.number).map_err(|error| self.failed(error))?;
            let range = record.ok_or_else(|| wrong(format!("part {} is not there", part.number)))?;
            if range.offset != end || stored(part.number, range).etag != part.etag {
                return Err(wrong(format!("part {} is another than the one that was sent", part.number)));
            }
            end = range.end();
        }
        let len = fstat(&self.data).map_err(|error| self.failed(error))?.st_size as u64;
        if end == self.head.size && len == end { Ok(()) } else { Err(wrong(format!("its parts have {end} bytes"))) }
    }

    fn record(&self, number: u32) -> Outcome<Option<ByteRange>> {
        let mut bytes = [0; RECORD_BYTES];
        let len = read_at(&self.table, &mut bytes, record_offset(number))?;
        Ok(if len == RECORD_BYTES { parse_record(&bytes) } else { None })
    }

    fn failed(&self, error: Errno) -> StoreError {
        failed(&self.root, &self.head.key, error)
    }
}

impl PartWriter {
    /// Begins to write a part.
    pub(super) fn begin(root: &Arc<Root>, upload: &Upload, part: &PartRequest) -> Result<Self> {
        let mut files = Files::open(root, upload)?;
        let end = part.range.offset.checked_add(part.range.len);
        if part.number == 0 || end.is_none_or(|end| end > files.head.size) {
            return Err(StoreError::bug(format!("part {} of {} is outside of it", part.number, upload.key)));
        }
        if files.head.sparse {
            // What an attempt before this one wrote is no hole; where there are no holes, zeros are written.
            let holes = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let punched = fallocate(&files.data, holes, part.range.offset, part.range.len.max(1));
            files.head.sparse = punched.is_ok();
        }
        let appender = Appender::new(files.data.as_fd(), part.range.offset, part.range.len, files.head.sparse);
        Ok(Self { files, part: part.clone(), appender, written: 0 })
    }

    fn wrong_length(&self, what: &str) -> StoreError {
        let reason = format!("{what} bytes came for part {} than were announced", self.part.number);
        StoreError::corrupt(self.files.root.name(), &self.files.head.key, reason)
    }
}

impl Sink for PartWriter {
    type Done = StoredPart;

    fn write(&mut self, chunk: &Bytes) -> Result<()> {
        if self.written + chunk.len() as u64 > self.part.range.len {
            return Err(self.wrong_length("more"));
        }
        let appended = self.appender.append(self.files.data.as_fd(), chunk);
        appended.map_err(|error| self.files.failed(error))?;
        self.written += chunk.len() as u64;
        Ok(())
    }

    fn finish(mut self) -> Result<StoredPart> {
        if self.written != self.part.range.len {
            return Err(self.wrong_length("fewer"));
        }
        let is_synced = self.files.head.boot.is_none();
        self.appender.finish(self.files.data.as_fd()).map_err(|error| self.files.failed(error))?;
        let note = || {
            if is_synced {
                fdatasync(&self.files.data)?;
            }
            let record = record_bytes(self.part.range);
            write_all(self.files.table.as_fd(), &record, record_offset(self.part.number))?;
            if is_synced { fdatasync(&self.files.table) } else { Ok(()) }
        };
        note().map_err(|error| self.files.failed(error))?;
        Ok(stored(self.part.number, self.part.range))
    }
}

impl Head {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.size.to_le_bytes());
        bytes.push(u8::from(self.sparse));
        bytes.extend_from_slice(&self.boot.unwrap_or([0; BOOT_BYTES]));
        bytes.extend_from_slice(&(self.key.as_bytes().len() as u16).to_le_bytes());
        bytes.extend_from_slice(self.key.as_bytes());
        let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes) as u32;
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// What a table's head tells; none if it is not whole.
    fn read(table: &OwnedFd) -> Outcome<Option<Self>> {
        let mut bytes = [0; HEAD_BYTES];
        let len = read_at(table, &mut bytes, 0)?;
        Ok(Self::parse(&bytes[..len]))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (size, rest) = rest.split_first_chunk::<8>()?;
        let (sparse, rest) = rest.split_first()?;
        let (boot, rest) = rest.split_first_chunk::<BOOT_BYTES>()?;
        let (len, rest) = rest.split_first_chunk::<2>()?;
        let len = usize::from(u16::from_le_bytes(*len));
        let key = rest.get(..len).filter(|key| key.len() <= MAX_KEY_BYTES)?;
        let sum = rest[len..].first_chunk::<4>()?;
        let covered = &bytes[..bytes.len() - rest.len() + len];
        let computed = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, covered) as u32;
        (u32::from_le_bytes(*sum) == computed).then_some(())?;
        let boot = (*boot != [0; BOOT_BYTES]).then_some(*boot);
        Some(Self { key: Key::new(key.to_vec()).ok()?, size: u64::from_le_bytes(*size), sparse: *sparse != 0, boot })
    }
}

/// Removes both files; that one is not there is as well.
fn remove(directory: &OwnedFd, name: &str) -> Outcome<()> {
    for name in [name.to_owned(), table_name(name)] {
        match unlinkat(directory, name.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn stored(number: u32, range: ByteRange) -> StoredPart {
    let etag = ETag::new(&format!("{}-{}", range.offset, range.len));
    StoredPart { number, size: range.len, etag, checksums: Checksums::none() }
}

fn record_offset(number: u32) -> u64 {
    HEAD_BYTES as u64 + u64::from(number - 1) * RECORD_BYTES as u64
}

fn record_bytes(range: ByteRange) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..8].copy_from_slice(&range.offset.to_le_bytes());
    record[8..16].copy_from_slice(&range.len.to_le_bytes());
    record[16..].copy_from_slice(&(!(range.offset ^ range.len)).to_le_bytes());
    record
}

fn parse_record(record: &[u8; RECORD_BYTES]) -> Option<ByteRange> {
    let [offset, len, check] = [0, 8, 16].map(|at| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&record[at..at + 8]);
        u64::from_le_bytes(bytes)
    });
    (check == !(offset ^ len) && offset.checked_add(len).is_some()).then_some(ByteRange { offset, len })
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &OwnedFd, buffer: &mut [u8], offset: u64) -> Outcome<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match pread(file, &mut buffer[filled..], offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// The name of this boot; none where the system does not tell.
fn this_boot() -> Option<[u8; BOOT_BYTES]> {
    std::fs::read(BOOT_ID).ok()?.first_chunk().copied()
}
