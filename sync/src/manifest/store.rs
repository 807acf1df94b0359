//! A manifest as a store: what it says is listed, from any place on, and there is nothing to read. It is checked whole when it is
//! opened, and its lines are found by bisection, since they are in the order of keys.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::line::Parsed;
use super::{End, Header, ManifestError, Recorded};
use crate::attributes::{AttributeKind, AttributeSet, Attributes};
use crate::entry::{Entry, Object};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::key_range::KeyRange;
use crate::store::{Capabilities, ListPage, ListRequest, ReadRequest, Reading, Seek, Store};

/// The longest line: a key and a link's target, each of whose bytes may take three.
const MAX_LINE_BYTES: usize = 64 << 10;
/// Bytes read at once when lines are looked for and listed.
const BLOCK_BYTES: usize = 64 << 10;

/// A manifest that is whole.
#[derive(Debug)]
pub struct ManifestStore {
    lines: Arc<Lines>,
    name: String,
    capabilities: Capabilities,
    header: Header,
    end: End,
}

/// The lines of objects in the file.
#[derive(Debug)]
struct Lines {
    file: File,
    name: String,
    first: u64,
    end: u64,
}

impl ManifestStore {
    /// Opens a manifest and reads all of it once: every line is one, they are in order, and their checksum is that of its
    /// end.
    ///
    /// # Errors
    /// `Io`, `Damaged` or `OtherFormat`.
    pub fn open(path: &Path) -> std::result::Result<Self, ManifestError> {
        let name = path.display().to_string();
        let mut reader = Checking::open(path)?;
        if !reader.next()? {
            return Err(reader.damaged("it is empty"));
        }
        let header = match Header::parse(&reader.line) {
            Ok(Ok(header)) => header,
            Ok(Err(found)) => return Err(ManifestError::OtherFormat { file: name, found }),
            Err(reason) => return Err(reader.damaged(reason)),
        };
        let first = reader.offset;
        let (at, end) = reader.rest()?;
        let lines = Arc::new(Lines { file: reader.file.into_inner(), name: name.clone(), first, end: at });
        let capabilities = Capabilities {
            seek: Seek::Anywhere,
            holds: AttributeSet::of(&[AttributeKind::Directories, AttributeKind::Symlinks]),
            ..Capabilities::read_only()
        };
        Ok(Self { lines, name, capabilities, header, end })
    }

    /// What it is of.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What is in it.
    pub fn end(&self) -> &End {
        &self.end
    }
}

/// Reads a file line by line, each with its newline and of a bounded length.
struct Checking {
    file: BufReader<File>,
    name: String,
    offset: u64,
    line: Vec<u8>,
}

impl Checking {
    fn open(path: &Path) -> std::result::Result<Self, ManifestError> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => {
                let file = BufReader::with_capacity(BLOCK_BYTES, file);
                Ok(Self { file, name, offset: 0, line: Vec::new() })
            }
            Err(error) => Err(ManifestError::Io { file: name, action: "read", reason: error.to_string() }),
        }
    }

    /// Takes the next line; whether there is a whole one.
    fn next(&mut self) -> std::result::Result<bool, ManifestError> {
        self.line.clear();
        let mut limited = (&mut self.file).take(MAX_LINE_BYTES as u64);
        let read = limited.read_until(b'\n', &mut self.line).map_err(|error| ManifestError::Io {
            file: self.name.clone(),
            action: "read",
            reason: error.to_string(),
        })?;
        self.offset += read as u64;
        if read == MAX_LINE_BYTES && !self.line.ends_with(b"\n") {
            return Err(self.damaged("a line is too long"));
        }
        Ok(self.line.ends_with(b"\n"))
    }

    /// All lines after the header, which was the last: where the end begins, and what it says.
    fn rest(&mut self) -> std::result::Result<(u64, End), ManifestError> {
        let (mut hasher, mut counted, mut last) = (blake3::Hasher::new(), End::default(), None::<Key>);
        loop {
            hasher.update(&self.line);
            let at = self.offset;
            if !self.next()? {
                return Err(self.damaged("it is cut short"));
            }
            if let Ok((end, lines)) = End::parse(&self.line) {
                if *hasher.finalize().as_bytes() != lines {
                    return Err(self.damaged("its lines have another checksum than its end says"));
                }
                if (end.entries, end.bytes) != (counted.entries, counted.bytes) {
                    return Err(self.damaged("it has other lines than its end says"));
                }
                if self.next()? || !self.line.is_empty() {
                    return Err(self.damaged("something follows its end"));
                }
                return Ok((at, end));
            }
            let number = counted.entries + 2;
            let recorded = Recorded::parse(&self.line);
            let recorded = recorded.map_err(|reason| self.damaged(format!("line {number}: {reason}")))?;
            if last.as_ref().is_some_and(|last| *last >= recorded.key) {
                return Err(self.damaged(format!("line {number} is not in the order of keys")));
            }
            counted.add(&recorded);
            last = Some(recorded.key);
        }
    }

    fn damaged(&self, reason: impl Into<String>) -> ManifestError {
        ManifestError::Damaged { file: self.name.clone(), reason: reason.into() }
    }
}

