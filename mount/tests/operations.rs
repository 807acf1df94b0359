//! Every operation of a mounted volume, through the kernel.
#![allow(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

mod support;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use farshore_meta::Result as FsResult;
use farshore_mount::Control;
use rustix::fs::{CWD, FallocateFlags, RenameFlags, XattrFlags};
use rustix::io::Errno;
use support::{BLOCK_BYTES, Mounted};

/// Bytes that differ at every offset a block apart.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
}

fn names(dir: &std::path::Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn files_small_and_large_keep_their_bytes() {
    let mut mounted = Mounted::new();
    let sizes = [0, 1, 4096, 4097, BLOCK_BYTES as usize, 3 * BLOCK_BYTES as usize + 17, 5 << 20];
    for size in sizes {
        fs::write(mounted.path(&format!("f{size}")), pattern(size)).unwrap();
    }
    for _ in 0..2 {
        for size in sizes {
            let path = mounted.path(&format!("f{size}"));
            assert_eq!(fs::metadata(&path).unwrap().len(), size as u64);
            assert!(fs::read(&path).unwrap() == pattern(size), "{size} bytes");
        }
        mounted.remount();
    }
    let file = File::open(mounted.path("f5242880")).unwrap();
    let mut piece = [0; 4096];
    file.read_exact_at(&mut piece, 1_234_567).unwrap();
    assert_eq!(piece, pattern(5 << 20)[1_234_567..1_234_567 + 4096]);
}

#[test]
fn random_overwrites_match_a_vector() {
    let mut mounted = Mounted::new();
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(mounted.path("f")).unwrap();
    let mut model = vec![0u8; 0];
    let mut seed = 1u64;
    let mut next = |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % bound
    };
    for step in 0..400 {
        let (offset, len) = (next(400_000) as usize, 1 + next(50_000) as usize);
        let data: Vec<u8> = (0..len).map(|i| (i as u64 + step) as u8).collect();
        file.write_all_at(&data, offset as u64).unwrap();
        if model.len() < offset + len {
            model.resize(offset + len, 0);
        }
        model[offset..offset + len].copy_from_slice(&data);
        if step % 50 == 0 {
            file.sync_all().unwrap();
        }
    }
    drop(file);
    assert!(fs::read(mounted.path("f")).unwrap() == model);
    mounted.remount();
    assert!(fs::read(mounted.path("f")).unwrap() == model);
}

