//! A damaged byte in the mirror's disk cache or in the stream is never read by anybody.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::fs::{Advice, fadvise};

use crate::load::bytes;
use crate::proxy::Proxy;
use crate::region::{Region, assert_equal};
use crate::scale;
use crate::shore::Shore;

const FILES: u64 = 24;

/// Memory for blocks so small that the disk cache is read.
const LITTLE_MEMORY: [&str; 2] = ["--memory", "1MiB"];

#[test]
fn a_damaged_disk_cache_costs_a_fetch_and_never_a_wrong_byte() {
    let shore = Shore::new("corrupt-cache", Duration::from_mins(3));
    let mut rng = StdRng::seed_from_u64(scale::seed("corrupt-cache"));
    shore.format("volume");
    let primary = shore.primary("volume", &[]);
    fill(&primary, 0);
    let cache = shore.path("mirror-cache");
    let cache_arg = shore.arg("mirror-cache");
    let args = [["--cache-dir", cache_arg.as_str()], LITTLE_MEMORY].concat();
    let mut mirror = shore.mirror("mirror", &primary.address(), &args);
    mirror.catch_up(&primary);
    assert_all_right(&mirror, 0);
    settle(&mirror);

    mirror.terminate();
    let damaged = damage_all(&cache, &mut rng);
    mirror.restart();
    mirror.catch_up(&primary);
    assert_all_right(&mirror, 0);
    let seen = corrupt_seen(&mirror);
    eprintln!("corruption: {damaged} cached files damaged while the mirror was stopped, {seen} groups found out");
    assert!(seen > 0, "no damage was noticed: {}", mirror.status());

    settle(&mirror);
    let damaged = damage_all(&cache, &mut rng);
    forget_pages(&mirror);
    assert_all_right(&mirror, 0);
    let now = corrupt_seen(&mirror);
    eprintln!("corruption: {damaged} cached files damaged while it ran, {} groups found out", now - seen);
    assert!(now > seen, "no damage was noticed while it ran: {}", mirror.status());
    assert_equal(&primary, &mirror);
}

#[test]
fn a_damaged_stream_is_refused_and_never_read() {
    let shore = Shore::new("corrupt-stream", Duration::from_mins(3));
    let seed = scale::seed("corrupt-stream");
    shore.format("volume");
    let primary = shore.primary("volume", &[]);
    fill(&primary, 0);
    let proxy = Proxy::start(&primary.address(), seed);
    let mirror = shore.mirror("mirror", &proxy.address(), &LITTLE_MEMORY);
    mirror.catch_up(&primary);

    proxy.flip(150_000);
    let until = Instant::now() + Duration::from_secs(scale::pick(15, 120));
    let (mut right, mut refused, mut version) = (0, 0, 0);
    while Instant::now() < until {
        version += 1;
        fill(&primary, version);
        forget_pages(&mirror);
        for file in 0..FILES {
            match is_right(&mirror, file, version) {
                Ok(()) => right += 1,
                Err(_) => refused += 1,
            }
        }
    }
    eprintln!(
        "corruption: {} bytes flipped in the stream: {right} files read right, {refused} refused",
        proxy.flipped()
    );
    assert!(proxy.flipped() > 0, "no byte was flipped");
    proxy.flip(0);
    proxy.cut_once();
    mirror.catch_up(&primary);
    assert_all_right(&mirror, version);
    assert_equal(&primary, &mirror);
}

fn name(file: u64) -> String {
    format!("file-{file}")
}

/// What a file holds at a version: the version in front, so that a reader knows which it has.
fn contents(file: u64, version: u64) -> Vec<u8> {
    let len = [500, 5_000, 70_000, 300_000, 1_500_000][(file % 5) as usize];
    let mut contents = version.to_be_bytes().to_vec();
    contents.extend(bytes(version << 16 | file, len));
    contents
}

/// Every version of a file is a new file that takes the place of the one before, so that a reader
/// has one version or another and no mixture.
fn fill(primary: &Region, version: u64) {
    for file in 0..FILES {
        let new = primary.path("new");
        fs::write(&new, contents(file, version)).unwrap();
        fs::rename(&new, primary.path(name(file))).unwrap();
    }
}

fn assert_all_right(mirror: &Region, version: u64) {
    for file in 0..FILES {
        let held = fs::read(mirror.path(name(file))).unwrap_or_else(|error| panic!("{}: {error}", name(file)));
        assert!(held == contents(file, version), "{} holds wrong bytes", name(file));
    }
}

/// Reads a file, which may fail, and asserts that what is read is some version of it.
fn is_right(mirror: &Region, file: u64, newest: u64) -> std::io::Result<()> {
    let held = fs::read(mirror.path(name(file)))?;
    let version = held.first_chunk().map_or(u64::MAX, |version| u64::from_be_bytes(*version));
    assert!(version <= newest && held == contents(file, version), "{} holds wrong bytes", name(file));
    Ok(())
}

/// Lets the kernel forget the pages of every file.
fn forget_pages(mirror: &Region) {
    for file in 0..FILES {
        if let Ok(file) = File::open(mirror.path(name(file))) {
            fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        }
    }
}

/// Waits until everything that was read is in the disk cache.
fn settle(mirror: &Region) {
    let size = || mirror.status()["cache"]["disk_bytes"].as_u64().unwrap_or(0);
    let mut before = u64::MAX;
    while before != size() || before == 0 {
        before = size();
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn corrupt_seen(mirror: &Region) -> u64 {
    mirror.status()["cache"]["corrupt_seen"].as_u64().expect("a mirror counts what it refuses")
}

/// Flips bytes in every file below `dir`; of one in eight, cuts the end off. Tells how many.
fn damage_all(dir: &Path, rng: &mut StdRng) -> usize {
    let files = files_below(dir);
    for path in &files {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let len = file.metadata().unwrap().len();
        for _ in 0..=len / 20_000 {
            flip(&file, rng.random_range(0..len.max(1)));
        }
        if rng.random_range(0..8) == 0 {
            file.set_len(rng.random_range(0..len.max(1))).unwrap();
        }
    }
    assert!(!files.is_empty(), "nothing is cached in {}", dir.display());
    files.len()
}

fn flip(file: &File, at: u64) {
    let mut byte = [0];
    if file.read_at(&mut byte, at).unwrap() == 1 {
        byte[0] ^= 0x40;
        file.write_all_at(&byte, at).unwrap();
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let (mut files, mut waiting) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).unwrap().flatten() {
            let is_dir = entry.file_type().unwrap().is_dir();
            if is_dir { waiting.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files
}
