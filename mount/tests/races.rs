//! Requests that are answered late: what they read before a change is not cached after it, nobody
//! waits behind them, and their deadlines hold.
#![allow(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use farshore_meta::{AttrChange, DurableKey, FileKind, Ino, Name, NewInode, UnixTime};
use farshore_mount::{CachePolicy, MountOptions, NoControl};
use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::io::Errno;
use support::{Home, Mirror, Mounted};

/// Long beside what the threads of a test do meanwhile.
const A_WHILE: Duration = Duration::from_millis(150);

fn name(name: &str) -> Name {
    Name::new(name.as_bytes()).unwrap()
}

fn file() -> NewInode {
    NewInode { kind: FileKind::File, mode: 0o644, uid: 0, gid: 0, rdev: 0, target: Bytes::new() }
}

fn modified(seconds: i64) -> AttrChange {
    AttrChange { mtime: Some(UnixTime { seconds, nanos: 0 }), ..AttrChange::default() }
}

fn mtime(path: &Path) -> i64 {
    fs::metadata(path).unwrap().mtime()
}

/// A primary with a file whose time is 100, and its mirror, which has not looked at it yet.
fn primary_and_mirror() -> (Home, Ino, Mirror) {
    let home = Home::new();
    let (ino, _) = home.runtime.block_on(home.volume.create(Ino::ROOT, &name("f"), &file())).unwrap();
    home.runtime.block_on(home.volume.set_attr(ino, modified(100))).unwrap();
    let mut mirror = Mirror::new(&home);
    mirror.follow(&home);
    (home, ino, mirror)
}

#[test]
fn a_lookup_that_read_old_attributes_is_not_cached() {
    let (home, ino, mut mirror) = primary_and_mirror();
    let held = mirror.engine.hold(DurableKey::Attr(ino));
    let path = mirror.path("f");
    let looking = thread::spawn(move || mtime(&path));
    held.reached();
    home.runtime.block_on(home.volume.set_attr(ino, modified(200))).unwrap();
    mirror.follow(&home);
    held.release();
    let _either = looking.join().unwrap();
    assert_eq!(mtime(&mirror.path("f")), 200);
}

#[test]
fn attributes_read_before_a_change_are_not_cached() {
    let (home, ino, mut mirror) = primary_and_mirror();
    let open = File::open(mirror.path("f")).unwrap();
    home.runtime.block_on(home.volume.set_attr(ino, modified(200))).unwrap();
    mirror.follow(&home);
    let held = mirror.engine.hold(DurableKey::Attr(ino));
    let looking = thread::spawn(move || open.metadata().unwrap().mtime());
    held.reached();
    home.runtime.block_on(home.volume.set_attr(ino, modified(300))).unwrap();
    mirror.follow(&home);
    held.release();
    let _either = looking.join().unwrap();
    assert_eq!(mtime(&mirror.path("f")), 300);
}

#[test]
fn a_missing_name_that_was_being_looked_up_is_found_after_it_was_made() {
    let (home, _, mut mirror) = primary_and_mirror();
    let held = mirror.engine.hold(DurableKey::Entry(Ino::ROOT, name("g")));
    let path = mirror.path("g");
    let looking = thread::spawn(move || path.exists());
    held.reached();
    home.runtime.block_on(home.volume.create(Ino::ROOT, &name("g"), &file())).unwrap();
    let changed = mirror.apply(&home);
    let invalidator = mirror.mount.as_ref().unwrap().invalidator();
    let showing = thread::spawn(move || invalidator.invalidate(&changed));
    thread::sleep(A_WHILE);
    held.release();
    let _either = looking.join().unwrap();
    showing.join().unwrap();
    assert!(mirror.path("g").exists());
}

#[test]
fn a_read_under_way_leaves_no_old_pages() {
    let home = Home::new();
    let volume = Arc::clone(&home.volume);
    let write = |handle, byte: u8| {
        home.runtime.block_on(async {
            volume.write(handle, 0, vec![byte; 100_000].into()).await.unwrap();
            volume.flush(handle).await.unwrap();
        });
    };
    let (ino, _, opened) = home.runtime.block_on(volume.create_open(Ino::ROOT, &name("f"), &file())).unwrap();
    write(opened.handle, 1);
    let mut mirror = Mirror::new(&home);
    mirror.follow(&home);
    let open = Arc::new(File::open(mirror.path("f")).unwrap());
    let held = mirror.engine.hold(DurableKey::Attr(ino));
    let first = |open: &File| {
        let mut byte = [0];
        open.read_exact_at(&mut byte, 50_000).unwrap();
        byte[0]
    };
    let reading = thread::spawn({
        let open = Arc::clone(&open);
        move || first(&open)
    });
    held.reached();
    write(opened.handle, 2);
    let changed = mirror.apply(&home);
    let invalidator = mirror.mount.as_ref().unwrap().invalidator();
    let showing = thread::spawn(move || invalidator.invalidate(&changed));
    thread::sleep(A_WHILE);
    assert!(!showing.is_finished(), "an invalidation of data waits for the reads under way");
    held.release();
    let _either = reading.join().unwrap();
    showing.join().unwrap();
    assert_eq!(first(&open), 2);
    home.runtime.block_on(volume.release(opened.handle));
}

