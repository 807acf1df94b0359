//! What the rest of a process does with its follower: watch it, wait for it, stop it.

use std::time::Duration;

use farshore_proto::Position;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use super::status::{FollowerStatus, View};
use super::writer::Applied;
use crate::error::{ReplicatorError, Result};
use crate::lineage::Lineage;

/// A follower that runs. Cloning it is cheap; it runs until `stop`, or until the last is dropped.
#[derive(Debug, Clone)]
pub struct FollowerHandle {
    pub(super) upstream: String,
    pub(super) started: Instant,
    pub(super) lineage: Lineage,
    pub(super) view: watch::Receiver<View>,
    pub(super) visible: watch::Sender<Option<Position>>,
    pub(super) stopping: watch::Sender<bool>,
}

impl FollowerHandle {
    /// What it does now.
    pub fn status(&self) -> FollowerStatus {
        let visible = *self.visible.borrow();
        self.view.borrow().status(&self.upstream, visible, self.started.elapsed())
    }

    /// The region's lineage, for its own publisher.
    pub fn lineage(&self) -> Lineage {
        self.lineage.clone()
    }

    /// Returns once the mirror holds a state that its upstream had: at once if it once did.
    ///
    /// # Errors
    /// What stopped it before; it retries whatever may pass, for as long as that takes.
    pub async fn ready(&self) -> Result<()> {
        let mut view = self.view.clone();
        let settled = view.wait_for(|view| view.ready || view.stopped.is_some()).await;
        let settled = settled.map_err(|_| ReplicatorError::Stopped)?;
        match &settled.stopped {
            Some(error) if !settled.ready => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Every reader sees everything up to `position`: the kernel has forgotten what had changed. It
    /// never goes back.
    pub fn set_visible(&self, position: Position) {
        self.visible.send_if_modified(|visible| {
            let newer = *visible < Some(position);
            if newer {
                *visible = Some(position);
            }
            newer
        });
    }

    /// Returns once every reader sees everything up to `position`, in the order of positions.
    ///
    /// # Errors
    /// `TimedOut`, or what has stopped the follower.
    pub async fn wait_visible(&self, position: Position, within: Duration) -> Result<()> {
        let mut visible = self.visible.subscribe();
        let mut view = self.view.clone();
        let reached = async {
            tokio::select! {
                biased;
                reached = visible.wait_for(|visible| *visible >= Some(position)) => {
                    reached.map(|_| ()).map_err(|_| ReplicatorError::Stopped)
                }
                stopped = view.wait_for(|view| view.stopped.is_some()) => {
                    Err(stopped.ok().and_then(|view| view.stopped.clone()).unwrap_or(ReplicatorError::Stopped))
                }
            }
        };
        timeout(within, reached).await.unwrap_or(Err(ReplicatorError::TimedOut { position, after: within }))
    }

    /// Ends it, after what is being written. The mirror goes on from there when it is started again.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        let mut view = self.view.clone();
        while view.changed().await.is_ok() {}
    }
}

/// Makes what is applied visible at once: for a mirror that is not mounted, so that no kernel
/// has anything of it. Ends with the follower.
pub async fn show_at_once(handle: FollowerHandle, mut applied: mpsc::Receiver<Applied>) {
    while let Some(applied) = applied.recv().await {
        handle.set_visible(applied.to);
    }
}
