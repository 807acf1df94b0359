//! What filesystems keep beside bytes, in the metadata of objects and back, and changes of it alone.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{XattrFlags, setxattr};

use super::compare::{Less, assert_same_but_for, assert_same_for_rsync};
use super::google::Google;
use super::hostile::{Holder, own, set_time};
use super::object_stores::mend_markers;
use super::radosgw::start;
use super::rclone::Remote;
use super::{DIFFERS, assert_nothing_is_left_to_do, hostile, sync};
use crate::azurite::Azurite;
use crate::seaweed::Seaweed;
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(8);
/// A file of the hostile tree with extended attributes.
const ATTRIBUTED: &str = "modes/closed/in";

/// A hostile tree and its way through a store of objects.
struct Way<'s> {
    shore: &'s Shore,
    holder: Holder,
    less: Less,
    /// The place there.
    to: String,
}

impl<'s> Way<'s> {
    /// Makes the tree.
    fn plant(shore: &'s Shore, holder: Holder, to: String) -> Self {
        hostile::plant_for(holder, &shore.mkdir("source"));
        let less = if holder == Holder::Seaweed { Less::HardLinksAndDirectories } else { Less::HardLinks };
        Self { shore, holder, less, to }
    }

    /// All of it comes back, but for what is documented.
    fn go_there_and_back(&self) {
        let Self { shore, to, .. } = self;
        let (from, back) = (shore.arg("source"), shore.arg("back"));
        let counts = sync(shore, &from, to, &[]);
        assert_eq!((counts.get("conflicts"), counts.get("failed")), (0, 0));
        let directories = if self.less == Less::HardLinks { 0 } else { directories_below(Path::new(&from)) };
        // No store of objects holds holes, which one file has.
        assert_eq!(counts.get("attributes_left_out"), directories + 1);
        mend_markers(shore, self.holder, &from, to);
        assert_nothing_is_left_to_do(shore, &from, to);
        sync(shore, to, &back, &[]);
        self.assert_came_back();
    }

    fn assert_came_back(&self) {
        assert_same_but_for(self.less, &self.shore.path("source"), &self.shore.path("back"));
        assert_nothing_is_left_to_do(self.shore, &self.to, &self.shore.arg("back"));
    }

    /// Attributes alone change; nothing but them moves, neither there nor back.
    fn bring_changes_without_bytes(&self) {
        let Self { shore, to, .. } = self;
        let (from, back) = (shore.arg("source"), shore.arg("back"));
        let source = shore.path("source");
        fs::set_permissions(source.join(hostile::SPARSE), Permissions::from_mode(0o4711)).unwrap();
        own(&source.join("modes/755"), 70);
        set_time(&source.join("modes/600"), 1_234_567_890, 987_654_321);
        setxattr(source.join(ATTRIBUTED), "user.text", b"another", XattrFlags::empty()).unwrap();
        let changed = if rustix::process::geteuid().is_root() { 4 } else { 3 };
        for (from, to) in [(&from, to), (to, &back)] {
            let counts = sync(shore, from, to, &[]);
            assert_eq!((counts.get("copied"), counts.number("moved_bytes") < 1000), (0, true), "bytes were moved");
            assert_eq!(counts.get("updated"), changed, "from {from} to {to}");
            assert_nothing_is_left_to_do(shore, from, to);
        }
        self.assert_came_back();
        if self.less == Less::HardLinks {
            fs::set_permissions(source.join("modes/closed"), Permissions::from_mode(0o700)).unwrap();
            for (from, to) in [(&from, to), (to, &back)] {
                assert_eq!(sync(shore, from, to, &[]).get("copied"), 0);
            }
            self.assert_came_back();
            shore.farshore(["check", "--attributes", &from, to]).ok();
        }
        shore.farshore(["check", "--attributes", to, &back]).ok();
    }
}

fn directories_below(root: &Path) -> u64 {
    let directories = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    directories.filter(|path| path.is_dir() && !path.is_symlink()).map(|path| 1 + directories_below(&path)).sum()
}

