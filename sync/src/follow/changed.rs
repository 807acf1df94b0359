//! What commits changed: names and inodes. Each is kept once, however often it changed.

use std::collections::{BTreeMap, BTreeSet};

use farshore_meta::{Commit, DurableKey, FileKind, FsError, Ino, Name};

/// Names and inodes that were changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    pub(super) inodes: BTreeSet<Ino>,
    pub(super) names: BTreeMap<(Ino, Name), NameChange>,
}

/// What became of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NameChange {
    /// What it leads to after the last of its changes.
    pub(super) leads_to: Option<(Ino, FileKind)>,
    /// Whether it led to a directory after one of them.
    pub(super) was_directory: bool,
}

impl Changed {
    /// Takes the changes of a commit, after those of all earlier ones.
    ///
    /// # Errors
    /// `Corrupt` for a row that this build does not know.
    pub fn add(&mut self, commit: &Commit) -> Result<(), FsError> {
        for change in &commit.changes {
            match DurableKey::parse(&change.key)? {
                DurableKey::Entry(parent, name) => {
                    let leads_to = change.leads_to()?;
                    let is_directory = matches!(leads_to, Some((_, FileKind::Directory)));
                    let known = self.names.get(&(parent, name.clone()));
                    let was_directory = is_directory || known.is_some_and(|known| known.was_directory);
                    self.names.insert((parent, name), NameChange { leads_to, was_directory });
                }
                DurableKey::Attr(ino)
                | DurableKey::Contents(ino)
                | DurableKey::Extent(ino, _)
                | DurableKey::Symlink(ino)
                | DurableKey::Xattr(ino, _) => drop(self.inodes.insert(ino)),
                DurableKey::Settings | DurableKey::NextIno | DurableKey::Block(_) | DurableKey::Orphan(_) => {}
            }
        }
        Ok(())
    }

    /// How many names and inodes there are.
    pub fn len(&self) -> usize {
        self.inodes.len() + self.names.len()
    }

    /// Whether nothing was changed that has a name.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names that lead to something: the inode, its directory, the name.
    pub(super) fn led(&self) -> impl Iterator<Item = (Ino, FileKind, Ino, &Name)> {
        self.names
            .iter()
            .filter_map(|((parent, name), change)| change.leads_to.map(|(ino, kind)| (ino, kind, *parent, name)))
    }
}
