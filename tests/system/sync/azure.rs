//! Through a server that speaks as Azure does: there, from prefix to prefix, and back; odd names; killed and gone on with.

use std::fs;

use super::hostile::Holder;
use super::object_stores::{self, LIMIT};
use super::{Counts, PARTIAL, sync, sync_fails};
use crate::azurite::Azurite;
use crate::scale;
use crate::shore::Shore;

#[test]
fn a_tree_goes_to_azure_and_to_another_prefix_and_back_unchanged() {
    let mut shore = Shore::new("sync-azure", LIMIT);
    let Some(server) = Azurite::start(&mut shore) else { return };
    object_stores::there_and_back(&shore, Holder::Azure, &server.store("one"), &server.store("other"));
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
    let name = "sync-azure-killed";
    let mut shore = Shore::new(name, LIMIT);
    let Some(server) = Azurite::start(&mut shore) else { return };
    let kills = scale::pick(6, 60);
    object_stores::killed(&shore, name, Holder::Azure, &server.store("killed"), kills, 100..2_000);
}
