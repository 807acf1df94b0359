//! `farshore unmount`: ends a mount, and waits until its process has stored everything.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal};

use crate::cli::UnmountArgs;
use crate::exit::{Exit, Failure};
use crate::status::RegionStatus;
use crate::{control_names, mounted};

/// How often the process is looked at.
const POLL: Duration = Duration::from_millis(20);

pub(crate) fn run(args: &UnmountArgs) -> Result<()> {
    let dir = std::path::absolute(&args.dir)?;
    match mounted::attribute(&dir, control_names::STATUS) {
        Ok(json) => {
            let status: RegionStatus = serde_json::from_str(&json)?;
            stop(&dir, status.pid, args.timeout)
        }
        Err(error) if is_mount(&dir) => detach(&dir, &error),
        Err(error) => Err(error),
    }
}

/// Asks the process to end, and waits until it has.
fn stop(dir: &Path, pid: Option<u32>, timeout: Duration) -> Result<()> {
    let pid = pid.and_then(|pid| Pid::from_raw(pid as i32));
    let Some(pid) = pid else { bail!("{} does not say which process serves it", dir.display()) };
    rustix::process::kill_process(pid, Signal::TERM)?;
    let begun = Instant::now();
    while !has_ended(pid) {
        if begun.elapsed() > timeout {
            let message = format!(
                "process {} has not ended within {timeout:?}; it may still be storing what was written, see its log",
                pid.as_raw_nonzero()
            );
            bail!(Failure::error(Exit::TimedOut, message));
        }
        std::thread::sleep(POLL);
    }
    if is_mount(dir) {
        bail!(Failure::error(Exit::MountPoint, format!("{} is still mounted; something uses it", dir.display())));
    }
    Ok(())
}

/// True if there is no such process, or only what is left of one until its parent asks for it.
fn has_ended(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    // The name before it, in parentheses, may hold anything.
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    matches!(state, None | Some('Z' | 'X'))
}

/// Takes away a mount whose process has gone.
fn detach(dir: &Path, why: &anyhow::Error) -> Result<()> {
    tracing::info!(%why, "the mount is taken away without its process");
    if rustix::mount::unmount(dir, UnmountFlags::DETACH).is_ok() {
        return Ok(());
    }
    let helper = std::process::Command::new("fusermount3").args(["-u", "-z"]).arg(dir).status();
    if helper.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    let message = format!("{} cannot be taken away; try as root: umount -l {}", dir.display(), dir.display());
    Err(Failure::error(Exit::MountPoint, message))
}

/// True if the kernel lists a farshore mount at `dir`.
fn is_mount(dir: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let escaped = dir.to_string_lossy().replace(' ', "\\040");
    mounts.lines().any(|line| {
        let mut fields = line.split(' ');
        let (_, point, kind) = (fields.next(), fields.next(), fields.next());
        point == Some(escaped.as_str()) && kind.is_some_and(|kind| kind.starts_with("fuse"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_nobody_waits_for_has_ended() {
        assert!(!has_ended(rustix::process::getpid()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let (pid, begun) = (Pid::from_child(&child), Instant::now());
        while !has_ended(pid) {
            assert!(begun.elapsed() < Duration::from_secs(10));
            std::thread::sleep(POLL);
        }
        child.wait().unwrap();
        assert!(has_ended(pid));
    }
}
