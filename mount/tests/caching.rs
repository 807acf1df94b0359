//! What the kernel caches is true: after every operation of a primary, and after every
//! invalidation of a mirror.
#![allow(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

mod support;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use farshore_meta::{AttrChange, FileKind, Ino, Name, NewInode, UnixTime};
use rustix::fs::{FallocateFlags, XattrFlags};
use support::{Home, Mirror, Mounted};

fn name(name: &str) -> Name {
    Name::new(name.as_bytes()).unwrap()
}

fn file() -> NewInode {
    NewInode { kind: FileKind::File, mode: 0o644, uid: 0, gid: 0, rdev: 0, target: Bytes::new() }
}

fn directory() -> NewInode {
    NewInode { kind: FileKind::Directory, mode: 0o755, ..file() }
}

/// What the volume itself says of an inode, against what the kernel says.
fn check(mounted: &Mounted, path: &Path, after: &str) {
    let shown = fs::symlink_metadata(path).unwrap();
    let truth = mounted.home.runtime.block_on(mounted.home.volume.attr(Ino(shown.ino()))).unwrap();
    let time = |seconds: i64, nanos: i64| UnixTime { seconds, nanos: nanos as u32 };
    assert_eq!(shown.len(), truth.size, "size after {after}");
    assert_eq!(shown.nlink(), u64::from(truth.nlink), "links after {after}");
    assert_eq!(shown.mode() & 0o7777, u32::from(truth.mode), "mode after {after}");
    assert_eq!((shown.uid(), shown.gid()), (truth.uid, truth.gid), "owner after {after}");
    assert_eq!(shown.blocks(), truth.allocated.div_ceil(512), "blocks after {after}");
    assert_eq!(time(shown.mtime(), shown.mtime_nsec()), truth.mtime, "mtime after {after}");
    assert_eq!(time(shown.ctime(), shown.ctime_nsec()), truth.ctime, "ctime after {after}");
    assert_eq!(time(shown.atime(), shown.atime_nsec()), truth.atime, "atime after {after}");
}

#[test]
fn stat_is_true_after_every_operation() {
    let mounted = Mounted::new();
    let (dir, other) = (mounted.path("dir"), mounted.path("other"));
    fs::create_dir(&dir).unwrap();
    fs::create_dir(&other).unwrap();
    let (a, b) = (dir.join("a"), dir.join("b"));
    let see = |after: &str| {
        for path in [&mounted.dir, &dir, &other, &a, &b, &other.join("c"), &dir.join("sub")] {
            if fs::symlink_metadata(path).is_ok() {
                check(&mounted, path, after);
            }
        }
    };
    see("mkdir");
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&a).unwrap();
    see("create");
    open.write_all_at(&[7; 5_000], 0).unwrap();
    see("write");
    open.write_all_at(&vec![8; 200_000], 100).unwrap();
    see("a second write");
    open.sync_all().unwrap();
    see("fsync");
    open.set_len(70_000).unwrap();
    see("truncate");
    rustix::fs::fallocate(&open, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 65_536).unwrap();
    see("fallocate");
    open.write_all_at(&[9; 10], 0).unwrap();
    drop(open);
    see("close");
    std::thread::sleep(Duration::from_millis(50));
    see("the release after a close");
    fs::hard_link(&a, &b).unwrap();
    see("link");
    fs::set_permissions(&b, fs::Permissions::from_mode(0o600)).unwrap();
    see("chmod");
    std::os::unix::fs::chown(&a, Some(12), Some(34)).unwrap();
    see("chown");
    rustix::fs::setxattr(&a, "user.x", b"1", XattrFlags::empty()).unwrap();
    see("setxattr");
    rustix::fs::removexattr(&b, "user.x").unwrap();
    see("removexattr");
    fs::rename(&b, other.join("c")).unwrap();
    see("rename");
    fs::create_dir(dir.join("sub")).unwrap();
    see("mkdir below");
    fs::rename(dir.join("sub"), other.join("sub")).unwrap();
    see("rename of a directory");
    fs::remove_dir(other.join("sub")).unwrap();
    see("rmdir");
    fs::write(&b, "in the way").unwrap();
    fs::rename(&a, &b).unwrap();
    see("rename over a file");
    fs::remove_file(other.join("c")).unwrap();
    see("unlink of one of two names");
    let touched = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH - Duration::from_millis(1_500));
    File::open(&b).unwrap().set_times(touched).unwrap();
    see("utimes");
    fs::read(&b).unwrap();
    see("read");
    assert!(!a.exists() && !other.join("c").exists());
    fs::write(&a, "again").unwrap();
    assert_eq!(fs::read(&a).unwrap(), b"again");
    see("create where a name was");
}

#[test]
fn a_directory_looked_at_while_it_changes_ends_up_true() {
    let mounted = Mounted::new();
    let dir = mounted.path("dir");
    fs::create_dir(&dir).unwrap();
    let stop = AtomicBool::new(false);
    for round in 0..5 {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        fs::metadata(&dir).unwrap();
                    }
                });
            }
            for i in 0..100 {
                File::create(dir.join(format!("{round}-{i}"))).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        stop.store(false, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(50));
        check(&mounted, &dir, "creations while others looked");
    }
}

