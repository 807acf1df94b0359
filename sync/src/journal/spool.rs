//! Planned deletions in a temporary file, so that memory holds one small entry a batch. Batches cover parts of the
//! key order that do not overlap, so reading them from the last to the first gives descending keys.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Bound;

use super::Deletion;
use crate::key::Key;

/// The spool. It is not durable: the job that it belongs to ends with the process.
#[derive(Debug)]
pub struct DeletionSpool {
    file: File,
    /// Where each batch lies, by its first key.
    batches: BTreeMap<Key, Place>,
    /// Keys from here on are forgotten.
    until: Option<Key>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    bytes: usize,
}

impl DeletionSpool {
    /// An empty spool in a file without a name, in the directory for temporary files.
    pub fn new() -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile()?, batches: BTreeMap::new(), until: None })
    }

    /// Adds a batch: in ascending order, and of no keys that lie between those of another batch.
    pub fn add(&mut self, deletions: &[Deletion]) -> io::Result<()> {
        let Some(first) = deletions.first() else { return Ok(()) };
        let record: Vec<u8> = deletions.iter().flat_map(encode).collect();
        let offset = self.file.seek(SeekFrom::End(0))?;
        self.file.write_all(&record)?;
        self.batches.insert(first.key.clone(), Place { offset, bytes: record.len() });
        Ok(())
    }

    /// The last `limit` deletions below `before`, in descending order.
    pub fn last(&mut self, before: Option<&Key>, limit: usize) -> io::Result<Vec<Deletion>> {
        let before = before.into_iter().chain(&self.until).min().cloned();
        let upper = before.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let places: Vec<_> = self
            .batches
            .range::<Key, _>((Bound::Unbounded, upper))
            .rev()
            .map(|(_, place)| *place)
            .take(limit)
            .collect();
        let mut last = Vec::new();
        for place in places {
            let below = self
                .read(place)?
                .into_iter()
                .rev()
                .filter(|found| before.as_ref().is_none_or(|before| found.key < *before));
            last.extend(below);
            if last.len() >= limit {
                break;
            }
        }
        last.truncate(limit);
        Ok(last)
    }

    /// Forgets the deletions from this key on.
    pub fn forget(&mut self, from: &Key) {
        self.batches.split_off(from);
        self.until = self.until.take().into_iter().chain([from.clone()]).min();
    }

    fn read(&mut self, place: Place) -> io::Result<Vec<Deletion>> {
        let mut record = vec![0; place.bytes];
        self.file.seek(SeekFrom::Start(place.offset))?;
        self.file.read_exact(&mut record)?;
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the deletion spool was damaged by others");
        let (mut rest, mut deletions) = (record.as_slice(), Vec::new());
        while !rest.is_empty() {
            let (deletion, after) = decode(rest).ok_or_else(damaged)?;
            deletions.push(deletion);
            rest = after;
        }
        Ok(deletions)
    }
}

/// Two bytes of the key's length, the key, eight bytes of the size; big-endian.
fn encode(deletion: &Deletion) -> Vec<u8> {
    let key = deletion.key.as_bytes();
    [&(key.len() as u16).to_be_bytes()[..], key, &deletion.size.to_be_bytes()].concat()
}

fn decode(bytes: &[u8]) -> Option<(Deletion, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    let (key, rest) = rest.split_at_checked(u16::from_be_bytes(*len) as usize)?;
    let (size, rest) = rest.split_first_chunk::<8>()?;
    let key = Key::new(key.to_vec()).ok()?;
    Some((Deletion { key, size: u64::from_be_bytes(*size) }, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn deletion(number: u32) -> Deletion {
        Deletion { key: Key::new(number.to_be_bytes().to_vec()).unwrap(), size: u64::from(number) }
    }

    proptest! {
        #[test]
        fn all_deletions_come_back_in_descending_order(
            batches in prop::collection::vec(1_u32..9, 0..12),
            limit in 1_usize..7,
            seed in any::<u64>(),
        ) {
            let mut next = 0;
            let mut batches: Vec<Vec<Deletion>> = batches.into_iter().map(|len| {
                next += len;
                (next - len..next).map(deletion).collect()
            }).collect();
            // Ranges settle in any order.
            if !batches.is_empty() {
                let middle = seed as usize % batches.len();
                batches.rotate_left(middle);
            }
            let mut spool = DeletionSpool::new().unwrap();
            for batch in &batches {
                spool.add(batch).unwrap();
            }
            let mut found: Vec<Deletion> = Vec::new();
            loop {
                let more = spool.last(None, limit).unwrap();
                let Some(lowest) = more.last() else { break };
                prop_assert!(more.len() <= limit);
                spool.forget(&lowest.key);
                found.extend(more);
            }
            prop_assert_eq!(found, (0..next).rev().map(deletion).collect::<Vec<_>>());
        }
    }
}
