//! A real tree, copied to the primary with `cp -a`, is the same on the mirror.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::command::{Said, find, not_run};
use crate::manifest;
use crate::region::{Region, assert_equal};
use crate::scale;
use crate::seaweed::Seaweed;
use crate::shore::Shore;

/// Entries of a tree at small scale.
const SMALL_ENTRIES: usize = 2_000;
/// What the tree must have at full scale.
const FULL_ENTRIES: usize = 30_000;
const FULL_BYTES: u64 = 1_500_000_000;

fn limit() -> Duration {
    Duration::from_secs(scale::pick(180, 3_600))
}

#[test]
fn a_real_tree_is_the_same_on_the_mirror_with_blocks_in_a_directory() {
    let shore = Shore::new("tree-file", limit());
    shore.format("volume");
    copy_and_compare(&shore);
}

#[test]
fn a_real_tree_is_the_same_on_the_mirror_with_blocks_in_s3() {
    let mut shore = Shore::new("tree-s3", limit());
    let Some(server) = Seaweed::start(&mut shore) else { return };
    shore.format_on("volume", &server.store("tree"), &[]);
    copy_and_compare(&shore);
}

fn copy_and_compare(shore: &Shore) {
    let cache = shore.arg("mirror-cache");
    let primary = shore.primary("volume", &[]);
    let mirror = shore.mirror("mirror", &primary.address(), &["--cache-dir", &cache]);
    let source = source(shore);
    let begun = Instant::now();
    Said::of(Command::new("cp").arg("-a").arg(&source).arg(primary.dir())).ok();
    let copied = begun.elapsed();
    mirror.catch_up(&primary);
    eprintln!("cp -a of {}: {copied:.1?}; visible on the mirror at {:.1?}", source.display(), begun.elapsed());

    manifest::assert_copied(&source, &primary.path(source.file_name().expect("a name")));
    assert_equal(&primary, &mirror);
    diff(&primary, &mirror);
    rsync(&primary, &mirror);
    let status = mirror.status();
    eprintln!("{} inodes, {} bytes compared", status["used_inodes"], status["used_bytes"]);
    if scale::is_full() {
        assert!(status["used_inodes"].as_u64().unwrap_or(0) >= FULL_ENTRIES as u64, "too few entries: {status}");
        assert!(status["used_bytes"].as_u64().unwrap_or(0) >= FULL_BYTES, "too few bytes: {status}");
    }
}

/// What is copied: a part of a real tree at small scale, a whole one, named by
/// `FARSHORE_TEST_TREE` or `/usr`, at full.
fn source(shore: &Shore) -> PathBuf {
    if let Some(given) = std::env::var_os("FARSHORE_TEST_TREE") {
        return given.into();
    }
    if scale::is_full() {
        return "/usr".into();
    }
    let from = ["/usr/include", "/usr/share"].map(Path::new).into_iter().find(|dir| dir.is_dir());
    let target = shore.mkdir("source");
    copy_part(from.expect("a system has /usr/include or /usr/share"), &target, &shore.path("names"));
    add_oddities(&target);
    target
}

/// Copies the first directories of a tree, each before what is in it, with modes and times.
fn copy_part(from: &Path, target: &Path, names: &Path) {
    let mut listing = Vec::new();
    let mut waiting = vec![from.to_owned()];
    while let Some(dir) = waiting.pop().filter(|_| listing.len() < SMALL_ENTRIES) {
        let mut entries: Vec<_> = fs::read_dir(&dir).expect("it can be read").flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        listing.extend(entries.iter().map(fs::DirEntry::path));
        let is_dir = |entry: &fs::DirEntry| entry.file_type().expect("it has a type").is_dir();
        waiting.extend(entries.iter().filter(|entry| is_dir(entry)).map(fs::DirEntry::path));
    }
    let relative = listing.iter().map(|path| path.strip_prefix(from).expect("it is below"));
    let relative: Vec<_> = relative.map(|path| path.to_str().expect("a system's names are text")).collect();
    fs::write(names, relative.join("\0")).expect("a list can be written");
    let (from, names, target) = (from.display(), names.display(), target.display());
    let pack = format!("tar --create --directory={from} --no-recursion --null --files-from={names}");
    let tar = format!("{pack} | tar --extract --directory={target}");
    Said::of(Command::new("sh").args(["-c", &tar])).ok();
}

/// What system directories rarely have.
fn add_oddities(dir: &Path) {
    let odd = dir.join("odd");
    fs::create_dir(&odd).expect("a directory can be made");
    fs::write(odd.join("name with spaces, \u{fc}ml\u{e4}ut and \n newline"), "x").expect("a file can be written");
    fs::write(odd.join("linked"), vec![7; 10_000]).expect("a file can be written");
    fs::hard_link(odd.join("linked"), odd.join("link")).expect("a link can be made");
    std::os::unix::fs::symlink("nowhere/at all", odd.join("dangling")).expect("a symlink can be made");
    let sparse = fs::File::create(odd.join("sparse")).expect("a file can be made");
    sparse.set_len(50 << 20).expect("a file can be extended");
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", (50 << 20) - 3).expect("a file can be written");
    let attribute = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(odd.join("linked"), "user.farshore", b"value", attribute).unwrap_or_else(|errno| {
        not_run("extended attributes of the source", &errno.to_string());
    });
}

fn diff(primary: &Region, mirror: &Region) {
    let mut command = Command::new("diff");
    let said = Said::of(command.args(["-r", "--no-dereference"]).arg(primary.dir()).arg(mirror.dir())).ok();
    assert_eq!(said, "", "diff finds differences");
}

fn rsync(primary: &Region, mirror: &Region) {
    let Some(program) = find("rsync") else {
        not_run("rsync from the primary to the mirror", "it is not installed");
        return;
    };
    let slash = |dir: &Path| format!("{}/", dir.display());
    let mut command = Command::new(program);
    command.args(["-aHAXn", "--checksum", "--delete", "--itemize-changes"]);
    let said = Said::of(command.arg(slash(primary.dir())).arg(slash(mirror.dir()))).ok();
    assert_eq!(said, "", "rsync would change the mirror");
}