#[test]
fn directories_symlinks_and_nodes_are_what_they_are() {
    let mounted = Mounted::new();
    fs::create_dir_all(mounted.path("a/b/c")).unwrap();
    assert_eq!(fs::create_dir(mounted.path("a")).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::remove_dir(mounted.path("a")).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
    fs::remove_dir(mounted.path("a/b/c")).unwrap();
    symlink("a/b", mounted.path("link")).unwrap();
    assert_eq!(fs::read_link(mounted.path("link")).unwrap(), OsStr::new("a/b"));
    assert!(fs::metadata(mounted.path("link")).unwrap().is_dir());
    assert_eq!(fs::symlink_metadata(mounted.path("link")).unwrap().len(), 3);
    let mode = rustix::fs::Mode::from_raw_mode(0o640);
    rustix::fs::mknodat(CWD, mounted.path("pipe"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(fs::metadata(mounted.path("pipe")).unwrap().file_type().is_fifo());
    let long = mounted.path(&"x".repeat(256));
    assert_eq!(fs::write(&long, "").unwrap_err().raw_os_error(), Some(Errno::NAMETOOLONG.raw_os_error()));
    assert_eq!(names(&mounted.dir), BTreeSet::from(["a", "link", "pipe"].map(str::to_owned)));
}

#[test]
fn the_umask_is_taken_from_the_mode() {
    let mounted = Mounted::new();
    let old = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
    OpenOptions::new().write(true).create_new(true).mode(0o666).open(mounted.path("f")).unwrap();
    fs::create_dir(mounted.path("d")).unwrap();
    rustix::process::umask(old);
    assert_eq!(fs::metadata(mounted.path("f")).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(fs::metadata(mounted.path("d")).unwrap().mode() & 0o7777, 0o750);
}

#[test]
fn five_thousand_names_are_listed_once_each_and_can_be_removed_meanwhile() {
    let mounted = Mounted::new();
    let dir = mounted.path("many");
    fs::create_dir(&dir).unwrap();
    std::thread::scope(|scope| {
        for part in 0..8 {
            let dir = &dir;
            scope.spawn(move || {
                for i in (part..5_000).step_by(8) {
                    File::create(dir.join(format!("n{i:04}"))).unwrap();
                }
            });
        }
    });
    assert_eq!(names(&dir).len(), 5_000);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 5_000);
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        assert!(seen.insert(entry.file_name()), "{:?} twice", entry.file_name());
        fs::remove_file(entry.path()).unwrap();
        assert!(!entry.path().exists());
    }
    assert_eq!(seen.len(), 5_000);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    fs::remove_dir(&dir).unwrap();
}

#[test]
fn names_removed_behind_a_listing_stay_removed() {
    let mounted = Mounted::new();
    let dir = mounted.path("d");
    fs::create_dir(&dir).unwrap();
    for i in 0..600 {
        fs::write(dir.join(format!("n{i:03}")), "x").unwrap();
    }
    let mut listing = fs::read_dir(&dir).unwrap();
    listing.next().unwrap().unwrap();
    for i in 300..600 {
        fs::remove_file(dir.join(format!("n{i:03}"))).unwrap();
        fs::set_permissions(dir.join(format!("n{:03}", i - 300)), fs::Permissions::from_mode(0o600)).unwrap();
    }
    for entry in listing {
        let path = entry.unwrap().path();
        if let Ok(found) = fs::metadata(&path) {
            assert_eq!(found.mode() & 0o777, 0o600, "{}", path.display());
        }
    }
    for i in 300..600 {
        assert!(!dir.join(format!("n{i:03}")).exists(), "{i}");
    }
}

#[test]
fn rename_replaces_refuses_and_exchanges() {
    let mounted = Mounted::new();
    let (a, b) = (mounted.path("a"), mounted.path("b"));
    fs::write(&a, "a").unwrap();
    fs::write(&b, "b").unwrap();
    let flags = |flags| rustix::fs::renameat_with(CWD, &a, CWD, &b, flags);
    assert_eq!(flags(RenameFlags::NOREPLACE).unwrap_err(), Errno::EXIST);
    flags(RenameFlags::EXCHANGE).unwrap();
    assert_eq!((fs::read(&a).unwrap(), fs::read(&b).unwrap()), (b"b".to_vec(), b"a".to_vec()));
    assert_eq!(flags(RenameFlags::WHITEOUT).unwrap_err(), Errno::INVAL);
    fs::rename(&a, &b).unwrap();
    assert_eq!(fs::read(&b).unwrap(), b"b");
    assert!(!a.exists());
    fs::create_dir_all(mounted.path("x/y")).unwrap();
    assert_eq!(fs::rename(mounted.path("x"), mounted.path("x/y/z")).unwrap_err().kind(), ErrorKind::InvalidInput);
    fs::rename(mounted.path("x/y"), mounted.path("y")).unwrap();
    assert_eq!(fs::metadata(mounted.path("x")).unwrap().nlink(), 2);
}

/// An ACL as the kernel reads it: a version, then tag, permissions and id of each entry.
fn access_list() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(0x01, 6, u32::MAX), (0x02, 7, 1234), (0x04, 4, u32::MAX), (0x10, 7, u32::MAX), (0x20, 4, u32::MAX)];
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    list
}

