//! A child process that is always waited for, and killed when its owner goes.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

type Ended = Arc<(Mutex<Option<ExitStatus>>, Condvar)>;

/// A running child. A thread of its own reaps it, so that whoever looks whether the process
/// still exists is not deceived by a zombie.
pub(crate) struct Process {
    pid: Pid,
    ended: Ended,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let pid = Pid::from_child(&child);
        let ended = Ended::default();
        let seen = Arc::clone(&ended);
        std::thread::spawn(move || reap(child, &seen));
        Self { pid, ended }
    }

    /// Starts it with nothing to read, and nobody to hear it.
    pub(crate) fn spawn_quiet(command: &mut Command) -> Self {
        Self::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get() as u32
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        *self.ended.0.lock().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let running = self.ended.0.lock().unwrap();
        if running.is_none() {
            kill_process(self.pid, signal).expect("a process that is not reaped takes signals");
        }
    }

    /// Ends it as a power cut would, but for what the kernel keeps.
    pub(crate) fn kill9(&self) {
        self.signal(Signal::KILL);
        let status = self.wait(Duration::from_secs(20)).expect("a killed process ends");
        assert!(status.signal().is_some() || status.code().is_some());
    }

    pub(crate) fn wait(&self, timeout: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + timeout;
        let mut status = self.ended.0.lock().unwrap();
        while status.is_none() {
            let left = until.checked_duration_since(Instant::now())?;
            status = self.ended.1.wait_timeout(status, left).unwrap().0;
        }
        *status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn reap(mut child: Child, ended: &Ended) {
    let status = child.wait().expect("a child can be waited for");
    *ended.0.lock().unwrap() = Some(status);
    ended.1.notify_all();
}
