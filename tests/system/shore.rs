//! A test's own place: a directory, the commands that run in it, and an end to all of it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use crate::command::{FARSHORE, Said};
use crate::region::Region;
use crate::watchdog::{self, Watchdog};

/// Where commands keep what they remember for a user.
pub(crate) const STATE: &str = "state";
/// Lines of each log that a failed test shows.
const SHOWN_LINES: usize = 25;
/// Tests that run at a time: each has two servers and a load of its own.
const PLACES: usize = 2;

static TAKEN: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// The right to run now.
struct Place;

impl Place {
    fn take() -> Self {
        let mut taken = TAKEN.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        while *taken >= PLACES {
            taken = TAKEN.1.wait(taken).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        *taken += 1;
        Self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *TAKEN.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) -= 1;
        TAKEN.1.notify_one();
    }
}

/// A test's own place. Regions made from it must go before it does.
pub(crate) struct Shore {
    envs: Vec<(String, String)>,
    watchdog: Option<Watchdog>,
    dir: TempDir,
    _place: Place,
}

impl Shore {
    /// A place for `test`, which must end within `limit`.
    pub(crate) fn new(test: &str, limit: Duration) -> Self {
        assert!(Path::new("/dev/fuse").exists(), "/dev/fuse is missing: nothing can be mounted here");
        let place = Place::take();
        let dir = tempfile::Builder::new().prefix(&format!("farshore-{test}-")).tempdir().expect("a directory");
        let watchdog = Some(Watchdog::start(test, dir.path(), limit));
        Self { envs: Vec::new(), watchdog, dir, _place: place }
    }

    /// Gives every later command a variable of the environment.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        self.envs.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same, as an argument of a command.
    pub(crate) fn arg(&self, name: &str) -> String {
        self.path(name).to_str().expect("the directory's name is text").to_owned()
    }

    /// Makes a directory.
    pub(crate) fn mkdir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("a directory can be made");
        path
    }

    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(FARSHORE);
        command
            .args(args)
            .env("XDG_STATE_HOME", self.path(STATE))
            .envs(self.envs.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `farshore ARGS` to its end.
    pub(crate) fn farshore<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Said {
        Said::of(&mut self.command(args))
    }

    /// Makes the volume `name`, with its metadata and its store in this place.
    pub(crate) fn format(&self, name: &str) {
        let store = format!("file://{}", self.arg(&format!("{name}-store")));
        self.format_on(name, &store, &[]);
    }

    pub(crate) fn format_on(&self, name: &str, store: &str, more: &[&str]) {
        let meta = self.arg(name);
        let args = ["format", &meta, "--store", store, "--name", name];
        self.farshore(args.iter().chain(more)).ok();
    }

    /// Mounts the volume `name` at `NAME-mount` and lets mirrors follow it.
    pub(crate) fn primary(&self, name: &str, more: &[&str]) -> Region {
        let listens = more.contains(&"--listen");
        let (meta, mount) = (self.arg(name), self.mkdir(&format!("{name}-mount")));
        let mount_arg = mount.to_str().expect("text").to_owned();
        let listen: &[&str] = if listens { &[] } else { &["--listen", "127.0.0.1:0"] };
        let args = ["mount", &meta, &mount_arg, "--foreground"];
        self.region(name, mount, args.iter().chain(listen).chain(more).copied())
    }

    /// Starts the mirror `name` of what listens at `upstream` and mounts it at `NAME-mount`.
    pub(crate) fn mirror(&self, name: &str, upstream: &str, more: &[&str]) -> Region {
        let (meta, mount) = (self.arg(name), self.mkdir(&format!("{name}-mount")));
        let mount_arg = mount.to_str().expect("text").to_owned();
        let url = format!("http://{upstream}");
        let args = ["mirror", &url, "--meta", &meta, "--mount", &mount_arg, "--name", name, "--foreground"];
        self.region(name, mount, args.iter().chain(more).copied())
    }

    fn region<'a>(&self, name: &str, mount: PathBuf, args: impl Iterator<Item = &'a str>) -> Region {
        let args = args.map(str::to_owned).collect();
        Region::start(args, self.envs.clone(), mount, self.path(&format!("{name}.log")))
    }

    fn show_logs(&self) {
        for entry in fs::read_dir(self.dir.path()).expect("the place is there").flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let log = fs::read(&path).unwrap_or_default();
                let log = String::from_utf8_lossy(&log);
                let lines: Vec<_> = log.lines().collect();
                let shown = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
                eprintln!("--- end of {}\n{shown}", path.display());
            }
        }
    }
}

impl Drop for Shore {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        watchdog::clear(self.dir.path());
        self.watchdog.take();
        if std::env::var_os("FARSHORE_TEST_KEEP").is_some() {
            self.dir.disable_cleanup(true);
            eprintln!("kept: {}", self.dir.path().display());
        }
    }
}
