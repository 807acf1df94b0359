//! Which names lead to each inode of a volume: rows of an engine of our own, `N` inode:8 directory:8 name, with what
//! the inode is. Every name that leads to an inode is here; not every name here leads to it still. Where a directory
//! was is never forgotten: whoever finds that it is there no more looks at what is below that name.

use std::collections::BTreeSet;
use std::sync::Arc;

use farshore_meta::engine::Engine;
use farshore_meta::{FileKind, FsError, Ino, Name};
use farshore_volume::Volume;

use super::changed::Changed;
use super::rows::Rows;
use crate::journal::{JournalError, Result};

const TABLE: u8 = b'N';
const OTHER: u8 = 0;
const DIRECTORY: u8 = 1;
/// Entries of a directory that are read at once.
const PAGE: usize = 500;
/// Names that are written at once.
const BATCH: usize = 10_000;

/// The names of inodes.
#[derive(Debug, Clone)]
pub struct Names(Rows);

/// A directory whose entries are being noted.
struct Level {
    ino: Ino,
    /// The directories that were noted, and what is in them was not.
    below: Vec<Ino>,
    /// The first name that was not noted; none at the end.
    from: Option<Vec<u8>>,
}

/// A name that leads, or led, to an inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Noted {
    /// The directory that has the name.
    pub(super) parent: Ino,
    /// The name.
    pub(super) name: Name,
    /// Whether the inode is a directory.
    pub(super) is_directory: bool,
}

type Row = (Vec<u8>, Option<Vec<u8>>);

impl Names {
    /// Those that the engine holds.
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self(Rows(engine))
    }

    /// Notes every name below a directory. Memory is bounded by the tree's depth, not by its size.
    pub async fn note_below(&self, volume: &Volume, directory: Ino) -> Result<()> {
        let mut levels = vec![Level { ino: directory, below: Vec::new(), from: Some(Vec::new()) }];
        let mut rows = Vec::new();
        while let Some(level) = levels.last_mut() {
            if let Some(ino) = level.below.pop() {
                levels.push(Level { ino, below: Vec::new(), from: Some(Vec::new()) });
                continue;
            }
            let Some(from) = level.from.take() else {
                levels.pop();
                continue;
            };
            let page = match volume.entries_from(level.ino, &from, PAGE).await {
                // It went meanwhile; the log tells where to.
                Err(FsError::NotFound | FsError::NotDirectory) => Vec::new(),
                page => page.map_err(|error| JournalError::failed("note the volume's names", &error))?,
            };
            let last = page.last().filter(|_| page.len() == PAGE);
            level.from = last.map(|last| [last.name.as_bytes(), b"\0"].concat());
            for entry in &page {
                rows.push(row(entry.ino, entry.kind, level.ino, &entry.name));
                level.below.extend((entry.kind == FileKind::Directory).then_some(entry.ino));
            }
            if rows.len() >= BATCH {
                self.0.write(&std::mem::take(&mut rows)).await?;
            }
        }
        self.0.write(&rows).await
    }

    /// Notes the names that changes brought, and all names below directories among them: one that was moved brings
    /// what is in it.
    pub async fn note(&self, volume: &Volume, changed: &Changed) -> Result<()> {
        let rows: Vec<Row> = changed.led().map(|(ino, kind, parent, name)| row(ino, kind, parent, name)).collect();
        self.0.write(&rows).await?;
        let directories: BTreeSet<Ino> =
            changed.led().filter(|(_, kind, ..)| *kind == FileKind::Directory).map(|(ino, ..)| ino).collect();
        for (ino, kind, parent, _) in changed.led() {
            // What is below another one is noted with that.
            if kind == FileKind::Directory && !directories.contains(&parent) {
                self.note_below(volume, ino).await?;
            }
        }
        Ok(())
    }

    /// The names that led to an inode once.
    pub(super) async fn of(&self, ino: Ino) -> Result<Vec<Noted>> {
        let prefix = [&[TABLE], ino.0.to_be_bytes().as_slice()].concat();
        let rows = self.0.prefix(&prefix).await?;
        let decode = |key: &[u8], value: &[u8]| {
            let (parent, name) = key.get(prefix.len()..)?.split_first_chunk()?;
            let is_directory = match value {
                [OTHER] => false,
                [DIRECTORY] => true,
                _ => return None,
            };
            Some(Noted { parent: Ino(u64::from_be_bytes(*parent)), name: Name::new(name).ok()?, is_directory })
        };
        let names = rows.iter().map(|(key, value)| decode(key, value)).collect::<Option<_>>();
        names.ok_or_else(|| JournalError::Damaged { what: "list of names", why: "a row is no name".to_owned() })
    }

    /// Forgets a name that leads to the inode no more.
    pub(super) async fn forget(&self, ino: Ino, noted: &Noted) -> Result<()> {
        self.0.write(&[(key(ino, noted.parent, &noted.name), None)]).await
    }
}

fn key(ino: Ino, parent: Ino, name: &Name) -> Vec<u8> {
    [&[TABLE], ino.0.to_be_bytes().as_slice(), parent.0.to_be_bytes().as_slice(), name.as_bytes()].concat()
}

fn row(ino: Ino, kind: FileKind, parent: Ino, name: &Name) -> Row {
    let kind = if kind == FileKind::Directory { DIRECTORY } else { OTHER };
    (key(ino, parent, name), Some(vec![kind]))
}
