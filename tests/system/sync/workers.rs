//! Many workers for one job: together, killed, cut off, refused, and held to one limit.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::Signal;

use super::compare::{assert_no_journal, assert_no_temporary, assert_same_contents_for_rsync, assert_same_for_rsync};
use super::team::{Team, ends_well};
use super::{Counts, INTERRUPTED, USAGE, assert_nothing_is_left_to_do, hostile, sync};
use crate::process::Process;
use crate::proxy::Proxy;
use crate::scale;
use crate::seaweed::Seaweed;
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(10);
/// Exit codes of what is between a worker and its coordinator.
const ADDRESS: i32 = 8;
const REFUSED: i32 = 10;

/// Runs a job with so many workers beside a coordinator that does not work.
fn with_workers(shore: &Shore, from: &str, to: &str, workers: usize) -> Counts {
    let report = shore.arg("report");
    let team = Team::new(shore, from, to, &["--workers", "0", "--report", &report]);
    let coordinator = team.coordinator();
    let begun = Instant::now();
    let workers: Vec<_> = (0..workers).map(|_| team.worker(&[])).collect();
    ends_well(&coordinator, LIMIT);
    let took = begun.elapsed();
    all_end_well(&workers);
    let (counts, shares) = (team.counts(), team.shares());
    eprintln!("{} workers: {took:?}, {shares:?} objects", shares.len());
    counts
}

fn all_end_well(workers: &[Process]) {
    for worker in workers {
        ends_well(worker, LIMIT);
    }
}

/// How many entries came to their end: a directory that an object in it made before its own turn is found equal, or is
/// given its attributes.
fn ended(counts: &Counts) -> u64 {
    ["copied", "updated", "skipped"].into_iter().map(|name| counts.get(name)).sum()
}

/// Each object of a report has one line: no task was run twice.
fn assert_each_once(report: &Path, objects: u64) {
    let told = fs::read_to_string(report).unwrap();
    let mut lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len() as u64, objects, "each object has a line");
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len() as u64, objects, "no object has two");
}

#[test]
fn one_two_and_four_workers_do_a_job_once_between_directories() {
    let shore = Shore::new("sync-workers", LIMIT);
    let from = shore.arg("source");
    hostile::plant_many(&shore.mkdir("source"), scale::pick(3_000, 100_000));
    for workers in [1, 2, 4] {
        let to = shore.arg(&format!("target-{workers}"));
        let counts = with_workers(&shore, &from, &to, workers);
        assert_eq!(ended(&counts), counts.get("source_entries"));
        assert_each_once(&shore.path("report"), counts.get("copied") + counts.get("updated"));
        assert_same_for_rsync(&shore.path("source"), Path::new(&to));
        assert_no_journal(&shore);
    }
    assert_nothing_is_left_to_do(&shore, &from, &shore.arg("target-4"));
}

#[test]
fn two_workers_do_a_job_to_s3_with_large_objects_and_a_list_of_keys() {
    let mut shore = Shore::new("sync-workers-s3", LIMIT);
    let Some(server) = Seaweed::start(&mut shore) else { return };
    let source = shore.mkdir("source");
    hostile::plant_many(&source, scale::pick(300, 10_000));
    for number in 0..3 {
        fs::write(source.join(format!("large-{number}")), hostile::bytes(30 << 20, number)).unwrap();
    }
    fs::write(source.join("not-chosen"), "x").unwrap();
    // The list is a file of the coordinator's machine alone.
    let mut keys: Vec<String> = Vec::new();
    list(&source, &source, &mut keys);
    keys.retain(|key| key != "not-chosen");
    fs::write(shore.path("keys"), keys.join("\n")).unwrap();
    let (from, to) = (shore.arg("source"), server.store("workers"));
    let team = Team::new(&shore, &from, &to, &["--workers", "0", "--files-from", &shore.arg("keys")]);
    let coordinator = team.coordinator();
    let workers = [team.worker(&[]), team.worker(&[])];
    ends_well(&coordinator, LIMIT);
    all_end_well(&workers);
    let counts = team.counts();
    // On a busy machine a worker may be late for its lease; what it had copied by then is found equal.
    assert_eq!((ended(&counts), counts.get("failed")), (keys.len() as u64, 0), "{counts:?}");
    assert_eq!(server.open_uploads(), Vec::<String>::new());
    fs::remove_file(source.join("not-chosen")).unwrap();
    sync(&shore, &to, &shore.arg("back"), &[]);
    assert_same_contents_for_rsync(&source, &shore.path("back"));
}

