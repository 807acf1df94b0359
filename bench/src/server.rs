//! A server process that a peer or its store needs: started, watched, ended.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::programs;

/// Longest that a server may take to answer.
const START: Duration = Duration::from_mins(1);
/// Longest that it may take to store what was written and to end.
const STOP: Duration = Duration::from_mins(3);
/// How often it is looked at.
const POLL: Duration = Duration::from_millis(10);

/// The servers that run. A signal ends the whole program from another thread than the one that
/// owns them, and that thread must find them.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A running server; it is ended when this value goes.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pid: Pid,
    log: PathBuf,
}

impl Server {
    /// Starts a server with its output in the file `log`.
    pub(crate) fn start(command: &Command, log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let mut command = bound_to_this_process(command);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // In a group of its own, so that an interrupt at the terminal reaches it through the
        // cleanup alone, and so that what it starts ends with it.
        command.process_group(0);
        let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let pid = Pid::from_child(&child);
        running().push(pid);
        Ok(Self { child, pid, log: log.to_owned() })
    }

    /// Waits until `ready` says so, while the server lives.
    pub(crate) fn wait_until(&mut self, what: &str, ready: impl Fn() -> bool) -> Result<()> {
        let begun = Instant::now();
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{what} has not come about: {status}: {}", self.last_words());
            }
            if begun.elapsed() > START {
                bail!("{what} has not come about within {START:?}: {}", self.last_words());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Waits until it has ended by itself, and well.
    pub(crate) fn finish(&mut self, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("{status}: {}", self.last_words()),
                None if begun.elapsed() > limit => bail!("it has not ended within {limit:?}: {}", self.last_words()),
                None => std::thread::sleep(POLL),
            }
        }
    }

    /// Asks the server to end and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        // One that has gone already is seen below.
        kill_process(self.pid, Signal::TERM).unwrap_or_default();
        let begun = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begun.elapsed() > STOP {
                bail!("a server has not ended within {STOP:?}: {}", self.last_words());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(3)..].join(" / ")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        running().retain(|pid| *pid != self.pid);
        if matches!(self.child.try_wait(), Ok(None)) {
            kill_process_group(self.pid, Signal::KILL).unwrap_or_default();
            // It was killed: it ends, and how does not matter.
            self.child.wait().map(drop).unwrap_or_default();
        }
    }
}

/// Ends all servers at once, without their owner.
pub(crate) fn kill_all() {
    for pid in running().drain(..) {
        kill_process_group(pid, Signal::KILL).unwrap_or_default();
    }
}

fn running() -> std::sync::MutexGuard<'static, Vec<Pid>> {
    RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The same command, asked by the kernel to end when this process is killed; where `setpriv`
/// is missing, the command as it is.
fn bound_to_this_process(command: &Command) -> Command {
    let mut bound = match programs::on_path("setpriv") {
        Some(setpriv) => {
            let mut bound = Command::new(setpriv);
            bound.args(["--pdeathsig", "TERM", "--"]).arg(command.get_program());
            bound
        }
        None => Command::new(command.get_program()),
    };
    bound.args(command.get_args());
    bound.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    bound
}
