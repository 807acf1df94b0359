//! The programs that peers and workloads need, and their versions.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where each program is, where it is.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) farshore: Option<PathBuf>,
    pub(crate) juicefs: Option<PathBuf>,
    pub(crate) redis: Option<PathBuf>,
    pub(crate) weed: Option<PathBuf>,
}

impl Programs {
    pub(crate) fn find() -> Self {
        Self {
            farshore: named("FARSHORE_BENCH_FARSHORE").or_else(|| beside_this("farshore")),
            juicefs: named("FARSHORE_BENCH_JUICEFS").or_else(|| on_path("juicefs")),
            redis: named("FARSHORE_BENCH_REDIS").or_else(|| on_path("redis-server")),
            weed: named("FARSHORE_BENCH_WEED").or_else(|| on_path("weed")),
        }
    }

    /// The versions of those that were found, one line each.
    pub(crate) fn versions(&self) -> Vec<String> {
        let asked = [(&self.farshore, "--version"), (&self.juicefs, "version"), (&self.redis, "--version")];
        asked.into_iter().filter_map(|(program, argument)| first_line(program.as_deref()?, argument)).collect()
    }
}

fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

fn beside_this(name: &str) -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name(name);
    path.is_file().then_some(path)
}

/// The program of this name on PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn first_line(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}
