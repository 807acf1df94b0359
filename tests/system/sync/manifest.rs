//! Manifests: whole after any kill, true of every object, and held against one side later.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::killed::kill_again_and_again;
use super::team::{Team, ends_well};
use super::{Counts, DIFFERS, USAGE, hostile, sync};
use crate::process::Process;
use crate::scale;
use crate::seaweed::Seaweed;
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(8);

/// The lines of a manifest that is whole, by key as it is printed.
fn lines(path: &Path) -> BTreeMap<String, Value> {
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [header, objects @ .., end] = &lines[..] else { panic!("{text}") };
    assert_eq!(header["farshore_manifest"], 1);
    assert_eq!(end["end"], true, "{end}");
    assert_eq!(end["entries"], objects.len());
    let by_key: BTreeMap<String, Value> =
        objects.iter().map(|line| (line["key"].as_str().unwrap().to_owned(), line.clone())).collect();
    assert_eq!(by_key.len(), objects.len(), "no key is there twice");
    by_key
}

/// The bytes of a printed key.
fn unprinted(printed: &str) -> Vec<u8> {
    let mut parts = printed.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}

/// Each file below a directory is in the manifest as it is, and nothing else; how many have no BLAKE3.
fn assert_true_of(manifest: &Path, root: &Path) -> usize {
    let (mut unknown, mut there) = (0, 0);
    let lines = lines(manifest);
    for (printed, line) in &lines {
        let path = root.join(OsStr::from_bytes(&unprinted(printed)));
        match line["kind"].as_str() {
            Some("directory") => assert!(path.is_dir(), "{printed}"),
            Some(_) => {
                let target = fs::read_link(&path).unwrap();
                assert_eq!(target.as_os_str().as_bytes(), unprinted(line["target"].as_str().unwrap()));
            }
            None => {
                let bytes = fs::read(&path).unwrap();
                assert_eq!(line["size"], bytes.len());
                match line["blake3"].as_str() {
                    Some(hash) => assert_eq!(hash, blake3::hash(&bytes).to_hex().as_str(), "{printed}"),
                    None => unknown += 1,
                }
            }
        }
    }
    count(root, &mut there);
    assert_eq!(lines.len(), there, "all that is there is in the manifest");
    unknown
}

fn count(directory: &Path, there: &mut usize) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        *there += 1;
        if entry.file_type().unwrap().is_dir() {
            count(&entry.path(), there);
        }
    }
}

