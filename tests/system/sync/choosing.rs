//! What is chosen is copied and deleted, what is left out is neither.

use std::fs;
use std::time::Duration;

use super::{PARTIAL, sync, sync_fails};
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(4);

fn shore_with_letters(test: &str) -> (Shore, String, String) {
    let shore = Shore::new(test, LIMIT);
    let source = shore.mkdir("source");
    for name in ["a", "b", "c", "d"] {
        fs::write(source.join(name), name).unwrap();
    }
    let (from, to) = (shore.arg("source"), shore.arg("target"));
    (shore, from, to)
}

fn names(shore: &Shore) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(shore.path("target"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_range_of_keys_is_all_that_is_touched() {
    let (shore, from, to) = shore_with_letters("sync-range");
    fs::write(shore.mkdir("target").join("z"), "outside").unwrap();
    sync(&shore, &from, &to, &["--start", "b", "--end", "d", "--delete"]);
    assert_eq!(names(&shore), ["b", "c", "z"]);
}

#[test]
fn patterns_and_lists_choose_and_what_they_leave_out_is_not_deleted() {
    let (shore, from, to) = shore_with_letters("sync-filter");
    fs::write(shore.mkdir("target").join("x.tmp"), "kept").unwrap();
    fs::write(shore.path("target/y"), "deleted").unwrap();
    fs::write(shore.path("source/z.tmp"), "not copied").unwrap();
    sync(&shore, &from, &to, &["--exclude", "*.tmp", "--exclude", "d", "--delete"]);
    assert_eq!(names(&shore), ["a", "b", "c", "x.tmp"]);

    let list = shore.arg("list");
    fs::write(&list, "d\nz.tmp\n").unwrap();
    sync(&shore, &from, &to, &["--files-from", &list, "--min-size", "2"]);
    assert_eq!(names(&shore), ["a", "b", "c", "x.tmp", "z.tmp"]);
}

#[test]
fn shards_together_are_everything_once() {
    let (shore, from, to) = shore_with_letters("sync-shard");
    let copied = ["0/3", "1/3", "2/3"].map(|shard| sync(&shore, &from, &to, &["--shard", shard]).get("copied"));
    assert_eq!(copied.iter().sum::<u64>(), 4);
    assert_eq!(names(&shore), ["a", "b", "c", "d"]);
}

#[test]
fn a_report_names_what_failed_and_only_that_is_tried_again() {
    let (shore, from, to) = shore_with_letters("sync-retry");
    fs::create_dir_all(shore.path("target/b/full")).unwrap();
    let report = shore.arg("report");
    let said = sync_fails(&shore, &from, &to, &["--report", &report]);
    assert_eq!(said.code, Some(PARTIAL), "{said:?}");
    fs::remove_dir_all(shore.path("target/b")).unwrap();
    fs::remove_file(shore.path("target/c")).unwrap();
    let counts = sync(&shore, &from, &to, &["--retry-report", &report]);
    assert_eq!(counts.get("copied"), 1);
    assert_eq!(names(&shore), ["a", "b", "d"]);
}
