//! Where the bytes of an open file lie, remembered between reads.

use farshore_meta::{Attr, Contents};

/// What was read of a file's extents, and for which range of the file.
#[derive(Debug, Clone)]
struct Window {
    begin: u64,
    end: u64,
    attr: Attr,
    contents: Contents,
}

/// One window of an open file's extents. A change of the file begins a new generation; what was
/// read in an earlier one is neither returned nor kept.
#[derive(Debug, Default)]
pub(crate) struct ExtentCache {
    generation: u64,
    window: Option<Window>,
}

impl ExtentCache {
    /// The generation to give `put` with what is read from now on.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The file has changed.
    pub(crate) fn forget(&mut self) {
        self.generation += 1;
        self.window = None;
    }

    /// Attributes and contents of [begin, end), if they are remembered.
    pub(crate) fn get(&self, begin: u64, end: u64) -> Option<(Attr, Contents)> {
        let window = self.window.as_ref().filter(|window| window.begin <= begin && end <= window.end)?;
        let contents = match &window.contents {
            Contents::Inline(bytes) => Contents::Inline(bytes.clone()),
            Contents::Extents(extents) => {
                let first = extents.partition_point(|extent| extent.end() <= begin);
                let last = extents.partition_point(|extent| extent.offset < end);
                Contents::Extents(extents.get(first..last).unwrap_or_default().to_vec())
            }
        };
        Some((window.attr, contents))
    }

    /// Remembers what was read of [begin, end), unless the file has changed since `generation`.
    pub(crate) fn put(&mut self, generation: u64, begin: u64, end: u64, attr: Attr, contents: Contents) {
        if generation == self.generation {
            self.window = Some(Window { begin, end, attr, contents });
        }
    }
}
