//! A walk over a volume's tree in the order of keys. A volume keeps names in the order of bytes, in which a directory
//! `d` comes before `d-x` and `d.x`; its key `d/` comes after them. So a directory waits until the names have passed
//! its slash: those that wait are each the beginning of the next, 255 at most. A walk is made anew for each page, from
//! any place, and holds a few hundred entries of each directory that it is in.

use std::collections::VecDeque;

use bytes::Bytes;
use farshore_meta::{DirectoryEntry, FileKind, FsError, Ino, Name};
use farshore_volume::Volume;

use super::failure;
use super::inode;
use crate::entry::{Entry, Kind};
use crate::error::{Result, StoreError};
use crate::key::{Key, escaped};
use crate::key_range::{KeyRange, place_after};
use crate::limits::MAX_KEY_BYTES;
use crate::store::{Unlisted, index_to_split};

/// The fewest and the most entries of a directory that are read at once.
const MIN_READ: usize = 16;
const MAX_READ: usize = 256;

/// Where a walk stands.
pub(super) struct Walk<'a> {
    volume: &'a Volume,
    store: &'a str,
    device: u64,
    rest: KeyRange,
    levels: Vec<Level>,
    unlisted: Vec<Unlisted>,
}

/// A directory that the walk is in.
struct Level {
    ino: Ino,
    /// Its key: empty for the root, else with a slash at its end.
    prefix: Vec<u8>,
    /// No name below this one is still to come, but for the directories that wait.
    from: Vec<u8>,
    /// The next entries, in the order of names.
    read: VecDeque<DirectoryEntry>,
    /// Whether no entries come after those.
    complete: bool,
    /// Directories whose slash the names have not passed; each name is the beginning of the next.
    waiting: Vec<(Name, Ino)>,
}

/// What the walk does next.
enum Step {
    Enter(Name, Ino),
    Tell(DirectoryEntry),
    Read,
    Leave,
}

impl<'a> Walk<'a> {
    pub(super) fn new(volume: &'a Volume, store: &'a str, device: u64, root: Ino, rest: KeyRange) -> Self {
        let root = Level::new(root, Vec::new());
        Self { volume, store, device, rest, levels: vec![root], unlisted: Vec::new() }
    }

    /// The keys that were not told yet.
    pub(super) fn rest(&self) -> &KeyRange {
        &self.rest
    }

    /// The middle one of the outermost directories that were read and not entered, unless it is about to be.
    pub(super) fn ahead(&self) -> Option<Bytes> {
        self.levels.iter().find_map(|level| level.ahead(&self.rest))
    }

    /// What could not be told as an entry.
    pub(super) fn into_unlisted(self) -> Vec<Unlisted> {
        self.unlisted
    }

    /// Entries in order, at most `limit`; fewer only at the end of the range.
    pub(super) async fn take(&mut self, limit: usize) -> Result<Vec<Entry>> {
        let mut taken = Vec::new();
        self.start_at_the_root().await?;
        while taken.len() < limit && !self.rest.is_empty() {
            let Some(level) = self.levels.last_mut() else { break };
            let told = match level.step() {
                Step::Leave => {
                    self.levels.pop();
                    None
                }
                Step::Read => {
                    self.read((limit - taken.len()).clamp(MIN_READ, MAX_READ)).await?;
                    None
                }
                Step::Tell(found) => self.tell(&found).await?,
                Step::Enter(name, ino) => self.enter(&name, ino).await?,
            };
            if let Some(entry) = told {
                self.rest = self.rest.from(place_after(&entry.key));
                taken.push(entry);
            }
        }
        Ok(taken)
    }

    async fn start_at_the_root(&mut self) -> Result<()> {
        let Some(mut root) = self.levels.pop() else { return Ok(()) };
        root.start(self.volume, self.rest.start()).await.map_err(|error| self.failed(&root.prefix, &error))?;
        self.levels.push(root);
        Ok(())
    }

    async fn read(&mut self, count: usize) -> Result<()> {
        let is_root = self.levels.len() == 1;
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        let entries = match self.volume.entries_from(level.ino, &level.from, count).await {
            // A directory that is gone has no keys.
            Err(FsError::NotFound | FsError::NotDirectory) if !is_root => Vec::new(),
            Err(error) => {
                let prefix = level.prefix.clone();
                return Err(self.failed(&prefix, &error));
            }
            Ok(entries) => entries,
        };
        level.complete = entries.len() < count;
        level.read = entries.into();
        Ok(())
    }

    /// Goes into a directory, if keys of the range can be there; tells the directory itself if it is in the range.
    async fn enter(&mut self, name: &Name, ino: Ino) -> Result<Option<Entry>> {
        let prefix = [self.prefix(), name.as_bytes(), b"/"].concat();
        if prefix.len() > MAX_KEY_BYTES {
            self.unlisted.push(Unlisted::incomplete(&prefix, "its path has more than 1,024 bytes"));
            return Ok(None);
        }
        if self.rest.intersect(&KeyRange::of_prefix(&prefix)).is_empty() {
            self.end_if_beyond(&prefix);
            return Ok(None);
        }
        let told = if self.rest.contains(&prefix) { self.directory(&prefix, ino).await? } else { None };
        let mut level = Level::new(ino, prefix);
        level.start(self.volume, self.rest.start()).await.map_err(|error| self.failed(&level.prefix, &error))?;
        self.levels.push(level);
        Ok(told)
    }

