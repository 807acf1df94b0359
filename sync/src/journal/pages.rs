//! Pages of bytes in a temporary file, each under a place of the key order, so that memory holds one small entry a page. It
//! is not durable: the job that it belongs to ends with the process.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

/// The pages.
#[derive(Debug)]
pub(super) struct Pages {
    file: File,
    len: u64,
    /// Where each page lies: its offset, and its length.
    lying: BTreeMap<Bytes, (u64, usize)>,
}

impl Pages {
    /// No page, in a file without a name, in the directory for temporary files.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile()?, len: 0, lying: BTreeMap::new() })
    }

    /// Adds a page under a place.
    pub(super) fn add(&mut self, place: Bytes, page: &[u8]) -> io::Result<()> {
        self.file.write_all_at(page, self.len)?;
        self.lying.insert(place, (self.len, page.len()));
        self.len += page.len() as u64;
        Ok(())
    }

    /// The first page that is not under a place below this one.
    pub(super) fn first_from(&self, place: &Bytes) -> io::Result<Option<Vec<u8>>> {
        let Some((_, (offset, len))) = self.lying.range(place.clone()..).next() else { return Ok(None) };
        let mut page = vec![0; *len];
        self.file.read_exact_at(&mut page, *offset)?;
        Ok(Some(page))
    }
}
