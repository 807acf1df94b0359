//! Ends whatever a test left or what keeps it waiting: its processes and its mounts.
//!
//! A mount whose process is gone answers every call with an error, so a test that hangs in one
//! comes back as soon as its processes are killed, and fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

/// What a test may take to end after its processes were killed.
const GRACE: Duration = Duration::from_mins(1);

/// Watches over one test until dropped.
pub(crate) struct Watchdog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub(crate) fn start(test: &str, dir: &Path, limit: Duration) -> Self {
        let (stop, stopped) = mpsc::channel();
        let (test, dir) = (test.to_owned(), dir.to_owned());
        let thread = std::thread::spawn(move || {
            if stopped.recv_timeout(limit) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            eprintln!("{test}: not done within {limit:?}; its processes are killed");
            clear(&dir);
            if stopped.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{test}: hangs although its processes are gone");
                std::process::exit(101);
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_default();
        }
    }
}

/// Kills every process that was started with a path in `dir` and detaches every mount in it.
pub(crate) fn clear(dir: &Path) {
    for pid in processes_of(dir) {
        // It may have ended by itself meanwhile.
        kill_process(pid, Signal::KILL).unwrap_or_default();
    }
    for mount in mounts_in(dir).into_iter().rev() {
        unmount(&mount, UnmountFlags::DETACH).unwrap_or_default();
    }
}

fn processes_of(dir: &Path) -> Vec<Pid> {
    let needle = dir.as_os_str().as_encoded_bytes();
    let own = std::process::id().cast_signed();
    let listed = fs::read_dir("/proc").expect("/proc is there").flatten();
    let pids = listed.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let ours = pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        *pid != own && line.windows(needle.len()).any(|window| window == needle)
    });
    ours.filter_map(Pid::from_raw).collect()
}

/// The mounts in `dir`, outer ones first.
pub(crate) fn mounts_in(dir: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mounts").expect("the kernel lists its mounts");
    let points = table.lines().filter_map(|line| line.split(' ').nth(1));
    points.map(|point| PathBuf::from(point.replace("\\040", " "))).filter(|point| point.starts_with(dir)).collect()
}
