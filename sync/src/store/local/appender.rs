//! Appends bytes to a file. Long runs go past the page cache, where the filesystem is known to be good at that: copying
//! them there costs more than all else that is done with them, and what is written is seldom read soon.

use std::cell::Cell;
use std::os::fd::BorrowedFd;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl, fstatfs};
use rustix::io::{Errno, pwrite};

use crate::limits::{DIRECT_BLOCK_BYTES, DIRECT_FROM_BYTES};

type Outcome = std::result::Result<(), Errno>;

/// Where direct writes begin, in the file and in memory, and how long they are: a multiple of every disk's sector.
const ALIGNED_TO: usize = 4096;
/// Zeros of this length, at a multiple of it, become a hole where holes are kept.
const HOLE_BYTES: usize = 4096;
/// Filesystems that write directly at least as fast: ext4 and XFS, by what `statfs` tells (linux/magic.h).
const GOOD_AT_DIRECT: [u64; 2] = [0xEF53, 0x5846_5342];

thread_local! {
    /// The block of the last appender of this thread.
    static SPARE: Cell<Option<Block>> = const { Cell::new(None) };
}

/// Where the next bytes of a file go, and how.
#[derive(Debug)]
pub(super) struct Appender {
    /// The offset of what was not written yet.
    at: u64,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// At once, through the page cache.
    Cached,
    /// At once, without whole blocks of zeros, which stay holes.
    Sparse,
    /// A block at a time, past the page cache.
    Direct(Block),
}

/// Bytes that wait until they are a block.
#[derive(Debug)]
struct Block {
    memory: Vec<u8>,
    /// Where in it the aligned part begins.
    start: usize,
    filled: usize,
}

impl Appender {
    /// For `len` bytes of a file from an offset on, of which nothing is written.
    pub(super) fn new(file: BorrowedFd<'_>, at: u64, len: u64, sparse: bool) -> Self {
        let way = if sparse {
            Way::Sparse
        } else if len >= DIRECT_FROM_BYTES && at.is_multiple_of(ALIGNED_TO as u64) && is_good_at_direct(file) {
            Way::direct(file)
        } else {
            Way::Cached
        };
        Self { at, way }
    }

    /// Appends bytes; some may wait for those that follow.
    pub(super) fn append(&mut self, file: BorrowedFd<'_>, mut bytes: &[u8]) -> Outcome {
        while !bytes.is_empty() {
            match &mut self.way {
                Way::Direct(block) => {
                    bytes = block.take(bytes);
                    if block.is_full() {
                        self.write_block(file)?;
                    }
                }
                Way::Cached => {
                    write_all(file, bytes, self.at)?;
                    self.at += bytes.len() as u64;
                    return Ok(());
                }
                Way::Sparse => {
                    write_pieces(file, bytes, self.at)?;
                    self.at += bytes.len() as u64;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Writes what waits.
    pub(super) fn finish(&mut self, file: BorrowedFd<'_>) -> Outcome {
        self.write_block(file)?;
        if let Way::Direct(block) = std::mem::replace(&mut self.way, Way::Cached) {
            SPARE.set(Some(block));
        }
        Ok(())
    }

    /// Writes what waits: as much as goes directly, and the rest, which is less than a sector, as it can be.
    fn write_block(&mut self, file: BorrowedFd<'_>) -> Outcome {
        let Way::Direct(block) = &mut self.way else { return Ok(()) };
        let bytes = block.bytes();
        let direct = bytes.len() - bytes.len() % ALIGNED_TO;
        let mut written = 0;
        while written < direct {
            match pwrite(file, &bytes[written..direct], self.at + written as u64) {
                Ok(count) => written += count,
                // This file is not written so, or the disk wrote a part that is no sector.
                Err(Errno::INVAL) => break,
                Err(error) => return Err(error),
            }
        }
        if written < bytes.len() {
            set_direct(file, false)?;
            write_all(file, &bytes[written..], self.at + written as u64)?;
        }
        self.at += bytes.len() as u64;
        block.filled = 0;
        if written < direct {
            self.way = Way::Cached;
        }
        Ok(())
    }
}

impl Way {
    fn direct(file: BorrowedFd<'_>) -> Self {
        match set_direct(file, true) {
            Ok(()) => Self::Direct(SPARE.take().unwrap_or_else(Block::new)),
            Err(_) => Self::Cached,
        }
    }
}

impl Block {
    fn new() -> Self {
        let memory = vec![0; DIRECT_BLOCK_BYTES + ALIGNED_TO];
        let start = memory.as_ptr().align_offset(ALIGNED_TO);
        assert!(start < ALIGNED_TO, "bytes can be aligned");
        Self { memory, start, filled: 0 }
    }

    /// Takes as many as there is room for; the others.
    fn take<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let (taken, rest) = bytes.split_at(bytes.len().min(DIRECT_BLOCK_BYTES - self.filled));
        let from = self.start + self.filled;
        self.memory[from..from + taken.len()].copy_from_slice(taken);
        self.filled += taken.len();
        rest
    }

    fn is_full(&self) -> bool {
        self.filled == DIRECT_BLOCK_BYTES
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.filled]
    }
}

fn is_good_at_direct(file: BorrowedFd<'_>) -> bool {
    fstatfs(file).is_ok_and(|filesystem| GOOD_AT_DIRECT.contains(&(filesystem.f_type as u64)))
}

fn set_direct(file: BorrowedFd<'_>, direct: bool) -> Outcome {
    let flags = fcntl_getfl(file)?;
    fcntl_setfl(file, if direct { flags | OFlags::DIRECT } else { flags - OFlags::DIRECT })
}

/// Writes bytes at an offset; whole blocks of zeros stay holes.
fn write_pieces(file: BorrowedFd<'_>, bytes: &[u8], mut offset: u64) -> Outcome {
    let (mut piece, mut rest) = bytes.split_at((HOLE_BYTES - offset as usize % HOLE_BYTES).min(bytes.len()));
    while !piece.is_empty() {
        if piece.iter().any(|byte| *byte != 0) {
            write_all(file, piece, offset)?;
        }
        offset += piece.len() as u64;
        (piece, rest) = rest.split_at(HOLE_BYTES.min(rest.len()));
    }
    Ok(())
}

/// Writes bytes at an offset.
pub(super) fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> Outcome {
    while !bytes.is_empty() {
        let written = pwrite(file, bytes, offset)?;
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{FileExt, MetadataExt};

    use proptest::prelude::*;

    use super::*;

    const LEN: usize = 3 * DIRECT_BLOCK_BYTES + 777;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at as u32).wrapping_mul(0x9E37_79B1).to_le_bytes()[3] | 1).collect()
    }

