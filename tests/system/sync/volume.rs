//! A farshore volume as a side: written without a mount and compared through one, killed, over S3, and followed.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::compare::{assert_no_journal, assert_same_contents_for_rsync, assert_same_for_rsync};
use super::{USAGE, assert_nothing_is_left_to_do, hostile, sync, sync_fails};
use crate::process::Process;
use crate::scale;
use crate::seaweed::Seaweed;
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(8);
/// Another process has the metadata.
const IN_USE: i32 = 5;
/// There is no volume.
const NO_VOLUME: i32 = 3;

/// The address of a directory in the volume of this name.
fn volume(shore: &Shore, name: &str, path: &str) -> String {
    format!("farshore://{}//{path}", shore.arg(name))
}

fn used_inodes(shore: &Shore, name: &str) -> u64 {
    let json = shore.farshore(["status", &shore.arg(name), "--json"]).ok();
    serde_json::from_str::<Value>(&json).unwrap()["used_inodes"].as_u64().unwrap()
}

#[test]
fn a_hostile_tree_is_the_same_in_a_volume_and_back() {
    let shore = Shore::new("sync-volume", LIMIT);
    let source = shore.mkdir("source");
    hostile::plant(&source);
    shore.format("vol");
    let (from, inside, back) = (shore.arg("source"), volume(&shore, "vol", "tree"), shore.arg("back"));
    let counts = sync(&shore, &from, &inside, &[]);
    assert_eq!((counts.get("copied"), counts.get("attributes_left_out")), (counts.get("source_entries"), 0));
    assert_nothing_is_left_to_do(&shore, &from, &inside);
    let counts = sync(&shore, &inside, &back, &[]);
    assert_eq!((counts.get("copied"), counts.get("failed")), (counts.get("source_entries"), 0));
    assert_same_for_rsync(&source, &shore.path("back"));
    assert_nothing_is_left_to_do(&shore, &inside, &back);
    // Within one volume, from directory to directory.
    let beside = volume(&shore, "vol", "beside");
    let counts = sync(&shore, &inside, &beside, &[]);
    let by_itself = (counts.get("copied_server_side"), counts.number("moved_bytes"));
    assert!(by_itself.0 > 40 && by_itself.1 == 0, "the volume copies by itself: {by_itself:?}");
    assert_nothing_is_left_to_do(&shore, &inside, &beside);

    let mounted = shore.primary("vol", &[]);
    assert_same_for_rsync(&source, &mounted.path("tree"));
    assert_same_for_rsync(&source, &mounted.path("beside"));
    mounted.terminate();
    for change in ["d/in", "names/tab\tand\u{1}control\u{7f}"] {
        fs::remove_file(source.join(change)).unwrap();
    }
    fs::write(source.join("three"), "both names have other bytes").unwrap();
    let counts = sync(&shore, &from, &inside, &["--delete"]);
    assert_eq!((counts.get("deleted"), counts.get("failed")), (2, 0));
    assert_nothing_is_left_to_do(&shore, &from, &inside);
    let mounted = shore.primary("vol", &[]);
    assert_same_for_rsync(&source, &mounted.path("tree"));
}

#[test]
fn a_volume_goes_to_s3_and_into_a_volume_on_s3() {
    let mut shore = Shore::new("sync-volume-s3", LIMIT);
    let Some(server) = Seaweed::start(&mut shore) else { return };
    let source = shore.mkdir("source");
    hostile::plant_many(&source, scale::pick(300, 10_000));
    // Several parts, and several blocks in each.
    fs::write(source.join("large"), hostile::bytes(100 << 20, 1)).unwrap();
    shore.format("one");
    shore.format_on("two", &server.store("blocks"), &[]);
    let (from, bucket) = (shore.arg("source"), server.store("objects"));
    let (one, two) = (volume(&shore, "one", ""), volume(&shore, "two", "within"));
    for (from, to) in [(&from, &one), (&one, &bucket), (&bucket, &two)] {
        let counts = sync(&shore, from, to, &[]);
        assert_eq!((counts.get("copied"), counts.get("failed")), (counts.get("source_entries"), 0), "{from} to {to}");
    }
    assert_nothing_is_left_to_do(&shore, &bucket, &two);
    let mounted = shore.primary("two", &[]);
    assert_same_contents_for_rsync(&source, &mounted.path("within"));
    mounted.terminate();
    // The blocks of a volume are no place for objects.
    sync_fails(&shore, &two, &server.store("blocks/x"), &[]).refused(USAGE, "overlaps");
    assert!(server.open_uploads().is_empty());
}

