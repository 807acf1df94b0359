//! The keys of a journal's rows. All begin with one byte that no volume's row begins with, so that a journal and a
//! volume that were given one place notice each other.

use bytes::Bytes;
use farshore_meta::engine::prefix_end;

use crate::journal::codec::Reader;
use crate::journal::range::ProcessId;
use crate::journal::{Result, WorkerId};
use crate::key::Key;

/// The first byte of every key.
const JOURNAL: u8 = b'S';

/// The kinds of rows: the second byte of every key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Table {
    /// The header.
    Header = b'H',
    /// A sum, by its name.
    Count = b'C',
    /// The next number of a range, and of a failure.
    Next = b'N',
    /// A range that is not finished, by its number.
    Range = b'R',
    /// A span that is finished, by its first place.
    Done = b'K',
    /// A worker that waits for a range, by its name.
    Waiting = b'W',
    /// A failure, by its number.
    Failure = b'E',
    /// Planned deletions, by the first of their keys.
    Deletions = b'D',
    /// What was recorded for a manifest, by the first of its keys.
    Recorded = b'M',
    /// An upload, by key and number.
    Upload = b'U',
    /// A part of an upload.
    Part = b'V',
    /// An upload whose parts several workers send.
    Share = b'S',
    /// A claim on a part of such an upload.
    PartClaim = b'P',
    /// What the last transaction of a process left, so that its outcome can be found out.
    Once = b'O',
}

/// What a number is given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbered {
    /// Ranges.
    Range,
    /// Failures.
    Failure,
}

/// A number of several uploads of one key: the later, the larger.
pub(super) type UploadNumber = u32;

impl Table {
    /// The first key that a row of a journal may have.
    pub(super) fn first() -> Vec<u8> {
        vec![JOURNAL]
    }

    /// The first key after all rows of a journal.
    pub(super) fn last() -> Vec<u8> {
        vec![JOURNAL + 1]
    }

    /// The first key of the table; all others begin with it.
    pub(super) fn prefix(self) -> Vec<u8> {
        vec![JOURNAL, self as u8]
    }

    /// The first key after the table.
    pub(super) fn end(self) -> Vec<u8> {
        prefix_end(&self.prefix())
    }

    /// What follows the table's prefix in a key of it.
    pub(super) fn suffix(self, key: &Bytes) -> Bytes {
        key.slice(self.prefix().len()..)
    }

    fn key(self, suffix: &[u8]) -> Vec<u8> {
        [&self.prefix(), suffix].concat()
    }
}

pub(super) fn header() -> Vec<u8> {
    Table::Header.prefix()
}

pub(super) fn count(name: &str) -> Vec<u8> {
    Table::Count.key(name.as_bytes())
}

pub(super) fn next(numbered: Numbered) -> Vec<u8> {
    Table::Next.key(match numbered {
        Numbered::Range => b"r",
        Numbered::Failure => b"e",
    })
}

pub(super) fn range(id: u64) -> Vec<u8> {
    Table::Range.key(&id.to_be_bytes())
}

pub(super) fn done(origin: &[u8]) -> Vec<u8> {
    Table::Done.key(origin)
}

pub(super) fn waiting(worker: &WorkerId) -> Vec<u8> {
    Table::Waiting.key(worker.0.as_bytes())
}

pub(super) fn failure(number: u64) -> Vec<u8> {
    Table::Failure.key(&number.to_be_bytes())
}

pub(super) fn deletions(first: &Key) -> Vec<u8> {
    Table::Deletions.key(first.as_bytes())
}

pub(super) fn recorded(first: &Key) -> Vec<u8> {
    recorded_from(first.as_bytes())
}

/// Where the rows begin whose first key is not below a place.
pub(super) fn recorded_from(place: &[u8]) -> Vec<u8> {
    Table::Recorded.key(place)
}

pub(super) fn once(process: ProcessId, slot: u32) -> Vec<u8> {
    Table::Once.key(&[&process.0[..], &slot.to_be_bytes()].concat())
}

/// What the keys of all uploads of `key` begin with.
pub(super) fn uploads_of(key: &Key) -> Vec<u8> {
    Table::Upload.key(&terminated(key))
}

pub(super) fn upload(key: &Key, number: UploadNumber) -> Vec<u8> {
    [&uploads_of(key)[..], &number.to_be_bytes()].concat()
}

pub(super) fn share(key: &Key, number: UploadNumber) -> Vec<u8> {
    [&shares_of(key)[..], &number.to_be_bytes()].concat()
}

