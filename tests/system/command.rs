//! Runs a command to its end and looks at what it said.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The program under test.
pub(crate) const FARSHORE: &str = env!("CARGO_BIN_EXE_farshore");

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) line: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    pub(crate) fn of(command: &mut Command) -> Self {
        let line = format!("{command:?}");
        let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("cannot run {line}: {error}"));
        let Output { status, stdout, stderr } = output;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { line, code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// Asserts that it succeeded; returns what it printed.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{} failed: {}{}", self.line, self.stdout, self.stderr);
        self.stdout
    }

    /// Asserts that it failed as a person can bear it: with this exit code, and one line on
    /// stderr that names the thing. Returns the line.
    pub(crate) fn refused(self, code: i32, names: &str) -> String {
        let Self { line, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "{line}: another exit code was expected; it said: {stderr}");
        assert_eq!(stderr.trim_end().lines().count(), 1, "{line}: one line was expected: {stderr}");
        assert!(stderr.contains(names), "{line}: it does not name {names:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{line}: {stderr}");
        self.stderr.trim_end().to_owned()
    }
}

/// Where a program is: on PATH, or in the directory that `FARSHORE_PEERS` names.
pub(crate) fn find(program: &str) -> Option<std::path::PathBuf> {
    let peers = std::env::var_os("FARSHORE_PEERS").unwrap_or_else(|| "/opt/farshore-peers".into());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([Path::new(&peers).join("bin")]);
    places.map(|place| place.join(program)).find(|file| file.is_file())
}

/// Tells loudly that something was not tested.
pub(crate) fn not_run(what: &str, why: &str) {
    eprintln!("NOT RUN: {what}: {why}");
}
