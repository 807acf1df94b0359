//! Copying a tree with its modes, owners and times.

use std::fs::{self, File, Metadata};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, fchown, lchown, symlink};
use std::path::Path;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use indicatif::ProgressBar;

use super::source::Tree;

/// Bytes moved at once.
const CHUNK_BYTES: usize = 1 << 20;

/// What was copied.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Copied {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

pub(super) fn copy(tree: &Tree, target: &Path, bar: &ProgressBar) -> Result<Copied> {
    fs::create_dir(target).with_context(|| format!("cannot make {}", target.display()))?;
    let mut copied = Copied::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    for relative in &tree.entries {
        let (from, to) = (tree.root.join(relative), target.join(relative));
        copied.bytes += copy_entry(&from, &to, &mut chunk, bar)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
        copied.files += 1;
    }
    for relative in tree.entries.iter().rev() {
        let from = fs::symlink_metadata(tree.root.join(relative))?;
        if from.is_dir() {
            set_times(&target.join(relative), &from)?;
        }
    }
    Ok(copied)
}

fn copy_entry(from: &Path, to: &Path, chunk: &mut [u8], bar: &ProgressBar) -> Result<u64> {
    let metadata = fs::symlink_metadata(from)?;
    if metadata.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
        lchown(to, Some(metadata.uid()), Some(metadata.gid())).or_else(only_root)?;
        return Ok(0);
    }
    if metadata.is_file() {
        return copy_file(from, to, &metadata, chunk, bar);
    }
    fs::create_dir(to)?;
    chown(to, Some(metadata.uid()), Some(metadata.gid())).or_else(only_root)?;
    fs::set_permissions(to, fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    Ok(0)
}

/// Copies a file; its attributes are set while it is open, as `cp -a` does.
fn copy_file(from: &Path, to: &Path, metadata: &Metadata, chunk: &mut [u8], bar: &ProgressBar) -> Result<u64> {
    let mut target = File::create_new(to)?;
    let bytes = copy_contents(&mut File::open(from)?, &mut target, chunk, bar)?;
    fchown(&target, Some(metadata.uid()), Some(metadata.gid())).or_else(only_root)?;
    target.set_permissions(fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    target.set_times(times(metadata))?;
    Ok(bytes)
}

fn copy_contents(source: &mut File, target: &mut File, chunk: &mut [u8], bar: &ProgressBar) -> Result<u64> {
    let mut bytes = 0;
    loop {
        let len = source.read(chunk)?;
        if len == 0 {
            return Ok(bytes);
        }
        target.write_all(&chunk[..len])?;
        bytes += len as u64;
        bar.inc(len as u64);
    }
}

fn set_times(path: &Path, metadata: &Metadata) -> Result<()> {
    Ok(File::open(path)?.set_times(times(metadata))?)
}

fn times(metadata: &Metadata) -> fs::FileTimes {
    let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
    let accessed = metadata.accessed().unwrap_or(UNIX_EPOCH);
    fs::FileTimes::new().set_modified(modified).set_accessed(accessed)
}

/// Only root can give files away; everyone else keeps what they copy.
fn only_root(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::PermissionDenied { Ok(()) } else { Err(error) }
}
