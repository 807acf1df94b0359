//! What each store of objects goes through: a tree goes there, to another place in it and back; a job is killed and
//! gone on with.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use super::compare::{assert_no_journal, assert_same_contents_for_rsync};
use super::hostile::{self, Holder};
use super::killed::kill_again_and_again;
use super::{assert_nothing_is_left_to_do, sync};
use crate::process::Process;
use crate::scale;
use crate::shore::Shore;

/// Longest that a test takes.
pub(super) const LIMIT: Duration = Duration::from_mins(8);

/// Makes `source`: a tree without links, of all names that the store can hold.
pub(super) fn plant(shore: &Shore, holder: Holder) -> PathBuf {
    let source = shore.mkdir("source");
    hostile::plant_many_for(holder, &source, scale::pick(300, 10_000));
    source
}

/// Such a tree goes to one place there, from it to the other and back, to `back`.
pub(super) fn there_and_back(shore: &Shore, holder: Holder, one: &str, other: &str) {
    let source = plant(shore, holder);
    let (from, back) = (shore.arg("source"), shore.arg("back"));
    for (from, to, server_side) in [(from.as_str(), one, false), (one, other, true), (other, &back, false)] {
        let counts = sync(shore, from, to, &[]);
        assert_eq!((counts.get("copied"), counts.get("failed")), (counts.get("source_entries"), 0));
        assert_eq!(counts.get("copied_server_side") > 0, server_side);
        mend_markers(shore, holder, from, to);
        assert_nothing_is_left_to_do(shore, from, to);
    }
    assert_same_contents_for_rsync(&source, &shore.path("back"));

    fs::remove_file(source.join("nothing")).unwrap();
    fs::write(source.join("d0"), "another").unwrap();
    let counts = sync(shore, &from, one, &["--delete", "--verify"]);
    assert_eq!((counts.get("copied"), counts.get("deleted")), (1, 1));
    assert_nothing_is_left_to_do(shore, &from, one);
}

/// A job of such a tree and some large files to a place there is killed so many times, each after some milliseconds from
/// these; it goes on and ends equal. The seed is the test's name.
pub(super) fn killed(shore: &Shore, seed: &str, holder: Holder, to: &str, times: u32, after_ms: Range<u64>) {
    let source = plant(shore, holder);
    for number in 0..4 {
        fs::write(source.join(format!("large-{number}")), hostile::bytes(hostile::LARGE, number)).unwrap();
    }
    let from = shore.arg("source");
    let start = || Process::spawn_quiet(&mut shore.command(["sync", &from, to]));
    kill_again_and_again(seed, times, after_ms, LIMIT, start);
    assert_no_journal(shore);
    mend_markers(shore, holder, &from, to);
    assert_nothing_is_left_to_do(shore, &from, to);
    sync(shore, to, &shore.arg("back"), &[]);
    assert_same_contents_for_rsync(&source, &shore.path("back"));
}

/// SeaweedFS now and then loses the marker of a directory in which an object is stored at the same moment; the next
/// pass stores it again. Nothing else may be missing, and nothing at all elsewhere.
pub(super) fn mend_markers(shore: &Shore, holder: Holder, from: &str, to: &str) {
    if holder != Holder::Seaweed {
        return;
    }
    let report = shore.arg("mended");
    sync(shore, from, to, &["--report", &report]);
    let told = fs::read_to_string(&report).unwrap();
    assert!(told.lines().all(|line| line.contains("/\",\"size\":0")), "more than markers were missing: {told}");
}
