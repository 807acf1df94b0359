//! The command line, and how much each workload does.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::peer::Peer;
use crate::sync::SyncOptions;
use crate::sync::workers::WorkersOptions;
use crate::workload::Workload;

/// Measures Farshore beside native ext4 and JuiceFS: medians and ratios, on one kind of store.
///
/// Needs root, to mount and to drop the kernel's caches. Programs are found on PATH, `farshore`
/// beside this one; FARSHORE_BENCH_FARSHORE, FARSHORE_BENCH_JUICEFS, FARSHORE_BENCH_REDIS and
/// FARSHORE_BENCH_WEED name others.
#[derive(Debug, Parser)]
#[command(name = "farshore-bench", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) what: Option<What>,
    /// Whom to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Peer::ALL)]
    pub(crate) peers: Vec<Peer>,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Workload::ALL)]
    pub(crate) workloads: Vec<Workload>,
    /// How often to measure everything
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Where volumes, stores and mounts are put while it runs; the system's temporary directory
    /// without it
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Where the blocks of the volumes are
    #[arg(long, value_enum, default_value = "file")]
    pub(crate) store: StoreKind,
    /// A directory whose files the tree workload unpacks; cargo's registry without it
    #[arg(long)]
    pub(crate) tree: Option<PathBuf>,
    /// A tenth of the work: to see that it runs, not for figures
    #[arg(long)]
    pub(crate) quick: bool,
    /// Write every sample to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// What else can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Measure `farshore sync` beside rclone, s5cmd and juicefs sync, between directories and a SeaweedFS server
    Sync(SyncOptions),
    /// Measure one job of `farshore sync` with 1, 2 and 4 workers, each held to a share of a core
    Workers(WorkersOptions),
}

impl Options {
    pub(crate) fn sizes(&self) -> &'static Sizes {
        if self.quick { &QUICK } else { &FULL }
    }
}

/// What kind of object store holds the blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreKind {
    /// A local directory
    File,
    /// A SeaweedFS server of this run's own, on this machine
    S3,
}

/// How much each workload does.
#[derive(Debug)]
pub(crate) struct Sizes {
    /// The file that is written and read in sequence, bytes.
    pub(crate) sequential_bytes: u64,
    /// Random reads go to this many first bytes of it.
    pub(crate) random_bytes: u64,
    pub(crate) random_reads: u64,
    /// Empty files, and files of 4 KiB.
    pub(crate) files: u64,
    /// Over how many directories the empty files are spread.
    pub(crate) directories: u64,
    /// Files of 100 KiB.
    pub(crate) medium_files: u64,
    /// Files of the real tree.
    pub(crate) tree_files: usize,
    /// How often warm names are looked at, so that a pass takes long enough to be timed.
    pub(crate) warm_passes: u64,
}

const FULL: Sizes = Sizes {
    sequential_bytes: 1 << 30,
    random_bytes: 512 << 20,
    random_reads: 5_000,
    files: 10_000,
    directories: 10,
    medium_files: 2_000,
    tree_files: 5_000,
    warm_passes: 10,
};

const QUICK: Sizes = Sizes {
    sequential_bytes: 128 << 20,
    random_bytes: 64 << 20,
    random_reads: 500,
    files: 1_000,
    directories: 10,
    medium_files: 200,
    tree_files: 500,
    warm_passes: 10,
};
