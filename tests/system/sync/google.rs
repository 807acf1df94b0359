//! Through a server that speaks as Google does: there, from prefix to prefix, and back; killed and gone on with.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use self::server::{BUCKET, Server, TOKEN};
use super::compare::{assert_no_journal, assert_same_contents_for_rsync};
use super::hostile::Holder;
use super::killed::kill_again_and_again;
use super::{STORE, assert_nothing_is_left_to_do, hostile, sync, sync_fails};
use crate::process::Process;
use crate::scale;
use crate::shore::Shore;

#[path = "../../../sync/tests/gcs/server/mod.rs"]
mod server;

const LIMIT: Duration = Duration::from_mins(8);

/// A server, and what it runs in.
pub(super) struct Google {
    pub(super) server: Server,
    _runtime: tokio::runtime::Runtime,
}

impl Google {
    pub(super) fn start(shore: &mut Shore) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = runtime.block_on(Server::start());
        shore.set_env("GOOGLE_OAUTH_ACCESS_TOKEN", TOKEN);
        Self { server, _runtime: runtime }
    }

    pub(super) fn store(&self, prefix: &str) -> String {
        format!("gs://{BUCKET}/{prefix}?endpoint={}", self.server.endpoint())
    }
}

/// A tree without links, of all names that Google can hold.
fn plant(root: &Path) {
    hostile::plant_many_for(Holder::Google, root, scale::pick(300, 10_000));
}

#[test]
fn a_tree_goes_to_google_and_to_another_prefix_and_back_unchanged() {
    let mut shore = Shore::new("sync-google", LIMIT);
    let google = Google::start(&mut shore);
    let source = shore.mkdir("source");
    plant(&source);
    let (from, back) = (shore.arg("source"), shore.arg("back"));
    let (one, other) = (google.store("one"), google.store("other"));
    for (from, to, server_side) in [(&from, &one, false), (&one, &other, true), (&other, &back, false)] {
        let counts = sync(&shore, from, to, &[]);
        assert_eq!((counts.get("copied"), counts.get("failed")), (counts.get("source_entries"), 0));
        assert_eq!(counts.get("copied_server_side") > 0, server_side);
        assert_nothing_is_left_to_do(&shore, from, to);
    }
    assert_same_contents_for_rsync(&source, &shore.path("back"));
    assert_eq!(google.server.open_uploads(), 0);

    fs::remove_file(source.join("nothing")).unwrap();
    fs::write(source.join("d0"), "another").unwrap();
    let counts = sync(&shore, &from, &one, &["--delete", "--verify"]);
    assert_eq!((counts.get("copied"), counts.get("deleted")), (1, 1));
    assert_nothing_is_left_to_do(&shore, &from, &one);

    shore.set_env("FARSHORE_SOURCE_GOOGLE_OAUTH_ACCESS_TOKEN", "another");
    sync_fails(&shore, &one, &back, &["--delete"]).refused(STORE, "401");
}

#[test]
fn a_job_to_google_that_is_killed_ends_equal_without_open_uploads() {
    let mut shore = Shore::new("sync-google-killed", LIMIT);
    let google = Google::start(&mut shore);
    let source = shore.mkdir("source");
    plant(&source);
    for number in 0..3 {
        fs::write(source.join(format!("large-{number}")), hostile::bytes(hostile::LARGE, number)).unwrap();
    }
    let (from, to) = (shore.arg("source"), google.store("killed"));
    let start = || {
        let mut command = shore.command(["sync", &from, &to]);
        Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
    };
    kill_again_and_again("sync-google-killed", scale::pick(8, 60), 50..1_000, LIMIT, start);
    assert_eq!(google.server.open_uploads(), 0, "uploads in parts are left open");
    assert_no_journal(&shore);
    assert_nothing_is_left_to_do(&shore, &from, &to);
    sync(&shore, &to, &shore.arg("back"), &[]);
    assert_same_contents_for_rsync(&source, &shore.path("back"));
}