#[test]
fn extended_attributes_are_set_listed_and_removed() {
    let mounted = Mounted::new();
    let path = mounted.path("f");
    fs::write(&path, "").unwrap();
    let get = |name: &str, room: usize| {
        let mut value = vec![0; room];
        rustix::fs::getxattr(&path, name, &mut value[..]).map(|len| value[..len].to_vec())
    };
    rustix::fs::setxattr(&path, "user.one", b"first", XattrFlags::CREATE).unwrap();
    rustix::fs::setxattr(&path, "user.two", b"", XattrFlags::empty()).unwrap();
    assert_eq!(rustix::fs::setxattr(&path, "user.one", b"", XattrFlags::CREATE).unwrap_err(), Errno::EXIST);
    assert_eq!(rustix::fs::setxattr(&path, "user.no", b"", XattrFlags::REPLACE).unwrap_err(), Errno::NODATA);
    assert_eq!(get("user.one", 64).unwrap(), b"first");
    assert_eq!(get("user.one", 3).unwrap_err(), Errno::RANGE);
    assert_eq!(get("user.none", 64).unwrap_err(), Errno::NODATA);
    for system in ["system.posix_acl_access", "system.other"] {
        let refused = rustix::fs::setxattr(&path, system, &access_list(), XattrFlags::empty());
        assert_eq!(refused.unwrap_err(), Errno::OPNOTSUPP, "{system}");
    }
    let mut list = [0u8; 256];
    let len = rustix::fs::listxattr(&path, &mut list[..]).unwrap();
    assert_eq!(&list[..len], b"user.one\0user.two\0");
    rustix::fs::removexattr(&path, "user.one").unwrap();
    assert_eq!(get("user.one", 64).unwrap_err(), Errno::NODATA);
}

struct Answers;

#[async_trait]
impl Control for Answers {
    async fn attribute(&self, name: &str) -> Option<FsResult<Vec<u8>>> {
        let wait = name.strip_prefix("farshore.wait.").and_then(|ms| ms.parse().ok());
        if let Some(ms) = wait {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            return Some(Ok(b"waited".to_vec()));
        }
        (name == "farshore.token").then(|| Ok(b"a token".to_vec()))
    }
}

#[test]
fn the_root_answers_for_the_command_and_nobody_waits_for_it() {
    let mounted = Mounted::with_control(Arc::new(Answers));
    let dir = &mounted.dir;
    let get = |path: &std::path::Path, name: &str| {
        let mut value = [0; 64];
        rustix::fs::getxattr(path, name, &mut value[..]).map(|len| value[..len].to_vec())
    };
    assert_eq!(get(dir, "farshore.token").unwrap(), b"a token");
    assert_eq!(get(dir, "farshore.none").unwrap_err(), Errno::NODATA);
    fs::write(mounted.path("f"), "").unwrap();
    assert_eq!(get(&mounted.path("f"), "farshore.token").unwrap_err(), Errno::NODATA);
    assert_eq!(rustix::fs::setxattr(dir, "farshore.x", b"", XattrFlags::empty()).unwrap_err(), Errno::PERM);
    assert_eq!(rustix::fs::listxattr(dir, &mut [0u8; 64][..]).unwrap(), 0);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..16).map(|_| scope.spawn(|| get(dir, "farshore.wait.1500").unwrap())).collect();
        std::thread::sleep(Duration::from_millis(100));
        let begin = Instant::now();
        fs::write(mounted.path("meanwhile"), "x").unwrap();
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
        for waiting in waiting {
            assert_eq!(waiting.join().unwrap(), b"waited");
        }
    });
}

