//! Killed at any point, the same command goes on until it is done: equal, and nothing left behind.

use std::ops::Range;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;

use super::compare::{assert_no_journal, assert_no_temporary, assert_same_for_rsync};
use super::{Counts, INTERRUPTED, OTHER_JOB, assert_nothing_is_left_to_do, hostile};
use crate::process::Process;
use crate::scale;
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(10);

fn start(shore: &Shore, from: &str, to: &str) -> Process {
    Process::spawn_quiet(&mut shore.command(["sync", from, to, "--fsync", "batch"]))
}

/// Kills a job so many times, each after some milliseconds from these, unless it ends before; then it ends well within
/// the limit.
pub(super) fn kill_again_and_again(
    seed: &str,
    times: u32,
    after_ms: Range<u64>,
    limit: Duration,
    start: impl Fn() -> Process,
) {
    let mut rng = StdRng::seed_from_u64(scale::seed(seed));
    let mut kills = 0;
    for _ in 0..times {
        let job = start();
        if job.wait(Duration::from_millis(rng.random_range(after_ms.clone()))).is_some() {
            break;
        }
        job.kill9();
        kills += 1;
    }
    eprintln!("killed {kills} times");
    assert!(start().wait(limit).expect("it ends").success());
}

#[test]
fn a_job_that_is_killed_again_and_again_ends_equal_and_leaves_nothing() {
    let shore = Shore::new("sync-killed", LIMIT);
    let (from, to) = (shore.arg("source"), shore.arg("target"));
    hostile::plant_many(&shore.mkdir("source"), scale::pick(2_000, 20_000));
    let start = || start(&shore, &from, &to);
    kill_again_and_again("sync-killed", scale::pick(10, 100), 20..scale::pick(600, 2_000), LIMIT, start);
    assert_same_for_rsync(&shore.path("source"), &shore.path("target"));
    assert_no_temporary(&shore.path("target"));
    assert_no_journal(&shore);
    assert_nothing_is_left_to_do(&shore, &from, &to);
}

#[test]
fn a_signal_ends_a_job_cleanly_and_says_so() {
    let shore = Shore::new("sync-signal", LIMIT);
    let (from, to) = (shore.arg("source"), shore.arg("target"));
    hostile::plant_many(&shore.mkdir("source"), scale::pick(3_000, 20_000));
    for signal in [Signal::INT, Signal::TERM] {
        let job = start(&shore, &from, &to);
        if job.wait(Duration::from_millis(150)).is_none() {
            job.signal(signal);
            let status = job.wait(Duration::from_secs(20)).expect("it ends soon");
            assert!([Some(INTERRUPTED), Some(0)].contains(&status.code()), "{status:?}");
            assert_no_temporary(&shore.path("target"));
        }
    }
    let job = start(&shore, &from, &to);
    assert!(job.wait(LIMIT).expect("it ends").success());
    assert_nothing_is_left_to_do(&shore, &from, &to);
}

#[test]
fn a_job_goes_on_where_it_was_and_another_is_refused_its_journal() {
    let shore = Shore::new("sync-resumed", LIMIT);
    let (from, to, journal) = (shore.arg("source"), shore.arg("target"), shore.arg("journal"));
    let files = scale::pick(3_000, 60_000);
    hostile::plant_many(&shore.mkdir("source"), files);
    let args = ["sync", &from, &to, "--journal", &journal, "--json", "--bandwidth", "2MiB"];
    let job = Process::spawn_quiet(&mut shore.command(args));
    // The journal hears of a job each five seconds.
    assert!(job.wait(Duration::from_secs(8)).is_none(), "it was to be killed in the middle");
    job.kill9();

    let other = shore.farshore(["sync", &from, &shore.arg("other"), "--journal", &journal]);
    other.refused(OTHER_JOB, "another job");
    let args = ["sync", &from, &to, "--journal", &journal, "--json"];
    let said = shore.farshore(args);
    assert!(said.stderr.contains("going on with a job"), "{}", said.stderr);
    let counts = Counts::of(&said.ok());
    assert_eq!(counts.get("copied") + counts.get("skipped"), counts.get("source_entries"));
    let moved = counts.number("moved_bytes");
    assert!(moved < counts.get("source_bytes"), "everything was copied again: {moved} bytes");
    assert_same_for_rsync(&shore.path("source"), &shore.path("target"));
    // A job that is done can be done again with the same journal.
    assert_eq!(Counts::of(&shore.farshore(args).ok()).get("copied"), 0);
}
