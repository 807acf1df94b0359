//! Once a wait for a token has returned, nothing older is read, whatever was cached before.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::fs::XattrFlags;

use crate::load::bytes;
use crate::region::{Region, assert_equal};
use crate::scale;
use crate::shore::Shore;

/// Things of each kind that the rounds go over: few, so that most are cached when they change.
const THINGS: u64 = 12;

#[derive(Debug, Clone, Copy)]
enum Kind {
    Contents,
    LargeContents,
    Extend,
    Appear,
    Vanish,
    Move,
    Mode,
    List,
    Target,
    Attribute,
    Links,
}

const KINDS: [Kind; 11] = [
    Kind::Contents,
    Kind::LargeContents,
    Kind::Extend,
    Kind::Appear,
    Kind::Vanish,
    Kind::Move,
    Kind::Mode,
    Kind::List,
    Kind::Target,
    Kind::Attribute,
    Kind::Links,
];

#[test]
fn what_was_waited_for_is_read_through_warm_caches() {
    let rounds = scale::pick(1_000, 10_000);
    let shore = Shore::new("fresh", Duration::from_secs(scale::pick(240, 3_000)));
    shore.format("volume");
    let primary = shore.primary("volume", &[]);
    let mirror = shore.mirror("mirror", &primary.address(), &[]);
    let mut rng = StdRng::seed_from_u64(scale::seed("fresh"));
    prepare(&primary);
    mirror.catch_up(&primary);

    let mut waits = Vec::new();
    for round in 0..rounds {
        let kind = KINDS[rng.random_range(0..KINDS.len())];
        let thing = rng.random_range(0..THINGS);
        let before = see(&primary, kind, thing);
        assert_eq!(see(&mirror, kind, thing), before, "round {round}: {kind:?} {thing} before its change");
        change(&primary, kind, thing, round);
        let token = primary.token();
        let begun = Instant::now();
        mirror.wait(&token);
        waits.push(begun.elapsed());
        let (seen, wanted) = (see(&mirror, kind, thing), see(&primary, kind, thing));
        assert_ne!(before, wanted, "round {round}: {kind:?} {thing} did not change");
        assert_eq!(seen, wanted, "round {round}: {kind:?} {thing} is stale");
    }
    waits.sort_unstable();
    let at = |part: usize| waits[(waits.len() - 1) * part / 100];
    eprintln!("fresh: {rounds} rounds, 0 stale; waits p50 {:.1?}, p99 {:.1?}", at(50), at(99));
    assert_equal(&primary, &mirror);
}

fn prepare(primary: &Region) {
    for thing in 0..THINGS {
        let dir = primary.path(format!("list-{thing}"));
        fs::create_dir(&dir).unwrap();
        for name in ["contents", "large", "extend", "vanish", "mode", "attribute", "links"] {
            fs::write(primary.path(format!("{name}-{thing}")), bytes(thing, 500)).unwrap();
        }
        fs::write(primary.path(format!("move-{thing}.a")), "moved").unwrap();
        symlink("nowhere", primary.path(format!("target-{thing}"))).unwrap();
    }
}

