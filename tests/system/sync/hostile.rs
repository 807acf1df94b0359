//! A small tree of everything that copies lose: names, links, modes, owners, times, attributes, holes. All stores are
//! given the same one, but for names of which they have no keys.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, XattrFlags, setxattr, utimensat};

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
    b"a&b=c;d+e?f",
    b"\xc3\xa9 composed",
    b"e\xcc\x81 decomposed",
    b"\xff\xfe not text",
    b"\xf0\x9f\x8c\x8a wave",
    b"\xe2\x80\xae turned",
    b"UPPER",
    b"upper",
];
/// Seconds since 1970 of files' times: before it, at it, in the far future.
const TIMES: [i64; 5] = [-1_000_000_000, -1, 0, 4_102_444_800, 16_000_000_000];

/// Size of the file with holes, which goes to stores of objects in several parts.
pub(crate) const SPARSE_BYTES: u64 = 20 << 20;
/// The file with holes.
pub(crate) const SPARSE: &str = "sparse";
/// Size of an object of several parts.
pub(crate) const LARGE: usize = 40 << 20;

/// Who is to hold a tree.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    Filesystem,
    Radosgw,
    Seaweed,
    Google,
    Azure,
}

impl Holder {
    /// Whether it has keys for what is named so.
    fn holds(self, name: &[u8]) -> bool {
        let Ok(name) = std::str::from_utf8(name) else { return self == Self::Filesystem };
        match self {
            Self::Filesystem | Self::Radosgw => true,
            Self::Seaweed => !name.contains('\\'),
            Self::Google => !name.contains(['\r', '\n']),
            Self::Azure => !name.contains('\\') && !name.contains(char::is_control) && !name.ends_with('.'),
        }
    }
}

/// Fills a directory.
pub(crate) fn plant(root: &Path) {
    plant_for(Holder::Filesystem, root);
}

/// Fills a directory with what this one can hold.
pub(crate) fn plant_for(holder: Holder, root: &Path) {
    names(holder, &root.join("names"));
    depths(&root.join("depths"));
    siblings_of_a_slash(root);
    links(root);
    attributes(root);
    contents(root);
    // Last, because writing into a directory changes its time.
    for (number, directory) in ["names", "modes", "empty/in/empty", "d", ""].iter().enumerate() {
        set_time(&root.join(directory), 1_000_000_000 + number as i64, 123_456_789);
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

/// Fills a directory with names and contents alone, and many of them.
pub(crate) fn plant_many_for(holder: Holder, root: &Path, files: usize) {
    plant_many(root, files);
    names(holder, &root.join("names"));
    siblings_of_a_slash(root);
    fs::write(root.join("large"), bytes(LARGE, 1)).unwrap();
    fs::write(root.join("nothing"), "").unwrap();
}

fn names(holder: Holder, directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    for (number, name) in NAMES.iter().filter(|name| holder.holds(name)).enumerate() {
        let path = directory.join(OsStr::from_bytes(name));
        fs::write(&path, bytes(number * 1_000, number)).unwrap();
        own(&path, number as u32);
        set_time(&path, TIMES[number % TIMES.len()], number as u32 * 41_111_111);
        let below = directory.join(OsStr::from_bytes(&[name, b".d".as_slice()].concat()));
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join(OsStr::from_bytes(name)), b"below").unwrap();
    }
    fs::write(directory.join("l".repeat(255)), "a long name").unwrap();
}

fn depths(directory: &Path) {
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
        set_time(&directory.join(name), 1_000_000_000, 5);
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
        own(&path, 12_345 + mode);
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    let closed = directory.join("closed");
    fs::create_dir_all(&closed).unwrap();
    fs::write(closed.join("in"), "in").unwrap();
    for (name, value) in [("user.text", b"value".as_slice()), ("user.bytes", b"\0\xff\0"), ("user.empty", b"")] {
        setxattr(&closed, name, value, XattrFlags::empty()).unwrap();
        setxattr(closed.join("in"), name, value, XattrFlags::empty()).unwrap();
    }
    own(&closed, 7);
    fs::set_permissions(&closed, Permissions::from_mode(0o2500)).unwrap();
}

fn contents(root: &Path) {
    fs::write(root.join("nothing"), b"").unwrap();
    for (number, len) in [1, 4_095, 65_536, 131_073, 3 << 20].into_iter().enumerate() {
        let path = root.join(format!("bytes-{len}"));
        fs::write(&path, bytes(len, number)).unwrap();
        set_time(&path, 1_600_000_000 + len as i64, 1 + number as u32);
    }
    set_time(&root.join("nothing"), 0, 999_999_999);
    let mut sparse = File::create(root.join(SPARSE)).unwrap();
    sparse.set_len(SPARSE_BYTES).unwrap();
    sparse.seek(SeekFrom::Start(SPARSE_BYTES / 2)).unwrap();
    sparse.write_all(b"in the middle").unwrap();
    fs::set_permissions(root.join(SPARSE), Permissions::from_mode(0o640)).unwrap();
}

/// Gives a file to nobody in particular, if the test may.
pub(crate) fn own(path: &Path, id: u32) {
    if rustix::process::geteuid().is_root() {
        chown(path, Some(id + 1), Some(id + 2)).unwrap();
    }
}

/// Sets the time of what has this name itself, were it a link.
pub(crate) fn set_time(path: &Path, seconds: i64, nanos: u32) {
    let last_modification = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanos) };
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access, last_modification };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Bytes that do not compress and differ from number to number.
pub(crate) fn bytes(len: usize, number: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
