//! One object of many parts, which all workers send: each part once, also where one of them is killed.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::compare::{assert_no_journal, assert_no_temporary, assert_same_contents_for_rsync};
use super::team::{Team, ends_well};
use super::workers::{number, wait_until};
use super::{assert_nothing_is_left_to_do, hostile, sync};
use crate::process::Process;
use crate::scale;
use crate::seaweed::Seaweed;
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(10);
const PART: u64 = 8 << 20;
/// The parts that one process has under way at once.
const AT_ONCE: u64 = 8;

/// Who is killed in the middle.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Killed {
    Nobody,
    WhoCopies,
    WhoHelps,
}

/// A worker, and what it has read.
struct Worker {
    process: Process,
    metrics: String,
}

impl Worker {
    fn start(team: &Team<'_>) -> Self {
        let metrics = format!("127.0.0.1:{}", farshore_ports::free());
        Self { process: team.worker(&["--workers", "2", "--metrics", &metrics]), metrics }
    }

    fn read(&self) -> u64 {
        number(&self.metrics, "farshore_sync_read_bytes_total").unwrap_or_default() as u64
    }
}

fn parts() -> u64 {
    scale::pick(24, 400)
}

fn plant(shore: &Shore) {
    let source = shore.mkdir("source");
    fs::write(source.join("large"), hostile::bytes((parts() * PART) as usize - 77, 7)).unwrap();
    fs::write(source.join("small"), "small").unwrap();
}

/// Copies the object with two workers, the second of which comes when the first has begun.
fn copy(shore: &Shore, to: &str, killed: Killed) {
    let more = ["--workers", "0", "--bandwidth", scale::pick("48MiB", "200MiB")];
    let team = Team::new(shore, &shore.arg("source"), to, &more);
    let coordinator = team.coordinator();
    let first = Worker::start(&team);
    wait_until(|| first.read() > PART);
    let second = Worker::start(&team);
    wait_until(|| second.read() > 2 * PART);
    let (copied, helped) = (first.read(), second.read());
    let begun = Instant::now();
    match killed {
        Killed::Nobody => {}
        Killed::WhoCopies => first.process.kill9(),
        Killed::WhoHelps => second.process.kill9(),
    }
    ends_well(&coordinator, LIMIT);
    eprintln!("{killed:?}: {copied} and {helped} bytes read when both sent, {:?} to the end", begun.elapsed());
    for (worker, dies) in [(&first, Killed::WhoCopies), (&second, Killed::WhoHelps)] {
        if killed != dies {
            ends_well(&worker.process, LIMIT);
        }
    }
    let counts = team.counts();
    assert_eq!((counts.get("failed"), counts.get("copied") + counts.get("skipped")), (0, 2), "{killed:?}");
    let (moved, whole) = (counts.number("moved_bytes"), counts.get("source_bytes"));
    let again = if killed == Killed::Nobody { 0 } else { AT_ONCE * PART };
    assert!(moved <= whole + again, "{killed:?}: {moved} bytes were read of {whole}");
    assert_no_journal(shore);
}

#[test]
fn two_workers_send_the_parts_of_one_object_between_directories_and_one_is_killed() {
    let shore = Shore::new("sync-large", LIMIT);
    plant(&shore);
    for (number, killed) in [Killed::Nobody, Killed::WhoCopies, Killed::WhoHelps].into_iter().enumerate() {
        let to = shore.arg(&format!("target-{number}"));
        copy(&shore, &to, killed);
        assert_same_contents_for_rsync(&shore.path("source"), Path::new(&to));
        assert_no_temporary(Path::new(&to));
        assert_nothing_is_left_to_do(&shore, &shore.arg("source"), &to);
        fs::remove_dir_all(&to).unwrap();
    }
}

#[test]
fn two_workers_send_the_parts_of_one_object_to_s3_and_one_is_killed() {
    let mut shore = Shore::new("sync-large-s3", LIMIT);
    let Some(server) = Seaweed::start(&mut shore) else { return };
    plant(&shore);
    for (number, killed) in [Killed::Nobody, Killed::WhoCopies, Killed::WhoHelps].into_iter().enumerate() {
        let (to, back) = (server.store(&format!("large-{number}")), shore.arg(&format!("back-{number}")));
        copy(&shore, &to, killed);
        assert_eq!(server.open_uploads(), Vec::<String>::new(), "{killed:?}: an upload is left open");
        sync(&shore, &to, &back, &[]);
        assert_same_contents_for_rsync(&shore.path("source"), Path::new(&back));
        fs::remove_dir_all(&back).unwrap();
    }
}
