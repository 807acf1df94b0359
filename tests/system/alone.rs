//! A mirror whose primary is dead serves what it has, and says honestly what it does not have.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

use crate::load::bytes;
use crate::manifest;
use crate::proxy::Proxy;
use crate::region::{Region, assert_equal};
use crate::shore::Shore;

/// Longest that a read of what nobody has may take.
const BOUND: Duration = Duration::from_secs(20);
const FILES: u64 = 20;
const FILE_BYTES: usize = 200_000;

#[test]
fn a_mirror_whose_primary_is_dead_serves_what_it_has() {
    let shore = Shore::new("alone", Duration::from_mins(4));
    shore.format("volume");
    let listen = format!("127.0.0.1:{}", farshore_ports::free());
    let mut primary = shore.primary("volume", &["--listen", &listen]);
    fill(&primary);
    let cache = shore.arg("mirror-cache");
    let mut mirror = shore.mirror("mirror", &listen, &["--cache-dir", &cache]);
    mirror.catch_up(&primary);
    let cached = primary.path("cached");
    manifest::assert_same(&cached, &mirror.path("cached"));
    let before = manifest::read(&cached);
    std::thread::sleep(Duration::from_secs(1));

    primary.kill9();
    assert_served(&mirror, &before);
    assert_refused_in_time(&mirror);

    // It starts without its primary, too, and its disk cache is all it has.
    mirror.terminate();
    mirror.restart();
    assert_served(&mirror, &before);
    assert_refused_in_time(&mirror);

    let begun = Instant::now();
    shore.farshore(["unmount", mirror.dir().to_str().unwrap()]).ok();
    assert!(begun.elapsed() < BOUND, "unmounting took {:?}", begun.elapsed());
    assert!(mirror.process().wait(BOUND).is_some(), "the process outlives its mount");

    primary.restart();
    mirror.restart();
    assert_equal(&primary, &mirror);
}

/// Contents of `cached` are read on the mirror, those of `uncached` are not.
fn fill(primary: &Region) {
    for dir in ["cached", "uncached"] {
        fs::create_dir(primary.path(dir)).unwrap();
        for file in 0..FILES {
            fs::write(primary.path(format!("{dir}/small-{file}")), bytes(file, 700)).unwrap();
        }
        for file in 0..FILES {
            // No two files share a block.
            let seed = file + 1_000 * dir.len() as u64;
            fs::write(primary.path(format!("{dir}/file-{file}")), bytes(seed, FILE_BYTES)).unwrap();
        }
    }
}

fn assert_served(mirror: &Region, before: &manifest::Manifest) {
    for file in 0..FILES {
        let file = File::open(mirror.path(format!("cached/file-{file}"))).unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    }
    let begun = Instant::now();
    assert!(manifest::read(&mirror.path("cached")) == *before, "cached files changed when the primary went");
    let listed = fs::read_dir(mirror.path("uncached")).unwrap();
    let total: u64 = listed.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(total, FILES * (700 + FILE_BYTES as u64));
    for file in 0..FILES {
        let small = fs::read(mirror.path(format!("uncached/small-{file}"))).unwrap();
        assert!(small == bytes(file, 700), "small contents live in rows");
    }
    assert!(begun.elapsed() < BOUND, "what is there took {:?}", begun.elapsed());
    eprintln!("alone: everything that is there was read in {:.1?}", begun.elapsed());
}

fn assert_refused_in_time(mirror: &Region) {
    for file in [0, 7] {
        let begun = Instant::now();
        let read = fs::read(mirror.path(format!("uncached/file-{file}")));
        let took = begun.elapsed();
        assert!(read.is_err(), "a block that nobody has was read");
        assert!(took < BOUND, "the error took {took:?}");
        eprintln!("alone: an uncached file gives {:?} after {took:.1?}", read.unwrap_err());
    }
}

#[test]
fn a_silent_or_slow_upstream_is_an_error_or_a_delay_and_never_a_hang() {
    let shore = Shore::new("silent", Duration::from_mins(3));
    shore.format("volume");
    let primary = shore.primary("volume", &[]);
    let proxy = Proxy::start(&primary.address(), 1);
    fill(&primary);
    let mirror = shore.mirror("mirror", &proxy.address(), &[]);
    mirror.catch_up(&primary);

    proxy.hold(true);
    assert_refused_in_time(&mirror);
    fs::write(primary.path("meanwhile"), "written").unwrap();
    assert!(!mirror.reaches(&primary.token(), Duration::from_millis(300)), "nothing passes a held proxy");
    assert!(!mirror.path("meanwhile").exists());
    proxy.hold(false);
    mirror.catch_up(&primary);
    assert_eq!(fs::read(mirror.path("meanwhile")).unwrap(), b"written");

    for _ in 0..5 {
        proxy.cut_once();
        fs::write(primary.path("meanwhile"), "after a cut").unwrap();
        mirror.catch_up(&primary);
        assert_eq!(fs::read(mirror.path("meanwhile")).unwrap(), b"after a cut");
    }

    proxy.delay(Duration::from_millis(40));
    let begun = Instant::now();
    let mut half = vec![0; FILE_BYTES / 2];
    File::open(mirror.path("uncached/file-3")).unwrap().read_exact(&mut half).unwrap();
    let mut byte = [0];
    File::open(mirror.path("uncached/file-4")).unwrap().read_exact_at(&mut byte, FILE_BYTES as u64 - 1).unwrap();
    eprintln!("alone: two reads over a distance of 80 ms took {:.1?}", begun.elapsed());
    assert_equal(&primary, &mirror);
}
