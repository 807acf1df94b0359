//! Mounting and unmounting, and what is in the way of it.
#![allow(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use farshore_mount::{CachePolicy, Mount, MountError, MountOptions, NoControl};
use support::{Home, Mounted};

fn is_mounted(dir: &std::path::Path) -> bool {
    fs::read_to_string("/proc/self/mounts").unwrap().contains(&format!(" {} fuse.farshore ", dir.display()))
}

#[test]
fn unmounting_lets_go_and_keeps_what_was_written() {
    let mut mounted = Mounted::new();
    assert!(is_mounted(&mounted.dir));
    fs::write(mounted.path("f"), "kept").unwrap();
    mounted.mount.take().unwrap().unmount().unwrap();
    assert!(!is_mounted(&mounted.dir));
    assert_eq!(fs::read_dir(&mounted.dir).unwrap().count(), 0);
    mounted.mount =
        Some(mounted.home.start(&mounted.dir, &mounted.home.volume, CachePolicy::Sole, Arc::new(NoControl)));
    assert_eq!(fs::read(mounted.path("f")).unwrap(), b"kept");
    drop(mounted.mount.take());
    assert!(!is_mounted(&mounted.dir));
}

#[test]
fn a_mount_in_use_goes_away_all_the_same() {
    let home = Home::new();
    let dir = home.mount_point("busy");
    let mut options = MountOptions::new(CachePolicy::Sole);
    options.unmount_grace = Duration::from_millis(300);
    let handle = home.runtime.handle().clone();
    let mount = Mount::start(Arc::clone(&home.volume), &dir, options, Arc::new(NoControl), handle).unwrap();
    let mut file = File::create(dir.join("f")).unwrap();
    file.write_all(b"before").unwrap();
    let begin = Instant::now();
    mount.unmount().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert!(!is_mounted(&dir));
}

#[test]
fn files_closed_in_time_end_a_busy_mount() {
    let mut mounted = Mounted::new();
    let file = File::create(mounted.path("f")).unwrap();
    let mount = mounted.mount.take().unwrap();
    let closer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        drop(file);
    });
    let begin = Instant::now();
    mount.unmount().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    closer.join().unwrap();
}

#[test]
fn an_unmount_from_outside_is_noticed() {
    let mut mounted = Mounted::new();
    rustix::mount::unmount(&mounted.dir, rustix::mount::UnmountFlags::empty()).unwrap();
    let mount = mounted.mount.take().unwrap();
    mounted.home.runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(5), mount.wait()).await.unwrap();
    });
    // Another mount at the same place is not ours to take down.
    let other = mounted.home.start(&mounted.dir, &mounted.home.volume, CachePolicy::Sole, Arc::new(NoControl));
    mount.unmount().unwrap();
    assert!(is_mounted(&mounted.dir));
    drop(other);
}

#[test]
fn what_is_in_the_way_is_named() {
    let mounted = Mounted::new();
    let home = &mounted.home;
    let start = |dir: &std::path::Path| {
        let options = MountOptions::new(CachePolicy::Sole);
        Mount::start(Arc::clone(&home.volume), dir, options, Arc::new(NoControl), home.runtime.handle().clone())
    };
    assert!(matches!(start(&mounted.dir), Err(MountError::AlreadyMounted { .. })));
    assert!(matches!(start(&home.path().join("nothing")), Err(MountError::Missing { .. })));
    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(start(&file), Err(MountError::NotDirectory { .. })));
    let full = home.mount_point("full");
    fs::write(full.join("x"), "").unwrap();
    assert!(matches!(start(&full), Err(MountError::NotEmpty { .. })));
}

/// Leaves a FUSE mount behind whose process is gone: the descriptor is closed at once.
fn leave_dead_mount(dir: &std::path::Path) {
    use std::os::fd::AsRawFd;
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
    let data = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
    let data = std::ffi::CString::new(data).unwrap();
    rustix::mount::mount("dead", dir, "fuse", rustix::mount::MountFlags::empty(), data.as_c_str()).unwrap();
}

#[test]
fn a_dead_mount_is_taken_away() {
    let home = Home::new();
    let dir = home.mount_point("dead");
    leave_dead_mount(&dir);
    assert_eq!(fs::metadata(&dir).unwrap_err().kind(), std::io::ErrorKind::NotConnected);
    let mount = home.start(&dir, &home.volume, CachePolicy::Sole, Arc::new(NoControl));
    fs::write(dir.join("f"), "alive").unwrap();
    mount.unmount().unwrap();
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn the_kernel_reads_ahead_as_far_as_a_request_goes() {
    let mounted = Mounted::new();
    let info = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = info.lines().find(|line| line.contains(&*mounted.dir.to_string_lossy())).unwrap();
    let device = line.split(' ').nth(2).unwrap();
    let ahead = fs::read_to_string(format!("/sys/class/bdi/{device}/read_ahead_kb")).unwrap();
    assert_eq!(ahead.trim(), "1024");
}
