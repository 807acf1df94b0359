//! The mount against a native filesystem: the same random calls give the same results.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::fs::{FallocateFlags, RenameFlags, SeekFrom, XattrFlags};
use rustix::io::Errno;

use crate::command::Said;
use crate::load::bytes;
use crate::manifest;
use crate::region::assert_equal;
use crate::scale;
use crate::shore::Shore;

/// Names of which calls choose, few enough to meet each other.
const NAMES: u64 = 8;
/// Files stay below this.
const LARGEST: u64 = 400_000;
/// Calls between two comparisons of everything.
const STRETCH: usize = 250;

/// A call, with everything that it needs to be made twice.
#[derive(Debug, Clone)]
enum Call {
    Create(PathBuf),
    Write { path: PathBuf, at: u64, len: usize, seed: u64 },
    Append { path: PathBuf, len: usize, seed: u64 },
    Truncate { path: PathBuf, len: u64 },
    Read { path: PathBuf, at: u64, len: usize },
    Allocate { path: PathBuf, flags: FallocateFlags, at: u64, len: u64 },
    Seek { path: PathBuf, at: u64, hole: bool },
    Map { path: PathBuf, at: usize, len: usize, seed: u64 },
    Mkdir(PathBuf),
    Rmdir(PathBuf),
    Unlink(PathBuf),
    Rename { from: PathBuf, to: PathBuf, flags: RenameFlags },
    Link(PathBuf, PathBuf),
    Symlink(PathBuf),
    Mode(PathBuf, u32),
    SetAttribute(PathBuf, u64),
    RemoveAttribute(PathBuf),
    Sync(PathBuf),
}

#[test]
fn the_mount_does_what_a_native_filesystem_does() {
    let calls = scale::pick(4_000, 100_000);
    let shore = Shore::new("posix-model", Duration::from_secs(scale::pick(180, 3_000)));
    shore.format("volume");
    let primary = shore.primary("volume", &[]);
    let mirror = shore.mirror("mirror", &primary.address(), &[]);
    let (ours, native) = (primary.path("model"), shore.mkdir("model"));
    fs::create_dir(&ours).unwrap();
    let mut rng = StdRng::seed_from_u64(scale::seed("posix-model"));
    for number in 0..calls {
        let call = choose(&mut rng);
        let (got, wanted) = (make(&ours, &call), make(&native, &call));
        assert_eq!(got, wanted, "call {number}: {call:?}");
        if number % STRETCH == STRETCH - 1 {
            assert_contents_alike(&native, &ours);
        }
    }
    assert_contents_alike(&native, &ours);
    assert_equal(&primary, &mirror);
}

/// Times are each filesystem's own; everything else of both trees is compared by a listing.
fn assert_contents_alike(native: &Path, ours: &Path) {
    let (wanted, got) = (listing(native), listing(ours));
    for (wanted, got) in wanted.iter().zip(&got) {
        assert_eq!(got, wanted);
    }
    assert_eq!(got.len(), wanted.len());
}

fn listing(root: &Path) -> Vec<String> {
    let manifest = manifest::read(root);
    manifest.iter().map(|(path, entry)| format!("{} {}", path.display(), entry.without_times())).collect()
}

fn choose(rng: &mut StdRng) -> Call {
    let path = some_path(rng);
    let (at, seed) = (rng.random_range(0..LARGEST / 2), rng.random::<u64>());
    let longest = [50, 5_000, 140_000][rng.random_range(0..3)];
    let len = rng.random_range(0..longest);
    match rng.random_range(0..24) {
        0 | 1 => Call::Create(path),
        2..6 => Call::Write { path, at, len, seed },
        6 => Call::Append { path, len, seed },
        7 => Call::Truncate { path, len: rng.random_range(0..LARGEST) },
        8..10 => Call::Read { path, at, len },
        10 => Call::Allocate { path, flags: some_flags(rng), at, len: 1 + len as u64 },
        11 => Call::Seek { path, at, hole: seed.is_multiple_of(2) },
        12 => Call::Map { path, at: (at as usize) & !0xfff, len: 1 + len, seed },
        13 => Call::Mkdir(path),
        14 => Call::Rmdir(path),
        15 | 16 => Call::Unlink(path),
        17 | 18 => Call::Rename { from: path, to: some_path(rng), flags: some_rename(rng) },
        19 => Call::Link(path, some_path(rng)),
        20 => Call::Symlink(path),
        21 => Call::Mode(path, [0o600, 0o755, 0o4711, 0o000][rng.random_range(0..4)]),
        22 => Call::SetAttribute(path, seed % 500),
        _ if seed.is_multiple_of(2) => Call::RemoveAttribute(path),
        _ => Call::Sync(path),
    }
}

/// Names at the top and in one another, so that most calls meet something.
fn some_path(rng: &mut StdRng) -> PathBuf {
    let mut path = PathBuf::from(format!("n{}", rng.random_range(0..NAMES)));
    while rng.random_range(0..5) < 2 {
        path.push(format!("n{}", rng.random_range(0..NAMES)));
    }
    path
}

