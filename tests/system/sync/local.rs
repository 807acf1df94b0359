//! From directory to directory: everything that a filesystem keeps is kept.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use super::compare::{assert_no_temporary, assert_same_for_rsync};
use super::hostile;
use super::{Counts, DIFFERS, PARTIAL, assert_nothing_is_left_to_do, sync, sync_fails};
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(4);

#[test]
fn a_hostile_tree_is_the_same_in_another_directory() {
    let shore = Shore::new("sync-hostile", LIMIT);
    let (source, target) = (shore.mkdir("source"), shore.path("target"));
    hostile::plant(&source);
    let counts = sync(&shore, &shore.arg("source"), &shore.arg("target"), &[]);
    assert_eq!(counts.get("copied"), counts.get("source_entries"));
    assert_same_for_rsync(&source, &target);
    assert_no_temporary(&target);
    let sparse = fs::metadata(target.join(hostile::SPARSE)).unwrap();
    assert!(sparse.blocks() * 512 < hostile::SPARSE_BYTES / 4, "the holes were filled: {} blocks", sparse.blocks());
    assert_nothing_is_left_to_do(&shore, &shore.arg("source"), &shore.arg("target"));
    assert_same_for_rsync(&source, &target);
}

#[test]
fn each_kind_of_change_is_brought_over_and_told() {
    let shore = Shore::new("sync-changes", LIMIT);
    let (from, to) = (shore.arg("source"), shore.arg("target"));
    let (source, target) = (shore.mkdir("source"), shore.path("target"));
    hostile::plant_many(&source, 300);
    sync(&shore, &from, &to, &[]);
    fs::write(source.join("new"), "new").unwrap();
    fs::write(source.join("00/00/file-000000"), "another size").unwrap();
    fs::write(target.join("01/00/file-000001"), "lost").unwrap();
    fs::write(target.join("extra"), "extra").unwrap();

    let said = shore.farshore(["check", &from, &to]);
    assert_eq!(said.code, Some(DIFFERS), "{said:?}");
    for line in ["missing  new", "differs  00/00/file-000000 (size)", "differs  01/00/file-000001 (size)"] {
        assert!(said.stdout.lines().any(|told| told == line), "{line:?} is not told: {}", said.stdout);
    }
    assert!(said.stdout.contains("extra    extra"), "{}", said.stdout);
    let json = shore.farshore(["check", &from, &to, "--json", "--one-way"]);
    let lines: Vec<serde_json::Value> = json.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4, "three differences and a summary: {}", json.stdout);

    let report = shore.arg("report");
    let counts = sync(&shore, &from, &to, &["--delete", "--report", &report]);
    assert_eq!((counts.get("copied"), counts.get("deleted")), (3, 1));
    let told = fs::read_to_string(&report).unwrap();
    assert_eq!(told.lines().count(), 4, "{told}");
    assert_same_for_rsync(&source, &target);
}

#[test]
fn a_same_size_and_time_hide_a_change_from_all_but_checksums() {
    let shore = Shore::new("sync-checksum", LIMIT);
    let (from, to) = (shore.arg("source"), shore.arg("target"));
    let source = shore.mkdir("source");
    fs::write(source.join("file"), "right").unwrap();
    sync(&shore, &from, &to, &[]);
    let written = fs::metadata(source.join("file")).unwrap().modified().unwrap();
    fs::write(shore.path("target/file"), "wrong").unwrap();
    fs::File::options().write(true).open(shore.path("target/file")).unwrap().set_modified(written).unwrap();

    shore.farshore(["check", &from, &to, "--times"]).ok();
    let said = shore.farshore(["check", &from, &to]);
    assert_eq!(said.code, Some(DIFFERS), "{said:?}");
    assert_eq!(sync(&shore, &from, &to, &[]).get("copied"), 0);
    assert_eq!(sync(&shore, &from, &to, &["--checksum"]).get("copied"), 1);
    assert_eq!(fs::read(shore.path("target/file")).unwrap(), b"right");
}

#[test]
fn a_dry_run_changes_nothing_and_prints_the_plan() {
    let shore = Shore::new("sync-dry", LIMIT);
    let (from, to) = (shore.arg("source"), shore.arg("target"));
    fs::write(shore.mkdir("source").join("new"), "12345").unwrap();
    let said = shore.farshore(["sync", &from, &to, "--dry-run"]).ok();
    assert!(said.contains("copied   new (new)") && said.contains("1 object would be copied, 5 B"), "{said}");
    assert!(!shore.path("target").exists(), "a dry run made the target");

    fs::write(shore.mkdir("target").join("extra"), "extra").unwrap();
    let counts = sync(&shore, &from, &to, &["--dry-run", "--delete"]);
    assert_eq!((counts.get("copied"), counts.get("deletions_planned"), counts.get("deleted")), (1, 1, 0));
    assert!(shore.path("target/extra").exists() && !shore.path("target/new").exists());
}

#[test]
fn what_is_no_object_is_left_out_and_what_cannot_be_read_is_told() {
    let shore = Shore::new("sync-partial", LIMIT);
    let (from, to) = (shore.arg("source"), shore.arg("target"));
    let source = shore.mkdir("source");
    fs::write(source.join("file"), "file").unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, source.join("pipe"), 0o600.into()).unwrap();
    let counts = sync(&shore, &from, &to, &[]);
    assert_eq!((counts.get("copied"), counts.get("not_objects")), (1, 1));

    // A directory where a file is to be, with something in it, is in the way.
    fs::write(source.join("in-the-way"), "file").unwrap();
    fs::create_dir_all(shore.path("target/in-the-way/full")).unwrap();
    let report = shore.arg("report");
    let said = sync_fails(&shore, &from, &to, &["--report", &report, "--json"]);
    assert_eq!(said.code, Some(PARTIAL), "{said:?}");
    assert_eq!(Counts::of(&said.stdout).get("failed"), 1);
    assert!(fs::read_to_string(&report).unwrap().contains(r#""key":"in-the-way""#));
}
