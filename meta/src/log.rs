//! The change log: what each commit did to the durable rows, ordered by position.
//!
//! A commit's record is the after-images of its rows, cut into chunks that fit a value. The
//! record is written in the commit's own transaction; a reader at version R therefore finds
//! exactly the commits up to R, and hands them on as intervals that tile.

use bytes::Bytes;
use farshore_proto::limits::MAX_VALUE_BYTES;
use farshore_proto::{Position, Version};

use crate::attr::FileKind;
use crate::codec::{Reader, Writer};
use crate::digest::Digest;
use crate::engine::{Isolation, RangeRead, Transaction};
use crate::error::{FsError, Result};
use crate::ino::Ino;
use crate::key::DurableKey;
use crate::{key, row};

/// The partition that is written; readers of more than one will merge them by version.
pub(crate) const PARTITION: u8 = 0;

const MAGIC: &[u8; 4] = b"FSCL";
const V1: u8 = 1;
/// Most bytes of a record in one row: a value's limit, less room for the chunk's own header.
const CHUNK_BYTES: usize = MAX_VALUE_BYTES - 64;
/// Rows of the log read at once; a chunk is below 100 kB, a page below the reader's target.
const PAGE_ROWS: usize = 1_000;

/// A durable row after a commit; no value when it was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The row's key.
    pub key: Bytes,
    /// The row's new value.
    pub value: Option<Bytes>,
}

impl Change {
    /// What a directory entry leads to after the change: the inode and what that is. `None` when the entry was
    /// deleted, and for rows that are no entries.
    ///
    /// # Errors
    /// `Corrupt` when this build does not know such a row.
    pub fn leads_to(&self) -> Result<Option<(Ino, FileKind)>> {
        match (DurableKey::parse(&self.key)?, &self.value) {
            (DurableKey::Entry(..), Some(value)) => row::decode_entry(value).map(Some),
            _ => Ok(None),
        }
    }
}

/// The effect of one metadata transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its version, in the incarnation of the interval that holds it.
    pub version: Version,
    /// The rows it changed, in the order of their keys, each once.
    pub changes: Vec<Change>,
}

impl Commit {
    /// Keys and values together, in bytes.
    pub fn bytes(&self) -> usize {
        self.changes.iter().map(|c| c.key.len() + c.value.as_ref().map_or(0, Bytes::len)).sum()
    }
}

/// All commits in (from, to], in order; all of them in the incarnation of `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    /// The position after which it begins.
    pub from: Position,
    /// The position at which it ends.
    pub to: Position,
    /// The commits in between; none in a heartbeat.
    pub commits: Vec<Commit>,
    /// The state digest at `to`; `None` when the interval was cut short of what was there.
    pub digest: Option<Digest>,
}

/// The chunks of a record, each a value of its own.
pub(crate) fn encode(changes: &[Change]) -> Vec<Vec<u8>> {
    let header = Writer::new().bytes(MAGIC).u8(V1).u32(changes.len() as u32);
    let record = changes.iter().fold(header, |record, change| match &change.value {
        Some(value) => record.u8(1).sized(&change.key).sized(value),
        None => record.u8(0).sized(&change.key),
    });
    let record = record.finish();
    let count = record.len().div_ceil(CHUNK_BYTES) as u16;
    record.chunks(CHUNK_BYTES).map(|part| Writer::new().u8(V1).u16(count).bytes(part).finish()).collect()
}

fn decode(record: &Bytes) -> Result<Vec<Change>> {
    let mut reader = Reader::new("a change log record", record);
    if reader.take(4)? != MAGIC {
        return Err(reader.damaged("it does not begin as one"));
    }
    reader.version(V1)?;
    let count = reader.u32()?;
    let mut changes = Vec::new();
    for _ in 0..count {
        changes.push(decode_change(&mut reader, record)?);
    }
    reader.end()?;
    Ok(changes)
}

fn decode_change(reader: &mut Reader<'_>, record: &Bytes) -> Result<Change> {
    let put = match reader.u8()? {
        0 => false,
        1 => true,
        other => return Err(reader.damaged(format!("change kind {other} is not known to this build"))),
    };
    let key = record.slice_ref(reader.sized()?);
    let value = if put { Some(record.slice_ref(reader.sized()?)) } else { None };
    Ok(Change { key, value })
}

/// Puts chunks back together, row by row.
#[derive(Default)]
struct Assembly {
    current: Option<(Position, u16, Vec<u8>, u16)>,
}

impl Assembly {
    /// Takes the next row of the log; gives a commit when it completes one.
    fn push(&mut self, key: &[u8], value: &[u8]) -> Result<Option<(Position, Commit)>> {
        let (position, chunk) = key::parse_log(key)?;
        let mut reader = Reader::new("a change log chunk", value);
        reader.version(V1)?;
        let count = reader.u16()?;
        let (start, expected, mut record, next) = self.current.take().unwrap_or((position, count, Vec::new(), 0));
        if start != position || expected != count || next != chunk || chunk >= count {
            return Err(FsError::Corrupt(format!("the change log at {start:?}: a chunk is missing")));
        }
        record.extend_from_slice(reader.rest());
        if chunk + 1 < count {
            self.current = Some((position, count, record, chunk + 1));
            return Ok(None);
        }
        let changes = decode(&record.into())?;
        Ok(Some((position, Commit { version: position.version, changes })))
    }
}

