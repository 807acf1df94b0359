//! Leaving a command running in the background once it serves.
//!
//! The command starts itself anew, detached, with its log in a file; the new process reports on
//! its standard output, which the first one waits for, that it is ready or why it is not.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::cli::ProcessArgs;

/// What the process in the background says once it serves.
const READY: &str = "ready";
/// What it says before an error: the exit code and the message follow.
const FAILED: &str = "failed";

/// The log's place when it was not given: named after what is mounted or followed.
fn default_log(subject: &Path) -> PathBuf {
    let name: String = subject.to_string_lossy().trim_matches('/').replace('/', "-");
    let base = match std::env::var_os("HOME").filter(|_| !rustix::process::geteuid().is_root()) {
        Some(home) => PathBuf::from(home).join(".local/state/farshore"),
        None => PathBuf::from("/var/log/farshore"),
    };
    base.join(format!("{name}.log"))
}

/// Runs this same command in the background and waits until it serves. Returns its log's path
/// and its process id.
pub(crate) fn start(process: &ProcessArgs, subject: &Path) -> Result<(PathBuf, u32)> {
    let log = process.log.clone().unwrap_or_else(|| default_log(subject));
    let file =
        open_log(&log).with_context(|| format!("cannot write the log {}; choose another with --log", log.display()))?;
    let child = Command::new(std::env::current_exe().context("cannot find this program's own file")?)
        .args(std::env::args_os().skip(1))
        .arg("--background-child")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file)
        .spawn()
        .context("cannot start the process in the background")?;
    let id = child.id();
    wait_until_ready(child, &log)?;
    Ok((log, id))
}

fn open_log(path: &Path) -> std::io::Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

fn wait_until_ready(mut child: Child, log: &Path) -> Result<()> {
    let stdout = child.stdout.take().expect("its output is piped");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).context("the process in the background does not answer")?;
    let line = line.trim_end();
    if line == READY {
        return Ok(());
    }
    let report = line.strip_prefix(FAILED).map(str::trim_start).and_then(|rest| rest.split_once(' '));
    let (code, message) = match report {
        Some((code, message)) => (code.parse().unwrap_or(1), message.to_owned()),
        None => (1, format!("the process in the background ended early; see {}", log.display())),
    };
    Err(anyhow::Error::new(Reported { code, message }))
}

/// An error that the process in the background reported.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Reported {
    pub(crate) code: u8,
    pub(crate) message: String,
}

/// Detaches the process in the background from its parent's terminal.
pub(crate) fn detach() {
    if let Err(error) = rustix::process::setsid() {
        tracing::debug!(%error, "no session of its own");
    }
}

/// Tells whoever waits that this process now serves.
pub(crate) fn report_ready() {
    report(READY);
}

/// Tells whoever waits why this process ends.
pub(crate) fn report_failure(code: u8, message: &str) {
    report(&format!("{FAILED} {code} {}", message.replace('\n', " ")));
}

fn report(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let written = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    if let Err(error) = written {
        tracing::debug!(%error, "nobody waits for this process");
    }
}

/// The exit code of an error, whichever process met it.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Reported>() {
        Some(reported) => reported.code,
        None => crate::exit::code_of(error) as u8,
    }
}
