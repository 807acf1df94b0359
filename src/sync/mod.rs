//! `farshore sync` and `farshore check`: any store brought to the state of another, or compared with it.
//!
//! Read `args.rs`, `stores.rs`, `clouds.rs` and `volume.rs` (what is given), `options.rs`, `run.rs`, then what a person
//! sees: `progress.rs`, `report.rs`, `summary.rs`, `manifest.rs`; then how a job is shared: `coordinator.rs`, `worker.rs`; and
//! `watch.rs`, which goes on after the first pass.

mod args;
mod backup;
mod choose;
mod clouds;
mod coordinator;
mod journal;
mod manifest;
mod options;
mod progress;
mod report;
mod run;
mod stores;
mod summary;
mod volume;
mod watch;
mod worker;

pub(crate) use args::{CheckArgs, SyncArgs, SyncWorkerArgs};
pub(crate) use run::{check, sync};
pub(crate) use worker::sync_worker;
