//! A real tree, packed once as an archive that every peer unpacks.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::options::Options;

/// An archive of real files.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) archive: PathBuf,
    pub(crate) files: usize,
    pub(crate) bytes: u64,
}

impl Tree {
    /// Packs the first files, by name, of the tree that was asked for or found.
    pub(crate) fn pack(options: &Options, home: &Path) -> Result<Self> {
        let root =
            options.tree.clone().or_else(cargo_registry).context("no tree was found; name a directory with --tree")?;
        let mut paths = Vec::new();
        let bytes = gather(&root, options.sizes().tree_files, &mut paths)?;
        if paths.is_empty() {
            bail!("no files are in {}", root.display());
        }
        let list = home.join("tree.list");
        let names: Vec<&[u8]> =
            paths.iter().map(|path| path.strip_prefix(&root).unwrap_or(path).as_os_str().as_bytes()).collect();
        fs::write(&list, names.join(&0))?;
        let archive = home.join("tree.tar");
        let mut command = Command::new("tar");
        command.arg("-cf").arg(&archive).arg("-C").arg(&root).args(["--null", "-T"]).arg(&list);
        let status = command.status().context("cannot run tar")?;
        if !status.success() {
            bail!("tar cannot pack {}: {status}", root.display());
        }
        Ok(Self { archive, files: paths.len(), bytes })
    }
}

/// The sources that cargo has unpacked.
fn cargo_registry() -> Option<PathBuf> {
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))?;
    fs::read_dir(cargo.join("registry/src"))
        .ok()?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.is_dir())
}

/// Adds regular files, in the order of their names, until there are `limit`. Returns their bytes.
fn gather(dir: &Path, limit: usize, paths: &mut Vec<PathBuf>) -> Result<u64> {
    let mut bytes = 0;
    let mut entries = fs::read_dir(dir)?.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if paths.len() >= limit {
            break;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            bytes += gather(&entry.path(), limit, paths)?;
        } else if kind.is_file() {
            bytes += entry.metadata()?.len();
            paths.push(entry.path());
        }
    }
    Ok(bytes)
}
