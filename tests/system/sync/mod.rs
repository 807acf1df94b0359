//! `farshore sync` and `farshore check` on real directories and servers, compared by other tools.
//!
//! Read `hostile.rs` (what is copied) and `compare.rs` (who judges it) first.

mod attributes;
mod azure;
mod backup;
mod choosing;
mod compare;
mod deletion;
mod google;
mod hostile;
mod keys;
mod killed;
mod kills;
mod large;
mod limits;
mod links;
mod local;
mod manifest;
mod object_stores;
mod radosgw;
mod rclone;
mod rclone_links;
mod refused;
mod s3;
mod team;
mod volume;
mod watch;
mod web;
mod workers;

use serde_json::Value;

use crate::command::Said;
use crate::shore::Shore;

/// Exit codes that scripts rely on; `src/exit.rs` names them.
const USAGE: i32 = 2;
const STORE: i32 = 6;
const DIFFERS: i32 = 14;
const PARTIAL: i32 = 15;
const WITHHELD: i32 = 16;
const OTHER_JOB: i32 = 17;
const INTERRUPTED: i32 = 18;

/// The numbers that a job counted, by name.
#[derive(Debug)]
struct Counts(Value);

impl Counts {
    fn of(json: &str) -> Self {
        let line = json.lines().last().unwrap_or_default();
        Self(serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {json}")))
    }

    fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or_else(|| panic!("there is no {name}: {}", self.0))
    }

    fn get(&self, name: &str) -> u64 {
        self.0["counts"][name].as_u64().unwrap_or_else(|| panic!("{name} is not counted: {}", self.0))
    }
}

/// Syncs to the end; what was counted.
fn sync(shore: &Shore, source: &str, target: &str, more: &[&str]) -> Counts {
    Counts::of(&shore.farshore(["sync", source, target, "--json"].iter().chain(more)).ok())
}

/// Syncs to an end that is not a good one.
fn sync_fails(shore: &Shore, source: &str, target: &str, more: &[&str]) -> Said {
    shore.farshore(["sync", source, target].iter().chain(more))
}

/// A second pass has nothing to do, and `check` agrees.
fn assert_nothing_is_left_to_do(shore: &Shore, source: &str, target: &str) {
    let report = shore.arg("second-pass");
    let counts = sync(shore, source, target, &["--delete", "--report", &report]);
    let told = std::fs::read_to_string(&report).unwrap();
    for name in ["copied", "updated", "deletions_planned", "failed"] {
        assert_eq!(counts.get(name), 0, "{name} in a second pass: {told}");
    }
    shore.farshore(["check", source, target]).ok();
}
