//! Symbolic links as rclone has them among objects: written by either, read by the other, compared by rsync.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use super::compare::assert_same_contents_for_rsync;
use super::rclone::Remote;
use super::{Counts, sync};
use crate::seaweed::Seaweed;
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(4);
const LINKS: [&str; 2] = ["--links", "rclone"];

/// Links, and files whose names lie between a link's own name and its key.
fn plant(root: &Path) {
    fs::create_dir_all(root.join("a/in")).unwrap();
    for name in ["a-", "a-file", "a.b", "a.rclonelink2", "a/in/file", "z"] {
        fs::write(root.join(name), name).unwrap();
    }
    let links = [
        ("a+", "a"),
        ("a.", "nowhere"),
        ("a--", "../above"),
        ("a.r", "/an/absolute/one"),
        ("a/in/self", "self"),
        ("link é", "a b\u{301}"),
        ("zz", "z"),
    ];
    for (name, target) in links {
        symlink(target, root.join(name)).unwrap();
    }
}

fn again(shore: &Shore, from: &str, to: &str) -> Counts {
    sync(shore, from, to, &[&LINKS[..], &["--delete"]].concat())
}

fn assert_nothing_is_done(counts: &Counts) {
    for name in ["copied", "updated", "deletions_planned", "failed", "conflicts"] {
        assert_eq!(counts.get(name), 0, "{name} in a second pass");
    }
}

#[test]
fn links_that_rclone_wrote_become_links_and_stay_so() {
    let mut shore = Shore::new("sync-rclone-links-read", LIMIT);
    let Some(server) = Seaweed::start(&mut shore) else { return };
    let source = shore.mkdir("source");
    plant(&source);
    let place = Remote::place(&Seaweed::path("links"));
    if Remote::s3(&server.endpoint()).run(&["copy", "--links", &shore.arg("source"), &place]).is_none() {
        return;
    }
    let (from, to) = (server.store("links"), shore.arg("target"));
    sync(&shore, &from, &to, &LINKS);
    assert_same_contents_for_rsync(&source, &shore.path("target"));
    assert_nothing_is_done(&again(&shore, &from, &to));
    shore.farshore(["check", LINKS[0], LINKS[1], &from, &to]).ok();
}

#[test]
fn links_that_we_wrote_are_links_for_rclone_and_go_when_they_are_deleted() {
    let mut shore = Shore::new("sync-rclone-links-written", LIMIT);
    let Some(server) = Seaweed::start(&mut shore) else { return };
    let source = shore.mkdir("source");
    plant(&source);
    let (from, to) = (shore.arg("source"), server.store("links"));
    sync(&shore, &from, &to, &LINKS);
    assert_nothing_is_done(&again(&shore, &from, &to));
    fs::remove_file(source.join("a--")).unwrap();
    fs::remove_file(source.join("zz")).unwrap();
    symlink("a", source.join("zz")).unwrap();
    let counts = again(&shore, &from, &to);
    assert_eq!((counts.get("copied"), counts.get("deleted")), (1, 1));
    // Back, by us and by rclone.
    sync(&shore, &to, &shore.arg("back"), &LINKS);
    assert_same_contents_for_rsync(&source, &shore.path("back"));
    let place = Remote::place(&Seaweed::path("links"));
    if Remote::s3(&server.endpoint()).run(&["copy", "--links", &place, &shore.arg("by-rclone")]).is_some() {
        assert_same_contents_for_rsync(&source, &shore.path("by-rclone"));
    }
}
