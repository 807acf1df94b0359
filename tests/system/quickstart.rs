//! The first command that a new user runs does what it says, and clears up after itself.

use std::fs;
use std::time::Duration;

use crate::shore::Shore;
use crate::watchdog;

#[test]
fn the_quickstart_runs_and_clears_up() {
    let shore = Shore::new("quickstart", Duration::from_mins(4));
    let dir = shore.arg("play");
    let said = shore.farshore(["quickstart", &dir, "--limit", "8MiB", "--source", "/usr/include"]).ok();
    eprintln!("{said}");
    assert!(said.contains("identical"), "{said}");
    assert_eq!(watchdog::mounts_in(&shore.path("play")).len(), 2, "primary and mirror stay mounted");

    fs::write(shore.path("play/primary/hello"), "hello").unwrap();
    let token = shore.farshore(["token", &shore.arg("play/primary")]).ok();
    shore.farshore(["wait", &shore.arg("play/mirror"), token.trim()]).ok();
    assert_eq!(fs::read(shore.path("play/mirror/hello")).unwrap(), b"hello");
    let refused = fs::write(shore.path("play/mirror/hello"), "no").unwrap_err();
    assert_eq!(rustix::io::Errno::from_io_error(&refused), Some(rustix::io::Errno::ROFS));

    // A second one in the same place says how to go on, and touches nothing.
    shore.farshore(["quickstart", &dir]).refused(4, "--clean");
    assert!(shore.path("play/mirror/hello").exists());
    shore.farshore(["quickstart", &dir, "--clean"]).ok();
    assert!(!shore.path("play").exists());
    assert!(watchdog::mounts_in(&shore.path("play")).is_empty());

    // What no quickstart made is not removed.
    fs::write(shore.mkdir("mine").join("kept"), "kept").unwrap();
    shore.farshore(["quickstart", &shore.arg("mine")]).refused(4, "mine");
    shore.farshore(["quickstart", &shore.arg("mine"), "--clean"]).refused(2, "mine");
    assert_eq!(fs::read(shore.path("mine/kept")).unwrap(), b"kept");
}
