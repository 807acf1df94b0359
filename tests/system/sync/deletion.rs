//! Deletion is asked for, comes last, and does not come at all where it would not be safe.

use std::fs;
use std::time::Duration;

use super::compare::assert_same_for_rsync;
use super::{STORE, WITHHELD, hostile, sync, sync_fails};
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(4);

/// A source and a target that has ten objects that the source does not.
fn shore_with_surplus(test: &str) -> (Shore, String, String) {
    let shore = Shore::new(test, LIMIT);
    hostile::plant_many(&shore.mkdir("source"), 40);
    let (from, to) = (shore.arg("source"), shore.arg("target"));
    sync(&shore, &from, &to, &[]);
    for number in 0..10 {
        fs::write(shore.path(&format!("target/surplus-{number}")), "surplus").unwrap();
    }
    (shore, from, to)
}

fn surplus(shore: &Shore) -> usize {
    (0..10).filter(|number| shore.path(&format!("target/surplus-{number}")).exists()).count()
}

#[test]
fn nothing_is_deleted_unless_asked_and_then_all_of_it() {
    let (shore, from, to) = shore_with_surplus("sync-delete");
    assert_eq!(sync(&shore, &from, &to, &[]).get("deleted"), 0);
    assert_eq!(surplus(&shore), 10);
    fs::create_dir_all(shore.path("target/deep/empty")).unwrap();
    fs::write(shore.path("target/deep/file"), "deep").unwrap();
    let counts = sync(&shore, &from, &to, &["--delete"]);
    assert_eq!(counts.get("deleted"), 13, "ten files, a file and two directories");
    assert_same_for_rsync(&shore.path("source"), &shore.path("target"));
}

#[test]
fn an_empty_source_deletes_nothing_unless_told_so_by_name() {
    let (shore, _, to) = shore_with_surplus("sync-empty");
    shore.mkdir("empty");
    let said = sync_fails(&shore, &shore.arg("empty"), &to, &["--delete"]);
    said.refused(WITHHELD, "the source is empty");
    assert_eq!(surplus(&shore), 10);
    let allow = "--allow-empty-source-to-delete-everything";
    sync(&shore, &shore.arg("empty"), &to, &["--delete", allow]);
    assert_eq!(fs::read_dir(shore.path("target")).unwrap().count(), 0);
}

#[test]
fn an_unreachable_source_deletes_nothing() {
    let (shore, _, to) = shore_with_surplus("sync-gone");
    let missing = shore.arg("missing");
    sync_fails(&shore, &missing, &to, &["--delete"]).refused(STORE, &missing);
    assert_eq!(surplus(&shore), 10);
}

#[test]
fn more_than_the_most_is_not_deleted_at_all() {
    let (shore, from, to) = shore_with_surplus("sync-max");
    sync_fails(&shore, &from, &to, &["--delete", "--max-delete", "9"]).refused(WITHHELD, "10 objects");
    sync_fails(&shore, &from, &to, &["--delete", "--max-delete", "5%"]).refused(WITHHELD, "10 objects");
    assert_eq!(surplus(&shore), 10);
    assert_eq!(sync(&shore, &from, &to, &["--delete", "--max-delete", "10"]).get("deleted"), 10);
    assert_eq!(surplus(&shore), 0);
}
