//! Measures Farshore's mount beside the filesystems that a user would pick instead.
//!
//! Every workload runs on every peer in turn, each on a volume of its own, round after round,
//! so that what disturbs the machine disturbs all of them alike; medians and ratios are printed.
//! Nothing passes or fails by its time. Read `peer`, `served`, `workload`, then `table`.

mod cleanup;
mod machine;
mod options;
mod peer;
mod programs;
mod samples;
mod served;
mod server;
mod store;
mod sync;
mod table;
mod tree;
mod workload;

use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;

use crate::machine::Machine;
use crate::options::{Options, What};
use crate::peer::Peer;
use crate::programs::Programs;
use crate::samples::{Meter, Samples};
use crate::served::{Place, Served};
use crate::store::Stores;
use crate::tree::Tree;
use crate::workload::Workload;

fn main() -> Result<()> {
    let options = Options::parse();
    machine::check_privileges()?;
    let dir = match &options.what {
        Some(What::Sync(options)) => &options.dir,
        Some(What::Workers(options)) => &options.dir,
        None => &options.dir,
    };
    let dir = dir.clone().unwrap_or_else(std::env::temp_dir);
    let place = tempfile::Builder::new()
        .prefix("farshore-bench-")
        .tempdir_in(&dir)
        .with_context(|| format!("cannot write in {}; choose another with --dir", dir.display()))?;
    let cleanup = cleanup::guard(place.path())?;
    let result = match &options.what {
        Some(What::Sync(options)) => sync::measure(options, place.path()).and_then(|table| print(&table)),
        Some(What::Workers(options)) => sync::workers::measure(options, place.path()).and_then(|table| print(&table)),
        None => measure(&options, place.path()),
    };
    drop(cleanup);
    result
}

fn measure(options: &Options, home: &std::path::Path) -> Result<()> {
    let programs = Programs::find();
    let stores = Stores::start(options.store, home, &programs)?;
    let tree = Tree::pack(options, home);
    let place = Place { home, programs: &programs, stores: &stores };
    let mut samples = Samples::default();
    let peers = runnable(&options.peers, &programs, &mut samples);
    for round in 1..=options.rounds {
        for workload in &options.workloads {
            for peer in &peers {
                let begun = Instant::now();
                let meter = Meter { peer: *peer, round, samples: &mut samples };
                if let Err(error) = run(*workload, &place, options, &tree, meter) {
                    samples.failed(*peer, format!("{workload}: {error:#}"));
                }
                note(&format!(
                    "round {round}/{}: {workload} on {peer}, {:.1} s",
                    options.rounds,
                    begun.elapsed().as_secs_f64()
                ));
            }
        }
    }
    let machine = Machine::look(home, options.store, &programs);
    if let Some(path) = &options.json {
        std::fs::write(path, table::json(&machine, &samples))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    print(&table::markdown(&machine, &samples))
}

/// The peers that can run here; why the others cannot goes to the samples.
fn runnable(asked: &[Peer], programs: &Programs, samples: &mut Samples) -> Vec<Peer> {
    let mut peers = Vec::new();
    for peer in asked {
        match peer.obstacle(programs) {
            None => peers.push(*peer),
            Some(why) => samples.not_run(*peer, why),
        }
    }
    peers
}

fn run(workload: Workload, place: &Place, options: &Options, tree: &Result<Tree>, meter: Meter) -> Result<()> {
    let mut served = Served::begin(meter.peer, place)?;
    let measured = workload.run(&mut served, options.sizes(), tree, meter);
    measured.and(served.end())
}

fn note(line: &str) {
    // Nobody can be told that standard error does not work.
    writeln!(std::io::stderr(), "{line}").unwrap_or_default();
}

fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