#[test]
fn an_old_answer_does_not_bring_a_directorys_old_times_back() {
    let mounted = Mounted::new();
    let dir = mounted.path("dir");
    fs::create_dir(&dir).unwrap();
    let ino = Ino(fs::metadata(&dir).unwrap().ino());
    fs::write(dir.join("first"), "").unwrap();
    thread::sleep(A_WHILE);
    fs::metadata(&dir).unwrap();
    let held = mounted.home.engine.hold(DurableKey::Attr(ino));
    // Asked although the kernel knows, so that nothing but this answer is under way.
    let looking = thread::spawn({
        let dir = dir.clone();
        move || rustix::fs::statx(CWD, &dir, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS).unwrap()
    });
    held.reached();
    File::create(dir.join("second")).unwrap();
    thread::sleep(A_WHILE);
    held.release();
    looking.join().unwrap();
    let shown = fs::metadata(&dir).unwrap();
    let truth = mounted.home.runtime.block_on(mounted.home.volume.attr(ino)).unwrap();
    assert_eq!((shown.mtime(), shown.mtime_nsec()), (truth.mtime.seconds, truth.mtime.nanos.into()));
}

#[test]
fn nobody_waits_behind_those_who_wait() {
    let mounted = Mounted::new();
    let paths: Vec<_> = (0..24).map(|i| mounted.path(&format!("f{i}"))).collect();
    for path in &paths {
        fs::write(path, "").unwrap();
    }
    thread::sleep(A_WHILE);
    let (mut held, mut waiting) = (Vec::new(), Vec::new());
    for path in paths {
        let ino = Ino(fs::metadata(&path).unwrap().ino());
        let hold = mounted.home.engine.hold(DurableKey::Attr(ino));
        waiting.push(thread::spawn(move || File::open(&path).unwrap()));
        hold.reached();
        held.push(hold);
    }
    let begin = Instant::now();
    fs::write(mounted.path("meanwhile"), "x").unwrap();
    assert_eq!(fs::read(mounted.path("meanwhile")).unwrap(), b"x");
    assert!(begin.elapsed() < Duration::from_secs(5));
    drop(held);
    for waiting in waiting {
        waiting.join().unwrap();
    }
}

fn with_deadline(deadline: Duration) -> Mounted {
    let mut options = MountOptions::new(CachePolicy::Sole);
    options.deadline = deadline;
    Mounted::with_options(options, Arc::new(NoControl))
}

#[test]
fn a_request_ends_at_its_deadline() {
    let mounted = with_deadline(A_WHILE);
    let held = mounted.home.engine.hold(DurableKey::Entry(Ino::ROOT, name("f")));
    let begin = Instant::now();
    let error = fs::metadata(mounted.path("f")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::TIMEDOUT.raw_os_error()));
    assert!(begin.elapsed() < Duration::from_secs(5));
    drop(held);
    assert!(!mounted.path("f").exists());
}

#[test]
fn a_change_that_outlives_its_deadline_is_seen_when_it_is_done() {
    let mounted = with_deadline(A_WHILE);
    assert!(!mounted.path("d").exists(), "the kernel caches that there is none");
    fs::metadata(&mounted.dir).unwrap();
    // The kernel looks the name up anew before a mkdir; only the mkdir itself reads this row.
    let held = mounted.home.engine.hold(DurableKey::Attr(Ino::ROOT));
    let error = fs::create_dir(mounted.path("d")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::TIMEDOUT.raw_os_error()));
    held.release();
    thread::sleep(A_WHILE);
    assert!(mounted.path("d").is_dir());
}

#[test]
fn unmounting_does_not_wait_for_a_dead_engine() {
    let mut mounted = with_deadline(Duration::from_secs(30));
    let held = mounted.home.engine.hold(DurableKey::Entry(Ino::ROOT, name("f")));
    let path = mounted.path("f");
    let looking = thread::spawn(move || fs::metadata(path).is_err());
    held.reached();
    let begin = Instant::now();
    mounted.mount.take().unwrap().unmount().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    held.release();
    assert!(looking.join().unwrap());
}
