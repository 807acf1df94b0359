//! Which inodes are open to be written through this mount.

use std::collections::HashMap;

use farshore_meta::Ino;
use parking_lot::RwLock;

/// Inodes that are open to be written, and how often.
#[derive(Debug, Default)]
pub(crate) struct Writers(RwLock<HashMap<Ino, u64>>);

impl Writers {
    pub(crate) fn opened(&self, ino: Ino) {
        *self.0.write().entry(ino).or_default() += 1;
    }

    pub(crate) fn closed(&self, ino: Ino) {
        let mut open = self.0.write();
        let Some(count) = open.get_mut(&ino) else { return };
        *count -= 1;
        if *count == 0 {
            open.remove(&ino);
        }
    }

    pub(crate) fn has(&self, ino: Ino) -> bool {
        self.0.read().contains_key(&ino)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_close_counts() {
        let writers = Writers::default();
        writers.opened(Ino(3));
        writers.opened(Ino(3));
        writers.closed(Ino(3));
        assert!(writers.has(Ino(3)));
        writers.closed(Ino(3));
        writers.closed(Ino(3));
        assert!(!writers.has(Ino(3)));
    }
}
