//! The high-water mark: the last version that was surely durable, kept beside the rows.
//!
//! The storage library's recovery cuts its journal at the first entry that it cannot read
//! and says nothing. A row written with each group tells how far the rows go; the mark
//! tells how far they went. The mark is written after the group is durable and is not
//! synced, so that a power cut may leave it old but never ahead: it is a lower bound.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

use farshore_proto::Version;

use super::layout::Layout;
use crate::engine::Result;

/// Two slots, far enough apart that one torn sector spoils one slot only.
const SLOT_STRIDE: u64 = 4096;
const SLOTS: usize = 2;
const VERSION_BYTES: usize = 10;
const CHECKSUM_BYTES: usize = 8;
const SLOT_BYTES: usize = VERSION_BYTES + CHECKSUM_BYTES;

/// The file of the mark. Slots are written in turn, so that a torn write spoils the older.
#[derive(Debug)]
pub(super) struct HighWater {
    file: File,
    next_slot: usize,
}

impl HighWater {
    pub(super) fn create(layout: &Layout) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let create = || {
            let file = options.open(layout.high_water())?;
            file.write_all_at(&[0; SLOT_BYTES], offset(SLOTS - 1))?;
            file.sync_all()?;
            Ok(Self { file, next_slot: 0 })
        };
        create().map_err(|error: io::Error| layout.failed(error))
    }

    /// Opens the file and gives the mark it holds; none if the file was removed or no slot is whole.
    pub(super) fn open(layout: &Layout) -> Result<(Self, Option<Version>)> {
        if !layout.high_water().exists() {
            return Ok((Self::create(layout)?, None));
        }
        let open = || {
            let file = OpenOptions::new().read(true).write(true).open(layout.high_water())?;
            let slots = (0..SLOTS).map(|slot| read_slot(&file, slot));
            let slots: Vec<Option<Version>> = slots.collect::<io::Result<_>>()?;
            let newest = (0..SLOTS).max_by_key(|slot| slots[*slot]).unwrap_or_default();
            Ok((Self { file, next_slot: (newest + 1) % SLOTS }, slots[newest]))
        };
        open().map_err(|error: io::Error| layout.failed(error))
    }

    /// Raises the mark to `version`, which must be durable.
    pub(super) fn raise(&mut self, version: Version) -> io::Result<()> {
        self.file.write_all_at(&encode(version), offset(self.next_slot))?;
        self.next_slot = (self.next_slot + 1) % SLOTS;
        Ok(())
    }
}

fn offset(slot: usize) -> u64 {
    slot as u64 * SLOT_STRIDE
}

fn encode(version: Version) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    let hash = blake3::hash(version.as_bytes());
    slot[..VERSION_BYTES].copy_from_slice(version.as_bytes());
    slot[VERSION_BYTES..].copy_from_slice(&hash.as_bytes()[..CHECKSUM_BYTES]);
    slot
}

fn read_slot(file: &File, slot: usize) -> io::Result<Option<Version>> {
    let mut bytes = [0; SLOT_BYTES];
    match file.read_exact_at(&mut bytes, offset(slot)) {
        Ok(()) => Ok(decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<Version> {
    let version = Version::try_from(&bytes[..VERSION_BYTES]).ok()?;
    (encode(version) == *bytes).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(layout: &Layout) -> Option<Version> {
        HighWater::open(layout).unwrap().1
    }

    #[test]
    fn it_keeps_the_newest_mark_and_ignores_torn_slots() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::at(directory.path());
        let mut high_water = HighWater::create(&layout).unwrap();
        assert_eq!(mark(&layout), None);
        for batch in 1..=5 {
            high_water.raise(Version::end_of(batch)).unwrap();
            assert_eq!(mark(&layout), Some(Version::end_of(batch)));
        }
        let (mut reopened, _) = HighWater::open(&layout).unwrap();
        reopened.raise(Version::end_of(6)).unwrap();
        let torn = offset((reopened.next_slot + 1) % SLOTS);
        reopened.file.write_all_at(&[7; 5], torn).unwrap();
        assert_eq!(mark(&layout), Some(Version::end_of(5)));
        reopened.file.set_len(0).unwrap();
        assert_eq!(mark(&layout), None);
    }
}
