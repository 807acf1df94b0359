//! The guard: a process of its own that frees the mount of this one, should this one be killed at
//! a moment when the kernel keeps it. The command starts itself anew as `farshore guard`.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use farshore_mount::Mount;
use rustix::process::Pid;

use crate::cli::GuardArgs;
use crate::serving::EndSignals;

/// The guard of one mount; it goes when this is dropped.
pub(crate) struct Guarded(Child);

impl Guarded {
    /// Starts a guard for a mount of this process.
    pub(crate) fn start(mount: &Mount) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        command.arg("guard").arg(mount.dir()).arg(mount.device());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self(command.spawn().context("cannot start the process that guards the mount")?))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            tracing::debug!(%error, "the guard had ended already");
        }
    }
}

/// `farshore guard`, in the process that guards.
pub(crate) async fn run(args: &GuardArgs) -> Result<()> {
    // What asks a terminal's or a unit's processes to end must not end this one before its parent.
    let _ignored = EndSignals::listen()?;
    let process = rustix::process::getppid().context("the process that is to be guarded has gone")?;
    let (dir, device) = (args.dir.clone(), args.device.clone());
    let watched = tokio::task::spawn_blocking(move || watch(process, &dir, &device));
    watched.await.context("the thread that guards panicked")
}

fn watch(process: Pid, dir: &Path, device: &str) {
    farshore_mount::Guard { process, dir, device }.watch();
}
