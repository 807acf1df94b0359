//! Names of one file stay names of one file, whatever happens between them.

use std::fs::{self, File};
use std::time::Duration;

use super::compare::assert_same_for_rsync;
use super::{DIFFERS, assert_nothing_is_left_to_do, hostile, sync};
use crate::process::Process;
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(4);

#[test]
fn names_of_one_file_stay_so_and_become_so_again() {
    let shore = Shore::new("sync-links", LIMIT);
    let source = shore.mkdir("source");
    for directory in ["a", "m", "z"] {
        fs::create_dir(source.join(directory)).unwrap();
    }
    fs::write(source.join("a/one"), "one file").unwrap();
    for name in ["a/two", "m/three", "z/four"] {
        fs::hard_link(source.join("a/one"), source.join(name)).unwrap();
    }
    let (from, to) = (shore.arg("source"), shore.arg("target"));
    sync(&shore, &from, &to, &[]);
    assert_same_for_rsync(&source, &shore.path("target"));
    shore.farshore(["check", "--attributes", &from, &to]).ok();

    // What a job that was killed between two names leaves, or another tool: a file of its own under one of them.
    let apart = shore.path("target/m/three");
    let written = fs::metadata(&apart).unwrap().modified().unwrap();
    fs::remove_file(&apart).unwrap();
    fs::write(&apart, "one file").unwrap();
    File::options().write(true).open(&apart).unwrap().set_modified(written).unwrap();
    let said = shore.farshore(["check", "--attributes", &from, &to]);
    assert_eq!(said.code, Some(DIFFERS), "{said:?}");
    assert!(said.stdout.contains("differs  m/three"), "{}", said.stdout);
    let counts = sync(&shore, &from, &to, &[]);
    assert_eq!((counts.get("copied"), counts.get("updated")), (0, 1));
    assert_same_for_rsync(&source, &shore.path("target"));
    assert_nothing_is_left_to_do(&shore, &from, &to);
}

#[test]
fn names_of_one_file_stay_so_if_the_job_is_killed_between_them() {
    let shore = Shore::new("sync-links-killed", LIMIT);
    let source = shore.mkdir("source");
    fs::create_dir_all(source.join("z")).unwrap();
    for number in 0..200 {
        let path = source.join(format!("file-{number:03}"));
        fs::write(&path, hostile::bytes(20_000, number)).unwrap();
        fs::hard_link(&path, source.join(format!("z/name-{number:03}"))).unwrap();
    }
    let (from, to) = (shore.arg("source"), shore.arg("target"));
    let job = Process::spawn_quiet(&mut shore.command(["sync", &from, &to, "--bandwidth", "400KiB", "--workers", "1"]));
    // The journal hears of a job each five seconds.
    assert!(job.wait(Duration::from_secs(7)).is_none(), "it was to be killed in the middle");
    job.kill9();
    let copied = fs::read_dir(shore.path("target")).unwrap().count();
    assert!((10..200).contains(&copied), "{copied} were copied before");
    let said = shore.farshore(["sync", &from, &to]);
    assert!(said.stderr.contains("going on with a job"), "{}", said.stderr);
    said.ok();
    assert_same_for_rsync(&source, &shore.path("target"));
}
