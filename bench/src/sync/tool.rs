//! The tools, each with the settings at which it does best here.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use clap::ValueEnum;

use crate::programs::{Programs, on_path};
use crate::store::Stores;

/// Requests at once, for all tools.
const AT_ONCE: &str = "64";

/// A tool that moves objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Tool {
    /// This one.
    Farshore,
    /// rclone sync.
    Rclone,
    /// s5cmd sync, which goes neither from directory to directory nor from cloud to cloud.
    S5cmd,
    /// juicefs sync, which compares sizes alone.
    Juicefs,
}

/// Where objects are.
pub(super) enum Place<'a> {
    Local(PathBuf),
    /// Below this prefix of the bucket of one of the run's clouds.
    S3(&'a Stores, String),
}

impl Tool {
    pub(super) const ALL: [Self; 4] = [Self::Farshore, Self::Rclone, Self::S5cmd, Self::Juicefs];

    fn program(self) -> Option<PathBuf> {
        match self {
            Self::Farshore => Programs::find().farshore,
            Self::Rclone => on_path("rclone"),
            Self::S5cmd => on_path("s5cmd"),
            Self::Juicefs => on_path("juicefs"),
        }
    }

    pub(super) fn version(self) -> Option<String> {
        let output = Command::new(self.program()?).arg("version").output().ok()?;
        let line = String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned();
        Some(if line.starts_with(|first: char| first.is_ascii_digit() || first == 'v') {
            format!("{self} {line}")
        } else {
            line
        })
    }

    /// The command, told to compare nothing but what both listings tell, and in one listing where it can.
    pub(super) fn comparing_sizes(self, command: &mut Command) -> &mut Command {
        match self {
            Self::Farshore | Self::S5cmd => command.arg("--size-only"),
            Self::Rclone => command.args(["--size-only", "--fast-list"]),
            Self::Juicefs => command,
        }
    }

    /// The command that brings one place to the state of another; none where the tool is missing or has no such route.
    pub(super) fn command(self, from: &Place<'_>, to: &Place<'_>) -> Option<Command> {
        let mut command = Command::new(self.program()?);
        for place in [from, to] {
            if let Place::S3(cloud, _) = place {
                cloud.credentials(&mut command);
            }
        }
        match (self, from, to) {
            (Self::Farshore, ..) => {
                command.args(["sync", "--no-journal", "--fsync", "batch", "--concurrency", AT_ONCE]);
                command.args([from, to].map(|place| match place {
                    Place::Local(path) => path.display().to_string(),
                    Place::S3(cloud, prefix) => cloud.farshore_prefix(prefix),
                }));
            }
            (Self::Rclone, ..) => {
                command.args(["sync", "--transfers", AT_ONCE, "--checkers", AT_ONCE, "--config", "/dev/null", "-q"]);
                let remote =
                    |cloud: &Stores| format!(":s3,provider=Other,env_auth=true,endpoint='{}':", cloud.endpoint());
                command.args([from, to].map(|place| match place {
                    Place::Local(path) => path.display().to_string(),
                    Place::S3(cloud, prefix) => format!("{}{}/{prefix}", remote(cloud), Stores::BUCKET),
                }));
            }
            // It knows one cloud at a time, and no route without one.
            (Self::S5cmd, Place::Local(_), Place::Local(_)) | (Self::S5cmd, Place::S3(..), Place::S3(..)) => {
                return None;
            }
            (Self::S5cmd, Place::S3(cloud, _), _) | (Self::S5cmd, _, Place::S3(cloud, _)) => {
                command.args(["--endpoint-url", &cloud.endpoint(), "--numworkers", AT_ONCE, "--log", "error", "sync"]);
                let place = |place: &Place<'_>| match place {
                    Place::Local(path) => format!("{}/", path.display()),
                    Place::S3(_, prefix) => format!("s3://{}/{prefix}/", Stores::BUCKET),
                };
                let star = if matches!(from, Place::S3(..)) { "*" } else { "" };
                command.args([place(from) + star, place(to)]);
            }
            (Self::Juicefs, ..) => {
                command.args(["sync", "--threads", AT_ONCE, "--list-threads", "8", "--dirs"]);
                command.args([from, to].map(|place| match place {
                    Place::Local(path) => format!("{}/", path.display()),
                    Place::S3(cloud, prefix) => cloud.juicefs_prefix(prefix),
                }));
            }
        }
        Some(command)
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Farshore => "farshore",
            Self::Rclone => "rclone",
            Self::S5cmd => "s5cmd",
            Self::Juicefs => "juicefs",
        })
    }
}
