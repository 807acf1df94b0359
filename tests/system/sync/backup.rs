//! What is overwritten or deleted is brought to another place first, and is in one of both at any time.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::compare::{assert_no_journal, assert_no_temporary, assert_same_contents_for_rsync};
use super::google::Google;
use super::killed::kill_again_and_again;
use super::kills::{Killed, Victim};
use super::{PARTIAL, USAGE, hostile, sync, sync_fails};
use crate::azurite::Azurite;
use crate::process::Process;
use crate::scale;
use crate::seaweed::Seaweed;
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(8);
/// Size of a file that goes in several parts where its store does not copy it by itself.
const LARGE: usize = 20 << 20;
/// So slow that a job on some ninety files is killed in its middle.
const SLOWLY: [&str; 2] = ["--target-requests", "150"];

/// Files by their paths.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// What lies at a target, and in its place for backups.
struct Seen {
    there: Files,
    kept: Files,
}

/// A job that keeps backups, and what was at its target before.
struct Keeping<'s> {
    shore: &'s Shore,
    to: String,
    place: String,
    suffix: &'static str,
    old: Files,
}

impl<'s> Keeping<'s> {
    /// A job whose target has what was planted as `target`.
    fn new(shore: &'s Shore, to: &str, place: &str, suffix: &'static str) -> Self {
        let old = files(&shore.path("target"));
        Self { shore, to: to.to_owned(), place: place.to_owned(), suffix, old }
    }

    fn options(&self) -> Vec<&str> {
        let Self { place, suffix, .. } = self;
        vec!["--checksum", "--delete", "--backup-dir", place, "--backup-suffix", suffix]
    }

    fn start(&self, more: &[&str]) -> Process {
        let from = self.shore.arg("source");
        Process::spawn_quiet(&mut self.shore.command([&["sync", &from, &self.to], &self.options()[..], more].concat()))
    }

    fn name_in_the_place(&self, name: &Path) -> PathBuf {
        let mut kept = name.as_os_str().to_owned();
        kept.push(self.suffix);
        kept.into()
    }

    /// Each old file is where it was or in the place for backups, as it was.
    fn assert_none_is_lost(&self, seen: &Seen) {
        for (name, bytes) in &self.old {
            let kept = seen.kept.get(&self.name_in_the_place(name));
            assert!(seen.there.get(name) == Some(bytes) || kept == Some(bytes), "{} is lost", name.display());
        }
    }

    /// The target is as the source, and what was replaced and nothing else has a backup.
    fn assert_done(&self, seen: &Seen) {
        let source = files(&self.shore.path("source"));
        assert!(seen.there == source, "the target is another one than the source");
        let replaced = self.old.iter().filter(|(name, bytes)| source.get(*name) != Some(*bytes));
        let replaced: Files = replaced.map(|(name, bytes)| (self.name_in_the_place(name), bytes.clone())).collect();
        assert!(seen.kept == replaced, "what was replaced and nothing else has a backup, as it was");
    }

    /// Kills it again and again, and looks each time.
    fn kill(&self, seed: &str, more: &[&str], look: impl Fn() -> Seen) {
        let start = || {
            self.assert_none_is_lost(&look());
            self.start(more)
        };
        kill_again_and_again(seed, scale::pick(3, 60), 50..700, LIMIT, start);
        self.assert_done(&look());
        assert_no_journal(self.shore);
    }
}

