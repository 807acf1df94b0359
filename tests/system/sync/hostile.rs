//! A small tree of everything that copies lose: names, links, modes, owners, times, attributes, holes.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::XattrFlags;

/// Names that somebody's tool has lost, hidden or rewritten. None of them is long.
const NAMES: &[&[u8]] = &[
    b" leading and trailing ",
    b"new\nline",
    b"carriage\rreturn",
    b"tab\tand\x01control\x7f",
    b"per%cent %41 %",
    b"back\\slash",
    b"quotes'\"`",
    b"-rf",
    b"--delete",
    b"#hash#1",
    b"glob*?[a-z]{b}",
    b"...",
    b"..hidden",
    b"~",
    b"a&b=c;d+e",
    b"\xc3\xa9 composed",
    b"e\xcc\x81 decomposed",
    b"\xff\xfe not text",
    b"\xf0\x9f\x8c\x8a wave",
    b"\xe2\x80\xae turned",
    b"UPPER",
    b"upper",
];

/// Size of the file with holes.
pub(crate) const SPARSE_BYTES: u64 = 64 << 20;
/// The file with holes.
pub(crate) const SPARSE: &str = "sparse";

/// Fills a directory.
pub(crate) fn plant(root: &Path) {
    names(&root.join("names"));
    siblings_of_a_slash(root);
    links(root);
    attributes(root);
    contents(root);
    // Last, because writing into a directory changes its time.
    for (number, directory) in ["names", "modes", "empty/in/empty", "d", ""].iter().enumerate() {
        set_time(&root.join(directory), 1_000_000_000 + number as u64, 123_456_789);
    }
}

/// Fills a directory with many files of many sizes, in many directories.
pub(crate) fn plant_many(root: &Path, files: usize) {
    for number in 0..files {
        let directory = root.join(format!("{:02}/{:02}", number % 7, number / 7 % 11));
        fs::create_dir_all(&directory).unwrap();
        let len = (number * 7_919) % 20_000;
        fs::write(directory.join(format!("file-{number:06}")), bytes(len, number)).unwrap();
    }
}

fn names(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    for name in NAMES {
        fs::write(directory.join(OsStr::from_bytes(name)), name).unwrap();
        let below = directory.join(OsStr::from_bytes(&[name, b".d".as_slice()].concat()));
        fs::create_dir(&below).unwrap();
        fs::write(below.join(OsStr::from_bytes(name)), b"below").unwrap();
    }
    fs::write(directory.join("l".repeat(255)), "a long name").unwrap();
    let deep = (0..100).fold(directory.to_owned(), |path, number| path.join(format!("{number}")));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), "far below").unwrap();
}

/// `d/` sorts after `d-x` and `d.x` and before `d0` in the order of bytes, and between none of them as a name.
fn siblings_of_a_slash(root: &Path) {
    fs::create_dir_all(root.join("d")).unwrap();
    for name in ["d-x", "d.x", "d0", "d/in", "d/-in", "d!"] {
        fs::write(root.join(name), name).unwrap();
    }
    fs::create_dir_all(root.join("empty/in/empty")).unwrap();
}

fn links(root: &Path) {
    let directory = root.join("links");
    fs::create_dir_all(directory.join("second")).unwrap();
    for (name, target) in [
        ("relative", "../d/in"),
        ("dangling", "nothing here"),
        ("absolute", "/etc/hostname"),
        ("above", "../../../../.."),
        ("itself", "itself"),
        ("to-directory", "../names"),
        ("with newline", "odd\ntarget"),
    ] {
        symlink(target, directory.join(name)).unwrap();
    }
    fs::write(directory.join("one"), "two names").unwrap();
    fs::hard_link(directory.join("one"), directory.join("second/two")).unwrap();
    fs::hard_link(directory.join("one"), root.join("three")).unwrap();
}

fn attributes(root: &Path) {
    let directory = root.join("modes");
    fs::create_dir_all(&directory).unwrap();
    for mode in [0o000, 0o444, 0o600, 0o755, 0o1777, 0o2755, 0o4755] {
        let path = directory.join(format!("{mode:o}"));
        fs::write(&path, format!("{mode:o}")).unwrap();
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(12_345), Some(54_321)).unwrap();
        }
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    let closed = directory.join("closed");
    fs::create_dir_all(&closed).unwrap();
    fs::write(closed.join("in"), "in").unwrap();
    for (name, value) in [("user.text", b"value".as_slice()), ("user.bytes", b"\0\xff\0"), ("user.empty", b"")] {
        rustix::fs::setxattr(&closed, name, value, XattrFlags::empty()).unwrap();
        rustix::fs::setxattr(closed.join("in"), name, value, XattrFlags::empty()).unwrap();
    }
    fs::set_permissions(&closed, Permissions::from_mode(0o2500)).unwrap();
}

fn contents(root: &Path) {
    fs::write(root.join("nothing"), b"").unwrap();
    for (number, len) in [1, 4_095, 65_536, 131_073, 3 << 20].into_iter().enumerate() {
        let path = root.join(format!("bytes-{len}"));
        fs::write(&path, bytes(len, number)).unwrap();
        set_time(&path, 1_600_000_000 + len as u64, 1 + number as u32);
    }
    set_time(&root.join("nothing"), 0, 999_999_999);
    let mut sparse = File::create(root.join(SPARSE)).unwrap();
    sparse.set_len(SPARSE_BYTES).unwrap();
    sparse.seek(SeekFrom::Start(SPARSE_BYTES / 2)).unwrap();
    sparse.write_all(b"in the middle").unwrap();
}

fn set_time(path: &Path, seconds: u64, nanos: u32) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
    File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

/// Bytes that do not compress and differ from number to number.
pub(crate) fn bytes(len: usize, number: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