fn some_flags(rng: &mut StdRng) -> FallocateFlags {
    let keep = FallocateFlags::KEEP_SIZE;
    [FallocateFlags::empty(), keep, FallocateFlags::PUNCH_HOLE | keep][rng.random_range(0..3)]
}

fn some_rename(rng: &mut StdRng) -> RenameFlags {
    let plain = RenameFlags::empty();
    [plain, plain, RenameFlags::NOREPLACE, RenameFlags::EXCHANGE][rng.random_range(0..4)]
}

/// Makes a call below `root`; tells what it gave.
fn make(root: &Path, call: &Call) -> String {
    let result = try_to_make(root, call);
    match result {
        Ok(result) => result,
        Err(error) => format!("{:?}", Errno::from_io_error(&error)),
    }
}

fn try_to_make(root: &Path, call: &Call) -> io::Result<String> {
    let done = String::new();
    // Symlinks point at nothing, and no call may follow one out of the tree.
    let open = |path: &PathBuf| {
        let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        OpenOptions::new().read(true).write(true).custom_flags(no_follow).open(root.join(path))
    };
    match call {
        Call::Create(path) => File::create_new(root.join(path)).map(|_| done),
        Call::Write { path, at, len, seed } => open(path)?.write_all_at(&bytes(*seed, *len), *at).map(|()| done),
        Call::Append { path, len, seed } => {
            let mut file = OpenOptions::new().append(true).open(root.join(path))?;
            file.write_all(&bytes(*seed, *len)).map(|()| done)
        }
        Call::Truncate { path, len } => open(path)?.set_len(*len).map(|()| done),
        Call::Read { path, at, len } => {
            let (file, mut held) = (open(path)?, vec![0; *len]);
            let read = file.read_at(&mut held, *at)?;
            Ok(format!("{read} {}", blake3::hash(&held)))
        }
        Call::Allocate { path, flags, at, len } => {
            rustix::fs::fallocate(open(path)?, *flags, *at, *len)?;
            Ok(done)
        }
        Call::Seek { path, at, hole } => seek(&open(path)?, *at, *hole),
        Call::Map { path, at, len, seed } => map(&open(path)?, *at, *len, *seed).map(|()| done),
        Call::Mkdir(path) => fs::create_dir(root.join(path)).map(|()| done),
        Call::Rmdir(path) => fs::remove_dir(root.join(path)).map(|()| done),
        Call::Unlink(path) => fs::remove_file(root.join(path)).map(|()| done),
        Call::Rename { from, to, flags } => {
            let here = rustix::fs::CWD;
            rustix::fs::renameat_with(here, root.join(from), here, root.join(to), *flags)?;
            Ok(done)
        }
        Call::Link(from, to) => fs::hard_link(root.join(from), root.join(to)).map(|()| done),
        Call::Symlink(path) => symlink("points/nowhere", root.join(path)).map(|()| done),
        Call::Mode(path, mode) => {
            rustix::fs::fchmod(open(path)?, rustix::fs::Mode::from_raw_mode(*mode))?;
            Ok(done)
        }
        Call::SetAttribute(path, len) => {
            let value = bytes(*len, *len as usize);
            rustix::fs::lsetxattr(root.join(path), "user.model", &value, XattrFlags::empty())?;
            Ok(done)
        }
        Call::RemoveAttribute(path) => {
            rustix::fs::lremovexattr(root.join(path), "user.model")?;
            Ok(done)
        }
        Call::Sync(path) => open(path)?.sync_all().map(|()| done),
    }
}

/// Where holes are is each filesystem's own; that a hole reads as zeros and that the end is a
/// hole is everybody's.
fn seek(file: &File, at: u64, hole: bool) -> io::Result<String> {
    let end = file.metadata()?.len();
    let to = if hole { SeekFrom::Hole(at) } else { SeekFrom::Data(at) };
    if at >= end {
        return Ok(format!("{:?}", rustix::fs::seek(file, to)));
    }
    let found = rustix::fs::seek(file, to);
    let skipped_to = match (hole, found) {
        (false, Ok(data)) => data,
        (false, Err(Errno::NXIO)) => end,
        (true, Ok(hole)) => return Ok(format!("a hole up to the end: {}", (at..=end).contains(&hole))),
        (_, Err(errno)) => return Err(errno.into()),
    };
    let mut skipped = vec![1; (skipped_to - at) as usize];
    file.read_exact_at(&mut skipped, at)?;
    assert!(skipped.iter().all(|byte| *byte == 0), "data was skipped as a hole");
    Ok("no data was skipped".into())
}

/// Writes through a shared mapping, as far as the file reaches.
fn map(file: &File, at: usize, len: usize, seed: u64) -> io::Result<()> {
    let end = file.metadata()?.len() as usize;
    let len = len.min(end.saturating_sub(at));
    if len == 0 || !file.metadata()?.is_file() {
        return Ok(());
    }
    write_mapped(file, at, &bytes(seed, len))
}

