//! A walk over a tree in the order of keys: a stack of directories, of each the next names in order. Memory is bounded
//! by a number of names for the whole walk; what is dropped of outer directories is read again when it is needed.

use std::os::fd::{AsFd, OwnedFd};

use bytes::Bytes;
use rustix::fs::{FileType, RawDir, statat};
use rustix::io::Errno;

use super::names::{Names, Picker, after_name};
use super::root::{NO_FOLLOW, Root, io_error};
use super::{LocalOptions, inode, note};
use super::{temporary, upload};
use crate::entry::{Entry, Kind};
use crate::error::Result;
use crate::key::{Key, escaped};
use crate::key_range::{KeyRange, place_after};
use crate::limits::{DIRECTORY_BUFFER_BYTES, MAX_KEY_BYTES, OPEN_DIRECTORIES, PAGE_ENTRIES, WALK_NAMES};
use crate::store::walks::Resumable;
use crate::store::{Unlisted, index_to_split};

/// Where a walk stands.
#[derive(Debug)]
pub(super) struct Walk {
    rest: KeyRange,
    levels: Vec<Level>,
    unlisted: Vec<Unlisted>,
    /// The most names kept; a limit of tests may be lower than the constant.
    most_names: usize,
    options: LocalOptions,
}

/// A directory that the walk is in.
#[derive(Debug)]
struct Level {
    /// Its key: empty for the root, else with a slash at its end.
    prefix: Vec<u8>,
    directory: Option<OwnedFd>,
    names: Names,
    next: usize,
    /// The lowest name that was not passed yet, whichever names are kept.
    after: Vec<u8>,
    /// Whether no names come after those.
    complete: bool,
}

/// What the walk does next.
enum Step {
    /// Goes into the directory of this name, after telling it if it is to be told.
    Enter(Vec<u8>),
    /// Tells the file of this name.
    File(Vec<u8>),
    /// Reads more names.
    Refill,
    /// Leaves the directory.
    Leave,
}

impl Walk {
    /// A walk over the keys of a range.
    pub(super) fn new(rest: KeyRange, options: LocalOptions) -> Self {
        let root = Level::new(Vec::new());
        Self { rest, levels: vec![root], unlisted: Vec::new(), most_names: WALK_NAMES, options }
    }

    #[cfg(test)]
    fn with_most_names(mut self, most: usize) -> Self {
        self.most_names = most;
        self
    }

    /// Ends earlier than it would have.
    pub(super) fn narrow(&mut self, end: Bytes) {
        self.rest = self.rest.until(end);
    }

    /// What could not be looked at since the last call.
    pub(super) fn take_unlisted(&mut self) -> Vec<Unlisted> {
        std::mem::take(&mut self.unlisted)
    }

    /// A place near the middle of what the outermost directory that has one has left.
    pub(super) fn ahead(&self) -> Option<Bytes> {
        self.levels.iter().find_map(|level| level.ahead(&self.rest))
    }

