//! Finding a real tree on this machine to copy.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// What will be copied: paths below `root`, directories before what is in them.
pub(super) struct Tree {
    pub(super) root: PathBuf,
    pub(super) entries: Vec<PathBuf>,
    pub(super) bytes: u64,
}

/// Fewest entries worth showing.
const FEW: usize = 200;

/// The tree at `given`, or else the largest of some that are on most machines, cut at `limit` bytes.
pub(super) fn choose(given: Option<&Path>, limit: u64) -> Result<Tree> {
    if let Some(root) = given {
        return walk(root, limit).with_context(|| format!("cannot read {}", root.display()));
    }
    let found = candidates().into_iter().filter_map(|root| walk(&root, limit).ok());
    match found.filter(|tree| tree.entries.len() >= FEW).max_by_key(|tree| tree.bytes) {
        Some(tree) => Ok(tree),
        None => bail!("no tree was found to copy; name one with --source DIR"),
    }
}

fn candidates() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(home?.join(".cargo")));
    let cargo = cargo.map(|cargo| cargo.join("registry/src"));
    let system = ["/usr/share", "/usr/include", "/usr/lib/python3"].map(PathBuf::from);
    cargo.into_iter().chain(std::env::current_dir()).chain(system).filter(|path| path.is_dir()).collect()
}

fn walk(root: &Path, limit: u64) -> std::io::Result<Tree> {
    let device = fs::symlink_metadata(root)?.dev();
    let mut tree = Tree { root: root.to_owned(), entries: Vec::new(), bytes: 0 };
    let mut waiting = vec![PathBuf::new()];
    while let Some(relative) = waiting.pop() {
        let mut names: Vec<_> = fs::read_dir(root.join(&relative))?.filter_map(Result::ok).collect();
        names.sort_by_key(fs::DirEntry::file_name);
        for entry in names {
            let Ok(metadata) = entry.metadata() else { continue };
            let kind = metadata.file_type();
            let wanted = metadata.dev() == device && (kind.is_dir() || kind.is_file() || kind.is_symlink());
            if !wanted || (kind.is_file() && tree.bytes + metadata.len() > limit) {
                continue;
            }
            let path = relative.join(entry.file_name());
            tree.bytes += if kind.is_file() { metadata.len() } else { 0 };
            tree.entries.push(path.clone());
            if kind.is_dir() {
                waiting.push(path);
            }
        }
    }
    Ok(tree)
}
