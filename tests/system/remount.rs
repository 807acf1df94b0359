//! The mount that a killed process left is taken over by the next one.

use std::fs;
use std::time::Duration;

use rustix::io::Errno;

use crate::command::Said;
use crate::region::assert_equal;
use crate::shore::Shore;
use crate::watchdog;

#[test]
fn the_mount_of_a_killed_process_is_taken_over() {
    let shore = Shore::new("remount", Duration::from_mins(3));
    shore.format("volume");
    let listen = format!("127.0.0.1:{}", farshore_ports::free());
    let mut primary = shore.primary("volume", &["--listen", &listen]);
    let mut mirror = shore.mirror("mirror", &listen, &[]);
    fs::write(primary.path("file"), "contents").unwrap();
    mirror.catch_up(&primary);

    primary.kill9();
    let gone = fs::read(primary.path("file")).unwrap_err();
    assert_eq!(Errno::from_io_error(&gone), Some(Errno::NOTCONN), "a killed process leaves its mount");
    let dir = primary.dir().to_str().unwrap().to_owned();
    let said: Said = shore.farshore(["token", &dir]);
    said.refused(7, "unmount");
    primary.restart();
    assert_eq!(watchdog::mounts_in(primary.dir()).len(), 1, "one mount, not one on top of another");
    assert_eq!(fs::read(primary.path("file")).unwrap(), b"contents");

    mirror.kill9();
    mirror.restart();
    assert_eq!(watchdog::mounts_in(mirror.dir()).len(), 1);
    assert_equal(&primary, &mirror);

    // Without another process, `unmount` takes it away.
    mirror.kill9();
    shore.farshore(["unmount", mirror.dir().to_str().unwrap()]).ok();
    assert!(watchdog::mounts_in(mirror.dir()).is_empty());
    mirror.restart();
    assert_equal(&primary, &mirror);
}
