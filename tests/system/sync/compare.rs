//! Other tools' judgement of two directories, and what a job must not leave behind.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::command::{Said, find, not_run};
use crate::shore::{STATE, Shore};

/// What a copy need not have of its source.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Less {
    /// Everything but that names are of one file, which no store of objects holds: they become files of their own.
    HardLinks,
    /// Nor modes, owners, times and attributes of directories, which some stores of objects do not hold.
    HardLinksAndDirectories,
}

/// Asserts that rsync would change nothing below the root: names, contents, modes, owners, times, links, attributes, but
/// for the one in which a file remembers its object.
pub(crate) fn assert_same_for_rsync(source: &Path, target: &Path) {
    assert_none(&differences(source, target, "-aHAXn"));
}

/// The same of names, contents and links alone: of jobs that are about nothing else.
pub(crate) fn assert_same_contents_for_rsync(source: &Path, target: &Path) {
    assert_none(&differences(source, target, "-rlnO"));
}

/// The same of all that has been in a store of objects.
pub(crate) fn assert_same_but_for(less: Less, source: &Path, target: &Path) {
    let mut differences = differences(source, target, "-aAXn");
    if less == Less::HardLinksAndDirectories {
        // A directory that is there; one that is missing is another item.
        differences.retain(|line| !line.starts_with(".d"));
    }
    assert_none(&differences);
}

/// What rsync would do, a line each.
fn differences(source: &Path, target: &Path, options: &str) -> Vec<String> {
    let Some(program) = find("rsync") else {
        not_run("rsync's comparison", "it is not installed");
        return Vec::new();
    };
    let slash = |dir: &Path| format!("{}/", dir.display());
    let mut command = Command::new(program);
    command.args([options, "--checksum", "--delete", "--itemize-changes", "--filter=-x user.farshore.origin"]);
    command.args([slash(source), slash(target)]);
    let said = Said::of(&mut command).ok();
    // The root is no key: its time and mode are its owner's.
    said.lines().filter(|line| !line.ends_with(" ./")).map(ToOwned::to_owned).collect()
}

fn assert_none(differences: &[String]) {
    assert!(differences.is_empty(), "rsync would change the target: {differences:#?}");
}

/// Asserts that no job is remembered: those that are done leave no journal.
pub(crate) fn assert_no_journal(shore: &Shore) {
    let journals = fs::read_dir(shore.path(STATE).join("farshore/sync")).into_iter().flatten();
    let left: Vec<_> = journals.map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "journals are left: {left:?}");
}

/// Asserts that no temporary file is left below a directory.
pub(crate) fn assert_no_temporary(root: &Path) {
    for entry in fs::read_dir(root).unwrap().map(Result::unwrap) {
        let name = entry.file_name();
        assert!(!name.to_string_lossy().starts_with(".farshore-tmp-"), "{} was left", entry.path().display());
        if entry.file_type().unwrap().is_dir() {
            assert_no_temporary(&entry.path());
        }
    }
}
