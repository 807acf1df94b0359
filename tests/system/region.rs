//! A `farshore` process that serves a mounted region: a primary or a mirror.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::command::FARSHORE;
use crate::manifest;
use crate::process::Process;
use crate::watchdog;

/// How long a killed process may take to end by itself.
const KILLED: Duration = Duration::from_secs(5);

/// Longest that a region may take to serve, a bootstrap included.
const START: Duration = Duration::from_mins(2);
/// Longest that an orderly end may take.
const END: Duration = Duration::from_mins(1);
/// Longest that a mirror may take to show what was written.
pub(crate) const CATCH_UP: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(10);
/// Room for an attribute's value.
const VALUE_BYTES: usize = 60 << 10;

/// A `farshore` process that serves a mounted region.
pub(crate) struct Region {
    args: Vec<String>,
    envs: Vec<(String, String)>,
    mount: PathBuf,
    log: PathBuf,
    process: Process,
}

impl Region {
    /// Starts `farshore ARGS` and waits until its mount answers.
    pub(crate) fn start(args: Vec<String>, envs: Vec<(String, String)>, mount: PathBuf, log: PathBuf) -> Self {
        let process = spawn(&args, &envs, &log);
        let region = Self { args, envs, mount, log, process };
        region.wait_until_it_serves();
        region
    }

    fn wait_until_it_serves(&self) {
        let begun = Instant::now();
        while !self.serves() {
            let name = &self.args[0];
            assert!(self.process.ended().is_none(), "`farshore {name}` ended: {}", self.log_end());
            assert!(begun.elapsed() < START, "`farshore {name}` does not serve: {}", self.log_end());
            std::thread::sleep(POLL);
        }
    }

    /// True once this process, and not one before it, answers at the mount.
    fn serves(&self) -> bool {
        let status = attribute(&self.mount, "farshore.status").ok();
        let status = status.and_then(|json| serde_json::from_str::<Value>(&json).ok());
        status.is_some_and(|status| status["pid"] == self.process.pid())
    }

    /// The mount.
    pub(crate) fn dir(&self) -> &Path {
        &self.mount
    }

    /// A path in the mount.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.mount.join(name)
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    pub(crate) fn status(&self) -> Value {
        let json = attribute(&self.mount, "farshore.status").expect("a mounted region tells its status");
        serde_json::from_str(&json).expect("a status is JSON")
    }

    /// A text of the status.
    pub(crate) fn says(&self, field: &str) -> String {
        let status = self.status();
        status[field].as_str().unwrap_or_else(|| panic!("{field} is a text in {status}")).to_owned()
    }

    /// Where mirrors may follow.
    pub(crate) fn address(&self) -> String {
        self.says("listen")
    }

    /// The position of everything written so far.
    pub(crate) fn token(&self) -> String {
        attribute(&self.mount, "farshore.token").expect("a mounted region tells its position")
    }

    /// True once everything up to `token` is visible; false when the time runs out before.
    pub(crate) fn reaches(&self, token: &str, timeout: Duration) -> bool {
        let name = format!("farshore.wait.{}.{token}", timeout.as_millis());
        match attribute(&self.mount, &name) {
            Ok(said) => said == "reached",
            Err(error) => panic!("waiting failed: {error}: {}", self.log_end()),
        }
    }

    pub(crate) fn wait(&self, token: &str) {
        let reached = self.reaches(token, CATCH_UP);
        assert!(reached, "{} never shows {token}: {}", self.mount.display(), self.status());
    }

    /// Waits until this mirror shows everything that is written on `primary`.
    pub(crate) fn catch_up(&self, primary: &Region) {
        self.wait(&primary.token());
    }

    /// Kills it. It must end although the kernel may keep a thread of it waiting for a lookup that
    /// only the killed process could have answered: its guard frees the mount.
    pub(crate) fn kill9(&self) {
        self.process.signal(Signal::KILL);
        let ended = self.process.wait(KILLED);
        assert!(ended.is_some(), "the kernel keeps a killed process at {}: {}", self.mount.display(), self.log_end());
    }

    /// Asks it to end, waits until it has, and asserts that it left no mount.
    pub(crate) fn terminate(&self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        let status = self.process.wait(END);
        let status = status.unwrap_or_else(|| panic!("it does not end: {}", self.log_end()));
        let mounts = watchdog::mounts_in(&self.mount);
        assert!(mounts.is_empty(), "it left its mount: {mounts:?}: {}", self.log_end());
        status
    }

    /// Starts the same command again; the process before must have ended.
    pub(crate) fn restart(&mut self) {
        assert!(self.process.ended().is_some(), "it still runs");
        self.process = spawn(&self.args, &self.envs, &self.log);
        self.wait_until_it_serves();
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

fn spawn(args: &[String], envs: &[(String, String)], log: &Path) -> Process {
    let log = OpenOptions::new().create(true).append(true).open(log).expect("a log can be written");
    let mut command = Command::new(FARSHORE);
    command.args(args).envs(envs.iter().map(|(name, value)| (name, value)));
    let second = log.try_clone().expect("a descriptor can be cloned");
    Process::spawn(command.stdin(Stdio::null()).stdout(second).stderr(log))
}

/// Reads an attribute by which the process behind a mount is asked.
pub(crate) fn attribute(mount: &Path, name: &str) -> std::io::Result<String> {
    let mut buffer = vec![0; VALUE_BYTES];
    let len = rustix::fs::getxattr(mount, name, buffer.as_mut_slice())?;
    buffer.truncate(len);
    Ok(String::from_utf8(buffer).expect("a control attribute is text"))
}

/// What closes every test with a mirror: it shows the same tree and holds the same digest.
pub(crate) fn assert_equal(primary: &Region, mirror: &Region) {
    mirror.catch_up(primary);
    assert_digests_agree(primary, mirror);
    manifest::assert_same(primary.dir(), mirror.dir());
}

/// Asserts that both hold the same digest at the same position.
pub(crate) fn assert_digests_agree(primary: &Region, mirror: &Region) {
    let begun = Instant::now();
    loop {
        let (ours, theirs) = (primary.status(), mirror.status());
        if ours["position"] == theirs["position"] {
            assert_eq!(ours["digest"], theirs["digest"], "the digests differ at {}", ours["position"]);
            return;
        }
        assert!(begun.elapsed() < CATCH_UP, "the positions never meet: {ours} {theirs}");
        std::thread::sleep(POLL);
    }
}
