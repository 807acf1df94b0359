//! Leaves no mount, process or file behind, however the program ends.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::{UnmountFlags, unmount};
use tokio::signal::unix::{SignalKind, signal};

use crate::server;

/// The exit code after a signal, as shells have it for an interrupt.
const INTERRUPTED: i32 = 130;

/// Clears a directory of what this program put there, when it goes.
#[derive(Debug)]
pub(crate) struct Cleanup {
    home: PathBuf,
}

/// Clears `home` when the returned value goes, by return or by panic, and at a signal.
pub(crate) fn guard(home: &Path) -> Result<Cleanup> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _entered = runtime.enter();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        kinds.map(signal).into_iter().collect::<Result<Vec<_>, _>>().context("cannot listen for signals")?
    };
    let cleanup = Cleanup { home: home.to_owned() };
    std::thread::spawn(move || {
        runtime.block_on(async {
            let [interrupt, terminate, hangup] = &mut signals[..] else { return };
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {}, _ = hangup.recv() => {} }
        });
        drop(cleanup);
        std::process::exit(INTERRUPTED);
    });
    Ok(Cleanup { home: home.to_owned() })
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        server::kill_all();
        for mountpoint in mounts_under(&self.home) {
            // One that its server took away meanwhile is gone, as wanted.
            unmount(&mountpoint, UnmountFlags::DETACH).unwrap_or_default();
        }
        if mounts_under(&self.home).is_empty() {
            std::fs::remove_dir_all(&self.home).unwrap_or_default();
        }
    }
}

/// The mounts below `home`, the innermost first.
fn mounts_under(home: &Path) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let mut points: Vec<PathBuf> = points.map(|point| point.replace("\\040", " ").into()).collect();
    points.retain(|point| point.starts_with(home));
    points.reverse();
    points
}
