//! A region that is asked to end stores everything, unmounts, and leaves its engine to others.

use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use crate::load::bytes;
use crate::region::assert_equal;
use crate::shore::Shore;
use crate::watchdog;

#[test]
fn a_region_that_is_asked_to_end_loses_nothing() {
    let shore = Shore::new("sigterm", Duration::from_mins(3));
    shore.format("volume");
    let mut primary = shore.primary("volume", &[]);
    // Written and closed, never synced.
    for file in 0..50 {
        fs::write(primary.path(format!("file-{file}")), bytes(file, 3_000 * file as usize)).unwrap();
    }
    // Written and not even closed.
    let mut open = File::create(primary.path("open")).unwrap();
    open.write_all(&bytes(99, 300_000)).unwrap();
    let removed = File::create(primary.path("removed")).unwrap();
    fs::remove_file(primary.path("removed")).unwrap();

    assert!(primary.terminate().success(), "{}", primary.log());
    drop((open, removed));
    primary.restart();
    for file in 0..50 {
        let held = fs::read(primary.path(format!("file-{file}"))).unwrap();
        assert!(held == bytes(file, 3_000 * file as usize), "file-{file}");
    }
    assert!(fs::read(primary.path("open")).unwrap() == bytes(99, 300_000), "what was written to an open file");
    assert!(!primary.path("removed").exists());

    let mut mirror = shore.mirror("mirror", &primary.address(), &[]);
    mirror.catch_up(&primary);
    assert!(mirror.terminate().success(), "{}", mirror.log());
    fs::write(primary.path("later"), "later").unwrap();
    mirror.restart();
    assert_equal(&primary, &mirror);
}

#[test]
fn a_region_that_is_asked_to_end_as_soon_as_it_answers_leaves_no_mount() {
    let shore = Shore::new("sigterm-early", Duration::from_mins(2));
    shore.format("volume");
    let mut primary = shore.primary("volume", &[]);
    for _ in 0..15 {
        assert!(primary.terminate().success(), "{}", primary.log());
        primary.restart();
    }
}

#[test]
fn a_region_in_the_background_says_where_its_log_is_and_unmounts() {
    let shore = Shore::new("background", Duration::from_mins(2));
    shore.format("volume");
    let (meta, log, mount) = (shore.arg("volume"), shore.arg("primary.log"), shore.mkdir("mount"));
    let mount_arg = mount.to_str().unwrap();
    let said = shore.farshore(["mount", &meta, mount_arg, "--listen", "127.0.0.1:0", "--log", &log]);
    let told = format!("{}{}", said.stdout, said.stderr);
    said.ok();
    assert!(told.contains(&log), "it does not say where its log is: {told}");
    assert!(shore.path("primary.log").exists());
    fs::write(mount.join("file"), "contents").unwrap();

    let status: serde_json::Value =
        serde_json::from_str(&shore.farshore(["status", mount_arg, "--json"]).ok()).unwrap();
    let url = format!("http://{}", status["listen"].as_str().expect("it listens"));
    let (mirror_meta, mirror) = (shore.arg("mirror"), shore.mkdir("mirror-mount"));
    let (mirror_arg, mirror_log) = (mirror.to_str().unwrap(), shore.arg("mirror.log"));
    shore.farshore(["mirror", &url, "--meta", &mirror_meta, "--mount", mirror_arg, "--log", &mirror_log]).ok();
    let token = shore.farshore(["token", mount_arg]).ok();
    shore.farshore(["wait", mirror_arg, token.trim(), "--timeout", "20s"]).ok();
    assert_eq!(fs::read(mirror.join("file")).unwrap(), b"contents");

    for dir in [mirror_arg, mount_arg] {
        shore.farshore(["unmount", dir]).ok();
    }
    assert!(watchdog::mounts_in(&shore.path("")).is_empty(), "mounts are left");
    let status = shore.farshore(["status", &meta]).ok();
    assert!(status.contains("primary"), "{status}");
}
