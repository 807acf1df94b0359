//! Comparing two trees: names, attributes and contents.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use indicatif::ProgressBar;

/// Bytes compared at once.
const CHUNK_BYTES: usize = 1 << 20;

/// What a comparison found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// Paths below both roots that are not the same, or only on one side.
    pub(super) differences: Vec<PathBuf>,
}

pub(super) fn compare(a: &Path, b: &Path, bar: &ProgressBar) -> Result<Found> {
    let mut found = Found::default();
    let mut waiting = vec![PathBuf::new()];
    while let Some(relative) = waiting.pop() {
        let (names_a, names_b) = (names(&a.join(&relative))?, names(&b.join(&relative))?);
        let only_b = names_b.keys().filter(|name| !names_a.contains_key(*name));
        found.differences.extend(only_b.map(|name| relative.join(name)));
        for (name, metadata) in names_a {
            let path = relative.join(&name);
            let same = names_b.get(&name).is_some_and(|other| alike(&metadata, other));
            if !same || !same_contents(&a.join(&path), &b.join(&path), &metadata, bar)? {
                found.differences.push(path.clone());
            }
            found.entries += 1;
            found.bytes += if metadata.is_file() { metadata.len() } else { 0 };
            if metadata.is_dir() && same {
                waiting.push(path);
            }
        }
    }
    Ok(found)
}

fn names(dir: &Path) -> Result<BTreeMap<OsString, Metadata>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let pair = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry?;
        Ok((entry.file_name(), entry.metadata()?))
    };
    Ok(entries.map(pair).collect::<std::io::Result<_>>()?)
}

/// The attributes that two regions must agree on.
fn alike(a: &Metadata, b: &Metadata) -> bool {
    let of = |m: &Metadata| {
        let owner = (m.mode(), m.uid(), m.gid());
        let times = (m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
        (owner, times, m.ino(), m.nlink(), m.size(), m.rdev())
    };
    of(a) == of(b)
}

fn same_contents(a: &Path, b: &Path, metadata: &Metadata, bar: &ProgressBar) -> Result<bool> {
    if metadata.is_symlink() {
        return Ok(fs::read_link(a)? == fs::read_link(b)?);
    }
    if !metadata.is_file() {
        return Ok(true);
    }
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    let (mut left, mut right) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    loop {
        let len = read_full(&mut a, &mut left)?;
        if read_full(&mut b, &mut right)? != len || left[..len] != right[..len] {
            return Ok(false);
        }
        bar.inc(len as u64);
        if len < CHUNK_BYTES {
            return Ok(true);
        }
    }
}

fn read_full(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            len => filled += len,
        }
    }
    Ok(filled)
}