/// The keys of files below a directory.
fn list(root: &Path, dir: &Path, keys: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            list(root, &entry.path(), keys);
        } else {
            keys.push(entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn a_dead_worker_and_a_dead_coordinator_cost_nothing_that_was_done() {
    let shore = Shore::new("sync-workers-killed", LIMIT);
    let (from, to) = (shore.arg("source"), shore.arg("target"));
    hostile::plant_many(&shore.mkdir("source"), scale::pick(2_000, 50_000));
    let team = Team::new(&shore, &from, &to, &["--workers", "1", "--bandwidth", scale::pick("1MiB", "20MiB")]);
    let coordinator = team.coordinator();
    let (dead, alive) = (team.worker(&[]), team.worker(&[]));
    assert!(coordinator.wait(Duration::from_secs(3)).is_none(), "it was to be killed in the middle");
    dead.kill9();
    assert!(coordinator.wait(Duration::from_secs(1)).is_none(), "it was to be killed in the middle");
    coordinator.kill9();
    std::thread::sleep(Duration::from_secs(2));
    assert!(alive.ended().is_none(), "a worker waits for its coordinator");
    let coordinator = team.coordinator();
    ends_well(&coordinator, LIMIT);
    ends_well(&alive, LIMIT);
    let counts = team.counts();
    // What was done and not yet told when it was killed is found equal.
    assert_eq!(ended(&counts), counts.get("source_entries"));
    assert_same_for_rsync(&shore.path("source"), &shore.path("target"));
    assert_no_temporary(&shore.path("target"));
    assert_no_journal(&shore);
    assert_nothing_is_left_to_do(&shore, &from, &to);
}

#[test]
fn a_line_that_is_cut_again_and_again_loses_nothing_and_does_nothing_twice() {
    let shore = Shore::new("sync-workers-cut", LIMIT);
    let (from, to) = (shore.arg("source"), shore.arg("target"));
    hostile::plant_many(&shore.mkdir("source"), scale::pick(1_200, 20_000));
    let team = Team::new(&shore, &from, &to, &["--workers", "0", "--bandwidth", "1MiB"]);
    let coordinator = team.coordinator();
    let proxy = Proxy::start(&team.address, scale::seed("sync-workers-cut"));
    let worker = team.worker_at(&proxy.address(), &[]);
    let mut cuts = 0;
    while coordinator.wait(Duration::from_millis(150)).is_none() {
        proxy.cut_once();
        cuts += 1;
    }
    eprintln!("cut {cuts} times");
    ends_well(&coordinator, LIMIT);
    ends_well(&worker, LIMIT);
    let counts = team.counts();
    assert_eq!(ended(&counts), counts.get("source_entries"));
    assert!(counts.get("copied") + 5 >= counts.get("source_entries"), "what was done was done again: {counts:?}");
    assert_same_for_rsync(&shore.path("source"), &shore.path("target"));
}

#[test]
fn limits_hold_for_all_workers_together() {
    let shore = Shore::new("sync-workers-limits", LIMIT);
    let source = shore.mkdir("source");
    // Long enough for the beginning and the end to be small beside it.
    let (files, bytes) = (scale::pick(2_400, 16_000), 16 << 10);
    for number in 0..files {
        fs::write(source.join(format!("file-{number:05}")), hostile::bytes(bytes, number)).unwrap();
    }
    let limit = 2 << 20;
    let metrics = format!("127.0.0.1:{}", farshore_ports::free());
    let more = ["--workers", "1", "--source-bandwidth", "2MiB", "--metrics", &metrics];
    let team = Team::new(&shore, &shore.arg("source"), &shore.arg("target"), &more);
    let coordinator = team.coordinator();
    let workers: Vec<_> = (0..3).map(|_| team.worker(&["--workers", "2"])).collect();
    let read = || number(&metrics, "farshore_sync_read_bytes_total");
    wait_until(|| read().is_some_and(|read| read > 1e6));
    let (begun, first) = (Instant::now(), read().unwrap());
    std::thread::sleep(Duration::from_secs(scale::pick(11, 60)));
    let (took, last) = (begun.elapsed(), read().unwrap());
    let rate = (last - first) / took.as_secs_f64();
    let error = rate / f64::from(limit) - 1.0;
    eprintln!("four processes: {:.0} bytes a second, {:+.2} % of the limit", rate, error * 100.0);
    assert!(error.abs() < 0.05, "{rate} bytes a second");
    ends_well(&coordinator, LIMIT);
    all_end_well(&workers);
    let shares = team.shares();
    assert!(shares.len() == 3 && shares.iter().all(|share| *share > 0), "each worker has its part: {shares:?}");
}

#[test]
fn a_worker_that_a_signal_ends_is_not_waited_for() {
    let shore = Shore::new("sync-workers-signal", LIMIT);
    hostile::plant_many(&shore.mkdir("source"), 1_000);
    // With this lease the other one would wait for long.
    let more = ["--workers", "0", "--bandwidth", "2MiB"];
    let team = Team::new(&shore, &shore.arg("source"), &shore.arg("target"), &more).with_lease("2m");
    let coordinator = team.coordinator();
    let worker = team.worker(&[]);
    assert!(worker.wait(Duration::from_secs(3)).is_none(), "it was to be ended in the middle");
    worker.signal(Signal::TERM);
    let status = worker.wait(Duration::from_secs(20)).expect("it ends soon");
    assert_eq!(status.code(), Some(INTERRUPTED));
    let other = team.worker(&[]);
    ends_well(&coordinator, Duration::from_mins(1));
    ends_well(&other, LIMIT);
    assert_same_for_rsync(&shore.path("source"), &shore.path("target"));
}

/// Writes an authority and a certificate of it: the options that name them.
fn certificates(shore: &Shore, name: &str) -> Vec<String> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let files = [("--tls-cert", cert.pem()), ("--tls-key", key.serialize_pem()), ("--tls-ca", authority.pem())];
    let write = |(option, pem): (&str, String)| {
        let file = shore.path(&format!("{name}{option}"));
        fs::write(&file, pem).unwrap();
        [option.to_owned(), file.to_str().unwrap().to_owned()]
    };
    files.map(write).concat()
}

#[test]
fn who_shows_a_certificate_of_another_authority_is_refused_at_once() {
    let shore = Shore::new("sync-workers-tls", LIMIT);
    hostile::plant_many(&shore.mkdir("source"), 100);
    let (right, wrong) = (certificates(&shore, "right"), certificates(&shore, "wrong"));
    let more: Vec<&str> = ["--workers", "0"].into_iter().chain(right.iter().map(String::as_str)).collect();
    let team = Team::new(&shore, &shore.arg("source"), &shore.arg("target"), &more);
    let coordinator = team.coordinator();
    wait_until(|| TcpStream::connect(&team.address).is_ok());
    let worker = |tls: &[String]| {
        shore.farshore(["sync-worker", &team.address].into_iter().chain(tls.iter().map(String::as_str)))
    };
    // What each side says of itself is of another authority than the other side was told.
    let stranger = [&wrong[..4], &right[4..]].concat();
    for refused in [&wrong, &stranger] {
        let begun = Instant::now();
        let said = worker(refused);
        assert!(said.code == Some(USAGE) && said.stderr.contains("check the certificates"), "{said:?}");
        assert!(begun.elapsed() < Duration::from_mins(1), "it was tried again and again");
    }
    let said = worker(&right);
    assert_eq!(said.code, Some(0), "{said:?}");
    ends_well(&coordinator, LIMIT);
    assert_same_for_rsync(&shore.path("source"), &shore.path("target"));
}

pub(super) fn wait_until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < LIMIT, "it does not come to pass");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A number of a page for Prometheus.
pub(super) fn number(address: &str, name: &str) -> Option<f64> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    let line = page.lines().find(|line| line.starts_with(name) && line[name.len()..].starts_with(' '))?;
    line[name.len()..].trim().parse().ok()
}

