//! A full disk is an error to the writer; what was synced stays, and with space it goes on.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::command::Said;
use crate::load::bytes;
use crate::region::Region;
use crate::shore::Shore;

const FILE_BYTES: usize = 1 << 20;
/// More than any of the small disks here takes.
const MANY: u64 = 2_000;

#[test]
fn a_full_store_is_an_error_to_the_writer_and_nothing_synced_is_lost() {
    let shore = Shore::new("full-store", Duration::from_mins(3));
    let disk = small_disk(&shore, "volume-store", 24);
    shore.format("volume");
    let mut primary = shore.primary("volume", &[]);
    let synced = write_until_full(&primary, FILE_BYTES);
    assert_all_there(&primary, synced, FILE_BYTES);

    grow(&disk, 64);
    write_synced(&primary, "after", FILE_BYTES).expect("with space it goes on");
    primary.terminate();
    primary.restart();
    assert_all_there(&primary, synced, FILE_BYTES);
    assert!(fs::read(primary.path("after")).unwrap() == bytes(0, FILE_BYTES));
}

#[test]
fn a_full_disk_under_the_metadata_loses_nothing_that_was_synced() {
    let shore = Shore::new("full-meta", Duration::from_mins(4));
    let disk = small_disk(&shore, "disk", 48);
    let meta = disk.join("volume");
    let store = format!("file://{}", shore.arg("volume-store"));
    shore.farshore(["format", meta.to_str().unwrap(), "--store", &store]).ok();
    let primary = shore.primary("disk/volume", &[]);
    // Small contents live in rows.
    let synced = write_until_full(&primary, 3_000);
    drop(primary);
    crate::watchdog::clear(&shore.path("disk/volume-mount"));

    grow(&disk, 256);
    let primary = shore.primary("disk/volume", &[]);
    assert_all_there(&primary, synced, 3_000);
    write_synced(&primary, "after", 3_000).expect("with space it goes on");
    assert!(primary.terminate().success());
}

/// A disk of so many MiB.
fn small_disk(shore: &Shore, name: &str, mib: u64) -> std::path::PathBuf {
    let dir = shore.mkdir(name);
    let size = format!("size={mib}m");
    Said::of(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&dir)).ok();
    dir
}

fn grow(disk: &Path, mib: u64) {
    Said::of(Command::new("mount").args(["-o", &format!("remount,size={mib}m")]).arg(disk)).ok();
}

/// Writes and syncs files until it fails, which must be with an honest error; tells how many were synced.
fn write_until_full(primary: &Region, len: usize) -> u64 {
    for file in 0..MANY * 10 {
        if let Err(error) = write_synced_as(primary, &format!("file-{file}"), file, len) {
            eprintln!("full disk: after {file} files of {len} bytes: {error}; the log says:");
            let log = primary.log();
            let telling = log.lines().filter(|line| line.contains("ERROR") || line.contains("WARN"));
            let telling: Vec<_> = telling.collect();
            eprintln!("  {}", telling.first().unwrap_or(&"nothing"));
            let errno = rustix::io::Errno::from_io_error(&error);
            let honest = [rustix::io::Errno::NOSPC, rustix::io::Errno::IO, rustix::io::Errno::NOTCONN];
            assert!(errno.is_some_and(|errno| honest.contains(&errno)), "{error}");
            assert!(!telling.is_empty(), "the log says nothing of a full disk");
            assert!(file > 3, "the disk was full at once");
            return file;
        }
    }
    panic!("a small disk took everything");
}

fn write_synced(primary: &Region, name: &str, len: usize) -> io::Result<()> {
    write_synced_as(primary, name, 0, len)
}

fn write_synced_as(primary: &Region, name: &str, seed: u64, len: usize) -> io::Result<()> {
    let mut file = File::create(primary.path(name))?;
    file.write_all(&bytes(seed, len))?;
    file.sync_all()
}

fn assert_all_there(primary: &Region, synced: u64, len: usize) {
    for file in 0..synced {
        let held =
            fs::read(primary.path(format!("file-{file}"))).unwrap_or_else(|error| panic!("file-{file}: {error}"));
        assert!(held == bytes(file, len), "file-{file} was synced and is not there");
    }
}