/// What a reader sees of a thing.
fn see(region: &Region, kind: Kind, thing: u64) -> String {
    let path = |name: &str| region.path(format!("{name}-{thing}"));
    match kind {
        Kind::Contents => hash(&path("contents")),
        Kind::LargeContents => hash(&path("large")),
        Kind::Extend => format!("{} {}", hash(&path("extend")), fs::metadata(path("extend")).unwrap().len()),
        Kind::Appear => format!("{} {}", path("appear").exists(), path("appear").is_dir()),
        Kind::Vanish => format!("{:?}", fs::read(path("vanish")).map(|bytes| bytes.len()).ok()),
        Kind::Move => {
            let at = |end: &str| fs::read(region.path(format!("move-{thing}.{end}"))).ok();
            format!("{:?} {:?}", at("a"), at("b"))
        }
        Kind::Mode => {
            let seen = fs::metadata(path("mode")).unwrap();
            format!("{:o} {} {}.{}", seen.mode(), seen.uid(), seen.mtime(), seen.mtime_nsec())
        }
        Kind::List => list(&path("list")),
        Kind::Target => fs::read_link(path("target")).unwrap().display().to_string(),
        Kind::Attribute => {
            let mut value = [0; 100];
            let len = rustix::fs::getxattr(path("attribute"), "user.round", value.as_mut_slice());
            format!("{:?}", len.map(|len| value[..len].to_vec()))
        }
        Kind::Links => {
            let seen = fs::metadata(path("links")).unwrap();
            format!("{} {}.{} {}", seen.nlink(), seen.ctime(), seen.ctime_nsec(), path("link").exists())
        }
    }
}

fn change(primary: &Region, kind: Kind, thing: u64, round: u64) {
    let path = |name: &str| primary.path(format!("{name}-{thing}"));
    match kind {
        // As long as before, so that no size gives the change away.
        Kind::Contents => overwrite(&path("contents"), &bytes(round + 1_000, 500)),
        Kind::LargeContents => overwrite(&path("large"), &bytes(round + 1_000, 150_000)),
        Kind::Extend => {
            let len = fs::metadata(path("extend")).unwrap().len();
            let file = fs::OpenOptions::new().write(true).open(path("extend")).unwrap();
            file.set_len(if len > 20_000 { 3 } else { len + 2_500 }).unwrap();
        }
        Kind::Appear if !path("appear").exists() => fs::write(path("appear"), "here").unwrap(),
        Kind::Appear if path("appear").is_dir() => fs::remove_dir(path("appear")).unwrap(),
        Kind::Appear => {
            fs::remove_file(path("appear")).unwrap();
            fs::create_dir(path("appear")).unwrap();
        }
        Kind::Vanish if path("vanish").exists() => fs::remove_file(path("vanish")).unwrap(),
        Kind::Vanish => fs::write(path("vanish"), bytes(round, (round % 9_000) as usize)).unwrap(),
        Kind::Move => {
            let ends = ["a", "b"].map(|end| primary.path(format!("move-{thing}.{end}")));
            let [a, b] = &ends;
            if a.exists() { fs::rename(a, b).unwrap() } else { fs::rename(b, a).unwrap() }
        }
        Kind::Mode => {
            let mode = fs::metadata(path("mode")).unwrap().mode() ^ 0o111;
            fs::set_permissions(path("mode"), fs::Permissions::from_mode(mode)).unwrap();
        }
        Kind::List => relist(&path("list"), round),
        Kind::Target => {
            fs::remove_file(path("target")).unwrap();
            symlink(format!("round {round}"), path("target")).unwrap();
        }
        Kind::Attribute => {
            let value = round.to_string();
            rustix::fs::setxattr(path("attribute"), "user.round", value.as_bytes(), XattrFlags::empty()).unwrap();
        }
        Kind::Links if path("link").exists() => fs::remove_file(path("link")).unwrap(),
        Kind::Links => fs::hard_link(path("links"), path("link")).unwrap(),
    }
}

fn overwrite(path: &Path, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0).unwrap();
}

/// Adds an entry to a directory, or empties it when it is full.
fn relist(dir: &Path, round: u64) {
    let names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    if names.len() > 6 {
        for path in names {
            fs::remove_file(path).unwrap();
        }
    } else {
        fs::write(dir.join(format!("round {round}")), "").unwrap();
    }
}

fn list(dir: &Path) -> String {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort_unstable();
    let seen = fs::metadata(dir).unwrap();
    format!("{names:?} {}.{}", seen.mtime(), seen.mtime_nsec())
}

fn hash(path: &Path) -> String {
    blake3::hash(&fs::read(path).unwrap()).to_string()
}