#[test]
fn a_job_into_a_volume_that_is_killed_again_and_again_ends_equal_and_leaves_nothing() {
    let shore = Shore::new("sync-volume-killed", LIMIT);
    let source = shore.mkdir("source");
    hostile::plant_many(&source, scale::pick(2_000, 20_000));
    fs::write(source.join("large"), hostile::bytes(150 << 20, 1)).unwrap();
    shore.format("vol");
    shore.format("unharmed");
    let (from, to) = (shore.arg("source"), volume(&shore, "vol", ""));
    let start = || Process::spawn_quiet(&mut shore.command(["sync", &from, &to]));
    let mut rng = StdRng::seed_from_u64(scale::seed("sync-volume-killed"));
    let mut kills = 0;
    for _ in 0..scale::pick(10, 100) {
        let job = start();
        let ended = job.wait(Duration::from_millis(rng.random_range(50..scale::pick(1_500, 3_000))));
        if ended.is_some() {
            break;
        }
        job.kill9();
        kills += 1;
    }
    eprintln!("killed {kills} times");
    let job = start();
    assert!(job.wait(LIMIT).expect("it ends").success());
    assert_no_journal(&shore);
    assert_nothing_is_left_to_do(&shore, &from, &to);
    sync(&shore, &from, &volume(&shore, "unharmed", ""), &[]);
    assert_eq!(used_inodes(&shore, "vol"), used_inodes(&shore, "unharmed"), "files without a name are left");
    let mounted = shore.primary("vol", &[]);
    assert_same_for_rsync(&source, mounted.dir());
}

#[test]
fn a_mirror_is_a_source_while_it_follows() {
    let shore = Shore::new("sync-mirror", LIMIT);
    shore.format("vol");
    let primary = shore.primary("vol", &[]);
    hostile::plant_many(primary.dir(), 300);
    let followed = format!("farshore://{}?upstream=http://{}", shore.arg("mirror"), primary.address());
    let to = shore.arg("copy");
    let writing = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while writing.load(Ordering::Acquire) {
                let name = format!("written-{:04}", number % 500);
                fs::write(primary.path(&name), hostile::bytes(number % 9_000, number)).unwrap();
                number += 1;
            }
        });
        for _ in 0..3 {
            let counts = sync(&shore, &followed, &to, &["--delete"]);
            assert_eq!(counts.get("failed"), 0);
        }
        writing.store(false, Ordering::Release);
    });
    sync(&shore, &followed, &to, &["--delete"]);
    assert_same_for_rsync(primary.dir(), &shore.path("copy"));

    // Without its upstream it is a source as it stands, with its blocks from the store; it is never a target.
    fs::write(primary.path("later"), "the mirror has not heard of this").unwrap();
    let alone = volume(&shore, "mirror", "");
    sync(&shore, &alone, &to, &["--delete"]);
    assert!(!shore.path("copy/later").exists());
    sync_fails(&shore, &to, &alone, &[]).refused(USAGE, "mirror");
    sync(&shore, &followed, &to, &["--delete"]);
    assert_same_for_rsync(primary.dir(), &shore.path("copy"));
}

#[test]
fn volumes_that_cannot_be_opened_say_what_to_do() {
    let shore = Shore::new("sync-volume-refused", LIMIT);
    shore.format("vol");
    let (inside, tree) = (volume(&shore, "vol", "a"), shore.arg("tree"));
    fs::write(shore.mkdir("tree").join("file"), "file").unwrap();
    let one_slash = format!("farshore://{}/a", shore.arg("vol"));
    sync_fails(&shore, &tree, &one_slash, &[]).refused(NO_VOLUME, "vol//a");
    sync_fails(&shore, &inside, &tree, &[]).refused(super::STORE, "`a`");
    sync_fails(&shore, &tree, &volume(&shore, "vol", "no/such/place"), &[]).refused(super::STORE, "no/such/place");
    sync_fails(&shore, &tree, &volume(&shore, "vol", "a/../b"), &[]).refused(USAGE, "..");
    sync_fails(&shore, &volume(&shore, "vol", ""), &inside, &[]).refused(USAGE, "overlap");
    sync_fails(&shore, &volume(&shore, "vol", ""), &shore.arg("vol-store/x"), &[]).refused(USAGE, "overlaps");
    let dry = sync(&shore, &tree, &inside, &["--dry-run"]);
    assert_eq!(dry.get("copied"), 1);
    sync(&shore, &tree, &inside, &[]);

    let mounted = shore.primary("vol", &[]);
    let said = sync_fails(&shore, &inside, &shore.arg("other"), &[]).refused(IN_USE, "mount point");
    assert!(said.contains("upstream="), "{said}");
    sync_fails(&shore, &tree, &inside, &[]).refused(IN_USE, "mount point");
    assert_eq!(fs::read(mounted.path("a/file")).unwrap(), b"file");
}
