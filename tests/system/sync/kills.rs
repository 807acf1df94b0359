//! `kill -9` at random points, of a job of one process, of a coordinator and of a worker: finished, equal, nothing that
//! was there is sent again, nothing left behind. A thousand kills at full scale.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::compare::{assert_no_journal, assert_no_temporary, assert_same_for_rsync};
use super::hostile;
use super::team::Team;
use crate::process::Process;
use crate::scale;
use crate::seaweed::Seaweed;
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(10);
/// The exit code of a worker that finds none.
const NO_COORDINATOR: i32 = 10;
/// So slow that a job is killed in its middle.
const LIMITS: [&str; 2] = ["--bandwidth", "6MiB"];

/// What is killed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Victim {
    Single,
    Coordinator,
    Worker,
}

const VICTIMS: [Victim; 3] = [Victim::Single, Victim::Coordinator, Victim::Worker];

/// A job that is killed, from a directory to somewhere.
pub(super) struct Killed<'s> {
    shore: &'s Shore,
    victim: Victim,
    to: String,
    more: Vec<String>,
    team: Team<'s>,
}

impl<'s> Killed<'s> {
    pub(super) fn new(shore: &'s Shore, victim: Victim, to: &str, more: &[&str]) -> Self {
        let team = Team::new(shore, &shore.arg("source"), to, &[&["--workers", "0"], more].concat());
        let more = more.iter().map(ToString::to_string).collect();
        Self { shore, victim, to: to.to_owned(), more, team }
    }

    /// The process that ends with the job.
    fn start(&self) -> Process {
        let Victim::Single = self.victim else { return self.team.coordinator() };
        let from = self.shore.arg("source");
        let more = self.more.iter().map(String::as_str);
        let mut command = self.shore.command(["sync", &from, &self.to].into_iter().chain(more));
        let log = File::create(self.shore.path("single.log")).unwrap();
        Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log))
    }

    fn start_worker(&self) -> Option<Process> {
        (!matches!(self.victim, Victim::Single)).then(|| self.team.worker(&["--reconnect", "15s"]))
    }

    /// Waits for the job. A worker that was told that the job is done goes; a coordinator that is killed after that begins
    /// anew when it is started again, and wants one.
    fn wait(&self, job: &Process, worker: &mut Option<Process>, pause: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let ended = job.wait(left.min(Duration::from_secs(1)));
            if ended.is_some() || left.is_zero() {
                return ended;
            }
            if let Some(status) = worker.as_ref().and_then(|worker| worker.wait(Duration::ZERO)) {
                assert!([Some(0), Some(NO_COORDINATOR)].contains(&status.code()), "a worker ended with {status}");
                *worker = self.start_worker();
            }
        }
    }

    /// Kills it at random points, at most so often, until it has ended: how often. After each kill `look` is called.
    pub(super) fn run(&self, rng: &mut StdRng, kills: usize, mut look: impl FnMut()) -> usize {
        let (mut job, mut worker, mut killed) = (self.start(), self.start_worker(), 0);
        loop {
            let pause = if killed < kills { Duration::from_millis(rng.random_range(20..2_000)) } else { LIMIT };
            if let Some(status) = self.wait(&job, &mut worker, pause) {
                assert!(status.success(), "{:?}: {status}", self.victim);
                break;
            }
            assert!(killed < kills, "{:?}: it does not end", self.victim);
            if let (Victim::Worker, Some(alive)) = (self.victim, &worker) {
                alive.kill9();
                look();
                worker = self.start_worker();
            } else {
                job.kill9();
                look();
                job = self.start();
            }
            killed += 1;
        }
        if let Some(worker) = worker {
            // One that was started when the job had just ended finds no coordinator.
            let code = worker.wait(LIMIT).expect("it ends").code();
            assert!([Some(0), Some(NO_COORDINATOR)].contains(&code), "{:?}: a worker ended with {code:?}", self.victim);
        }
        killed
    }
}

/// Runs jobs until so many kills have happened.
fn kill(test: &str, shore: &Shore, wanted: usize, mut run: impl FnMut(Victim, usize, usize, &mut StdRng) -> usize) {
    let mut rng = StdRng::seed_from_u64(scale::seed(test));
    let (mut killed, mut jobs) = (0, 0);
    while killed < wanted || jobs < VICTIMS.len() {
        killed += run(VICTIMS[jobs % VICTIMS.len()], jobs, 4, &mut rng);
        assert_no_journal(shore);
        jobs += 1;
    }
    eprintln!("{test}: killed {killed} times in {jobs} jobs");
}

/// Every file below a directory that has its name, with its inode.
fn inodes(root: &Path, found: &mut BTreeMap<PathBuf, u64>) {
    for entry in fs::read_dir(root).into_iter().flatten().map(Result::unwrap) {
        let is_temporary = entry.file_name().to_string_lossy().starts_with(".farshore-tmp-");
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => inodes(&entry.path(), found),
            Ok(metadata) if !is_temporary => {
                found.insert(entry.path(), metadata.ino());
            }
            _ => {}
        }
    }
}

#[test]
fn killed_between_directories_a_job_ends_equal_and_copies_nothing_again_that_was_there() {
    let shore = Shore::new("sync-kills", scale::pick(LIMIT, Duration::from_hours(6)));
    hostile::plant_many(&shore.mkdir("source"), 1_500);
    kill("sync-kills", &shore, scale::pick(6, 500), |victim, number, kills, rng| {
        let target = shore.path(&format!("target-{number}"));
        let job = Killed::new(&shore, victim, target.to_str().unwrap(), &LIMITS);
        let mut there = BTreeMap::new();
        let killed = job.run(rng, kills, || inodes(&target, &mut there));
        let mut at_the_end = BTreeMap::new();
        inodes(&target, &mut at_the_end);
        for (path, inode) in &there {
            assert_eq!(at_the_end.get(path), Some(inode), "{victim:?}: {} was copied again", path.display());
        }
        eprintln!("{victim:?}: {killed} kills, {} files were there at one of them", there.len());
        assert_same_for_rsync(&shore.path("source"), &target);
        assert_no_temporary(&target);
        fs::remove_dir_all(&target).unwrap();
        killed
    });
}

#[test]
fn killed_on_its_way_to_s3_a_job_ends_equal_without_open_uploads() {
    let mut shore = Shore::new("sync-kills-s3", scale::pick(LIMIT, Duration::from_hours(6)));
    let Some(server) = Seaweed::start(&mut shore) else { return };
    let source = shore.mkdir("source");
    hostile::plant_many(&source, 60);
    for number in 0..2 {
        fs::write(source.join(format!("large-{number}")), hostile::bytes(scale::pick(12, 20) << 20, number)).unwrap();
    }
    kill("sync-kills-s3", &shore, scale::pick(6, 500), |victim, number, kills, rng| {
        let to = server.store(&format!("kills-{number}"));
        let killed = Killed::new(&shore, victim, &to, &LIMITS).run(rng, kills, || {});
        assert_eq!(server.open_uploads(), Vec::<String>::new(), "{victim:?}: an upload in parts is left open");
        let said = shore.farshore(["check", &shore.arg("source"), &to]);
        assert_eq!(said.code, Some(0), "{victim:?}: {said:?}");
        killed
    });
}
