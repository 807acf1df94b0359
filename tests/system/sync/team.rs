//! A coordinator and its workers, as processes that a test starts, kills and waits for.

use std::fs::File;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use super::Counts;
use crate::process::Process;
use crate::shore::Shore;

/// After which silence a worker is taken for dead.
const LEASE: &str = "1500ms";

/// A job that is shared.
pub(super) struct Team<'s> {
    pub(super) shore: &'s Shore,
    sides: [String; 2],
    pub(super) address: String,
    lease: &'static str,
    /// What else the coordinator is told.
    more: Vec<String>,
    started: std::cell::Cell<usize>,
}

impl<'s> Team<'s> {
    pub(super) fn new(shore: &'s Shore, from: &str, to: &str, more: &[&str]) -> Self {
        Self {
            shore,
            sides: [from.to_owned(), to.to_owned()],
            address: format!("127.0.0.1:{}", farshore_ports::free()),
            lease: LEASE,
            more: more.iter().map(ToString::to_string).collect(),
            started: std::cell::Cell::new(0),
        }
    }

    pub(super) fn with_lease(self, lease: &'static str) -> Self {
        Self { lease, ..self }
    }

    /// Starts the coordinator, or starts it again.
    pub(super) fn coordinator(&self) -> Process {
        let [from, to] = &self.sides;
        let args = ["sync", from, to, "--json", "--coordinator", &self.address, "--lease", self.lease];
        self.start("coordinator", args.iter().copied().chain(self.more.iter().map(String::as_str)))
    }

    /// Starts a worker that calls the coordinator itself.
    pub(super) fn worker(&self, more: &[&str]) -> Process {
        self.worker_at(&self.address, more)
    }

    /// Starts a worker that calls at an address.
    pub(super) fn worker_at(&self, address: &str, more: &[&str]) -> Process {
        self.start("worker", ["sync-worker", address].iter().chain(more).copied())
    }

    /// What the coordinator counted.
    pub(super) fn counts(&self) -> Counts {
        Counts::of(&std::fs::read_to_string(self.shore.path("coordinator.out")).unwrap())
    }

    /// How many objects each worker says that it copied, of those that ended well.
    pub(super) fn shares(&self) -> Vec<u64> {
        let said = (0..self.started.get()).map(|number| self.shore.path(&format!("worker-{number}.out")));
        let said = said.filter_map(|file| std::fs::read_to_string(file).ok());
        said.filter_map(|said| said.split(' ').next()?.parse().ok()).collect()
    }

    fn start<'a>(&self, name: &str, args: impl Iterator<Item = &'a str>) -> Process {
        let number = self.started.replace(self.started.get() + 1);
        let out = if name == "worker" { format!("worker-{number}.out") } else { format!("{name}.out") };
        let out = File::create(self.shore.path(&out)).unwrap();
        let log = File::create(self.shore.path(&format!("{name}-{number}.log"))).unwrap();
        let mut command = self.shore.command(args);
        Process::spawn(command.stdin(Stdio::null()).stdout(out).stderr(log))
    }
}

/// Waits for a process that must end well.
pub(super) fn ends_well(process: &Process, limit: Duration) {
    let status: ExitStatus = process.wait(limit).expect("it ends");
    assert!(status.success(), "{status}");
}
