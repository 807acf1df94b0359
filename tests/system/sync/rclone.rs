//! rclone, as another view of what a server has.

use std::path::Path;
use std::process::Command;

use crate::azurite::{ACCOUNT, KEY};
use crate::command::{Said, find, not_run};
use crate::seaweed::{ACCESS_KEY, SECRET_KEY};

/// A server as rclone knows it, with the tests' own credentials.
pub(super) struct Remote {
    settings: Vec<(&'static str, String)>,
}

impl Remote {
    /// A server that speaks S3.
    pub(super) fn s3(endpoint: &str) -> Self {
        let (key, secret) = (ACCESS_KEY.to_owned(), SECRET_KEY.to_owned());
        let who = [("ACCESS_KEY_ID", key), ("SECRET_ACCESS_KEY", secret)];
        let settings = [("TYPE", "s3".to_owned()), ("PROVIDER", "Ceph".to_owned()), ("ENDPOINT", endpoint.to_owned())];
        Self { settings: settings.into_iter().chain(who).collect() }
    }

    /// A server that speaks as Azure does.
    pub(super) fn azure(endpoint: &str) -> Self {
        let who = [("ACCOUNT", ACCOUNT.to_owned()), ("KEY", KEY.to_owned())];
        let settings = [("TYPE", "azureblob".to_owned()), ("ENDPOINT", format!("{endpoint}/{ACCOUNT}"))];
        Self { settings: settings.into_iter().chain(who).collect() }
    }

    /// What it says; `None`, said aloud, where it is not installed.
    pub(super) fn run(&self, args: &[&str]) -> Option<String> {
        let Some(program) = find("rclone") else {
            not_run("rclone's view of a server", "it is not installed");
            return None;
        };
        let mut command = Command::new(program);
        command.args(args).env("RCLONE_CONFIG", "/dev/null");
        for (name, value) in &self.settings {
            command.env(format!("RCLONE_CONFIG_SERVER_{name}"), value);
        }
        Some(Said::of(&mut command).ok())
    }

    /// A place in a bucket or container there, in rclone's words.
    pub(super) fn place(path: &str) -> String {
        format!("server:{path}")
    }

    /// Asserts that rclone finds all files of a directory there, each with its very bytes, and no others. It has other
    /// objects for symbolic links, which are therefore left out, with what is beside them, and other names for those
    /// with control characters.
    pub(super) fn assert_same(&self, source: &Path, place: &str) {
        let source = source.to_str().expect("it is text");
        let look = ["--download", "--no-unicode-normalization", "--exclude", "/links/**", "--exclude", "*control*"];
        self.run(&[&["check", source, &Self::place(place)][..], &look].concat());
    }
}
