//! What filesystems keep beside bytes, in the metadata of objects and back, and changes of it alone.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, XattrFlags, setxattr, utimensat};

use super::compare::{assert_same_but_for_hard_links, assert_same_files_for_rsync, assert_same_for_rsync};
use super::radosgw::{rclone, start};
use super::{DIFFERS, assert_nothing_is_left_to_do, hostile, sync};
use crate::seaweed::Seaweed;
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(8);

/// Seconds since 1970 of files' times: before it, at it, in the far future.
const TIMES: [i64; 5] = [-1_000_000_000, -1, 0, 4_102_444_800, 16_000_000_000];
/// Every byte that a name of text can have, but for those that SeaweedFS rewrites.
const NAMES: [&str; 8] =
    ["new\nline", "tab\t\u{1}\u{7f}", "per%41%", "quote'\"`", "e\u{301}", "\u{e9}", " spaces ", "a&b=c;d+e?f#g"];

fn plant(root: &Path) {
    let files = root.join("files");
    fs::create_dir(&files).unwrap();
    for (number, name) in NAMES.iter().enumerate() {
        let path = files.join(name);
        fs::write(&path, hostile::bytes(number * 1000, number)).unwrap();
        own(&path, number as u32);
        set_time(&path, TIMES[number % TIMES.len()], number as u32 * 111_111_111);
    }
    for mode in [0o000, 0o444, 0o600, 0o755, 0o1777, 0o2755, 0o4755] {
        let path = files.join(format!("{mode:o}"));
        fs::write(&path, format!("{mode:o}")).unwrap();
        own(&path, mode);
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    fs::write(files.join("l".repeat(255)), "long").unwrap();
    let attributed = files.join("attributed");
    fs::write(&attributed, "attributed").unwrap();
    for (name, value) in [("user.text", b"value".as_slice()), ("user.bytes", b"\0\xff\0"), ("user.empty", b"")] {
        setxattr(&attributed, name, value, XattrFlags::empty()).unwrap();
    }
    let links = root.join("links");
    fs::create_dir_all(links.join("empty/in")).unwrap();
    for (name, target) in
        [("to-file", "../files/755"), ("nowhere", "nothing here"), ("itself", "itself"), ("up", "../..")]
    {
        symlink(target, links.join(name)).unwrap();
        set_time(&links.join(name), 1_000_000_000, 5);
    }
    fs::write(root.join("large"), hostile::bytes(20 << 20, 9)).unwrap();
    fs::set_permissions(root.join("large"), Permissions::from_mode(0o640)).unwrap();
    for (number, directory) in ["files", "links/empty/in", "links/empty", "links"].iter().enumerate() {
        set_time(&root.join(directory), 1_100_000_000, number as u32);
    }
}

fn own(path: &Path, id: u32) {
    if rustix::process::geteuid().is_root() {
        chown(path, Some(id + 1), Some(id + 2)).unwrap();
    }
}

fn set_time(path: &Path, seconds: i64, nanos: u32) {
    let last_modification = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanos) };
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access, last_modification };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// What the server keeps is what rclone would have written.
fn assert_rclone_reads(endpoint: &str, place: &str, source: &Path) {
    let Some(json) = rclone(endpoint, &["lsjson", "-M", "-R", "--files-only", place]) else { return };
    let listed: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert!(listed.len() > 20, "{json}");
    for object in listed {
        let metadata = &object["Metadata"];
        let path = source.join(OsStr::from_bytes(object["Path"].as_str().unwrap().as_bytes()));
        // rclone shows control characters as symbols.
        let Ok(expected) = fs::symlink_metadata(&path) else { continue };
        assert_eq!(metadata["mode"], format!("{:o}", expected.mode()), "{}", path.display());
        assert_eq!(metadata["uid"], expected.uid().to_string(), "{}", path.display());
        // A fraction is told without zeros at its end.
        let Some(told) = metadata["mtime"].as_str() else {
            // rclone itself reads no time whose nanoseconds have more than 63 bits.
            assert!(expected.mtime() < 0 || expected.mtime() > i64::MAX / 1_000_000_000, "{}", path.display());
            continue;
        };
        let fraction = told.split_once('.').map_or("0", |(_, rest)| rest.split(['Z', '+', '-']).next().unwrap());
        let nanos: i64 = format!("{fraction:0<9}").parse().unwrap();
        assert_eq!(nanos, expected.mtime_nsec(), "{}: {told}", path.display());
    }
}