#[allow(unsafe_code, reason = "a mapping is memory that the kernel hands out")]
fn write_mapped(file: &File, at: usize, bytes: &[u8]) -> io::Result<()> {
    use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the mapping is new memory of `bytes.len()` bytes that nobody else in this process
    // has; it is written within its length, which the file covers, and unmapped once.
    unsafe {
        let map = mmap(std::ptr::null_mut(), bytes.len(), protection, MapFlags::SHARED, file, at as u64)?;
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), map.cast(), bytes.len());
        msync(map, bytes.len(), MsyncFlags::SYNC)?;
        munmap(map, bytes.len())?;
    }
    Ok(())
}

#[test]
fn files_without_a_name_holes_and_appends() {
    let shore = Shore::new("posix", Duration::from_mins(2));
    shore.format("volume");
    let primary = shore.primary("volume", &[]);
    let mirror = shore.mirror("mirror", &primary.address(), &[]);
    unlinked_but_open(primary.dir());
    renamed_over_but_open(primary.dir());
    holes(primary.dir());
    appended_by_two(primary.dir());
    names_and_limits(primary.dir());
    assert_equal(&primary, &mirror);
    let refused = File::create(mirror.path("new")).map(|_| ()).unwrap_err();
    assert_eq!(Errno::from_io_error(&refused), Some(Errno::ROFS), "a mirror is read-only");
}

fn unlinked_but_open(dir: &Path) {
    let path = dir.join("unlinked");
    let mut file = OpenOptions::new().create_new(true).read(true).write(true).open(&path).unwrap();
    file.write_all(&bytes(1, 100_000)).unwrap();
    file.sync_all().unwrap();
    fs::remove_file(&path).unwrap();
    assert!(!path.exists());
    file.write_all(&bytes(2, 50_000)).unwrap();
    let mut held = vec![0; 150_000];
    file.read_exact_at(&mut held, 0).unwrap();
    assert!(held == [bytes(1, 100_000), bytes(2, 50_000)].concat());
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    file.set_len(10).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 10);
}

fn renamed_over_but_open(dir: &Path) {
    let (old, new) = (dir.join("old"), dir.join("new"));
    fs::write(&old, "old").unwrap();
    fs::write(&new, "new").unwrap();
    let mut open = File::open(&old).unwrap();
    fs::rename(&new, &old).unwrap();
    let mut held = String::new();
    open.read_to_string(&mut held).unwrap();
    assert_eq!(held, "old");
    assert_eq!(fs::read(&old).unwrap(), b"new");
}

fn holes(dir: &Path) {
    let file = OpenOptions::new().create_new(true).read(true).write(true).open(dir.join("holes")).unwrap();
    file.write_all_at(b"end", 10 << 30).unwrap();
    file.write_all_at(&bytes(3, 8_192), 5 << 30).unwrap();
    file.sync_all().unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!(metadata.len(), (10 << 30) + 3);
    assert!(metadata.blocks() * 512 < 16 << 20, "holes take room: {} blocks", metadata.blocks());
    let data = rustix::fs::seek(&file, SeekFrom::Data(1)).unwrap();
    assert!((4 << 30..=5 << 30).contains(&data), "data at {data}");
    let mut held = [1; 4_096];
    file.read_exact_at(&mut held, 3 << 30).unwrap();
    assert!(held.iter().all(|byte| *byte == 0));
    file.set_len(0).unwrap();
    file.set_len(5_000).unwrap();
    file.read_exact_at(&mut held, 0).unwrap();
    assert!(held.iter().all(|byte| *byte == 0), "what was cut off comes back");
}

fn appended_by_two(dir: &Path) {
    let path = dir.join("appended");
    File::create(&path).unwrap();
    let append = |who: &str| {
        let script = format!("i=0; while [ $i -lt 300 ]; do echo {who}-$i; i=$((i+1)); done >> {}", path.display());
        Command::new("sh").args(["-c", &script]).spawn().unwrap()
    };
    for mut child in [append("first"), append("second")] {
        assert!(child.wait().unwrap().success());
    }
    let text = fs::read_to_string(&path).unwrap();
    for who in ["first", "second"] {
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with(who)).collect();
        let wanted: Vec<_> = (0..300).map(|number| format!("{who}-{number}")).collect();
        assert_eq!(lines, wanted, "what two processes append is all there, in their orders");
    }
    assert_eq!(text.lines().count(), 600);
}

fn names_and_limits(dir: &Path) {
    let longest = "n".repeat(255);
    fs::write(dir.join(&longest), "x").unwrap();
    let error = fs::write(dir.join(format!("{longest}n")), "x").unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::NAMETOOLONG));
    let error = fs::rename(dir, dir.join("within itself")).unwrap_err();
    assert!(Errno::from_io_error(&error).is_some());
    fs::create_dir(dir.join("full")).unwrap();
    fs::write(dir.join("full/file"), "x").unwrap();
    let error = fs::remove_dir(dir.join("full")).unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::NOTEMPTY));
    Said::of(Command::new("df").arg(dir)).ok();
}