/// What the server keeps is what rclone would have written.
fn assert_rclone_reads(endpoint: &str, place: &str, source: &Path) {
    let look = ["lsjson", "-M", "-R", "--files-only", &Remote::place(place)];
    let Some(json) = Remote::s3(endpoint).run(&look) else { return };
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

#[test]
fn a_hostile_tree_goes_to_s3_and_back() {
    let mut shore = Shore::new("sync-attributes-s3", LIMIT);
    let Some(server) = Seaweed::start(&mut shore) else { return };
    let way = Way::plant(&shore, Holder::Seaweed, server.store("kept"));
    way.go_there_and_back();
    assert_rclone_reads(&server.endpoint(), &Seaweed::path("kept"), &shore.path("source"));
    Remote::s3(&server.endpoint()).assert_same(&shore.path("source"), &Seaweed::path("kept"));
    way.bring_changes_without_bytes();
}

#[test]
fn a_hostile_tree_goes_to_azure_and_back() {
    let mut shore = Shore::new("sync-attributes-azure", LIMIT);
    let Some(server) = Azurite::start(&mut shore) else { return };
    let way = Way::plant(&shore, Holder::Azure, server.store("kept"));
    way.go_there_and_back();
    Remote::azure(&server.endpoint()).assert_same(&shore.path("source"), &Azurite::path("kept"));
    way.bring_changes_without_bytes();
}

#[test]
fn a_hostile_tree_goes_to_google_and_back() {
    let mut shore = Shore::new("sync-attributes-google", LIMIT);
    let google = Google::start(&mut shore);
    let way = Way::plant(&shore, Holder::Google, google.store("kept"));
    way.go_there_and_back();
    way.bring_changes_without_bytes();
}

#[test]
fn a_hostile_tree_goes_to_radosgw_and_back() {
    let mut shore = Shore::new("sync-attributes-radosgw", LIMIT);
    let Some((endpoint, bucket)) = start(&mut shore, "kept") else { return };
    let to = format!("s3://{bucket}/kept?endpoint={endpoint}&region=us-east-1&checksum=md5");
    let way = Way::plant(&shore, Holder::Radosgw, to);
    way.go_there_and_back();
    way.bring_changes_without_bytes();
    Remote::s3(&endpoint).run(&["purge", &Remote::place(&bucket)]);
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
fn attributes_that_change_alone_are_brought_to_a_directory_without_bytes() {
    let shore = Shore::new("sync-attributes-local", LIMIT);
    let source = shore.mkdir("source");
    hostile::plant(&source);
    let (from, to) = (shore.arg("source"), shore.arg("target"));
    sync(&shore, &from, &to, &[]);
    assert_same_for_rsync(&source, &shore.path("target"));
    fs::set_permissions(source.join(hostile::SPARSE), Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(source.join("empty/in"), Permissions::from_mode(0o700)).unwrap();
    rustix::fs::removexattr(source.join(ATTRIBUTED), "user.text").unwrap();
    // Some filesystems hold 60 KiB, others a block at most.
    let attributed = source.join(ATTRIBUTED);
    let set = |len| setxattr(&attributed, "user.bytes", &vec![9; len], XattrFlags::empty());
    set(60 << 10).or_else(|_| set(2000)).unwrap();
    set_time(&source.join("links/above"), 1_300_000_000, 1);
    let said = shore.farshore(["check", "--attributes", &from, &to]);
    assert_eq!(said.code, Some(DIFFERS), "{said:?}");
    assert!(said.stdout.contains("differs  sparse (attributes)"), "{}", said.stdout);
    let counts = sync(&shore, &from, &to, &[]);
    assert_eq!((counts.get("copied"), counts.get("updated"), counts.number("moved_bytes")), (0, 4, 0));
    assert_same_for_rsync(&source, &shore.path("target"));
    assert_nothing_is_left_to_do(&shore, &from, &to);

    // A time alone: the bytes are compared rather than copied if that is asked for.
    set_time(&source.join("modes/600"), 1_234_567_890, 987_654_321);
    File::open(source.join(hostile::SPARSE)).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    let counts = sync(&shore, &from, &to, &["--checksum"]);
    assert_eq!((counts.get("copied"), counts.get("updated")), (0, 2));
    assert_same_for_rsync(&source, &shore.path("target"));
    shore.farshore(["check", "--attributes", &from, &to]).ok();
}
