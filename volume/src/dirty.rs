//! Bytes written to a file and not yet on their way to the store.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

/// Runs of written bytes by their offset in the file: they neither overlap nor touch.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    runs: BTreeMap<u64, BytesMut>,
    bytes: u64,
}

fn end_of(offset: u64, run: &BytesMut) -> u64 {
    offset + run.len() as u64
}

impl Dirty {
    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Writes `data` over whatever was there; returns by how many bytes more are held.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> u64 {
        if data.is_empty() {
            return 0;
        }
        let before = self.bytes;
        let end = offset + data.len() as u64;
        if !self.extend_in_place(offset, data) {
            let (start, run) = self.merge(offset, end, data);
            self.bytes += run.len() as u64;
            self.runs.insert(start, run);
        }
        self.bytes - before
    }

    /// The common case: the write begins in or right after one run and reaches no other.
    fn extend_in_place(&mut self, offset: u64, data: &[u8]) -> bool {
        let end = offset + data.len() as u64;
        let next = self.runs.range(offset + 1..).next().map(|(start, _)| *start);
        if next.is_some_and(|next| next <= end) {
            return false;
        }
        let Some((start, run)) = self.runs.range_mut(..=offset).next_back() else { return false };
        if end_of(*start, run) < offset {
            return false;
        }
        let at = (offset - start) as usize;
        let over = (run.len() - at).min(data.len());
        run[at..at + over].copy_from_slice(&data[..over]);
        run.extend_from_slice(&data[over..]);
        self.bytes += (data.len() - over) as u64;
        true
    }

    /// Takes out the runs that touch [offset, end) and lays `data` over them.
    fn merge(&mut self, offset: u64, end: u64, data: &[u8]) -> (u64, BytesMut) {
        let touching: Vec<u64> = self
            .runs
            .range(..=end)
            .rev()
            .take_while(|(start, run)| end_of(**start, run) >= offset)
            .map(|(start, _)| *start)
            .collect();
        let old: Vec<_> = touching.into_iter().rev().filter_map(|start| self.runs.remove_entry(&start)).collect();
        self.bytes -= old.iter().map(|(_, run)| run.len() as u64).sum::<u64>();
        let start = old.first().map_or(offset, |(start, _)| offset.min(*start));
        let mut merged = BytesMut::new();
        if let Some((first, run)) = old.first().filter(|(first, _)| *first < offset) {
            merged.extend_from_slice(&run[..(offset - first) as usize]);
        }
        merged.extend_from_slice(data);
        if let Some((last, run)) = old.last().filter(|(last, run)| end_of(*last, run) > end) {
            merged.extend_from_slice(&run[(end - last) as usize..]);
        }
        (start, merged)
    }

    /// Takes out every whole, aligned run of `block` bytes that has been written to its end.
    pub(crate) fn take_full(&mut self, block: u64) -> Vec<(u64, Bytes)> {
        let full = |start: u64, run: &BytesMut| {
            let first = start.next_multiple_of(block);
            let last = end_of(start, run) / block * block;
            (first < last).then_some((start, first, last))
        };
        let found: Vec<_> = self.runs.iter().filter_map(|(start, run)| full(*start, run)).collect();
        let mut taken = Vec::new();
        for (start, first, last) in found {
            let Some(mut run) = self.runs.remove(&start) else { continue };
            let mut middle = run.split_off((first - start) as usize);
            let tail = middle.split_off((last - first) as usize);
            self.bytes -= last - first;
            self.put_back(start, run);
            self.put_back(last, tail);
            let middle = middle.freeze();
            taken.extend((first..last).step_by(block as usize).map(|at| {
                let from = (at - first) as usize;
                (at, middle.slice(from..from + block as usize))
            }));
        }
        taken
    }

    fn put_back(&mut self, start: u64, run: BytesMut) {
        if !run.is_empty() {
            self.runs.insert(start, run);
        }
    }

    /// Takes out everything.
    pub(crate) fn take_all(&mut self) -> Vec<(u64, Bytes)> {
        self.bytes = 0;
        std::mem::take(&mut self.runs).into_iter().map(|(start, run)| (start, run.freeze())).collect()
    }

    /// Lays what is held of [offset, offset + buffer) over `buffer`.
    pub(crate) fn read_over(&self, offset: u64, buffer: &mut [u8]) {
        let end = offset + buffer.len() as u64;
        let before = self.runs.range(..offset).next_back();
        for (start, run) in before.into_iter().chain(self.runs.range(offset..end)) {
            lay_over(offset, buffer, *start, run);
        }
    }

    /// What is held of [begin, end): runs by their offset.
    pub(crate) fn copy(&self, begin: u64, end: u64) -> Vec<(u64, Vec<u8>)> {
        let before = self.runs.range(..begin).next_back();
        let within = before.into_iter().chain(self.runs.range(begin..end));
        let part = |(start, run): (&u64, &BytesMut)| {
            let (from, to) = (begin.max(*start), end.min(end_of(*start, run)));
            (from < to).then(|| (from, run[(from - start) as usize..(to - start) as usize].to_vec()))
        };
        within.filter_map(part).collect()
    }

    /// True if a byte of [begin, end) is held.
    pub(crate) fn overlaps(&self, begin: u64, end: u64) -> bool {
        let last = self.runs.range(..end).next_back();
        last.is_some_and(|(start, run)| end_of(*start, run) > begin)
    }
}

/// Copies the part of `data`, which begins at `start`, that lies in `buffer`, which begins at `offset`.
pub(crate) fn lay_over(offset: u64, buffer: &mut [u8], start: u64, data: &[u8]) {
    let from = start.max(offset);
    let to = (start + data.len() as u64).min(offset + buffer.len() as u64);
    if from < to {
        let source = &data[(from - start) as usize..(to - start) as usize];
        buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPACE: usize = 256;

    proptest! {
        #[test]
        fn it_holds_what_was_written_last(
            writes in prop::collection::vec((0..200usize, 1..56usize, any::<u8>(), any::<bool>()), 0..60),
        ) {
            let mut dirty = Dirty::default();
            let mut model: Vec<Option<u8>> = vec![None; SPACE];
            for (offset, len, fill, take) in writes {
                dirty.write(offset as u64, &vec![fill; len]);
                model[offset..offset + len].fill(Some(fill));
                if take {
                    for (at, data) in dirty.take_full(32) {
                        prop_assert_eq!((at % 32, data.len()), (0, 32));
                        for (i, byte) in data.iter().enumerate() {
                            prop_assert_eq!(model[at as usize + i].take(), Some(*byte));
                        }
                    }
                }
                prop_assert_eq!(dirty.bytes(), model.iter().flatten().count() as u64);
                let runs: Vec<_> = dirty.runs.iter().map(|(s, r)| (*s, end_of(*s, r))).collect();
                prop_assert!(runs.windows(2).all(|pair| pair[0].1 < pair[1].0), "{:?}", runs);
                let mut buffer = vec![0xEE; SPACE];
                dirty.read_over(0, &mut buffer);
                let expected: Vec<_> = model.iter().map(|byte| byte.unwrap_or(0xEE)).collect();
                prop_assert_eq!(buffer, expected);
            }
        }
    }
}
