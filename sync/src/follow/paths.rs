//! From changed names and inodes to keys, in the tree as it is now. With each key goes that of the directory above it:
//! what is written there changes its time, which is then to be the source's again.

use std::collections::BTreeMap;

use farshore_meta::{FileKind, FsError, Ino, Name};
use farshore_volume::Volume;

use super::changed::{Changed, NameChange};
use super::names::Names;
use crate::journal::{JournalError, Result};
use crate::selection::Selection;

/// Directories above each other at most; a chain longer than this is a loop.
const MAX_DEPTH: usize = 100_000;
/// Entries read at once where a directory is searched for the name of one below it.
const PAGE: usize = 1_000;

/// Finds the keys below `root` at which changes may be seen.
pub async fn select(volume: &Volume, root: Ino, names: &Names, changed: &Changed) -> Result<Selection> {
    let mut paths = Paths { volume, names, known: BTreeMap::from([(root, Some(Vec::new()))]) };
    let mut selection = Selection::default();
    for ((parent, name), change) in &changed.names {
        paths.select_name(*parent, name, change, &mut selection).await?;
    }
    for ino in &changed.inodes {
        paths.select_inode(*ino, &mut selection).await?;
    }
    Ok(selection)
}

struct Paths<'a> {
    volume: &'a Volume,
    names: &'a Names,
    /// The keys of directories, with a slash at the end; none of those outside of the root.
    known: BTreeMap<Ino, Option<Vec<u8>>>,
}

impl Paths<'_> {
    /// A name that was changed: its own key, and all below it where it leads to a directory or did meanwhile.
    async fn select_name(
        &mut self,
        parent: Ino,
        name: &Name,
        change: &NameChange,
        selection: &mut Selection,
    ) -> Result<()> {
        let Some(above) = self.directory(parent).await? else { return Ok(()) };
        let key = [above.as_slice(), name.as_bytes()].concat();
        let is_directory = matches!(self.look_up(parent, name).await?, Some((_, FileKind::Directory)));
        if is_directory || change.was_directory {
            selection.add_below(&key);
        }
        selection.add_key(&key);
        selection.add_key(&above);
        Ok(())
    }

    /// An inode that was changed: the keys of all its names, and all below those where a directory was.
    async fn select_inode(&mut self, ino: Ino, selection: &mut Selection) -> Result<()> {
        for noted in self.names.of(ino).await? {
            let leads_here = self.look_up(noted.parent, &noted.name).await?.is_some_and(|(found, _)| found == ino);
            if !leads_here && !noted.is_directory {
                // The name itself was changed too, so it is among the changes.
                self.names.forget(ino, &noted).await?;
                continue;
            }
            let Some(above) = self.directory(noted.parent).await? else { continue };
            selection.add_key(&above);
            let key = [above.as_slice(), noted.name.as_bytes()].concat();
            match (noted.is_directory, leads_here) {
                (true, true) => selection.add_key(&[key.as_slice(), b"/"].concat()),
                (true, false) => selection.add_below(&key),
                (false, _) => selection.add_key(&key),
            }
        }
        Ok(())
    }

    /// The key of a directory, empty for the root; none if it is not below the root, or gone.
    async fn directory(&mut self, ino: Ino) -> Result<Option<Vec<u8>>> {
        let mut chain = Vec::new();
        let mut at = ino;
        let mut key = loop {
            if let Some(known) = self.known.get(&at) {
                break known.clone();
            }
            let parent = match self.volume.attr(at).await {
                Ok(attr) if attr.kind == FileKind::Directory && attr.nlink > 0 => attr.parent,
                Ok(_) | Err(FsError::NotFound) => at,
                Err(error) => return Err(failed(&error)),
            };
            if parent == at || chain.len() > MAX_DEPTH {
                break None;
            }
            chain.push((at, parent));
            at = parent;
        };
        for (below, parent) in chain.into_iter().rev() {
            if let Some(above) = key {
                let name = self.name_of(below, parent).await?;
                key = name.map(|name| [above.as_slice(), name.as_bytes(), b"/"].concat());
            }
            self.known.insert(below, key.clone());
        }
        Ok(key)
    }

    /// The name of a directory in the one above it.
    async fn name_of(&self, ino: Ino, parent: Ino) -> Result<Option<Name>> {
        for noted in self.names.of(ino).await?.into_iter().filter(|noted| noted.parent == parent) {
            if self.look_up(parent, &noted.name).await?.is_some_and(|(found, _)| found == ino) {
                return Ok(Some(noted.name));
            }
        }
        // It was moved since, and the log that tells it was not read yet.
        let mut from = Vec::new();
        loop {
            let page = match self.volume.entries_from(parent, &from, PAGE).await {
                Err(FsError::NotFound | FsError::NotDirectory) => return Ok(None),
                page => page.map_err(|error| failed(&error))?,
            };
            if let Some(found) = page.iter().find(|entry| entry.ino == ino) {
                return Ok(Some(found.name.clone()));
            }
            match page.last().filter(|_| page.len() == PAGE) {
                Some(last) => from = [last.name.as_bytes(), b"\0"].concat(),
                None => return Ok(None),
            }
        }
    }

    async fn look_up(&self, parent: Ino, name: &Name) -> Result<Option<(Ino, FileKind)>> {
        match self.volume.resolve(parent, std::slice::from_ref(name)).await {
            Ok((ino, attr)) => Ok(Some((ino, attr.kind))),
            Err(FsError::NotFound | FsError::NotDirectory) => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }
}

fn failed(error: &FsError) -> JournalError {
    JournalError::failed("find what changed in the volume", error)
}
