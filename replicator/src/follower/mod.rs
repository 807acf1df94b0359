//! The follower: the part of a mirror that receives what its upstream commits, and applies it.
//!
//! `core.rs` decides; `driver.rs` does, with a task for the connection (`link.rs`) and one for
//! the rows (`writer.rs`). Read the core first.

mod backoff;
mod core;
mod driver;
mod fault;
mod freshness;
mod handle;
mod inbox;
mod join;
mod link;
#[cfg(test)]
mod simulation;
mod status;
mod writer;

use std::sync::Arc;

use farshore_meta::{Region, Role};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub(crate) use fault::Fault;
pub use handle::{FollowerHandle, show_at_once};
pub use join::open_mirror;
pub use status::{BootstrapProgress, FollowerPhase, FollowerStatus};
pub use writer::Applied;

use crate::error::{ReplicatorError, Result};
use crate::lineage::Lineage;
use crate::message::label;
use crate::upstream::Upstream;
use core::{Core, Identity};
use driver::Driver;
use status::View;
use writer::{APPLIED_AHEAD, Writer};

/// How a follower runs. Plain settings.
#[derive(Debug, Clone)]
pub struct FollowerOptions {
    /// What the upstream's `status` calls this mirror; at most 255 bytes.
    pub name: String,
    /// Whatever the pauses between attempts shall differ by from those of other mirrors.
    pub seed: u64,
}

impl FollowerOptions {
    /// A mirror of this name, with a random seed.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), seed: rand::random() }
    }
}

/// Starts followers.
#[derive(Debug)]
pub struct Follower;

impl Follower {
    /// Begins to follow `upstream` into `region`. What is applied comes out of the receiver, from
    /// the moment the mirror is ready; it must be taken, or applying waits once 1,024 intervals
    /// are ahead of it. Give it to the mount's invalidator, or to [`show_at_once`].
    ///
    /// # Errors
    /// `NotAMirror`; `Refused` for a name that no upstream takes.
    pub fn start(
        region: Arc<Region>,
        upstream: Upstream,
        options: FollowerOptions,
    ) -> Result<(FollowerHandle, mpsc::Receiver<Applied>)> {
        let Role::Mirror { volume_id } = region.role() else {
            return Err(ReplicatorError::NotAMirror);
        };
        let url = upstream.url().to_owned();
        let refused = |reason: String| ReplicatorError::Refused { upstream: url.clone(), reason };
        let FollowerOptions { name, seed } = options;
        let name = label(&name).map_err(|error| refused(format!("the mirror's name: {error}")))?;
        let identity = Identity { volume_id, mirror_id: region.id(), upstream: url.clone() };
        let core = Core::new(identity.clone(), seed);
        let (view, view_seen) = watch::channel(View::of(&core));
        let (visible, visible_seen) = watch::channel(None);
        let (stopping, stop) = watch::channel(false);
        let (jobs, job_queue) = mpsc::channel(1);
        let (done, done_queue) = mpsc::channel(1);
        let (applied, applied_queue) = mpsc::channel(APPLIED_AHEAD);
        let (started, lineage) = (Instant::now(), Lineage::mirror());
        tokio::spawn(Writer::new(region, job_queue, done, applied, stop.clone()).run());
        let driver = Driver {
            core,
            upstream,
            identity,
            name,
            started,
            lineage: lineage.clone(),
            jobs,
            done: done_queue,
            visible: visible_seen,
            view,
            stopping: stop,
            link: None,
        };
        tokio::spawn(driver.run());
        let handle = FollowerHandle { upstream: url, started, lineage, view: view_seen, visible, stopping };
        Ok((handle, applied_queue))
    }
}
