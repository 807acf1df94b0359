//! Real programs on a real tree: `tar` unpacks it, `git status` looks at it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::timed;
use crate::samples::Meter;
use crate::served::Served;
use crate::tree::Tree;

pub(super) fn run(served: &mut Served, tree: &Tree, meter: &mut Meter) -> Result<()> {
    let root = served.dir().join("tree");
    fs::create_dir(&root)?;
    let unpacked = timed(|| run_program(Command::new("tar").arg("-xf").arg(&tree.archive).arg("-C").arg(&root)))?;
    meter.whole(&format!("tar -x, {} files of {} MiB in all", tree.files, tree.bytes >> 20), unpacked);
    git(&root, &["init", "-q"])?;
    git(&root, &["add", "-A", "-f"])?;
    git(&root, &["-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-q", "-m", "tree"])?;
    served.turn_cold()?;
    meter.whole("git status, cold", timed(|| git(&root, &["status", "--porcelain"]))?);
    meter.whole("git status, warm", timed(|| git(&root, &["status", "--porcelain"]))?);
    Ok(())
}

/// Runs git as it is without anybody's configuration.
fn git(root: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("git");
    command.arg("-C").arg(root).args(arguments);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    run_program(&mut command)
}

fn run_program(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
