//! One cached block: a head with the hashes of its groups, and their plain bytes at fixed places.
//!
//! Big-endian. Offset 0: magic `farcache` (8), version (2), zeros (2), block length (4); at 32 the
//! group hashes; at 12 KiB the block's bytes, sparse. No bitmap says which groups are there:
//! a group is present if and only if it verifies. A hole reads as zeros and does not, and if the
//! data truly are zeros it does and is right. Torn writes and flipped bytes are absent groups.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use bytes::{BufMut, Bytes, BytesMut};
use farshore_proto::BlockName;
use farshore_proto::limits::{GROUP_BYTES, MAX_BLOCK_BYTES};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use crate::fetch::VerifiedPiece;
use crate::group::{bytes_of_group, bytes_of_groups, clamp_groups, group_count};
use crate::hashes::{BlockTree, GroupHashes, HASH_BYTES};
use crate::key::BlockKey;
use crate::runs::RunSet;

const MAGIC: &[u8; 8] = b"farcache";
const FILE_VERSION: u16 = 1;
const HASHES_AT: usize = 32;
/// Where a block's bytes begin: after the hashes of the largest block, on a page.
pub(super) const DATA_AT: u64 = 12 << 10;

/// An open file of the cache.
pub(super) struct CacheFile(File);

/// What a read found.
pub(super) struct FileRead {
    pub(super) runs: RunSet,
    pub(super) group_count: u32,
    /// Groups that were wanted and are not there.
    pub(super) absent: Vec<u32>,
    /// How many of them hold bytes that are not zero: damage, not holes.
    pub(super) corrupt: u32,
}

impl CacheFile {
    /// Opens a file to be read. A symbolic link in its place is not followed.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        OpenOptions::new().read(true).custom_flags(flags).open(path).map(Self)
    }

    /// Opens or creates a file to be filled.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        if let Some(fan) = path.parent() {
            std::fs::create_dir_all(fan)?;
        }
        let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).custom_flags(flags);
        options.open(path).map(Self)
    }

    pub(super) fn inner(&self) -> &File {
        &self.0
    }

    /// The wanted groups that verify, or nothing if the head is not this block's.
    pub(super) fn read(&self, key: &BlockKey, name: BlockName, groups: &Range<u32>) -> Option<FileRead> {
        let tree = self.read_tree(key, name)?;
        let groups = clamp_groups(groups, tree.block_len());
        let bytes = bytes_of_groups(&groups, tree.block_len());
        let data = self.read_run(DATA_AT + u64::from(bytes.start), bytes.len());
        Some(sort_groups(key, &tree, &groups, &data))
    }

    fn read_tree(&self, key: &BlockKey, name: BlockName) -> Option<BlockTree> {
        // The head of a block of the default size; a larger block's hashes take a second read.
        const USUAL_HEAD: usize = HASHES_AT + 64 * HASH_BYTES;
        let mut head = self.read_run(0, USUAL_HEAD);
        let block_len = parse_head(&head)?;
        let end = HASHES_AT + group_count(block_len) as usize * HASH_BYTES;
        if end > USUAL_HEAD {
            head = self.read_run(0, end);
        }
        let hashes = (head.len() >= end).then(|| head.slice(HASHES_AT..end))?;
        BlockTree::check(key, name, block_len, GroupHashes::try_from(hashes).ok()?).ok()
    }

    /// Up to `len` bytes from `at`: fewer at the file's end, or where the disk fails.
    fn read_run(&self, at: u64, len: usize) -> Bytes {
        let mut run = Vec::with_capacity(len);
        while run.len() < len {
            let next = at + run.len() as u64;
            match rustix::io::pread(&self.0, spare_capacity(&mut run), next) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::debug!(%error, "a cached block could not be read");
                    break;
                }
            }
        }
        run.truncate(len);
        run.into()
    }

    /// Writes a piece. Tells whether the file was begun anew because it held another head.
    pub(super) fn write(&self, piece: &VerifiedPiece) -> io::Result<bool> {
        let head = encode_head(&piece.tree);
        let renewed = self.read_run(0, head.len()) != head;
        if renewed {
            self.0.set_len(0)?;
            self.0.write_all_at(&head, 0)?;
        }
        let at = DATA_AT + u64::from(piece.first_group) * u64::from(GROUP_BYTES);
        self.0.write_all_at(&piece.data, at)?;
        Ok(renewed)
    }
}

fn encode_head(tree: &BlockTree) -> Bytes {
    let hashes = tree.hashes().as_bytes();
    let mut head = BytesMut::with_capacity(HASHES_AT + hashes.len());
    head.put_slice(MAGIC);
    head.put_u16(FILE_VERSION);
    head.put_u16(0);
    head.put_u32(tree.block_len());
    head.put_bytes(0, HASHES_AT - head.len());
    head.put_slice(hashes);
    head.freeze()
}

/// The block's length, if this is the head of a cached block. An unknown version is no cache.
fn parse_head(head: &[u8]) -> Option<u32> {
    let fixed: &[u8; HASHES_AT] = head.first_chunk()?;
    let ours = &fixed[..8] == MAGIC && u16::from_be_bytes([fixed[8], fixed[9]]) == FILE_VERSION;
    let block_len = u32::from_be_bytes([fixed[12], fixed[13], fixed[14], fixed[15]]);
    (ours && block_len <= MAX_BLOCK_BYTES).then_some(block_len)
}

/// Divides what was read into runs of groups that verify, and groups that do not.
fn sort_groups(key: &BlockKey, tree: &BlockTree, groups: &Range<u32>, data: &Bytes) -> FileRead {
    let count = tree.hashes().count();
    let mut read = FileRead { runs: RunSet::default(), group_count: count, absent: Vec::new(), corrupt: 0 };
    let mut run_start = groups.start;
    let base = groups.start * GROUP_BYTES;
    let keep = |runs: &mut RunSet, run: Range<u32>| {
        let bytes = bytes_of_groups(&run, tree.block_len());
        if !bytes.is_empty() {
            runs.insert(
                run.start,
                data.slice((bytes.start - base) as usize..(bytes.end - base) as usize),
                run.end == count,
            );
        }
    };
    for index in groups.clone() {
        let bytes = bytes_of_group(index, tree.block_len());
        let found =
            data.get((bytes.start - base) as usize..data.len().min((bytes.end - base) as usize)).unwrap_or_default();
        if tree.verify_group(key, index, found) {
            continue;
        }
        keep(&mut read.runs, run_start..index);
        run_start = index + 1;
        read.absent.push(index);
        read.corrupt += u32::from(found.iter().any(|byte| *byte != 0));
    }
    keep(&mut read.runs, run_start..groups.end);
    if count == 0 {
        read.runs = RunSet::whole(Bytes::new());
    }
    read
}