impl Assembly {
    /// Fails if the last commit's record is not whole.
    fn finish(&self) -> Result<()> {
        match &self.current {
            None => Ok(()),
            Some((at, ..)) => Err(FsError::Corrupt(format!("the change log at {at:?}: its last chunk is missing"))),
        }
    }
}

/// Reads the interval that begins at `from` and ends at `end`, the position that the
/// transaction's snapshot has, or earlier when `target_bytes` is reached first.
///
/// # Errors
/// `LogTrimmed` when the log after `from` is no longer kept.
pub(crate) async fn read_interval(
    txn: &mut dyn Transaction,
    from: Position,
    end: Position,
    target_bytes: usize,
) -> Result<Interval> {
    check_kept(txn, from).await?;
    let mut interval = Interval { from, to: from, commits: Vec::new(), digest: None };
    let mut assembly = Assembly::default();
    let mut begin = key::log_after(PARTITION, &from);
    let stop = key::log_after(PARTITION, &end);
    let mut bytes = 0;
    loop {
        let read = RangeRead::new(begin.as_slice(), stop.as_slice()).limit(PAGE_ROWS).target_bytes(target_bytes);
        let page = txn.range(&read, Isolation::Snapshot).await?;
        for (key, value) in &page.rows {
            bytes += key.len() + value.len();
            if let Some((position, commit)) = assembly.push(key, value)? {
                if !interval.commits.is_empty() && interval.to.incarnation != position.incarnation {
                    return Ok(interval);
                }
                interval.to = position;
                interval.commits.push(commit);
            }
        }
        let Some((last, _)) = page.rows.last().filter(|_| page.more) else { break };
        if bytes >= target_bytes && assembly.current.is_none() {
            return Ok(interval);
        }
        begin = [last.as_ref(), &[0]].concat();
    }
    assembly.finish()?;
    if !interval.commits.is_empty() && interval.to.incarnation != end.incarnation {
        return Ok(interval);
    }
    interval.to = end;
    interval.digest = Some(read_digest(txn).await?);
    Ok(interval)
}

async fn check_kept(txn: &mut dyn Transaction, from: Position) -> Result<()> {
    let trimmed = txn.get(key::local::TRIMMED, Isolation::Snapshot).await?;
    let Some(trimmed) = trimmed else { return Ok(()) };
    let trimmed = row::decode_position("the log's beginning", &trimmed)?;
    if from < trimmed {
        return Err(FsError::LogTrimmed(from.to_string()));
    }
    Ok(())
}

/// The state digest as of the transaction's snapshot.
pub(crate) async fn read_digest(txn: &mut dyn Transaction) -> Result<Digest> {
    let stored = txn.get(key::local::DIGEST, Isolation::Snapshot).await?;
    let Some(stored) = stored else { return Ok(Digest::default()) };
    Digest::try_from(stored.as_ref()).map_err(|error| FsError::Corrupt(error.to_string()))
}

#[cfg(test)]
mod tests {
    use farshore_proto::Incarnation;
    use proptest::prelude::*;

    use super::*;

    fn reassemble(chunks: &[Vec<u8>]) -> Result<Option<(Position, Commit)>> {
        reassemble_numbered(chunks.iter().enumerate())
    }

    fn reassemble_numbered<'c>(
        chunks: impl Iterator<Item = (usize, &'c Vec<u8>)>,
    ) -> Result<Option<(Position, Commit)>> {
        let position = Position { incarnation: Incarnation::new(0, [1; 12]), version: Version::new(5, 1) };
        let mut assembly = Assembly::default();
        let mut done = None;
        for (number, chunk) in chunks {
            done = assembly.push(&key::log_chunk(PARTITION, &position, number as u16), chunk)?;
        }
        assembly.finish()?;
        Ok(done)
    }

    proptest! {
        #[test]
        fn records_round_trip(rows in prop::collection::vec((any::<Vec<u8>>(), any::<Option<Vec<u8>>>()), 0..20)) {
            let changes: Vec<_> = rows.into_iter()
                .map(|(key, value)| Change { key: key.into(), value: value.map(Into::into) }).collect();
            let (_, commit) = reassemble(&encode(&changes)).unwrap().unwrap();
            prop_assert_eq!(commit.changes, changes);
        }

        #[test]
        fn damaged_records_give_errors_not_panics(record: Vec<u8>) {
            let _decoded = decode(&record.into());
        }
    }

    #[test]
    fn large_records_are_cut_and_put_together_again() {
        let value = Bytes::from(vec![7u8; 90_000]);
        let changes: Vec<_> = (0..10u8).map(|i| Change { key: vec![i].into(), value: Some(value.clone()) }).collect();
        let chunks = encode(&changes);
        assert!(chunks.len() > 9 && chunks.iter().all(|chunk| chunk.len() <= MAX_VALUE_BYTES));
        assert_eq!(reassemble(&chunks).unwrap().unwrap().1.changes, changes);
        for missing in [0, 3, chunks.len() - 1] {
            let others = chunks.iter().enumerate().filter(|(number, _)| *number != missing);
            assert!(reassemble_numbered(others).is_err(), "without chunk {missing}");
        }
    }
}