#[test]
fn a_mirror_shows_a_change_when_it_was_told_and_not_before() {
    let home = Home::new();
    let volume = &home.volume;
    let run = |seconds: i64| AttrChange { mtime: Some(UnixTime { seconds, nanos: 0 }), ..AttrChange::default() };
    let (ino, _) = home.runtime.block_on(volume.create(Ino::ROOT, &name("f"), &file())).unwrap();
    let mut mirror = Mirror::new(&home);
    let path = mirror.path("f");
    home.runtime.block_on(volume.set_attr(ino, run(100))).unwrap();
    mirror.follow(&home);
    assert_eq!(fs::metadata(&path).unwrap().mtime(), 100);
    assert!(!mirror.path("g").exists());
    home.runtime.block_on(volume.set_attr(ino, run(200))).unwrap();
    home.runtime.block_on(volume.create(Ino::ROOT, &name("g"), &file())).unwrap();
    let changed = mirror.apply(&home);
    assert_eq!(fs::metadata(&path).unwrap().mtime(), 100, "the kernel's cache should have answered");
    assert!(!mirror.path("g").exists(), "the kernel should have cached that there is no such name");
    mirror.show(&changed);
    assert_eq!(fs::metadata(&path).unwrap().mtime(), 200);
    assert!(mirror.path("g").exists());
    home.runtime.block_on(volume.unlink(Ino::ROOT, &name("f"))).unwrap();
    mirror.follow(&home);
    assert!(!path.exists());
}

#[test]
fn a_mirror_cannot_be_written() {
    let home = Home::new();
    home.runtime.block_on(home.volume.create(Ino::ROOT, &name("f"), &file())).unwrap();
    let mirror = Mirror::new(&home);
    let read_only = Some(rustix::io::Errno::ROFS.raw_os_error());
    assert_eq!(fs::write(mirror.path("f"), "x").unwrap_err().raw_os_error(), read_only);
    assert_eq!(fs::write(mirror.path("g"), "x").unwrap_err().raw_os_error(), read_only);
    assert_eq!(fs::remove_file(mirror.path("f")).unwrap_err().raw_os_error(), read_only);
    assert_eq!(fs::create_dir(mirror.path("d")).unwrap_err().raw_os_error(), read_only);
}

#[test]
fn data_cached_on_a_mirror_follows() {
    let home = Home::new();
    let volume = Arc::clone(&home.volume);
    let write = |handle, data: Vec<u8>| {
        home.runtime.block_on(async {
            volume.write(handle, 0, data.into()).await.unwrap();
            volume.flush(handle).await.unwrap();
        });
    };
    let (_, _, opened) = home.runtime.block_on(volume.create_open(Ino::ROOT, &name("f"), &file())).unwrap();
    write(opened.handle, vec![1; 300_000]);
    let mut mirror = Mirror::new(&home);
    let open = File::open(mirror.path("f")).unwrap();
    for round in 2..12u8 {
        let mut bytes = vec![0; 300_000];
        open.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes.iter().all(|byte| *byte == round - 1), "round {round}");
        write(opened.handle, vec![round; 300_000]);
        mirror.follow(&home);
    }
    home.runtime.block_on(volume.release(opened.handle));
}

/// Readers look all the time, by new names, old names, descriptors and listings, while the
/// primary counts up; after each invalidation nobody sees a smaller count.
#[test]
fn no_reader_of_a_mirror_sees_the_past_after_an_invalidation() {
    let home = Home::new();
    let volume = Arc::clone(&home.volume);
    let (dir, _) = home.runtime.block_on(volume.create(Ino::ROOT, &name("dir"), &directory())).unwrap();
    let (ino, _) = home.runtime.block_on(volume.create(dir, &name("f"), &file())).unwrap();
    let mut mirror = Mirror::new(&home);
    let (path, listed) = (mirror.path("dir/f"), mirror.path("dir"));
    let (visible, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let seen = |looked: &mut dyn FnMut() -> u64| {
        while !stop.load(Ordering::Relaxed) {
            let at_least = visible.load(Ordering::Acquire);
            let count = looked();
            assert!(count >= at_least, "{count} was seen after {at_least} was visible");
        }
    };
    let drop_caches = || fs::write("/proc/sys/vm/drop_caches", "2");
    std::thread::scope(|scope| {
        let by_name = || fs::metadata(&path).unwrap().mtime() as u64;
        scope.spawn(move || seen(&mut { by_name }));
        scope.spawn(move || seen(&mut { by_name }));
        scope.spawn(|| {
            let open = File::open(&path).unwrap();
            seen(&mut || open.metadata().unwrap().mtime() as u64);
        });
        scope.spawn(|| seen(&mut || listing_count(&listed)));
        // Inodes that come and go make replies meet kernels that do not have them yet.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _may_not_be_allowed = drop_caches();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        for count in 1..=400u64 {
            let times =
                AttrChange { mtime: Some(UnixTime { seconds: count as i64, nanos: 0 }), ..AttrChange::default() };
            home.runtime.block_on(async {
                volume.set_attr(ino, times).await.unwrap();
                let marker = name(&format!("at-{count}"));
                volume.create(dir, &marker, &file()).await.unwrap();
                if count > 1 {
                    volume.unlink(dir, &name(&format!("at-{}", count - 1))).await.unwrap();
                }
            });
            mirror.follow(&home);
            visible.store(count, Ordering::Release);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(mirror.mount.as_ref().unwrap().invalidator().unsettled(), 0);
}

/// The largest count of which there is a marker, each looked up after it was listed.
fn listing_count(dir: &Path) -> u64 {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let counts = names.filter_map(|name| name.strip_prefix("at-").and_then(|count| count.parse().ok()));
    // A listing may straddle a change, and so hold none of the two markers.
    counts.max().unwrap_or(u64::MAX)
}