/// What the keys of all shares of uploads of `key` begin with.
pub(super) fn shares_of(key: &Key) -> Vec<u8> {
    Table::Share.key(&terminated(key))
}

/// What the keys of all parts of an upload begin with.
pub(super) fn parts_of(key: &Key, number: UploadNumber) -> Vec<u8> {
    [&Table::Part.prefix()[..], &terminated(key), &number.to_be_bytes()].concat()
}

/// What the keys of all claims on parts of an upload begin with.
pub(super) fn part_claims_of(key: &Key, number: UploadNumber) -> Vec<u8> {
    [&Table::PartClaim.prefix()[..], &terminated(key), &number.to_be_bytes()].concat()
}

pub(super) fn part_claim(key: &Key, number: UploadNumber, part: u32) -> Vec<u8> {
    [&part_claims_of(key, number)[..], &part.to_be_bytes()].concat()
}

pub(super) fn part(key: &Key, number: UploadNumber, part: u32) -> Vec<u8> {
    [&parts_of(key, number)[..], &part.to_be_bytes()].concat()
}

/// The key so that no other begins with it, and in the same order: each zero byte becomes `00 FF`, the end is `00 00`.
fn terminated(key: &Key) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.as_bytes().len() + 2);
    for byte in key.as_bytes() {
        bytes.push(*byte);
        if *byte == 0 {
            bytes.push(0xFF);
        }
    }
    bytes.extend([0, 0]);
    bytes
}

/// The store's key and the number of an upload's row.
pub(super) fn parse_upload(row: &Bytes) -> Result<(Key, UploadNumber)> {
    parse_numbered(Table::Upload, "upload's key", row)
}

/// The store's key and the number of the upload of a share's row.
pub(super) fn parse_share(row: &Bytes) -> Result<(Key, UploadNumber)> {
    parse_numbered(Table::Share, "share's key", row)
}

/// The number of a part, which a row's key ends with.
pub(super) fn part_number(row: &Bytes) -> Result<u32> {
    let suffix = row.len().checked_sub(4).map(|at| row.slice(at..)).unwrap_or_default();
    let mut reader = Reader::new("part's key", &suffix);
    let number = reader.u32()?;
    reader.end()?;
    Ok(number)
}

fn parse_numbered(table: Table, what: &'static str, row: &Bytes) -> Result<(Key, UploadNumber)> {
    let suffix = table.suffix(row);
    let mut reader = Reader::new(what, &suffix);
    let mut bytes = Vec::new();
    loop {
        match reader.u8()? {
            0 if reader.u8()? == 0 => break,
            byte => bytes.push(byte),
        }
    }
    let key = Key::new(bytes).map_err(|error| reader.damaged(error.to_string()))?;
    let number = reader.u32()?;
    reader.end()?;
    Ok((key, number))
}

/// The number of a range's row.
pub(super) fn parse_range(row: &Bytes) -> Result<u64> {
    let suffix = Table::Range.suffix(row);
    let mut reader = Reader::new("range's key", &suffix);
    let id = reader.u64()?;
    reader.end()?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_key() -> impl Strategy<Value = Key> {
        // Few values of bytes, the awkward ones, so that keys are often prefixes of each other.
        let byte = prop_oneof![Just(0_u8), Just(1), Just(0xFE), Just(0xFF), any::<u8>()];
        prop::collection::vec(byte, 1..8).prop_map(|bytes| Key::new(bytes).unwrap())
    }

    proptest! {
        #[test]
        fn uploads_come_back_and_keep_the_order_of_keys(one in any_key(), other in any_key(), numbers in any::<[u32; 2]>()) {
            let rows = [upload(&one, numbers[0]), upload(&other, numbers[1])];
            prop_assert_eq!(parse_upload(&rows[0].clone().into()).unwrap(), (one.clone(), numbers[0]));
            prop_assert_eq!((&one, numbers[0]).cmp(&(&other, numbers[1])), rows[0].cmp(&rows[1]));
            prop_assert_eq!(rows[1].starts_with(&uploads_of(&one)), one == other);
        }

        #[test]
        fn no_row_panics(suffix in prop::collection::vec(any::<u8>(), 0..40)) {
            parse_upload(&Table::Upload.key(&suffix).into()).ok();
            parse_range(&Table::Range.key(&suffix).into()).ok();
            parse_share(&Table::Share.key(&suffix).into()).ok();
            part_number(&suffix.into()).ok();
        }
    }
}
