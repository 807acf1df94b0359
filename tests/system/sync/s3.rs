//! Through servers that speak S3: there and back, from one to the other, killed and gone on with.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::compare::{assert_no_journal, assert_same_contents_for_rsync, assert_same_for_rsync};
use super::hostile::Holder;
use super::killed::kill_again_and_again;
use super::{INTERRUPTED, STORE, assert_nothing_is_left_to_do, hostile, sync, sync_fails};
use crate::ports;
use crate::process::Process;
use crate::scale;
use crate::seaweed::Seaweed;
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(8);

/// A tree without links, of all names that SeaweedFS can hold.
fn plant(root: &Path) {
    hostile::plant_many_for(Holder::Seaweed, root, scale::pick(300, 10_000));
}

/// SeaweedFS now and then loses the marker of a directory in which an object is stored at the same moment; the next
/// pass stores it again. Nothing else may be missing.
pub(super) fn mend_markers(shore: &Shore, from: &str, to: &str) {
    let report = shore.arg("mended");
    sync(shore, from, to, &["--report", &report]);
    let told = fs::read_to_string(&report).unwrap();
    assert!(told.lines().all(|line| line.contains("/\",\"size\":0")), "more than markers were missing: {told}");
}

#[test]
fn a_tree_goes_to_s3_and_to_another_bucket_and_back_unchanged() {
    let mut shore = Shore::new("sync-s3", LIMIT);
    let Some(server) = Seaweed::start(&mut shore) else { return };
    let source = shore.mkdir("source");
    plant(&source);
    let (from, back) = (shore.arg("source"), shore.arg("back"));
    let (one, other) = (server.store("one"), server.store("other"));
    for (from, to) in [(&from, &one), (&one, &other), (&other, &back)] {
        let counts = sync(&shore, from, to, &[]);
        assert_eq!((counts.get("copied"), counts.get("failed")), (counts.get("source_entries"), 0));
        mend_markers(&shore, from, to);
        assert_nothing_is_left_to_do(&shore, from, to);
    }
    assert_same_contents_for_rsync(&source, &shore.path("back"));

    fs::remove_file(source.join("nothing")).unwrap();
    fs::write(source.join("d0"), "another").unwrap();
    let counts = sync(&shore, &from, &one, &["--delete", "--verify"]);
    assert_eq!((counts.get("copied"), counts.get("deleted")), (1, 1));
    assert_nothing_is_left_to_do(&shore, &from, &one);
}

#[test]
fn a_bucket_is_copied_to_another_server() {
    let mut shore = Shore::new("sync-two-clouds", LIMIT);
    let Some(one) = Seaweed::start_at(&mut shore, "one") else { return };
    let Some(other) = Seaweed::start_at(&mut shore, "other") else { return };
    let source = shore.mkdir("source");
    plant(&source);
    let (here, there) = (one.store("data"), other.store("data"));
    sync(&shore, &shore.arg("source"), &here, &[]);
    let counts = sync(&shore, &here, &there, &[]);
    assert_eq!(counts.get("copied_server_side"), 0, "two servers do not copy from each other");
    mend_markers(&shore, &here, &there);
    assert_nothing_is_left_to_do(&shore, &here, &there);
    sync(&shore, &there, &shore.arg("back"), &[]);
    assert_same_contents_for_rsync(&source, &shore.path("back"));
}

#[test]
fn a_job_to_s3_that_is_killed_ends_equal_without_open_uploads() {
    let mut shore = Shore::new("sync-s3-killed", LIMIT);
    let Some(server) = Seaweed::start(&mut shore) else { return };
    let source = shore.mkdir("source");
    plant(&source);
    for number in 0..4 {
        fs::write(source.join(format!("large-{number}")), hostile::bytes(hostile::LARGE, number)).unwrap();
    }
    let (from, to) = (shore.arg("source"), server.store("killed"));
    let start = || {
        let mut command = shore.command(["sync", &from, &to]);
        Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
    };
    kill_again_and_again("sync-s3-killed", scale::pick(8, 60), 100..2_500, LIMIT, start);
    assert_eq!(server.open_uploads(), Vec::<String>::new(), "uploads in parts are left open");
    assert_no_journal(&shore);
    mend_markers(&shore, &from, &to);
    assert_nothing_is_left_to_do(&shore, &from, &to);
    sync(&shore, &to, &shore.arg("back"), &[]);
    assert_same_contents_for_rsync(&source, &shore.path("back"));
}

#[test]
fn a_server_that_does_not_answer_deletes_nothing_and_is_named() {
    let mut shore = Shore::new("sync-s3-gone", LIMIT);
    shore.set_env("AWS_ACCESS_KEY_ID", "nobody");
    shore.set_env("AWS_SECRET_ACCESS_KEY", "nothing");
    let target = shore.mkdir("target");
    hostile::plant_many(&target, 20);
    hostile::plant_many(&shore.mkdir("same"), 20);
    sync(&shore, &shore.arg("target"), &shore.arg("same"), &[]);
    let nobody = format!("127.0.0.1:{}", ports::free());
    let source = format!("s3://bucket/x?endpoint=http://{nobody}&region=r");
    sync_fails(&shore, &source, &shore.arg("target"), &["--delete"]).refused(STORE, &nobody);
    assert_same_for_rsync(&target, &shore.path("same"));
}

#[test]
fn a_job_without_a_journal_that_a_signal_ends_leaves_no_open_upload() {
    let mut shore = Shore::new("sync-s3-signal", LIMIT);
    let Some(server) = Seaweed::start(&mut shore) else { return };
    fs::write(shore.mkdir("source").join("large"), hostile::bytes(hostile::LARGE, 1)).unwrap();
    let (from, to) = (shore.arg("source"), server.store("signal"));
    let mut command = shore.command(["sync", &from, &to, "--no-journal", "--bandwidth", "4MiB"]);
    let job = Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    let begun = Instant::now();
    while server.open_uploads().is_empty() {
        assert!(begun.elapsed() < LIMIT && job.ended().is_none(), "no upload in parts was seen");
    }
    job.signal(Signal::TERM);
    let status = job.wait(Duration::from_secs(30)).expect("it ends soon");
    assert_eq!(status.code(), Some(INTERRUPTED));
    assert_eq!(server.open_uploads(), Vec::<String>::new(), "an upload in parts is left open");
}
