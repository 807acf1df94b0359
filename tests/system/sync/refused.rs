//! Wrong input: its own exit code, and one line that says what to do.

use std::fs;
use std::time::Duration;

use super::{STORE, USAGE, sync_fails};
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(4);

#[test]
fn places_that_are_none() {
    let shore = Shore::new("sync-refused", LIMIT);
    let (source, target) = (shore.mkdir("source"), shore.arg("target"));
    fs::write(source.join("file"), "file").unwrap();
    let from = shore.arg("source");
    sync_fails(&shore, "gopher://x/y", &target, &[]).refused(USAGE, "gopher");
    sync_fails(&shore, &from, "file://relative", &[]).refused(USAGE, "file:///path");
    sync_fails(&shore, &shore.arg("missing"), &target, &[]).refused(STORE, "missing");
    sync_fails(&shore, &shore.arg("source/file"), &target, &[]).refused(USAGE, "no directory");
    sync_fails(&shore, &from, &shore.arg("no/such/place"), &[]).refused(STORE, "no/such/place");
    sync_fails(&shore, &from, &shore.arg("source/below"), &[]).refused(USAGE, "overlap");
    sync_fails(&shore, &from, &from, &[]).refused(USAGE, "overlap");
    shore.farshore(["check", &from, &target]).refused(STORE, "target");
    std::os::unix::fs::symlink(&source, shore.path("link")).unwrap();
    sync_fails(&shore, &from, &shore.arg("link/below"), &[]).refused(USAGE, "overlap");
    for place in ["target", "source/below"] {
        assert!(!shore.path(place).exists(), "a refused command made its target");
    }
}

#[test]
fn options_that_make_no_sense() {
    let shore = Shore::new("sync-usage", LIMIT);
    shore.mkdir("source");
    let (from, to) = (shore.arg("source"), shore.arg("target"));
    for wrong in [
        ["--max-delete", "3"].as_slice(),
        &["--delete", "--max-delete", "many"],
        &["--allow-empty-source-to-delete-everything"],
        &["--checksum", "--size-only"],
        &["--existing", "--ignore-existing"],
        &["--workers", "0"],
        &["--start", "%zz"],
        &["--bandwidth", "fast"],
    ] {
        let said = sync_fails(&shore, &from, &to, wrong);
        assert_eq!(said.code, Some(USAGE), "{wrong:?}: {said:?}");
        assert!(!said.stderr.is_empty() && !said.stderr.contains("panicked"), "{said:?}");
    }
    assert!(!shore.path("target").exists(), "a refused command made its target");
}