/// A file of the tree with something in it, chosen by a random number.
fn some_file(root: &Path, rng: &mut StdRng) -> PathBuf {
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() && entry.metadata().unwrap().len() > 0 {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found.swap_remove(rng.random_range(0..found.len()))
}

#[test]
fn what_was_settled_before_a_kill_is_in_the_manifest_of_the_job_that_goes_on() {
    let shore = Shore::new("sync-manifest-resumed", LIMIT);
    let (from, to, manifest) = (shore.arg("source"), shore.arg("target"), shore.arg("manifest"));
    hostile::plant_many(&shore.mkdir("source"), scale::pick(3_000, 60_000));
    let args = ["sync", &from, &to, "--manifest", &manifest, "--json"];
    let job = Process::spawn_quiet(&mut shore.command(args.iter().chain(&["--bandwidth", "2MiB"])));
    // The journal hears of a job each five seconds.
    assert!(job.wait(Duration::from_secs(8)).is_none(), "it was to be killed in the middle");
    job.kill9();
    assert!(!shore.path("manifest").exists(), "a job that is not done has no manifest");

    let said = shore.farshore(args);
    assert!(said.stderr.contains("going on with a job"), "{}", said.stderr);
    let counts = Counts::of(&said.ok());
    let unknown = assert_true_of(&shore.path("manifest"), &shore.path("target")) as u64;
    eprintln!("{unknown} objects were copied before the kill and settled after it");
    assert!(unknown <= counts.get("skipped"), "all that was copied, by either process, has a BLAKE3");
    shore.farshore(["check", "--manifest", &manifest, &to]).ok();
    // The same job again has nothing to copy, and reads what it is asked to read.
    sync(&shore, &from, &to, &["--manifest", &manifest, "--manifest-read"]);
    assert_eq!(assert_true_of(&shore.path("manifest"), &shore.path("target")), 0);
}

#[test]
fn a_manifest_of_a_job_that_is_killed_again_and_again_is_whole() {
    let shore = Shore::new("sync-manifest-killed", LIMIT);
    let (from, to, manifest) = (shore.arg("source"), shore.arg("target"), shore.arg("manifest"));
    hostile::plant_many(&shore.mkdir("source"), scale::pick(2_000, 20_000));
    let start = || {
        if shore.path("manifest").exists() {
            assert_true_of(&shore.path("manifest"), &shore.path("target"));
        }
        let args = ["sync", &from, &to, "--fsync", "batch", "--manifest", &manifest];
        Process::spawn_quiet(&mut shore.command(args))
    };
    kill_again_and_again("sync-manifest", scale::pick(10, 100), 20..scale::pick(600, 2_000), LIMIT, start);
    assert_true_of(&shore.path("manifest"), &shore.path("target"));
    shore.farshore(["check", "--manifest", &manifest, &to]).ok();
    let left: Vec<_> = fs::read_dir(shore.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let partial = left.iter().filter(|name| name.to_string_lossy().ends_with(".partial")).count();
    assert_eq!(partial, 0, "what a kill left of a manifest is swept: {left:?}");
}

#[test]
fn a_flipped_bit_and_what_is_gone_or_new_are_found() {
    let shore = Shore::new("sync-manifest-bits", LIMIT);
    let (from, to, manifest) = (shore.arg("source"), shore.arg("target"), shore.arg("manifest"));
    hostile::plant(&shore.mkdir("source"));
    sync(&shore, &from, &to, &["--manifest", &manifest]);
    shore.farshore(["check", "--manifest", &manifest, &to]).ok();
    let mut rng = StdRng::seed_from_u64(scale::seed("sync-manifest-bits"));
    let target = shore.path("target");
    let (flipped, gone) = (some_file(&target, &mut rng), shore.path("target/to-be-gone"));
    for _ in 0..scale::pick(5, 50) {
        let mut bytes = fs::read(&flipped).unwrap();
        let (at, bit) = (rng.random_range(0..bytes.len()), rng.random_range(0..8));
        bytes[at] ^= 1 << bit;
        fs::write(&flipped, &bytes).unwrap();
        let said = shore.farshore(["check", "--manifest", &manifest, &to]);
        assert!(said.code == Some(DIFFERS) && said.stdout.contains("(contents)"), "{said:?}");
        bytes[at] ^= 1 << bit;
        fs::write(&flipped, &bytes).unwrap();
    }
    shore.farshore(["check", "--manifest", &manifest, &to]).ok();
    fs::write(&gone, "new").unwrap();
    fs::remove_file(&flipped).unwrap();
    let report = shore.arg("differences");
    let said = shore.farshore(["check", "--manifest", &manifest, &to, "--report", &report]);
    assert_eq!(said.code, Some(DIFFERS), "{said:?}");
    let told = fs::read_to_string(&report).unwrap();
    let found: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes: Vec<&str> = found.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes.len(), 2, "{told}");
    assert!(outcomes.contains(&"missing") && outcomes.contains(&"extra"), "{told}");

    let cut = fs::read(&manifest).unwrap();
    fs::write(shore.path("cut"), &cut[..cut.len() / 2]).unwrap();
    let said = shore.farshore(["check", "--manifest", &shore.arg("cut"), &to]);
    assert!(said.code == Some(1) && said.stderr.contains("no whole manifest"), "{said:?}");
    shore.farshore(["sync", &from, &to, "--manifest", &shore.arg("target/m")]).refused(USAGE, "another place");
    shore.farshore(["check", &from]).refused(USAGE, "--manifest");
}

#[test]
fn objects_in_parts_and_links_in_a_cloud_are_held_against_a_manifest_too() {
    let mut shore = Shore::new("sync-manifest-s3", LIMIT);
    let Some(server) = Seaweed::start(&mut shore) else { return };
    let source = shore.mkdir("source");
    hostile::plant_many(&source, 100);
    let large = hostile::bytes(scale::pick(45 << 20, 200 << 20), 1);
    fs::write(source.join("large"), &large).unwrap();
    std::os::unix::fs::symlink("large", source.join("link")).unwrap();
    let (from, manifest, copied) = (shore.arg("source"), shore.arg("manifest"), shore.arg("copied"));
    let (one, other) = (server.store("one"), server.store("other"));
    sync(&shore, &from, &one, &["--manifest", &manifest, "--no-directories"]);
    let hash = blake3::hash(&large).to_hex();
    assert_eq!(lines(&shore.path("manifest"))["large"]["blake3"], hash.as_str());
    assert_eq!(lines(&shore.path("manifest"))["link"]["kind"], "symlink");
    shore.farshore(["check", "--manifest", &manifest, &one]).ok();
    // The same store copies by itself, so that no byte passes by.
    let counts = sync(&shore, &one, &other, &["--manifest", &copied]);
    assert!(counts.get("copied_server_side") > 0);
    assert_eq!(lines(&shore.path("copied"))["large"]["blake3"], Value::Null);
    shore.farshore(["check", &one, &other, "--write-manifest", &copied, "--manifest-read"]).ok();
    assert_eq!(lines(&shore.path("copied"))["large"]["blake3"], hash.as_str());
    shore.farshore(["check", "--manifest", &copied, &other]).ok();
    shore.farshore(["check", "--manifest", &manifest, &other]).ok();
    // Back on a disk it is what it was.
    let back = shore.arg("back");
    sync(&shore, &other, &back, &[]);
    shore.farshore(["check", "--manifest", &manifest, &back]).ok();
    fs::write(shore.path("back/large"), &large[1..]).unwrap();
    let said = shore.farshore(["check", "--manifest", &manifest, &back]);
    assert!(said.code == Some(DIFFERS) && said.stdout.contains("large (size)"), "{said:?}");
}

#[test]
fn workers_record_what_they_copy_and_one_that_is_killed_loses_nothing() {
    let shore = Shore::new("sync-manifest-team", LIMIT);
    let (from, to, manifest) = (shore.arg("source"), shore.arg("target"), shore.arg("manifest"));
    hostile::plant_many(&shore.mkdir("source"), scale::pick(3_000, 50_000));
    let team = Team::new(&shore, &from, &to, &["--workers", "0", "--manifest", &manifest]);
    let coordinator = team.coordinator();
    let (killed, other) = (team.worker(&[]), team.worker(&[]));
    assert!(killed.wait(Duration::from_millis(700)).is_none_or(|status| status.success()));
    killed.kill9();
    ends_well(&coordinator, LIMIT);
    ends_well(&other, LIMIT);
    let unknown = assert_true_of(&shore.path("manifest"), &shore.path("target"));
    eprintln!("{unknown} objects were copied by the worker that was killed before they were settled");
    shore.farshore(["check", "--manifest", &manifest, &to]).ok();
}
