//! What has come in and is not written yet: pages, or intervals that tile. It is bounded; while
//! it is full nothing more is read from the connection, whose own bounds then stop the upstream.

use std::collections::VecDeque;

use farshore_meta::{Commit, Interval, RowsPage};

/// Pages held: one that waits while another is written.
const MAX_PAGES: usize = 2;
/// Bytes of intervals held, unless one alone is larger.
const MAX_INTERVAL_BYTES: usize = 8 << 20;
/// Intervals held.
const MAX_INTERVALS: usize = 1_024;
/// Bytes of commits that are applied together. Small intervals that queued up share one
/// transaction, so that applying keeps up with a stream of them.
const MERGED_BYTES: usize = 1 << 20;

/// Pages and intervals that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pages: VecDeque<RowsPage>,
    intervals: VecDeque<(Interval, usize)>,
    interval_bytes: usize,
}

impl Inbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.pages.is_empty() && self.intervals.is_empty()
    }

    /// Whether more may be read from the connection.
    pub(crate) fn has_room(&self) -> bool {
        let room = self.intervals.len() < MAX_INTERVALS && self.interval_bytes < MAX_INTERVAL_BYTES;
        room && self.pages.len() < MAX_PAGES
    }

    pub(crate) fn push_page(&mut self, page: RowsPage) {
        self.pages.push_back(page);
    }

    pub(crate) fn pop_page(&mut self) -> Option<RowsPage> {
        self.pages.pop_front()
    }

    /// Takes an interval that begins where the last one ended.
    pub(crate) fn push_interval(&mut self, interval: Interval) {
        let bytes = interval.commits.iter().map(Commit::bytes).sum();
        self.interval_bytes += bytes;
        self.intervals.push_back((interval, bytes));
    }

    /// The next interval to apply: several as one where they are small.
    pub(crate) fn pop_interval(&mut self) -> Option<Interval> {
        let (mut merged, mut bytes) = self.take_first()?;
        while self.intervals.front().is_some_and(|(next, more)| bytes + more <= MERGED_BYTES && joins(&merged, next)) {
            let (next, more) = self.take_first()?;
            merged.commits.extend(next.commits);
            merged.to = next.to;
            merged.digest = next.digest;
            bytes += more;
        }
        Some(merged)
    }

    fn take_first(&mut self) -> Option<(Interval, usize)> {
        let (interval, bytes) = self.intervals.pop_front()?;
        self.interval_bytes -= bytes;
        Some((interval, bytes))
    }

    /// Drops everything: it has to come again.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Two intervals are one when their commits are of one incarnation, and no digest is given up
/// for an end at which none is known.
fn joins(merged: &Interval, next: &Interval) -> bool {
    let one_incarnation = merged.commits.is_empty() || merged.to.incarnation == next.to.incarnation;
    one_incarnation && (merged.digest.is_none() || next.digest.is_some())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use farshore_meta::{Change, Digest};
    use farshore_proto::{Incarnation, Position, Version};

    use super::*;

    fn at(epoch: u32, batch: u64) -> Position {
        Position { incarnation: Incarnation::new(epoch, [1; 12]), version: Version::new(batch, 0) }
    }

    fn interval(from: Position, to: Position, bytes: usize, whole: bool) -> Interval {
        let change = Change { key: Bytes::from(vec![b'D'; bytes]), value: None };
        let commits = vec![Commit { version: to.version, changes: vec![change] }];
        Interval { from, to, commits, digest: whole.then(Digest::default) }
    }

    #[test]
    fn small_intervals_are_applied_together() {
        let mut inbox = Inbox::default();
        (1..5).for_each(|batch| {
            inbox.push_interval(interval(at(1, batch), at(1, batch + 1), 10, true));
        });
        let merged = inbox.pop_interval().unwrap();
        assert_eq!((merged.from, merged.to, merged.commits.len()), (at(1, 1), at(1, 5), 4));
        assert!(inbox.is_empty() && inbox.interval_bytes == 0);
    }

    #[test]
    fn incarnations_large_ones_and_digests_stay_apart() {
        let mut inbox = Inbox::default();
        inbox.push_interval(interval(at(1, 1), at(1, 2), MERGED_BYTES, true));
        inbox.push_interval(interval(at(1, 2), at(1, 3), 1, true));
        inbox.push_interval(interval(at(1, 3), at(2, 1), 1, true));
        inbox.push_interval(interval(at(2, 1), at(2, 2), 1, false));
        let ends: Vec<_> = std::iter::from_fn(|| inbox.pop_interval()).map(|interval| interval.to).collect();
        assert_eq!(ends, [at(1, 2), at(1, 3), at(2, 1), at(2, 2)]);
    }

    #[test]
    fn it_is_bounded() {
        let mut inbox = Inbox::default();
        assert!(inbox.has_room());
        inbox.push_interval(interval(at(1, 1), at(1, 2), MAX_INTERVAL_BYTES, true));
        assert!(!inbox.has_room());
        inbox.clear();
        assert!(inbox.has_room() && inbox.is_empty());
    }
}