/// Attributes alone change; nothing but them moves.
fn assert_changes_come_without_bytes(shore: &Shore, from: &str, to: &str, source: &Path) {
    fs::set_permissions(source.join("large"), Permissions::from_mode(0o4711)).unwrap();
    own(&source.join("files/755"), 70);
    set_time(&source.join("files/600"), 1_234_567_890, 987_654_321);
    setxattr(source.join("files/attributed"), "user.text", b"another", XattrFlags::empty()).unwrap();
    let counts = sync(shore, from, to, &[]);
    let changed = if rustix::process::geteuid().is_root() { 4 } else { 3 };
    assert_eq!((counts.get("copied"), counts.number("moved_bytes") < 1000), (0, true), "bytes were moved");
    assert_eq!(counts.get("updated"), changed);
}

#[test]
fn attributes_and_links_go_to_s3_and_back() {
    let mut shore = Shore::new("sync-attributes-s3", LIMIT);
    let Some(server) = Seaweed::start(&mut shore) else { return };
    let source = shore.mkdir("source");
    plant(&source);
    let (from, to, back) = (shore.arg("source"), server.store("kept"), shore.arg("back"));
    let counts = sync(&shore, &from, &to, &[]);
    assert_eq!((counts.get("conflicts"), counts.get("failed")), (0, 0));
    assert_eq!(counts.get("attributes_left_out"), 4, "SeaweedFS keeps no metadata of directories");
    assert_rclone_reads(&server.endpoint(), &format!("S:{}", Seaweed::path("kept")), &source);
    assert_nothing_is_left_to_do(&shore, &from, &to);
    sync(&shore, &to, &back, &[]);
    assert_same_files_for_rsync(&source, &shore.path("back"));
    assert_nothing_is_left_to_do(&shore, &to, &back);

    assert_changes_come_without_bytes(&shore, &from, &to, &source);
    let counts = sync(&shore, &to, &back, &[]);
    assert_eq!(counts.get("copied"), 0, "bytes came back");
    assert_same_files_for_rsync(&source, &shore.path("back"));
    assert_nothing_is_left_to_do(&shore, &from, &to);
    assert_nothing_is_left_to_do(&shore, &to, &back);
    shore.farshore(["check", "--attributes", &to, &back]).ok();
}

#[test]
fn what_has_no_room_in_metadata_is_counted_and_links_that_change_are_copied() {
    let mut shore = Shore::new("sync-attributes-room", LIMIT);
    let Some(server) = Seaweed::start(&mut shore) else { return };
    let source = shore.mkdir("source");
    for name in ["one", "two"] {
        fs::write(source.join(name), "contents").unwrap();
    }
    setxattr(source.join("one"), "user.large", &[1; 3000], XattrFlags::empty()).unwrap();
    symlink("one", source.join("link")).unwrap();
    symlink("one", source.join("becomes-file")).unwrap();
    let (from, to, back) = (shore.arg("source"), server.store("room"), shore.arg("back"));
    assert_eq!(sync(&shore, &from, &to, &[]).get("attributes_left_out"), 1);
    sync(&shore, &to, &back, &[]);
    assert_nothing_is_left_to_do(&shore, &from, &to);

    // A target of the same length, and a file whose contents are what the link's were.
    for name in ["link", "becomes-file"] {
        fs::remove_file(source.join(name)).unwrap();
    }
    symlink("two", source.join("link")).unwrap();
    fs::write(source.join("becomes-file"), "one").unwrap();
    set_time(&source.join("becomes-file"), 1_000_000_000, 0);
    for (from, to) in [(&from, &to), (&to, &back)] {
        assert_eq!(sync(&shore, from, to, &[]).get("copied"), 2);
        assert_nothing_is_left_to_do(&shore, from, to);
    }
    assert_eq!(fs::read_link(shore.path("back/link")).unwrap(), Path::new("two"));
    assert!(fs::symlink_metadata(shore.path("back/becomes-file")).unwrap().is_file());
}