#[test]
fn holes_are_made_found_and_read_as_zeros() {
    let mounted = Mounted::new();
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(mounted.path("f")).unwrap();
    let block = u64::from(BLOCK_BYTES);
    file.write_all_at(&pattern(100), 4 * block).unwrap();
    file.set_len(8 * block).unwrap();
    let data = rustix::fs::SeekFrom::Data(0);
    assert_eq!(rustix::fs::seek(&file, data).unwrap(), 4 * block);
    assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(4 * block)).unwrap(), 4 * block + 100);
    assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(5 * block)).unwrap_err(), Errno::NXIO);
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut whole = Vec::new();
    file.read_to_end(&mut whole).unwrap();
    assert_eq!(whole.len() as u64, 8 * block);
    assert!(whole[..4 * block as usize].iter().all(|byte| *byte == 0));
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, punch, 4 * block + 10, 20).unwrap();
    let mut punched = [1; 100];
    file.read_exact_at(&mut punched, 4 * block).unwrap();
    let mut expected = pattern(100);
    expected[10..30].fill(0);
    assert_eq!(punched.to_vec(), expected);
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 9 * block).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 9 * block);
    rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 20 * block).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 9 * block);
    let collapse = rustix::fs::fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, block);
    assert_eq!(collapse.unwrap_err(), Errno::OPNOTSUPP);
}

#[test]
fn an_open_file_outlives_its_name() {
    let mounted = Mounted::new();
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(mounted.path("f")).unwrap();
    file.write_all(&pattern(200_000)).unwrap();
    fs::remove_file(mounted.path("f")).unwrap();
    assert!(!mounted.path("f").exists());
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    file.write_all_at(b"more", 200_000).unwrap();
    let mut whole = vec![0; 200_004];
    file.read_exact_at(&mut whole, 0).unwrap();
    assert!(whole[..200_000] == pattern(200_000) && &whole[200_000..] == b"more");
    fs::write(mounted.path("f"), "another").unwrap();
    assert_eq!(fs::read(mounted.path("f")).unwrap(), b"another");
}

#[test]
fn appenders_and_other_writers_lose_nothing() {
    let mut mounted = Mounted::new();
    let (log, wide) = (mounted.path("log"), mounted.path("wide"));
    File::create(&wide).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4u64 {
            let (log, wide) = (&log, &wide);
            scope.spawn(move || {
                let mut appender = OpenOptions::new().append(true).create(true).open(log).unwrap();
                let positioned = OpenOptions::new().write(true).open(wide).unwrap();
                for i in 0..200u64 {
                    appender.write_all(format!("{writer}:{i:05}\n").as_bytes()).unwrap();
                    positioned.write_all_at(&[writer as u8 + 1; 700], (i * 4 + writer) * 700).unwrap();
                }
            });
        }
    });
    for _ in 0..2 {
        let text = fs::read_to_string(&log).unwrap();
        let lines: BTreeSet<_> = text.lines().collect();
        assert_eq!((text.lines().count(), lines.len()), (800, 800));
        let bytes = fs::read(&wide).unwrap();
        assert_eq!(bytes.len(), 800 * 700);
        assert!(bytes.chunks(700).enumerate().all(|(i, piece)| piece.iter().all(|byte| *byte == (i % 4) as u8 + 1)));
        mounted.remount();
    }
}

#[test]
#[allow(unsafe_code, reason = "mmap has no safe interface")]
fn mapped_files_are_read_and_written() {
    use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};
    let mut mounted = Mounted::new();
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(mounted.path("f")).unwrap();
    let len = 3 * BLOCK_BYTES as usize;
    file.write_all_at(&pattern(len), 0).unwrap();
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the mapping is of this file's whole length, and the slice is gone before it is undone.
    unsafe {
        let address = mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, &file, 0).unwrap();
        let bytes = std::slice::from_raw_parts_mut(address.cast::<u8>(), len);
        assert!(*bytes == pattern(len)[..]);
        bytes[70_000..70_010].copy_from_slice(b"through it");
        msync(address, len, MsyncFlags::SYNC).unwrap();
        munmap(address, len).unwrap();
    }
    drop(file);
    let mut expected = pattern(len);
    expected[70_000..70_010].copy_from_slice(b"through it");
    assert!(fs::read(mounted.path("f")).unwrap() == expected);
    mounted.remount();
    assert!(fs::read(mounted.path("f")).unwrap() == expected);
}

