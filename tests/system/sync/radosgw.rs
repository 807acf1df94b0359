//! A radosgw, which keeps every key and all metadata, if the environment names one; and rclone, as another view of servers.

use std::process::Command;

use crate::command::{Said, find, not_run};
use crate::shore::Shore;

/// The radosgw that the environment names, and an empty bucket there.
pub(super) fn start(shore: &mut Shore, name: &str) -> Option<(String, String)> {
    let variable = "FARSHORE_TEST_RADOSGW";
    let Some(endpoint) = std::env::var(variable).ok().filter(|endpoint| !endpoint.is_empty()) else {
        not_run("what only radosgw holds", &format!("no address in {variable}"));
        return None;
    };
    shore.set_env("AWS_ACCESS_KEY_ID", "farshore-test");
    shore.set_env("AWS_SECRET_ACCESS_KEY", "farshore-test-secret");
    let bucket = format!("farshore-{name}-{}", std::process::id());
    rclone(&endpoint, &["mkdir", &format!("S:{bucket}")])?;
    Some((endpoint, bucket))
}

/// rclone on a server, by the tests' own credentials.
pub(super) fn rclone(endpoint: &str, args: &[&str]) -> Option<String> {
    let Some(program) = find("rclone") else {
        not_run("rclone's view of the metadata", "it is not installed");
        return None;
    };
    let mut command = Command::new(program);
    command.args(args).env("RCLONE_CONFIG", "/dev/null").env("RCLONE_CONFIG_S_TYPE", "s3");
    command.env("RCLONE_CONFIG_S_PROVIDER", "Ceph").env("RCLONE_CONFIG_S_ENDPOINT", endpoint);
    command.env("RCLONE_CONFIG_S_ACCESS_KEY_ID", "farshore-test");
    command.env("RCLONE_CONFIG_S_SECRET_ACCESS_KEY", "farshore-test-secret");
    Some(Said::of(&mut command).ok())
}