#[test]
fn directories_keep_their_attributes_where_the_server_does() {
    let mut shore = Shore::new("sync-attributes-radosgw", LIMIT);
    let Some((endpoint, bucket)) = start(&mut shore, "kept") else { return };
    let source = shore.mkdir("source");
    plant(&source);
    fs::set_permissions(source.join("links/empty"), Permissions::from_mode(0o2711)).unwrap();
    let to = format!("s3://{bucket}/kept?endpoint={endpoint}&region=us-east-1&checksum=md5");
    let (from, back) = (shore.arg("source"), shore.arg("back"));
    assert_eq!(sync(&shore, &from, &to, &[]).get("attributes_left_out"), 0);
    sync(&shore, &to, &back, &[]);
    assert_same_but_for_hard_links(&source, &shore.path("back"));
    assert_nothing_is_left_to_do(&shore, &from, &to);
    assert_nothing_is_left_to_do(&shore, &to, &back);

    assert_changes_come_without_bytes(&shore, &from, &to, &source);
    fs::set_permissions(source.join("links"), Permissions::from_mode(0o700)).unwrap();
    for (from, to) in [(&from, &to), (&to, &back)] {
        let counts = sync(&shore, from, to, &[]);
        assert_eq!(counts.get("copied"), 0);
        assert_nothing_is_left_to_do(&shore, from, to);
    }
    assert_same_but_for_hard_links(&source, &shore.path("back"));
    shore.farshore(["check", "--attributes", &from, &to]).ok();
    rclone(&endpoint, &["purge", &format!("S:{bucket}")]);
}

#[test]
fn attributes_that_change_alone_are_brought_to_a_directory_without_bytes() {
    let shore = Shore::new("sync-attributes-local", LIMIT);
    let source = shore.mkdir("source");
    plant(&source);
    let (from, to) = (shore.arg("source"), shore.arg("target"));
    sync(&shore, &from, &to, &[]);
    assert_same_for_rsync(&source, &shore.path("target"));
    fs::set_permissions(source.join("large"), Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(source.join("links/empty"), Permissions::from_mode(0o700)).unwrap();
    rustix::fs::removexattr(source.join("files/attributed"), "user.text").unwrap();
    // Some filesystems hold 60 KiB, others a block at most.
    let attributed = source.join("files/attributed");
    let set = |len| setxattr(&attributed, "user.bytes", &vec![9; len], XattrFlags::empty());
    set(60 << 10).or_else(|_| set(2000)).unwrap();
    set_time(&source.join("links/up"), 1_300_000_000, 1);
    let said = shore.farshore(["check", "--attributes", &from, &to]);
    assert_eq!(said.code, Some(DIFFERS), "{said:?}");
    assert!(said.stdout.contains("differs  large (attributes)"), "{}", said.stdout);
    let counts = sync(&shore, &from, &to, &[]);
    assert_eq!((counts.get("copied"), counts.get("updated"), counts.number("moved_bytes")), (0, 4, 0));
    assert_same_for_rsync(&source, &shore.path("target"));
    assert_nothing_is_left_to_do(&shore, &from, &to);

    // A time alone: the bytes are compared rather than copied if that is asked for.
    set_time(&source.join("files/600"), 1_234_567_890, 987_654_321);
    File::open(source.join("large")).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    let counts = sync(&shore, &from, &to, &["--checksum"]);
    assert_eq!((counts.get("copied"), counts.get("updated")), (0, 2));
    assert_same_for_rsync(&source, &shore.path("target"));
    shore.farshore(["check", "--attributes", &from, &to]).ok();
}
