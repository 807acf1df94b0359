//! `--watch`: changes keep arriving while it runs, after it was killed, and after the log is gone.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use farshore_meta::Region;
use farshore_meta::engine::{EmbeddedOptions, EngineUrl};
use rustix::process::Signal;
use serde_json::Value;

use super::compare::assert_same_for_rsync;
use super::{Counts, hostile, sync};
use crate::process::Process;
use crate::region::Region as Served;
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(6);
/// Longest that a change may take to arrive.
const ARRIVE: Duration = Duration::from_mins(1);

/// A watch and what it printed: a line for each pass.
struct Watch<'s> {
    shore: &'s Shore,
    process: Process,
}

impl<'s> Watch<'s> {
    fn start(shore: &'s Shore, source: &str, target: &str) -> Self {
        let args = ["sync", source, target, "--watch", "200ms", "--delete", "--json"];
        let passes = File::create(shore.path("passes")).unwrap();
        let log = File::options().create(true).append(true).open(shore.path("watch.log")).unwrap();
        let process = Process::spawn(shore.command(args).stdin(Stdio::null()).stdout(passes).stderr(log));
        Self { shore, process }
    }

    /// What each pass counted.
    fn passes(&self) -> Vec<Counts> {
        let printed = fs::read_to_string(self.shore.path("passes")).unwrap();
        let whole = printed.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| Counts(serde_json::from_str::<Value>(line).unwrap())).collect()
    }

    /// Waits until something holds.
    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(self.process.ended().is_none(), "the watch ended: {}", self.log());
            assert!(begun.elapsed() < ARRIVE, "never: {what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn until_passed(&self) {
        self.until("the first pass ends", || !self.passes().is_empty());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.shore.path("watch.log")).unwrap_or_default()
    }

    /// Asks it to end, which is its good end.
    fn end(self) {
        self.process.signal(Signal::TERM);
        let status = self.process.wait(Duration::from_secs(30)).expect("it ends");
        assert!(status.success(), "{status:?}: {}", self.log());
    }
}

fn holds(path: &Path, contents: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|found| found == contents)
}

#[test]
fn changes_between_directories_keep_arriving_until_a_signal() {
    let shore = Shore::new("sync-watch", LIMIT);
    let (source, target) = (shore.mkdir("source"), shore.path("target"));
    hostile::plant_many(&source, 200);
    let watch = Watch::start(&shore, &shore.arg("source"), &shore.arg("target"));
    watch.until_passed();
    assert_same_for_rsync(&source, &target);
    for number in 0..3 {
        fs::write(source.join("new"), format!("{number}")).unwrap();
        watch.until("a new file arrives", || holds(&target.join("new"), &number.to_string()));
    }
    fs::remove_dir_all(source.join("00")).unwrap();
    watch.until("a directory goes", || !target.join("00").exists());
    watch.end();
    assert_same_for_rsync(&source, &target);
}

/// Everything that can happen to a tree, directories that move first of all.
fn change(root: &Path, round: usize) {
    let path = |name: &str| root.join(name);
    let (from, to) = if round.is_multiple_of(2) { ("moved/05", "05") } else { ("05", "moved/05") };
    fs::create_dir_all(path("moved")).unwrap();
    fs::rename(path(from), path(to)).unwrap();
    fs::write(path(to).join("in-moved"), format!("{round}")).unwrap();
    // In place: its name does not change.
    fs::write(path("01/00/file-000001"), format!("rewritten {round}")).unwrap();
    fs::set_permissions(path("02/00/file-000002"), Permissions::from_mode(0o600 + round as u32 % 8)).unwrap();
    fs::remove_file(path("link")).ok();
    fs::hard_link(path("03/00/file-000003"), path("link")).unwrap();
    fs::write(path("03/00/file-000003"), format!("both names {round}")).unwrap();
    fs::remove_dir_all(path("deep")).ok();
    fs::create_dir_all(path(&format!("deep/{round}/er"))).unwrap();
    fs::write(path(&format!("deep/{round}/er/file")), hostile::bytes(100_000, round)).unwrap();
    fs::write(path("last"), format!("{round}")).unwrap();
}

fn followed(shore: &Shore, primary: &Served) -> String {
    format!("farshore://{}//tree?upstream=http://{}", shore.arg("copy-meta"), primary.address())
}

