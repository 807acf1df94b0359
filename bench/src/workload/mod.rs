//! The workloads. Each runs on a fresh volume and gives its values to a meter.

mod data;
mod files;
mod names;
mod programs;

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::options::Sizes;
use crate::samples::Meter;
use crate::served::Served;
use crate::tree::Tree;

/// Threads of the rows that have more than one.
const THREADS: u64 = 4;

/// A group of rows that share a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// One big file: written and read in sequence, read at random
    Data,
    /// Empty files: create, stat, unlink
    Names,
    /// Files of 4 KiB and 100 KiB, and listing a big directory
    Files,
    /// A real tree: tar, then git status
    Tree,
}

impl Workload {
    pub(crate) const ALL: [Self; 4] = [Self::Data, Self::Names, Self::Files, Self::Tree];

    pub(crate) fn run(self, served: &mut Served, sizes: &Sizes, tree: &Result<Tree>, mut meter: Meter) -> Result<()> {
        match self {
            Self::Data => data::run(served, sizes, &mut meter),
            Self::Names => names::run(served, sizes, &mut meter),
            Self::Files => files::run(served, sizes, &mut meter),
            Self::Tree => {
                let tree = tree.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
                programs::run(served, tree, &mut meter)
            }
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Data => "data",
            Self::Names => "names",
            Self::Files => "files",
            Self::Tree => "tree",
        })
    }
}

/// How long something took.
fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}

/// Does `work` for each number below `count`, dealt out to threads in turn; how long it took.
fn dealt(threads: u64, count: u64, work: impl Fn(u64) -> Result<()> + Sync) -> Result<Duration> {
    let share = |thread: u64| (thread..count).step_by(threads as usize).try_for_each(&work);
    timed(|| {
        if threads == 1 {
            return share(0);
        }
        std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
            running
                .into_iter()
                .try_for_each(|thread| thread.join().ok().context("a thread of the workload panicked")?)
        })
    })
}

/// Numbers that look random and are the same in every run (splitmix64).
#[derive(Debug)]
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Bytes that no compression makes smaller.
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// Makes every page of a buffer unlike any other that was written, so that no peer can store
/// two of them as one.
fn stamp(buffer: &mut [u8], number: u64) {
    for (page, bytes) in buffer.chunks_exact_mut(4096).enumerate() {
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        bytes[8..16].copy_from_slice(&(page as u64).to_le_bytes());
    }
}
