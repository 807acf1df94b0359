//! Keys that a disk cannot hold go there and come back.

use std::fs;
use std::time::Duration;

use super::radosgw::start;
use super::rclone::Remote;
use super::{PARTIAL, assert_nothing_is_left_to_do, sync, sync_fails};
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(4);

#[test]
fn odd_keys_go_to_a_directory_and_come_back() {
    let mut shore = Shore::new("sync-odd-keys", LIMIT);
    let Some((endpoint, bucket)) = start(&mut shore, "odd") else { return };
    let place = |prefix: &str| format!("s3://{bucket}/{prefix}?endpoint={endpoint}&region=us-east-1&checksum=md5");
    let source = shore.mkdir("source");
    for name in ["a", "b"] {
        fs::write(source.join(name), name).unwrap();
    }
    // The keys that a disk cannot hold come from a prefix that ends within them.
    for (prefix, more) in [("one", ""), ("one//", ""), ("one/a", "/below"), ("one/..", ""), ("one/b", "//")] {
        sync(&shore, &shore.arg("source"), &place(&format!("{prefix}{more}")), &[]);
    }
    let (one, two, disk) = (place("one"), place("two"), shore.arg("disk"));
    let counts = sync(&shore, &one, &disk, &[]);
    assert_eq!((counts.get("copied"), counts.get("keys_escaped") >= 6), (10, true));
    assert_nothing_is_left_to_do(&shore, &one, &disk);
    sync(&shore, &disk, &two, &["--no-directories"]);
    shore.farshore(["check", &one, &two]).ok();
    let said = sync_fails(&shore, &one, &shore.arg("refused"), &["--keys", "refuse"]);
    assert_eq!(said.code, Some(PARTIAL), "{said:?}");
    // rclone deletes none of these keys, so that it could not remove the bucket.
    shore.mkdir("nothing");
    let all = format!("s3://{bucket}?endpoint={endpoint}&region=us-east-1");
    sync(&shore, &shore.arg("nothing"), &all, &["--delete", "--allow-empty-source-to-delete-everything"]);
    Remote::s3(&endpoint).run(&["purge", &Remote::place(&bucket)]);
}