#[test]
fn truncation_cuts_and_lengthens_however_it_is_asked_for() {
    let mounted = Mounted::new();
    let path = mounted.path("f");
    fs::write(&path, pattern(200_000)).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    file.set_len(100_001).unwrap();
    assert!(fs::read(&path).unwrap() == pattern(100_001));
    file.set_len(150_000).unwrap();
    let mut expected = pattern(100_001);
    expected.resize(150_000, 0);
    assert!(fs::read(&path).unwrap() == expected);
    rustix::fs::ftruncate(&file, 3).unwrap();
    assert_eq!(fs::read(&path).unwrap(), pattern(3));
    File::create(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    assert_eq!(file.metadata().unwrap().len(), 0);
    file.write_all_at(b"tail", 10).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"\0\0\0\0\0\0\0\0\0\0tail");
    OpenOptions::new().write(true).truncate(true).open(&path).unwrap().write_all(b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
}

#[test]
fn locks_of_both_kinds_work_inside_this_machine() {
    use rustix::fs::{FlockOperation, fcntl_lock, flock};
    let mounted = Mounted::new();
    let open =
        || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(mounted.path("f")).unwrap();
    let (first, second) = (open(), open());
    flock(&first, FlockOperation::NonBlockingLockExclusive).unwrap();
    assert_eq!(flock(&second, FlockOperation::NonBlockingLockExclusive).unwrap_err(), Errno::WOULDBLOCK);
    flock(&first, FlockOperation::Unlock).unwrap();
    flock(&second, FlockOperation::NonBlockingLockShared).unwrap();
    fcntl_lock(&first, FlockOperation::NonBlockingLockExclusive).unwrap();
    let script = "import fcntl,sys\nf=open(sys.argv[1],'r+')\ntry:\n fcntl.lockf(f,fcntl.LOCK_EX|fcntl.LOCK_NB)\nexcept OSError:\n sys.exit(7)";
    let other = std::process::Command::new("python3").args(["-c", script]).arg(mounted.path("f")).status().unwrap();
    assert_eq!(other.code(), Some(7), "another process must find the POSIX lock");
}

#[test]
fn what_is_not_ours_falls_back_to_the_kernel() {
    let mounted = Mounted::new();
    fs::write(mounted.path("from"), pattern(300_000)).unwrap();
    assert_eq!(fs::copy(mounted.path("from"), mounted.path("to")).unwrap(), 300_000);
    assert!(fs::read(mounted.path("to")).unwrap() == pattern(300_000));
    let file = File::open(mounted.path("to")).unwrap();
    assert_eq!(rustix::io::ioctl_fionread(&file).unwrap(), 300_000);
    File::open(&mounted.dir).unwrap().sync_all().unwrap();
    let space = rustix::fs::statvfs(&mounted.dir).unwrap();
    assert!(space.f_bavail * space.f_frsize >= 1 << 50);
    assert_eq!(space.f_namemax, 255);
}

#[test]
fn other_users_are_held_to_permissions_and_take_set_user_id_away() {
    use std::os::unix::process::CommandExt;
    let mounted = Mounted::new();
    for dir in [mounted.home.path(), &mounted.dir] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let (open, closed) = (mounted.path("open"), mounted.path("closed"));
    fs::write(&open, "x").unwrap();
    fs::write(&closed, "x").unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o4777)).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o600)).unwrap();
    let append = |path: &std::path::Path| {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "echo more >> \"$0\""]).arg(path).uid(1234).gid(1234);
        shell.stderr(std::process::Stdio::null()).status().unwrap().success()
    };
    assert!(append(&open));
    assert!(!append(&closed));
    assert_eq!(fs::read(&open).unwrap(), b"xmore\n");
    assert_eq!(fs::metadata(&open).unwrap().mode() & 0o7777, 0o777);
    assert_eq!(fs::read(&closed).unwrap(), b"x");
}
