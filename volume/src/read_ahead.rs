//! Recognising a sequential reader, and how far to read ahead of it.

use std::ops::Range;

/// How far a read may lie from the expected place and still be part of a sequence: the kernel
/// sends the requests of one reader in parallel and not quite in order.
const SLACK_BYTES: u64 = 2 << 20;
/// Reads in sequence before anything is read ahead.
const MIN_RUN: u32 = 2;
/// What is read ahead first; it doubles with every read in sequence.
const FIRST_WINDOW_BYTES: u64 = 1 << 20;

/// What is known of one handle's reads.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    next: u64,
    run: u32,
    window: u64,
    reached: u64,
}

impl ReadAhead {
    /// Notes a read of [offset, offset + len); returns whether it is part of a sequence, and what
    /// to fetch now, ahead of the reader.
    pub(crate) fn note(&mut self, offset: u64, len: u64, most: u64) -> (bool, Range<u64>) {
        let near = offset.abs_diff(self.next) <= SLACK_BYTES && offset + len > self.next.saturating_sub(SLACK_BYTES);
        let end = offset + len;
        if !near {
            *self = Self { next: end, run: 1, window: 0, reached: end };
            return (false, end..end);
        }
        self.next = self.next.max(end);
        self.run = self.run.saturating_add(1);
        if self.run < MIN_RUN {
            return (false, end..end);
        }
        self.window = (self.window * 2).clamp(FIRST_WINDOW_BYTES, most.max(FIRST_WINDOW_BYTES));
        let from = self.reached.max(self.next);
        let to = self.next + self.window.min(most);
        // Half a window at a time, so that the work comes in blocks, not in requests.
        if to < from + self.window / 2 {
            return (true, from..from);
        }
        self.reached = to.max(from);
        (true, from..self.reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_read_ahead_once_and_a_jump_ends_it() {
        let mut ahead = ReadAhead::default();
        let mut covered = 0;
        for i in 0..1000u64 {
            let (_, range) = ahead.note(i << 17, 1 << 17, 32 << 20);
            if !range.is_empty() {
                assert!(covered == 0 || range.start == covered, "{range:?} after {covered}");
                covered = range.end;
            }
        }
        assert!(covered > 1000 << 17 && covered <= (1000 << 17) + (32 << 20), "{covered}");
        let (sequential, range) = ahead.note(1 << 40, 4096, 32 << 20);
        assert!(!sequential && range.is_empty());
    }

    #[test]
    fn random_reads_fetch_nothing_ahead() {
        let mut ahead = ReadAhead::default();
        ahead.note(1 << 30, 4096, 32 << 20);
        for i in [77u64, 3, 900, 41, 650, 8, 333] {
            let (sequential, range) = ahead.note(i << 24, 4096, 32 << 20);
            assert!(!sequential && range.is_empty());
        }
    }
}
