//! What is overwritten or deleted is brought to another place first, and is in one of both at any time.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::compare::{assert_no_temporary, assert_same_contents_for_rsync};
use super::killed::kill_again_and_again;
use super::{PARTIAL, USAGE, hostile, sync, sync_fails};
use crate::process::Process;
use crate::scale;
use crate::seaweed::Seaweed;
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(8);

/// The files below a directory, by their paths in it.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut directories) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            } else if let Ok(bytes) = fs::read(entry.path()) {
                found.insert(entry.path().strip_prefix(root).unwrap().to_owned(), bytes);
            }
        }
    }
    found
}

/// A source and an older state of it at the target: a third is the same, a third is another, a third is not in the source.
fn plant(shore: &Shore, count: usize) {
    let (source, target) = (shore.mkdir("source"), shore.mkdir("target"));
    for number in 0..count {
        let name = format!("d{}/{number}", number % 9);
        for root in [&source, &target] {
            fs::create_dir_all(root.join(format!("d{}", number % 9))).unwrap();
        }
        let old = hostile::bytes(100 + number % 5_000, number);
        fs::write(target.join(&name), &old).unwrap();
        match number % 3 {
            0 => fs::write(source.join(&name), &old).unwrap(),
            1 => fs::write(source.join(&name), hostile::bytes(200 + number % 3_000, number + 1)).unwrap(),
            _ => {}
        }
    }
    fs::write(source.join("new"), "new").unwrap();
}

/// Each old file is where it was or in the place for backups, as it was.
fn assert_none_is_lost(old: &BTreeMap<PathBuf, Vec<u8>>, shore: &Shore) {
    for (name, bytes) in old {
        let is = |place: &str| fs::read(shore.path(place).join(name)).is_ok_and(|found| found == *bytes);
        assert!(is("target") || is("backup"), "{} is lost", name.display());
    }
}

#[test]
fn old_files_are_in_one_of_both_places_whenever_a_job_is_killed() {
    let shore = Shore::new("sync-backup-killed", LIMIT);
    let (from, to, backup) = (shore.arg("source"), shore.arg("target"), shore.arg("backup"));
    plant(&shore, scale::pick(1_500, 15_000));
    let old = files(&shore.path("target"));
    let args = ["sync", &from, &to, "--checksum", "--delete", "--backup-dir", &backup];
    let start = || {
        assert_none_is_lost(&old, &shore);
        let mut command = shore.command(args);
        Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
    };
    kill_again_and_again("sync-backup", scale::pick(8, 60), 20..scale::pick(900, 3_000), LIMIT, start);
    assert_none_is_lost(&old, &shore);
    assert_same_contents_for_rsync(&shore.path("source"), &shore.path("target"));
    let source = files(&shore.path("source"));
    let replaced: BTreeMap<_, _> = old.into_iter().filter(|(name, bytes)| source.get(name) != Some(bytes)).collect();
    assert!(files(&shore.path("backup")) == replaced, "what was replaced and nothing else has a backup");
    assert_no_temporary(&shore.path("target"));
    assert_no_temporary(&shore.path("backup"));
}

#[test]
fn an_older_backup_stays_and_a_dry_run_tells_what_would_have_one() {
    let shore = Shore::new("sync-backup-older", LIMIT);
    let (from, to, backup) = (shore.arg("source"), shore.arg("target"), shore.arg("backup"));
    plant(&shore, 9);
    let more = ["--checksum", "--delete", "--backup-dir", &backup];
    let planned = shore.farshore(["sync", &from, &to, "-n"].iter().chain(&more)).ok();
    assert_eq!(planned.lines().filter(|line| line.starts_with("backed-up")).count(), 6, "{planned}");
    assert!(planned.contains("6 objects would be brought to the place for backups first"), "{planned}");
    assert!(!shore.path("backup").exists());
    let counts = sync(&shore, &from, &to, &more);
    assert_eq!((counts.get("backed_up"), counts.get("deleted"), counts.get("failed")), (6, 3, 0));

    fs::write(shore.path("source/d1/1"), "again another").unwrap();
    let before = fs::read(shore.path("target/d1/1")).unwrap();
    let said = sync_fails(&shore, &from, &to, &more);
    assert!(said.code == Some(PARTIAL) && said.stderr.contains("--backup-suffix"), "{said:?}");
    assert_eq!(fs::read(shore.path("target/d1/1")).unwrap(), before, "what has no backup is not replaced");
    let suffixed: Vec<&str> = more.iter().copied().chain(["--backup-suffix", ".second"]).collect();
    sync(&shore, &from, &to, &suffixed);
    assert_eq!(fs::read(shore.path("backup/d1/1.second")).unwrap(), before);

    let within = shore.arg("target/old");
    let inside = ["--delete", "--backup-dir", &within];
    sync_fails(&shore, &from, &to, &inside).refused(USAGE, "--exclude");
    let other_rule: Vec<&str> = inside.iter().copied().chain(["--exclude", "/old/*"]).collect();
    sync_fails(&shore, &from, &to, &other_rule).refused(USAGE, "--exclude");
    fs::write(shore.path("source/d1/1"), "and again").unwrap();
    let left_out: Vec<&str> = inside.iter().copied().chain(["--exclude", "/old/**"]).collect();
    let counts = sync(&shore, &from, &to, &left_out);
    assert_eq!((counts.get("backed_up"), counts.get("deleted")), (1, 0));
    assert_eq!(fs::read(shore.path("target/old/d1/1")).unwrap(), b"again another");
    for place in [&from, &shore.arg("")] {
        sync_fails(&shore, &from, &to, &["--backup-dir", place]).refused(USAGE, "overlap");
    }
    sync_fails(&shore, &from, &to, &["--backup-dir", "http://127.0.0.1:1/"]).refused(USAGE, "web server");
}

#[test]
fn a_bucket_keeps_old_objects_under_another_prefix_by_itself() {
    let mut shore = Shore::new("sync-backup-s3", LIMIT);
    let Some(server) = Seaweed::start(&mut shore) else { return };
    plant(&shore, 30);
    let large = hostile::bytes(45 << 20, 1);
    fs::write(shore.path("target/large"), &large).unwrap();
    fs::write(shore.path("source/large"), "small now").unwrap();
    let old = files(&shore.path("target"));
    let (there, place) = (server.store("there"), server.store("old"));
    sync(&shore, &shore.arg("target"), &there, &[]);
    let counts = sync(&shore, &shore.arg("source"), &there, &["--checksum", "--delete", "--backup-dir", &place]);
    assert_eq!((counts.get("backed_up"), counts.get("failed")), (21, 0));
    shore.mkdir("back");
    sync(&shore, &place, &shore.arg("back"), &[]);
    let source = files(&shore.path("source"));
    let replaced: BTreeMap<_, _> = old.into_iter().filter(|(name, bytes)| source.get(name) != Some(bytes)).collect();
    assert!(files(&shore.path("back")) == replaced, "they come back from there as they were");
    assert!(server.open_uploads().is_empty());
    let other = place.replace("s3://", "s3://other-");
    let said = sync_fails(&shore, &shore.arg("source"), &there, &["--backup-dir", &other]);
    said.refused(USAGE, "same store");
}
