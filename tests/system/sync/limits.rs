//! Limits that change with the time of day, and a log in a file.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use super::team::{Team, ends_well};
use super::{Counts, USAGE, hostile, sync};
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(5);

/// The time of day by this machine's clock, so many hours from now.
fn time_of_day(hours: i32) -> String {
    let said = Command::new("date").args(["-d", &format!("{hours} hours"), "+%H:%M"]).output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_step_that_has_begun_is_the_limit_alone_and_of_all_workers() {
    let shore = Shore::new("sync-schedule", LIMIT);
    let source = shore.mkdir("source");
    for number in 0..192 {
        fs::write(source.join(format!("file-{number:03}")), hostile::bytes(32 << 10, number)).unwrap();
    }
    let (hour_ago, in_two) = (time_of_day(-1), time_of_day(2));
    let slow = format!("{hour_ago},2M {in_two},off");
    let lifted = format!("{hour_ago},off {in_two},2M");
    let from = shore.arg("source");
    let took = |name: &str, schedule: &str| {
        let begun = Instant::now();
        let counts: Counts = sync(&shore, &from, &shore.arg(name), &["--target-bandwidth", schedule]);
        assert_eq!(counts.get("copied"), 192);
        begun.elapsed()
    };
    let (held, free) = (took("slow", &slow), took("lifted", &lifted));
    eprintln!("6 MiB at 2 MiB/s took {held:?}, without a limit {free:?}");
    assert!(held >= Duration::from_secs(2) && held > free, "{held:?} {free:?}");

    let team = Team::new(&shore, &from, &shore.arg("shared"), &["--workers", "0", "--bandwidth", &slow]);
    let begun = Instant::now();
    let coordinator = team.coordinator();
    let workers = [team.worker(&[]), team.worker(&[])];
    ends_well(&coordinator, LIMIT);
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    for worker in &workers {
        ends_well(worker, LIMIT);
    }
    assert_eq!(team.counts().get("copied"), 192);
}

#[test]
fn what_is_no_schedule_is_refused_and_says_which_step() {
    let shore = Shore::new("sync-schedule-wrong", LIMIT);
    shore.mkdir("source");
    for (option, schedule, told) in [
        ("--bandwidth", "08:00,1M 25:00,2M", "\"25:00,2M\" is no step"),
        ("--target-requests", "08:00,none", "\"none\" is no number of requests"),
    ] {
        let said = shore.farshore(["sync", &shore.arg("source"), &shore.arg("target"), option, schedule]);
        assert!(said.code == Some(USAGE) && said.stderr.contains(told), "{said:?}");
    }
}

#[test]
fn the_log_goes_to_a_file_as_detailed_as_told() {
    let shore = Shore::new("sync-log", LIMIT);
    hostile::plant_many(&shore.mkdir("source"), 20);
    let (from, to, log) = (shore.arg("source"), shore.arg("target"), shore.arg("log"));
    let run = |level: &str| {
        shore.farshore(["sync", &from, &to, "--log-file", &log, "--log-level", level, "--min-size", "1k"])
    };
    let said = run("debug");
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    let first = fs::read_to_string(shore.path("log")).unwrap();
    assert_eq!(run("error").code, Some(0));
    assert_eq!(fs::read_to_string(shore.path("log")).unwrap(), first, "a job that goes well has no error to tell");
    let nowhere = shore.arg("no/such/log");
    let said = shore.farshore(["sync", &from, &to, "--log-file", &nowhere]);
    assert!(said.code != Some(0) && said.stderr.contains("--log-file"), "{said:?}");
}
