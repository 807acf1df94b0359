//! Through servers that speak S3: there and back, from one to the other, killed and gone on with.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::compare::{assert_same_contents_for_rsync, assert_same_for_rsync};
use super::hostile::Holder;
use super::object_stores::{self, LIMIT, mend_markers};
use super::{INTERRUPTED, STORE, USAGE, assert_nothing_is_left_to_do, hostile, sync, sync_fails};
use crate::process::Process;
use crate::scale;
use crate::seaweed::Seaweed;
use crate::shore::Shore;

#[test]
fn a_tree_goes_to_s3_and_to_another_bucket_and_back_unchanged() {
    let mut shore = Shore::new("sync-s3", LIMIT);
    let Some(server) = Seaweed::start(&mut shore) else { return };
    object_stores::there_and_back(&shore, Holder::Seaweed, &server.store("one"), &server.store("other"));
}

#[test]
fn a_bucket_is_copied_to_another_server() {
    let mut shore = Shore::new("sync-two-clouds", LIMIT);
    let Some(one) = Seaweed::start_at(&mut shore, "one") else { return };
    let Some(other) = Seaweed::start_at(&mut shore, "other") else { return };
    let source = object_stores::plant(&shore, Holder::Seaweed);
    let (here, there) = (one.store("data"), other.store("data"));
    sync(&shore, &shore.arg("source"), &here, &[]);
    let counts = sync(&shore, &here, &there, &[]);
    assert_eq!(counts.get("copied_server_side"), 0, "two servers do not copy from each other");
    mend_markers(&shore, Holder::Seaweed, &here, &there);
    assert_nothing_is_left_to_do(&shore, &here, &there);
    sync(&shore, &there, &shore.arg("back"), &[]);
    assert_same_contents_for_rsync(&source, &shore.path("back"));
}

#[test]
fn a_job_to_s3_that_is_killed_ends_equal_without_open_uploads() {
    let name = "sync-s3-killed";
    let mut shore = Shore::new(name, LIMIT);
    let Some(server) = Seaweed::start(&mut shore) else { return };
    let kills = scale::pick(8, 60);
    object_stores::killed(&shore, name, Holder::Seaweed, &server.store("killed"), kills, 100..2_500);
    assert_eq!(server.open_uploads(), Vec::<String>::new(), "uploads in parts are left open");
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
    let nobody = format!("127.0.0.1:{}", farshore_ports::free());
    let source = format!("s3://bucket/x?endpoint=http://{nobody}&region=r");
    sync_fails(&shore, &source, &shore.arg("target"), &["--delete"]).refused(STORE, &nobody);
    assert_same_for_rsync(&target, &shore.path("same"));
}

#[test]
fn an_object_that_is_named_as_a_directory_is_told_of() {
    let mut shore = Shore::new("sync-s3-object", LIMIT);
    let Some(server) = Seaweed::start(&mut shore) else { return };
    fs::write(shore.mkdir("source").join("file"), "bytes").unwrap();
    let (from, to) = (shore.arg("source"), shore.arg("target"));
    sync(&shore, &from, &server.store("there"), &[]);
    sync_fails(&shore, &server.store("there/file"), &to, &[]).refused(USAGE, "--include /file");
    shore.farshore(["check", &server.store("there/file"), &from]).refused(USAGE, "--include /file");
    assert_eq!(sync(&shore, &server.store("there"), &to, &["--include", "/file"]).get("copied"), 1);
    assert_eq!(sync(&shore, &server.store("nothing"), &to, &[]).get("source_entries"), 0);
}

#[test]
fn a_job_without_a_journal_that_a_signal_ends_leaves_no_open_upload() {
    let mut shore = Shore::new("sync-s3-signal", LIMIT);
    let Some(server) = Seaweed::start(&mut shore) else { return };
    fs::write(shore.mkdir("source").join("large"), hostile::bytes(hostile::LARGE, 1)).unwrap();
    let (from, to) = (shore.arg("source"), server.store("signal"));
    let job = Process::spawn_quiet(&mut shore.command(["sync", &from, &to, "--no-journal", "--bandwidth", "4MiB"]));
    let begun = Instant::now();
    while server.open_uploads().is_empty() {
        assert!(begun.elapsed() < LIMIT && job.ended().is_none(), "no upload in parts was seen");
    }
    job.signal(Signal::TERM);
    let status = job.wait(Duration::from_secs(30)).expect("it ends soon");
    assert_eq!(status.code(), Some(INTERRUPTED));
    assert_eq!(server.open_uploads(), Vec::<String>::new(), "an upload in parts is left open");
}
