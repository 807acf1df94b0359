//! Through a server that speaks as Azure does: there, from prefix to prefix, and back; odd names; killed and gone on with.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::compare::{assert_no_journal, assert_same_contents_for_rsync};
use super::hostile::Holder;
use super::killed::kill_again_and_again;
use super::{Counts, PARTIAL, assert_nothing_is_left_to_do, hostile, sync, sync_fails};
use crate::azurite::Azurite;
use crate::process::Process;
use crate::scale;
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(8);

/// A tree without links, of all names that Azure can hold.
fn plant(root: &Path) {
    hostile::plant_many_for(Holder::Azure, root, scale::pick(300, 10_000));
}

#[test]
fn a_tree_goes_to_azure_and_to_another_prefix_and_back_unchanged() {
    let mut shore = Shore::new("sync-azure", LIMIT);
    let Some(server) = Azurite::start(&mut shore) else { return };
    let source = shore.mkdir("source");
    plant(&source);
    let (from, back) = (shore.arg("source"), shore.arg("back"));
    let (one, other) = (server.store("one"), server.store("other"));
    for (from, to, server_side) in [(&from, &one, false), (&one, &other, true), (&other, &back, false)] {
        let counts = sync(&shore, from, to, &[]);
        assert_eq!((counts.get("copied"), counts.get("failed")), (counts.get("source_entries"), 0));
        assert_eq!(counts.get("copied_server_side") > 0, server_side);
        assert_nothing_is_left_to_do(&shore, from, to);
    }
    assert_same_contents_for_rsync(&source, &shore.path("back"));

    fs::remove_file(source.join("nothing")).unwrap();
    fs::write(source.join("d0"), "another").unwrap();
    let counts = sync(&shore, &from, &one, &["--delete", "--verify"]);
    assert_eq!((counts.get("copied"), counts.get("deleted")), (1, 1));
    assert_nothing_is_left_to_do(&shore, &from, &one);
}

#[test]
fn names_that_azure_would_rewrite_are_told_and_the_rest_is_copied() {
    let mut shore = Shore::new("sync-azure-odd", LIMIT);
    let Some(server) = Azurite::start(&mut shore) else { return };
    let source = shore.mkdir("source");
    for name in ["fine", "back\\slash", "new\nline", "dot."] {
        fs::write(source.join(name), name).unwrap();
    }
    let (from, to) = (shore.arg("source"), server.store("odd"));
    let report = shore.arg("report");
    let said = sync_fails(&shore, &from, &to, &["--json", "--report", &report]);
    assert_eq!(said.code, Some(PARTIAL), "{said:?}");
    let counts = Counts::of(&said.stdout);
    assert_eq!((counts.get("copied"), counts.get("failed")), (1, 3));
    assert_eq!(fs::read_to_string(&report).unwrap().matches("unholdable").count(), 3);
    sync(&shore, &to, &shore.arg("back"), &[]);
    assert_eq!(fs::read_dir(shore.path("back")).unwrap().count(), 1);
}

#[test]
fn a_job_to_azure_that_is_killed_goes_on_and_ends_equal() {
    let mut shore = Shore::new("sync-azure-killed", LIMIT);
    let Some(server) = Azurite::start(&mut shore) else { return };
    let source = shore.mkdir("source");
    plant(&source);
    for number in 0..3 {
        fs::write(source.join(format!("large-{number}")), hostile::bytes(hostile::LARGE, number)).unwrap();
    }
    let (from, to) = (shore.arg("source"), server.store("killed"));
    let start = || {
        let mut command = shore.command(["sync", &from, &to]);
        Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
    };
    kill_again_and_again("sync-azure-killed", scale::pick(6, 60), 100..2_000, LIMIT, start);
    assert_no_journal(&shore);
    assert_nothing_is_left_to_do(&shore, &from, &to);
    sync(&shore, &to, &shore.arg("back"), &[]);
    assert_same_contents_for_rsync(&source, &shore.path("back"));
}