    /// The next entry in order; none after the last of the range.
    pub(super) fn next(&mut self, root: &Root) -> Result<Option<Entry>> {
        while let Some(level) = self.levels.last_mut() {
            if self.rest.is_empty() {
                return Ok(None);
            }
            let told = match level.step() {
                Step::Leave => {
                    self.levels.pop();
                    None
                }
                Step::Refill => {
                    self.refill(root)?;
                    None
                }
                Step::File(name) => self.tell(root, &name)?,
                Step::Enter(name) => self.enter(root, &name)?,
            };
            if let Some(entry) = told {
                self.rest = self.rest.from(place_after(&entry.key));
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Goes into a directory, if keys of the range can be there; tells the directory itself if it is in the range.
    fn enter(&mut self, root: &Root, name: &[u8]) -> Result<Option<Entry>> {
        let prefix = [self.top().prefix.as_slice(), name].concat();
        let below = KeyRange::of_prefix(&prefix);
        if prefix.len() > MAX_KEY_BYTES {
            self.unlisted.push(Unlisted::incomplete(&prefix, "its path has more than 1,024 bytes"));
            return Ok(None);
        }
        if self.rest.intersect(&below).is_empty() {
            return Ok(None);
        }
        let told = if self.rest.contains(&prefix) { self.tell(root, name)? } else { None };
        self.levels.push(Level::new(prefix));
        self.drop_outer_names();
        Ok(told)
    }

    /// The entry of a name, if it is in the range and there is still something.
    fn tell(&mut self, root: &Root, name: &[u8]) -> Result<Option<Entry>> {
        let path = [self.top().prefix.as_slice(), name].concat();
        if !self.rest.contains(&path) {
            self.end_if_beyond(&path);
            return Ok(None);
        }
        let Ok(key) = Key::new(path.clone()) else {
            self.unlisted.push(Unlisted::harmless(&path, "its path has more than 1,024 bytes"));
            return Ok(None);
        };
        let bare = name.strip_suffix(b"/").unwrap_or(name);
        let origins = self.options.origins;
        let looked = self.with_directory(root, |directory| {
            let mut entry = inode::entry_at(directory.as_fd(), bare, key)?;
            if let Some(entry) = &mut entry {
                note::add_to(entry, origins, directory.as_fd(), bare);
            }
            Ok(entry)
        });
        match looked {
            Ok(Some(entry)) if (entry.kind == Kind::Directory) == (bare != name) => Ok(Some(entry)),
            Ok(Some(_)) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Ok(None) => {
                self.unlisted.push(Unlisted::harmless(&path, "it is neither file, directory nor symbolic link"));
                Ok(None)
            }
            Err(error) => Err(io_error(root.name(), &format!("look at {}", escaped(&path)), error)),
        }
    }

    /// A name after the range's end: nothing follows that is in it.
    fn end_if_beyond(&mut self, path: &[u8]) {
        if self.rest.end().is_some_and(|end| path >= end.as_ref()) {
            self.levels.clear();
        }
    }

    fn top(&self) -> &Level {
        self.levels.last().expect("a step is taken in a directory")
    }

    /// Opens the directory that the walk is in, unless it is open, and acts in it.
    fn with_directory<T>(
        &mut self,
        root: &Root,
        act: impl FnOnce(&OwnedFd) -> std::result::Result<T, Errno>,
    ) -> std::result::Result<T, Errno> {
        let level = self.levels.last_mut().expect("a step is taken in a directory");
        if level.directory.is_none() {
            let path = level.prefix.strip_suffix(b"/").unwrap_or(&level.prefix);
            level.directory = Some(root.open_directory(path)?);
        }
        let done = act(level.directory.as_ref().expect("it was opened above"));
        self.close_outer();
        done
    }

    /// Reads the next names of the directory that the walk is in.
    fn refill(&mut self, root: &Root) -> Result<()> {
        let start = self.rest.start();
        let top = self.top();
        let from = start.strip_prefix(top.prefix.as_slice()).unwrap_or_default().max(&top.after).to_vec();
        let (mut picker, sweep) = (Picker::new(from, self.most_names), self.options.sweep);
        let read = self.with_directory(root, |directory| read_names(directory, sweep, &mut picker));
        match read {
            Ok(()) => {
                let level = self.levels.last_mut().expect("the level that was read");
                let picked = picker.finish();
                (level.names, level.next, level.complete) = (picked.names, 0, picked.complete);
            }
            Err(error) => self.leave_unread(root, error)?,
        }
        Ok(())
    }

    /// A directory that is gone has no keys; one that may not be read hides some.
    fn leave_unread(&mut self, root: &Root, error: Errno) -> Result<()> {
        let is_root = self.levels.len() == 1;
        match error {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP if !is_root => {}
            Errno::ACCESS | Errno::PERM if !is_root => {
                self.unlisted.push(Unlisted::incomplete(&self.top().prefix, &error.to_string()));
            }
            error => {
                let action = format!("list `{}`", escaped(&self.top().prefix));
                return Err(io_error(root.name(), &action, error));
            }
        }
        self.levels.pop();
        Ok(())
    }

    /// Keeps the number of names: those of outer directories are read again on the way back.
    fn drop_outer_names(&mut self) {
        let mut kept: usize = self.levels.iter().map(|level| level.names.len()).sum();
        let inner = self.levels.len() - 1;
        for level in &mut self.levels[..inner] {
            if kept <= self.most_names {
                break;
            }
            kept -= level.names.len();
            level.forget_names();
        }
    }

    fn close_outer(&mut self) {
        let outer = self.levels.len().saturating_sub(OPEN_DIRECTORIES);
        self.levels[..outer].iter_mut().for_each(|level| level.directory = None);
    }
}

impl Resumable for Walk {
    fn rest(&self) -> &KeyRange {
        &self.rest
    }
}

impl Level {
    fn new(prefix: Vec<u8>) -> Self {
        Self { prefix, directory: None, names: Names::default(), next: 0, after: Vec::new(), complete: false }
    }

    fn step(&mut self) -> Step {
        let Some(name) = self.names.get(self.next) else {
            return if self.complete { Step::Leave } else { Step::Refill };
        };
        let name = name.to_vec();
        self.next += 1;
        self.after = after_name(&name);
        if name.ends_with(b"/") { Step::Enter(name) } else { Step::File(name) }
    }

    /// Where the names that are left in the range are best split: at the middle one, or before a directory that is their
    /// last. A few files are not worth it.
    fn ahead(&self, rest: &KeyRange) -> Option<Bytes> {
        let key = |name: &[u8]| [self.prefix.as_slice(), name].concat();
        let within = self.names.count_while(|name| rest.end().is_none_or(|end| key(name) < *end));
        let left = within.checked_sub(self.next)?;
        [false, true]
            .into_iter()
            .filter_map(|at_last| self.names.get(self.next + index_to_split(left, at_last)?))
            .find(|name| name.ends_with(b"/") || left >= 2 * PAGE_ENTRIES)
            .map(|name| key(name).into())
    }

    fn forget_names(&mut self) {
        (self.names, self.next) = (Names::default(), 0);
        self.complete = false;
    }
}

/// Gives every name of a directory to the picker.
fn read_names(directory: &OwnedFd, sweep: bool, picker: &mut Picker) -> std::result::Result<(), Errno> {
    rustix::fs::seek(directory, rustix::fs::SeekFrom::Start(0))?;
    let mut buffer = Vec::with_capacity(DIRECTORY_BUFFER_BYTES);
    let mut names = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(found) = names.next() {
        let found = found?;
        let name = found.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        if temporary::is_temporary(name) {
            if sweep {
                temporary::sweep(directory.as_fd(), name);
            }
            continue;
        }
        if temporary::is_of_upload(name) {
            if sweep {
                upload::sweep(directory.as_fd(), name);
            }
            continue;
        }
        let kind = match found.file_type() {
            FileType::Unknown => type_of(directory, name)?,
            known => known,
        };
        picker.add(name, kind == FileType::Directory);
    }
    Ok(())
}

/// Where the filesystem does not tell types with names. What is gone meanwhile is told as a file, and then not found.
fn type_of(directory: &OwnedFd, name: &[u8]) -> std::result::Result<FileType, Errno> {
    match statat(directory, name, NO_FOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode)),
        Err(Errno::NOENT) => Ok(FileType::RegularFile),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::store::local::{Durability, Origins};

    const STILL: LocalOptions = LocalOptions { durability: Durability::Each, sweep: false, origins: Origins::Ignored };

    fn tree(paths: &[String]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        for path in paths {
            let path = directory.path().join(path);
            // A name that is a file already cannot be a directory too; such paths are left out.
            if std::fs::create_dir_all(path.parent().unwrap()).is_ok() && !path.exists() {
                let written = std::fs::write(&path, "x");
                drop(written);
            }
        }
        let root = Root::open(directory.path()).unwrap();
        (directory, root)
    }

    fn keys(root: &Root, mut walk: Walk) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        while let Some(entry) = walk.next(root).unwrap() {
            keys.push(entry.key.as_bytes().to_vec());
        }
        assert!(walk.take_unlisted().is_empty());
        keys
    }

    /// What is in a directory, by another way.
    fn expected(at: &Path, prefix: &str, all: &mut Vec<Vec<u8>>) {
        for found in std::fs::read_dir(at).unwrap() {
            let found = found.unwrap();
            let name = format!("{prefix}{}", found.file_name().to_str().unwrap());
            if found.file_type().unwrap().is_dir() {
                let name = format!("{name}/");
                all.push(name.clone().into_bytes());
                expected(&found.path(), &name, all);
            } else {
                all.push(name.into_bytes());
            }
        }
        all.sort();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_part_of_the_order_is_walked(
            paths in prop::collection::vec("[ab.-]{1,2}x(/[ab.-]{1,2}x){0,3}", 0..24),
            start in "[ab.x/-]{0,6}",
            end in prop::option::of("[ab.x/-]{0,6}"),
            most in 1_usize..6,
        ) {
            let (directory, root) = tree(&paths);
            let mut all = Vec::new();
            expected(directory.path(), "", &mut all);
            let range = KeyRange::new(start.into_bytes(), end.map(|end| Bytes::from(end.into_bytes())));
            all.retain(|key| range.contains(key));
            prop_assert_eq!(keys(&root, Walk::new(range, STILL).with_most_names(most)), all);
        }
    }

    #[test]
    fn temporary_files_are_no_keys_and_orphans_are_swept() {
        let (directory, root) = tree(&["a/b".to_owned()]);
        let left = directory.path().join("a").join(temporary::fresh_name());
        std::fs::write(&left, "half").unwrap();
        assert_eq!(keys(&root, Walk::new(KeyRange::all(), STILL)), [b"a/".to_vec(), b"a/b".to_vec()]);
        assert!(left.exists());
        keys(&root, Walk::new(KeyRange::all(), LocalOptions::default()));
        assert!(!left.exists());
    }

    #[test]
    fn what_is_no_object_is_told_and_hides_nothing() {
        let (directory, root) = tree(&["file".to_owned()]);
        std::os::unix::net::UnixListener::bind(directory.path().join("socket")).unwrap();
        let mut walk = Walk::new(KeyRange::all(), STILL);
        assert_eq!(walk.next(&root).unwrap().unwrap().key.as_bytes(), b"file");
        assert!(walk.next(&root).unwrap().is_none());
        let unlisted = walk.take_unlisted();
        assert!(unlisted.len() == 1 && !unlisted[0].hides_keys, "{unlisted:?}");
    }
}