#[test]
fn who_has_no_right_or_another_job_is_refused_in_one_line() {
    let shore = Shore::new("sync-workers-refused", LIMIT);
    let (from, to) = (shore.arg("source"), shore.arg("target"));
    hostile::plant_many(&shore.mkdir("source"), 200);
    fs::write(shore.path("right"), "the right token of this test\n".replace(' ', "-")).unwrap();
    fs::write(shore.path("wrong"), "the wrong token of this test\n".replace(' ', "-")).unwrap();
    fs::write(shore.path("short"), "short\n").unwrap();
    let token = shore.arg("right");
    let team = Team::new(&shore, &from, &to, &["--workers", "0", "--token-file", &token]);
    let coordinator = team.coordinator();
    let worker = |more: &[&str]| shore.farshore(["sync-worker", &team.address, "--reconnect", "5s"].iter().chain(more));
    wait_until(|| TcpStream::connect(&team.address).is_ok());
    worker(&["--token-file", &shore.arg("wrong")]).refused(REFUSED, "token");
    worker(&[]).refused(REFUSED, "token");
    worker(&["--token-file", &shore.arg("short")]).refused(USAGE, "short");
    let said = worker(&["--token-file", &token]);
    assert_eq!(said.code, Some(0), "{said:?}");
    ends_well(&coordinator, LIMIT);

    // Beyond this machine there is TLS, or a person has said that there need not be.
    let open = ["sync", &from, &to, "--coordinator", "0.0.0.0:0", "--token-file", &token];
    shore.farshore(open).refused(ADDRESS, "--tls-cert");
    shore.farshore(["sync-worker", "10.0.0.1:7450", "--token-file", &token]).refused(ADDRESS, "--tls-cert");
    let nobody = format!("127.0.0.1:{}", farshore_ports::free());
    let said = shore.farshore(["sync-worker", &nobody, "--reconnect", "300ms"]);
    assert!(said.code == Some(REFUSED) && said.stderr.contains(&nobody), "{said:?}");
    shore.farshore(["sync-worker", "nowhere"]).refused(USAGE, "nowhere");
    shore.farshore(["sync", &from, &to, "--workers", "0"]).refused(USAGE, "--coordinator");
}
