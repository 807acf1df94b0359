//! An open directory: its entries by offsets that stay right while entries come and go.

use farshore_meta::{DirectoryEntry, Ino, Name, Result, Tree};
use tokio::sync::Mutex;

/// Entries read at once.
const PAGE_ENTRIES: usize = 1_000;

/// An entry with the offset from which a reader goes on after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedEntry {
    /// Where to go on after this entry.
    pub next_offset: u64,
    /// The entry.
    pub entry: DirectoryEntry,
}

/// Some entries of an open directory.
pub type DirectoryPage = Vec<ListedEntry>;

/// The page that was read last, and where each page began.
#[derive(Default)]
struct Cursor {
    /// The name before each page; page `i` holds the offsets from `i * PAGE_ENTRIES` on.
    before: Vec<Option<Name>>,
    page: usize,
    entries: Vec<DirectoryEntry>,
    with_attrs: bool,
    loaded: bool,
}

/// An open directory. An offset is the count of entries before it when its page was read;
/// pages begin after a name, so that entries removed meanwhile shift nothing.
pub(crate) struct OpenDirectory {
    ino: Ino,
    cursor: Mutex<Cursor>,
}

impl OpenDirectory {
    pub(crate) fn new(ino: Ino) -> Self {
        Self { ino, cursor: Mutex::default() }
    }

    /// The entries from `offset` on, up to the end of their page; none at the directory's end.
    pub(crate) async fn read(&self, tree: &Tree, offset: u64, with_attrs: bool) -> Result<DirectoryPage> {
        let mut cursor = self.cursor.lock().await;
        if offset == 0 {
            *cursor = Cursor { before: vec![None], ..Cursor::default() };
        }
        let (page, at) = (offset as usize / PAGE_ENTRIES, offset as usize % PAGE_ENTRIES);
        // A page stays as it was read, so that a listing within it is one moment of the directory.
        let stale = !cursor.loaded || cursor.page != page || with_attrs && !cursor.with_attrs;
        if stale && !self.load(tree, &mut cursor, page, with_attrs).await? {
            return Ok(Vec::new());
        }
        let base = page * PAGE_ENTRIES;
        let rest = cursor.entries.iter().enumerate().skip(at);
        let listed = |(i, entry): (usize, &DirectoryEntry)| ListedEntry {
            next_offset: (base + i + 1) as u64,
            entry: entry.clone(),
        };
        Ok(rest.map(listed).collect())
    }

    /// Reads a page; false when the directory ends before it.
    async fn load(&self, tree: &Tree, cursor: &mut Cursor, page: usize, with_attrs: bool) -> Result<bool> {
        let Some(before) = cursor.before.get(page).cloned() else { return Ok(false) };
        let entries = tree.read_directory(self.ino, before.as_ref(), PAGE_ENTRIES, with_attrs).await?;
        if entries.len() == PAGE_ENTRIES && cursor.before.len() == page + 1 {
            cursor.before.push(entries.last().map(|entry| entry.name.clone()));
        }
        *cursor = Cursor { before: std::mem::take(&mut cursor.before), page, entries, with_attrs, loaded: true };
        Ok(true)
    }
}
