//! Primary and mirror killed at random moments under load go on where they were.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::load::{Working, Writer, bytes};
use crate::region::{Region, assert_digests_agree, assert_equal};
use crate::scale;
use crate::shore::Shore;

const WRITERS: u64 = 2;
/// Names looked up that are nowhere.
const ABSENT: u32 = 200;

#[test]
fn killed_regions_go_on_where_they_were() {
    let rounds = scale::pick(8, 100);
    let shore = Shore::new("kill", Duration::from_secs(scale::pick(240, 3_600)));
    let seed = scale::seed("kill");
    let mut rng = StdRng::seed_from_u64(seed);
    shore.format("volume");
    let listen = format!("127.0.0.1:{}", farshore_ports::free());
    let mut primary = shore.primary("volume", &["--listen", &listen]);
    let cache = shore.arg("mirror-cache");
    let mut mirror = shore.mirror("mirror", &listen, &["--cache-dir", &cache]);
    let region_id = mirror.says("region_id");

    let count = Arc::new(AtomicU64::new(0));
    let new_writer = |number| Writer::new(primary.path(format!("writer-{number}")), seed ^ number);
    let mut writers: Vec<Writer> = (0..WRITERS).map(new_writer).collect();
    for round in 0..rounds {
        let working: Vec<Working> = writers.into_iter().map(|writer| writer.start(&count)).collect();
        let reader = Reader::start(mirror.dir());
        std::thread::sleep(Duration::from_millis(rng.random_range(20..1_200)));
        let kill_primary = rng.random_bool(0.5);
        let begun = Instant::now();
        if kill_primary {
            primary.kill9();
            writers = working.into_iter().map(Working::stop).collect();
            primary.restart();
        } else {
            mirror.kill9();
            mirror.restart();
            assert!(working.iter().all(Working::is_working), "the primary stopped with its mirror");
            writers = working.into_iter().map(Working::stop).collect();
        }
        let back = begun.elapsed();
        reader.stop();
        writers.iter_mut().for_each(Writer::check);
        mirror.catch_up(&primary);
        assert_digests_agree(&primary, &mirror);
        assert_no_new_bootstrap(&primary, &mirror, &region_id);
        let who = if kill_primary { "primary" } else { "mirror" };
        eprintln!("kill: round {round}: {who} back after {back:.1?}, {} changes", count.load(Ordering::Relaxed));
    }
    assert_equal(&primary, &mirror);
}

/// A mirror that bootstraps anew registers anew, or says that it copies rows.
fn assert_no_new_bootstrap(primary: &Region, mirror: &Region, region_id: &str) {
    assert_eq!(mirror.says("region_id"), region_id);
    assert_eq!(mirror.says("phase"), "following");
    let mirrors = primary.status()["mirrors"].clone();
    let mirrors = mirrors.as_array().expect("a primary lists its mirrors");
    assert_eq!(mirrors.len(), 1, "{mirrors:?}");
    assert_eq!(mirrors[0]["region_id"], region_id);
    let begun = mirror.log().to_lowercase().matches("bootstrap begins").count();
    assert!(begun <= 1, "the mirror began {begun} bootstraps");
}

/// Reads whatever the mirror has, so that it is killed with requests in flight.
struct Reader {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Reader {
    fn start(dir: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, dir) = (Arc::clone(&stop), dir.to_owned());
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                read_some(&dir);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a reader does not panic");
    }
}

/// Errors are expected: the mirror is killed meanwhile. Names that are not there keep lookups under way
/// in the directories that change, which is where a killed mirror may wait for itself.
fn read_some(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for writer in entries.flatten() {
        for number in 0..ABSENT {
            std::fs::metadata(writer.path().join(format!("absent-{number}"))).err();
        }
        let Ok(files) = std::fs::read_dir(writer.path()) else { return };
        for file in files.flatten().take(5) {
            std::fs::read(file.path()).unwrap_or_default();
        }
    }
}

#[test]
fn a_mirror_killed_in_its_bootstrap_goes_on_with_it() {
    let (files, kills) = scale::pick((6_000, 4), (60_000, 10));
    let shore = Shore::new("kill-bootstrap", Duration::from_secs(scale::pick(240, 1_800)));
    shore.format("volume");
    let listen = format!("127.0.0.1:{}", farshore_ports::free());
    let primary = shore.primary("volume", &["--listen", &listen]);
    for number in 0..files {
        if number % 500 == 0 {
            std::fs::create_dir(primary.path(format!("dir-{}", number / 500))).unwrap();
        }
        let path = primary.path(format!("dir-{}/file-{number}", number / 500));
        std::fs::write(path, bytes(number, 900)).unwrap();
    }
    let mut region_id = None;
    for kill in 0..kills {
        region_id = kill_after(&shore, &listen, Duration::from_millis(30 + 60 * kill), region_id);
    }
    let count = Arc::new(AtomicU64::new(0));
    let working = Writer::new(primary.path("writer"), 5).start(&count);
    let mirror = shore.mirror("mirror", &listen, &[]);
    let mut writer = working.stop();
    writer.check();
    mirror.catch_up(&primary);
    assert_eq!(region_id.unwrap_or_else(|| mirror.says("region_id")), mirror.says("region_id"));
    let mirrors = primary.status()["mirrors"].clone();
    assert_eq!(mirrors.as_array().map(Vec::len), Some(1), "every kill but one registered anew: {mirrors}");
    assert_equal(&primary, &mirror);
}

/// Starts the mirror, without its mount, kills it some time later, and tells its id once it has one.
fn kill_after(shore: &Shore, upstream: &str, time: Duration, before: Option<String>) -> Option<String> {
    let (meta, url) = (shore.arg("mirror"), format!("http://{upstream}"));
    let log = std::fs::File::options().create(true).append(true).open(shore.path("mirror.log")).unwrap();
    let mut command = shore.command(["mirror", &url, "--meta", &meta, "--name", "mirror", "--foreground"]);
    let process = crate::process::Process::spawn(command.stderr(log));
    std::thread::sleep(time);
    process.kill9();
    let said = shore.farshore(["status", &meta, "--json"]);
    let status: Option<serde_json::Value> = serde_json::from_str(&said.stdout).ok();
    let Some(status) = status else { return before };
    eprintln!("kill: in its bootstrap after {time:.0?}: {} {} inodes", status["phase"], status["used_inodes"]);
    let id = status["region_id"].as_str().map(str::to_owned);
    if before.is_some() {
        assert_eq!(before, id, "the mirror began anew");
    }
    id
}