    fn append(file: &File, appender: &mut Appender, bytes: &[u8], piece: usize) {
        bytes.chunks(piece).for_each(|piece| appender.append(file.as_fd(), piece).unwrap());
        appender.finish(file.as_fd()).unwrap();
    }

    fn content(file: &File, at: u64) -> Vec<u8> {
        let mut content = vec![0; (file.metadata().unwrap().len() - at) as usize];
        file.read_exact_at(&mut content, at).unwrap();
        content
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn what_was_appended_is_there(len in DIRECT_FROM_BYTES as usize..LEN, piece in 1..LEN, sectors in 0_u64..3) {
            let (file, bytes, at) = (tempfile::tempfile().unwrap(), bytes(len), sectors * ALIGNED_TO as u64);
            let mut appender = Appender::new(file.as_fd(), at, len as u64, false);
            append(&file, &mut appender, &bytes, piece);
            prop_assert!(content(&file, at) == bytes);
        }
    }

    #[test]
    fn long_runs_go_directly_where_that_is_good() {
        let file = tempfile::tempfile().unwrap();
        let way = |at, len, sparse| Appender::new(file.as_fd(), at, len, sparse).way;
        assert_eq!(matches!(way(0, DIRECT_FROM_BYTES, false), Way::Direct(_)), is_good_at_direct(file.as_fd()));
        assert!(matches!(way(1, DIRECT_FROM_BYTES, false), Way::Cached));
        assert!(matches!(way(0, DIRECT_FROM_BYTES - 1, false), Way::Cached));
        assert!(matches!(way(0, DIRECT_FROM_BYTES, true), Way::Sparse));
        let in_memory = tempfile::tempfile_in("/dev/shm").unwrap();
        assert!(matches!(Appender::new(in_memory.as_fd(), 0, DIRECT_FROM_BYTES, false).way, Way::Cached));
    }

    #[test]
    fn what_cannot_be_written_directly_is_written_all_the_same() {
        let (file, bytes) = (tempfile::tempfile().unwrap(), bytes(LEN));
        // No disk takes this offset.
        let mut appender = Appender { at: 7, way: Way::direct(file.as_fd()) };
        append(&file, &mut appender, &bytes, 100_000);
        assert!(content(&file, 7) == bytes);
        assert!(matches!(appender.way, Way::Cached));
    }

    #[test]
    fn blocks_of_zeros_stay_holes() {
        let (file, mut bytes) = (tempfile::tempfile().unwrap(), bytes(LEN));
        bytes[HOLE_BYTES..LEN - HOLE_BYTES].fill(0);
        let mut appender = Appender::new(file.as_fd(), 0, LEN as u64, true);
        append(&file, &mut appender, &bytes, 100_001);
        assert!(content(&file, 0) == bytes);
        assert!(file.metadata().unwrap().blocks() * 512 < LEN as u64 / 2);
    }
}