/// The files below a directory.
fn files(root: &Path) -> Files {
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

/// What two places of a store of objects have.
fn brought_here(shore: &Shore, there: &str, kept: &str) -> Seen {
    let here = tempfile::tempdir_in(shore.path("")).unwrap();
    let bring = |place: &str, name: &str| {
        let path = here.path().join(name);
        sync(shore, place, path.to_str().unwrap(), &[]);
        files(&path)
    };
    Seen { there: bring(there, "there"), kept: bring(kept, "kept") }
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

/// The same, and a large file of which little is left.
fn plant_with_large(shore: &Shore, count: usize, len: usize) {
    plant(shore, count);
    fs::write(shore.path("target/large"), hostile::bytes(len, 1)).unwrap();
    fs::write(shore.path("source/large"), "small now").unwrap();
}

#[test]
fn old_files_are_in_one_of_both_places_whenever_a_job_is_killed() {
    let shore = Shore::new("sync-backup-killed", LIMIT);
    plant(&shore, scale::pick(1_500, 15_000));
    let job = Keeping::new(&shore, &shore.arg("target"), &shore.arg("backup"), "");
    let look = || Seen { there: files(&shore.path("target")), kept: files(&shore.path("backup")) };
    let start = || {
        job.assert_none_is_lost(&look());
        job.start(&[])
    };
    kill_again_and_again("sync-backup", scale::pick(8, 60), 20..scale::pick(900, 3_000), LIMIT, start);
    job.assert_done(&look());
    assert_same_contents_for_rsync(&shore.path("source"), &shore.path("target"));
    assert_no_temporary(&shore.path("target"));
    assert_no_temporary(&shore.path("backup"));
}

#[test]
fn old_blobs_are_kept_by_azure_itself_whenever_a_job_is_killed() {
    let mut shore = Shore::new("sync-backup-azure", LIMIT);
    let Some(server) = Azurite::start(&mut shore) else { return };
    plant_with_large(&shore, 90, LARGE);
    let job = Keeping::new(&shore, &server.store("there"), &server.store("old"), ".old");
    sync(&shore, &shore.arg("target"), &job.to, &[]);
    job.kill("sync-backup-azure", &SLOWLY, || brought_here(&shore, &job.to, &job.place));
}

#[test]
fn old_objects_at_google_are_kept_through_here_whenever_a_job_is_killed() {
    let mut shore = Shore::new("sync-backup-google", LIMIT);
    let google = Google::start(&mut shore);
    plant_with_large(&shore, 90, LARGE);
    let job = Keeping::new(&shore, &google.store("there"), &google.store("old"), ".old");
    sync(&shore, &shore.arg("target"), &job.to, &[]);
    let through_here = [&SLOWLY[..], &["--no-server-side"]].concat();
    job.kill("sync-backup-google", &through_here, || brought_here(&shore, &job.to, &job.place));
    assert_eq!(google.server.open_uploads(), 0, "uploads in parts are left open");
}

#[test]
fn old_files_of_a_volume_are_in_one_of_both_places_whenever_a_job_is_killed() {
    let shore = Shore::new("sync-backup-volume", LIMIT);
    shore.format("vol");
    plant_with_large(&shore, 90, LARGE);
    let place = |name: &str| format!("farshore://{}//{name}", shore.arg("vol"));
    let job = Keeping::new(&shore, &place("there"), &place("old"), ".old");
    sync(&shore, &shore.arg("target"), &job.to, &[]);
    job.kill("sync-backup-volume", &SLOWLY, || {
        let mounted = shore.primary("vol", &[]);
        let seen = Seen { there: files(&mounted.path("there")), kept: files(&mounted.path("old")) };
        mounted.terminate();
        seen
    });
}

#[test]
fn old_objects_are_in_one_of_both_places_whenever_a_coordinator_or_a_worker_is_killed() {
    let mut shore = Shore::new("sync-backup-team", LIMIT);
    let google = Google::start(&mut shore);
    plant(&shore, 90);
    let mut rng = StdRng::seed_from_u64(scale::seed("sync-backup-team"));
    for victim in [Victim::Coordinator, Victim::Worker] {
        let place = |name: &str| google.store(&format!("{victim:?}/{name}"));
        let job = Keeping::new(&shore, &place("there"), &place("old"), ".old");
        sync(&shore, &shore.arg("target"), &job.to, &[]);
        let look = || brought_here(&shore, &job.to, &job.place);
        let killed = Killed::new(&shore, victim, &job.to, &[&job.options()[..], &SLOWLY].concat());
        let kills = killed.run(&mut rng, scale::pick(2, 60), || job.assert_none_is_lost(&look()));
        eprintln!("{victim:?}: killed {kills} times");
        job.assert_done(&look());
        assert_no_journal(&shore);
    }
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
    plant_with_large(&shore, 30, 45 << 20);
    let job = Keeping::new(&shore, &server.store("there"), &server.store("old"), "");
    sync(&shore, &shore.arg("target"), &job.to, &[]);
    let counts = sync(&shore, &shore.arg("source"), &job.to, &job.options());
    assert_eq!((counts.get("backed_up"), counts.get("failed")), (21, 0));
    job.assert_done(&brought_here(&shore, &job.to, &job.place));
    assert!(server.open_uploads().is_empty());
    let other = job.place.replace("s3://", "s3://other-");
    let said = sync_fails(&shore, &shore.arg("source"), &job.to, &["--backup-dir", &other]);
    said.refused(USAGE, "same store");
}
