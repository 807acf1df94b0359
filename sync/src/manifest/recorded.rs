//! What a manifest says of one object.

use crate::checksum::{Algorithm, Checksums, Scope};
use crate::digest::checksum_of;
use crate::entry::{Entry, Kind};
use crate::key::Key;

/// An object as it was when its job was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its key.
    pub key: Key,
    /// Object, directory or symbolic link.
    pub kind: Kind,
    /// Its length in bytes; 0 unless it is an object.
    pub size: u64,
    /// Of the whole object: the BLAKE3 where the bytes passed by, else what the stores told, which may be nothing.
    pub checksums: Checksums,
}

impl Recorded {
    /// An object of which these checksums are known.
    pub(crate) fn of(entry: &Entry, known: &Checksums) -> Self {
        let is_object = entry.kind == Kind::Object;
        let size = if is_object { entry.size } else { 0 };
        let blake3 =
            if is_object && size == 0 { checksum_of(Algorithm::Blake3, b"") } else { known.whole(Algorithm::Blake3) };
        let told = || known.iter().filter(|(scope, _)| *scope == Scope::Whole).map(|(_, sum)| sum).collect();
        let checksums = match blake3 {
            _ if !is_object => Checksums::none(),
            Some(blake3) => Checksums::none().with(blake3),
            None => told(),
        };
        Self { key: entry.key.clone(), kind: entry.kind.clone(), size, checksums }
    }

    /// Whether it is an object whose BLAKE3 is not known.
    pub(crate) fn lacks_blake3(&self) -> bool {
        self.kind == Kind::Object && self.checksums.whole(Algorithm::Blake3).is_none()
    }

    /// As a listing would tell it.
    pub(crate) fn into_entry(self) -> Entry {
        Entry { kind: self.kind, checksums: self.checksums, ..Entry::object(self.key, self.size) }
    }

    /// About how many bytes of a journal it takes.
    pub(crate) fn journal_bytes(&self) -> usize {
        let link = if let Kind::Symlink { target } = &self.kind { target.len() } else { 0 };
        self.key.as_bytes().len() + link + 24 + 40 * self.checksums.iter().count()
    }
}
