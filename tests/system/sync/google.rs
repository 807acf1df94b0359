//! Through a server that speaks as Google does: there, from prefix to prefix, and back; killed and gone on with.

use self::server::{BUCKET, Server, TOKEN};
use super::hostile::Holder;
use super::object_stores::{self, LIMIT};
use super::{STORE, sync_fails};
use crate::scale;
use crate::shore::Shore;

#[path = "../../../sync/tests/gcs/server/mod.rs"]
mod server;

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

#[test]
fn a_tree_goes_to_google_and_to_another_prefix_and_back_unchanged() {
    let mut shore = Shore::new("sync-google", LIMIT);
    let google = Google::start(&mut shore);
    let one = google.store("one");
    object_stores::there_and_back(&shore, Holder::Google, &one, &google.store("other"));
    assert_eq!(google.server.open_uploads(), 0);

    shore.set_env("FARSHORE_SOURCE_GOOGLE_OAUTH_ACCESS_TOKEN", "another");
    sync_fails(&shore, &one, &shore.arg("back"), &["--delete"]).refused(STORE, "401");
}

#[test]
fn a_job_to_google_that_is_killed_ends_equal_without_open_uploads() {
    let name = "sync-google-killed";
    let mut shore = Shore::new(name, LIMIT);
    let google = Google::start(&mut shore);
    let kills = scale::pick(8, 60);
    object_stores::killed(&shore, name, Holder::Google, &google.store("killed"), kills, 50..1_000);
    assert_eq!(google.server.open_uploads(), 0, "uploads in parts are left open");
}