impl Lines {
    /// The entries of a range, at most so many.
    fn list(&self, range: &KeyRange, limit: usize) -> Result<ListPage> {
        let mut at = self.find(range.start())?;
        let mut entries = Vec::new();
        while at < self.end {
            let block = self.read(at)?;
            let mut rest = block.as_slice();
            while let Some(newline) = rest.iter().position(|byte| *byte == b'\n') {
                let (line, after) = rest.split_at(newline + 1);
                let entry = self.parse(line)?.into_entry();
                if range.end().is_some_and(|end| *entry.key.as_bytes() >= **end) {
                    return Ok(ListPage::last(entries));
                }
                if entries.len() == limit {
                    return Ok(ListPage::with_more(entries));
                }
                entries.push(entry);
                (rest, at) = (after, at + line.len() as u64);
            }
        }
        Ok(ListPage::last(entries))
    }

    /// Where the first line begins whose key is not below a place.
    fn find(&self, place: &Bytes) -> Result<u64> {
        // Lines that begin before `low` are below the place, those that begin at `high` or after it are not.
        let (mut low, mut high) = (self.first, self.end);
        while low < high {
            let middle = self.line_begin(low.midpoint(high), low)?;
            let line = self.line_at(middle)?;
            if self.parse(&line)?.key.as_bytes() < &place[..] {
                low = middle + line.len() as u64;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Where the line begins in which an offset lies; not before `low`, at which one begins.
    fn line_begin(&self, offset: u64, low: u64) -> Result<u64> {
        let start = offset.saturating_sub(MAX_LINE_BYTES as u64).max(low);
        let mut before = vec![0; (offset - start) as usize];
        self.file.read_exact_at(&mut before, start).map_err(|error| self.failed(&error))?;
        let newline = before.iter().rposition(|byte| *byte == b'\n');
        Ok(newline.map_or(start, |newline| start + newline as u64 + 1))
    }

    fn line_at(&self, at: u64) -> Result<Vec<u8>> {
        let mut block = self.read(at)?;
        let newline = block.iter().position(|byte| *byte == b'\n').unwrap_or(block.len().saturating_sub(1));
        block.truncate(newline + 1);
        Ok(block)
    }

    /// The next block, which has at least one line.
    fn read(&self, at: u64) -> Result<Vec<u8>> {
        let mut block = vec![0; ((self.end - at) as usize).min(MAX_LINE_BYTES.max(BLOCK_BYTES))];
        self.file.read_exact_at(&mut block, at).map_err(|error| self.failed(&error))?;
        if !block.contains(&b'\n') {
            return Err(self.changed("a line has no end"));
        }
        Ok(block)
    }

    fn parse(&self, line: &[u8]) -> Result<Recorded> {
        let parsed: Parsed<Recorded> = Recorded::parse(line);
        parsed.map_err(|reason| self.changed(&reason))
    }

    /// It was whole when it was opened.
    fn changed(&self, reason: &str) -> StoreError {
        StoreError::corrupt(&self.name, "a line", format!("{reason}; the file was changed while it was used"))
    }

    fn failed(&self, error: &std::io::Error) -> StoreError {
        StoreError::unavailable(&self.name, "be read", error)
    }

    fn get(&self, key: &Key) -> Result<Entry> {
        let page = self.list(&KeyRange::new(key.to_bytes(), None), 1)?;
        let found = page.entries.into_iter().next().filter(|entry| entry.key == *key);
        found.ok_or_else(|| StoreError::missing(&self.name, key))
    }
}

#[async_trait]
impl Store for ManifestStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        let (lines, range, limit) = (Arc::clone(&self.lines), request.range.clone(), request.limit);
        let listed = tokio::task::spawn_blocking(move || lines.list(&range, limit)).await;
        listed.map_err(|error| StoreError::bug(format!("listing a manifest ended: {error}")))?
    }

    async fn head(&self, key: &Key, wanted: AttributeSet) -> Result<Object> {
        let (lines, key) = (Arc::clone(&self.lines), key.clone());
        let found = tokio::task::spawn_blocking(move || lines.get(&key)).await;
        let entry = found.map_err(|error| StoreError::bug(format!("reading a manifest ended: {error}")))??;
        Ok(Object { entry, attributes: Attributes::default(), known: wanted })
    }

    async fn read(&self, request: &ReadRequest) -> Result<Reading> {
        Err(self.cannot(format!("read {}", request.key)))
    }
}