#[test]
fn a_volume_is_followed_by_its_log_at_the_cost_of_what_changed() {
    let shore = Shore::new("sync-follow", LIMIT);
    shore.format("vol");
    let primary = shore.primary("vol", &[]);
    let (source, target) = (primary.path("tree"), shore.path("target"));
    fs::create_dir(&source).unwrap();
    hostile::plant_many(&source, 1_000);
    let mut all = 0;
    let mut round = 0;
    for start in 0..3 {
        let watch = Watch::start(&shore, &followed(&shore, &primary), &shore.arg("target"));
        if start == 0 {
            watch.until_passed();
            assert_same_for_rsync(&source, &target);
            all = watch.passes()[0].get("source_entries");
            assert!(all > 1_000, "{all}");
        }
        for _ in 0..3 {
            round += 1;
            change(&source, round);
            watch.until("what changed arrives", || holds(&target.join("last"), &round.to_string()));
        }
        let passes = watch.passes();
        let listed: Vec<_> =
            passes.iter().skip(usize::from(start == 0)).map(|pass| pass.get("source_entries")).collect();
        assert!(listed.iter().all(|entries| *entries < all / 2), "passes listed {listed:?} of {all}");
        // Killed, and changed while it is away. After the last kill the log goes as well.
        round += 1;
        change(&source, round);
        watch.process.kill9();
        round += 1;
        change(&source, round);
    }
    // Another job lets the mirror go on, so that its log has what the watch has not seen, and then has not.
    sync(&shore, &followed(&shore, &primary), &shore.arg("other"), &[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(trim(&shore.path("copy-meta")));
    let watch = Watch::start(&shore, &followed(&shore, &primary), &shore.arg("target"));
    watch.until("what changed arrives", || holds(&target.join("last"), &round.to_string()));
    watch.until("the pass ends", || !watch.passes().is_empty());
    assert!(watch.passes()[0].get("source_entries") > all / 2, "everything was to be compared");
    assert!(watch.log().contains("not kept any more"), "{}", watch.log());
    round += 1;
    change(&source, round);
    watch.until("what changed arrives", || holds(&target.join("last"), &round.to_string()));
    // The pass that brought the last file may not be at its end.
    watch.until("the last pass ends", || watch.passes().last().is_some_and(|pass| pass.get("failed") == 0));
    std::thread::sleep(Duration::from_secs(1));
    watch.end();
    assert_same_for_rsync(&source, &target);
}

#[test]
fn a_first_pass_that_is_killed_goes_on_and_misses_no_change() {
    let shore = Shore::new("sync-follow-killed", LIMIT);
    shore.format("vol");
    let primary = shore.primary("vol", &[]);
    let (source, target) = (primary.path("tree"), shore.path("target"));
    fs::create_dir(&source).unwrap();
    hostile::plant_many(&source, 1_000);
    let mut round = 0;
    for pause_ms in [400, 800, 1_200, 1_600] {
        let watch = Watch::start(&shore, &followed(&shore, &primary), &shore.arg("target"));
        std::thread::sleep(Duration::from_millis(pause_ms));
        watch.process.kill9();
        round += 1;
        change(&source, round);
    }
    let watch = Watch::start(&shore, &followed(&shore, &primary), &shore.arg("target"));
    watch.until("what changed arrives", || holds(&target.join("last"), &round.to_string()));
    round += 1;
    change(&source, round);
    watch.until("what changed arrives", || holds(&target.join("last"), &round.to_string()));
    std::thread::sleep(Duration::from_secs(1));
    watch.end();
    assert_same_for_rsync(&source, &target);
}

#[test]
fn a_volume_in_which_nothing_can_change_is_not_watched() {
    let shore = Shore::new("sync-follow-alone", LIMIT);
    shore.format("vol");
    let alone = format!("farshore://{}", shore.arg("vol"));
    let said = shore.farshore(["sync", &alone, &shore.arg("target"), "--watch", "1s"]);
    said.refused(super::USAGE, "upstream=");
}

/// Forgets the log of a mirror, as if it had been kept for too short a time.
async fn trim(meta: &Path) {
    let engine = EngineUrl::embedded(meta).open(&EmbeddedOptions::default()).await.unwrap();
    let region = Region::open(engine).await.unwrap();
    let position = region.state().await.unwrap().position;
    region.trim_log(position).await.unwrap();
    region.engine().close().await.unwrap();
}

#[test]
fn failures_of_a_pass_are_tried_again_with_the_next() {
    let shore = Shore::new("sync-follow-retry", LIMIT);
    shore.format("vol");
    let primary = shore.primary("vol", &[]);
    let (source, target) = (primary.path("tree"), shore.path("target"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "file").unwrap();
    let watch = Watch::start(&shore, &followed(&shore, &primary), &shore.arg("target"));
    watch.until_passed();
    // A directory with something in it is where a file is to be: deletions come last, so the first pass fails.
    fs::create_dir_all(target.join("late/in-the-way")).unwrap();
    fs::write(target.join("late/in-the-way/file"), "x").unwrap();
    fs::write(source.join("late"), "late").unwrap();
    watch.until("a failure is told", || watch.log().contains("the next pass tries again"));
    fs::remove_dir_all(target.join("late")).unwrap();
    watch.until("it is tried again", || holds(&target.join("late"), "late"));
    watch.end();
    assert_same_for_rsync(&source, &target);
}