    async fn directory(&self, prefix: &[u8], ino: Ino) -> Result<Option<Entry>> {
        match self.volume.attr(ino).await {
            Ok(attr) => {
                let key = Key::new(prefix.to_vec())?;
                Ok(Some(inode::entry(key, Kind::Directory, self.device, ino, &attr)))
            }
            Err(FsError::NotFound) => Ok(None),
            Err(error) => Err(self.failed(prefix, &error)),
        }
    }

    /// The entry of what is no directory, if it is in the range.
    async fn tell(&mut self, found: &DirectoryEntry) -> Result<Option<Entry>> {
        let path = [self.prefix(), found.name.as_bytes()].concat();
        if !self.rest.contains(&path) {
            self.end_if_beyond(&path);
            return Ok(None);
        }
        let Some(attr) = found.attr else { return Err(StoreError::bug("an entry was read without its attributes")) };
        let Ok(key) = Key::new(path.clone()) else {
            self.unlisted.push(Unlisted::harmless(&path, "its path has more than 1,024 bytes"));
            return Ok(None);
        };
        let target = match found.kind {
            FileKind::Symlink => match self.volume.read_link(found.ino).await {
                Err(FsError::NotFound | FsError::Invalid(_)) => return Ok(None),
                target => target.map_err(|error| self.failed(&path, &error))?,
            },
            _ => Bytes::new(),
        };
        let Some(kind) = inode::kind_of(found.kind, target) else {
            self.unlisted.push(Unlisted::harmless(&path, "it is neither file, directory nor symbolic link"));
            return Ok(None);
        };
        Ok(Some(inode::entry(key, kind, self.device, found.ino, &attr)))
    }

    /// A name after the range's end: nothing follows that is in it.
    fn end_if_beyond(&mut self, path: &[u8]) {
        if self.rest.end().is_some_and(|end| path >= end.as_ref()) {
            self.levels.clear();
        }
    }

    fn prefix(&self) -> &[u8] {
        self.levels.last().map_or(&[], |level| &level.prefix)
    }

    fn failed(&self, path: &[u8], error: &FsError) -> StoreError {
        failure::other(self.store, &format!("list `{}`", escaped(path)), error)
    }
}

impl Level {
    fn new(ino: Ino, prefix: Vec<u8>) -> Self {
        Self { ino, prefix, from: Vec::new(), read: VecDeque::new(), complete: false, waiting: Vec::new() }
    }

    /// Begins at a place: where it is within this directory, the directories that it lies in or behind are looked up,
    /// for their own names are below it.
    async fn start(&mut self, volume: &Volume, place: &[u8]) -> std::result::Result<(), FsError> {
        let Some(rest) = place.strip_prefix(self.prefix.as_slice()) else { return Ok(()) };
        self.from = rest.to_vec();
        for len in (1..rest.len()).take_while(|len| rest[len - 1] != b'/').filter(|len| rest[*len] <= b'/') {
            let Ok(name) = Name::new(&rest[..len]) else { continue };
            match volume.resolve(self.ino, std::slice::from_ref(&name)).await {
                Ok((ino, attr)) if attr.kind == FileKind::Directory => self.waiting.push((name, ino)),
                Ok(_) | Err(FsError::NotFound | FsError::NotDirectory) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn ahead(&self, rest: &KeyRange) -> Option<Bytes> {
        let directories = self.read.iter().filter(|entry| entry.kind == FileKind::Directory);
        let keys = directories.map(|entry| [&self.prefix, entry.name.as_bytes(), b"/"].concat());
        let mut keys: Vec<_> = keys.filter(|key| rest.contains(key)).collect();
        index_to_split(keys.len(), false).map(|index| keys.swap_remove(index).into())
    }

    fn step(&mut self) -> Step {
        let next = self.read.front().map_or(self.from.as_slice(), |entry| entry.name.as_bytes());
        let passed = self.waiting.last().is_some_and(|(name, _)| is_past_slash(next, name.as_bytes()));
        let at_end = self.read.is_empty() && self.complete;
        if passed || at_end {
            return self.waiting.pop().map_or(Step::Leave, |(name, ino)| Step::Enter(name, ino));
        }
        let Some(entry) = self.read.pop_front() else { return Step::Read };
        self.from = [entry.name.as_bytes(), b"\0"].concat();
        if entry.kind == FileKind::Directory {
            self.waiting.push((entry.name, entry.ino));
            return self.step();
        }
        Step::Tell(entry)
    }
}

/// Whether a name, or a place, comes after `directory` and the slash at its end.
fn is_past_slash(name: &[u8], directory: &[u8]) -> bool {
    name.iter().cmp(directory.iter().chain(b"/")).is_ge()
}
