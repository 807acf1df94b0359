//! A radosgw, which keeps every key and all metadata, if the environment names one.

use super::rclone::Remote;
use crate::command::not_run;
use crate::seaweed::{ACCESS_KEY, SECRET_KEY};
use crate::shore::Shore;

/// The radosgw that the environment names, and an empty bucket there.
pub(super) fn start(shore: &mut Shore, name: &str) -> Option<(String, String)> {
    let variable = "FARSHORE_TEST_RADOSGW";
    let Some(endpoint) = std::env::var(variable).ok().filter(|endpoint| !endpoint.is_empty()) else {
        not_run("what only radosgw holds", &format!("no address in {variable}"));
        return None;
    };
    shore.set_env("AWS_ACCESS_KEY_ID", ACCESS_KEY);
    shore.set_env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    let bucket = format!("farshore-{name}-{}", std::process::id());
    Remote::s3(&endpoint).run(&["mkdir", &Remote::place(&bucket)])?;
    Some((endpoint, bucket))
}
