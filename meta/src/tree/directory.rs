//! Reading a directory's entries.

use crate::attr::{Attr, FileKind};
use crate::engine::{RangeRead, prefix_end};
use crate::error::{FsError, Result};
use crate::ino::{Ino, Name};
use crate::txn::Txn;
use crate::{key, row};

use super::{attributes, expect_directory};

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The name.
    pub name: Name,
    /// The inode it leads to.
    pub ino: Ino,
    /// What that is.
    pub kind: FileKind,
    /// Its attributes, when they were asked for.
    pub attr: Option<Attr>,
}

pub(super) async fn read(
    txn: &mut Txn,
    ino: Ino,
    after: Option<&Name>,
    limit: usize,
    with_attrs: bool,
) -> Result<Vec<DirectoryEntry>> {
    let from = after.map_or_else(Vec::new, |name| [name.as_bytes(), &[0]].concat());
    read_from(txn, ino, &from, limit, with_attrs).await
}

/// The entries whose names are not below `from`, which need not be a name.
pub(super) async fn read_from(
    txn: &mut Txn,
    ino: Ino,
    from: &[u8],
    limit: usize,
    with_attrs: bool,
) -> Result<Vec<DirectoryEntry>> {
    expect_directory(&attributes::peek(txn, ino).await?)?;
    let prefix = key::entries(ino);
    let begin = [prefix.as_slice(), from].concat();
    let page = txn.peek_range(&RangeRead::new(begin, prefix_end(&prefix)).limit(limit)).await?;
    let mut entries = Vec::with_capacity(page.rows.len());
    for (key, value) in page.rows {
        let name = Name::new(&key[prefix.len()..]);
        let name = name.map_err(|_| FsError::Corrupt(format!("a name in directory {ino}")))?;
        let (ino, kind) = row::decode_entry(&value)?;
        let attr = if with_attrs { Some(attributes::peek(txn, ino).await?) } else { None };
        entries.push(DirectoryEntry { name, ino, kind, attr });
    }
    Ok(entries)
}
