//! Hard links: the first name of an inode is copied, the further ones become names of that copy. Bounded: past it, names
//! become files of their own, which is counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Copied, Copier};
use crate::attributes::AttributeKind;
use crate::checksum::Checksums;
use crate::counts::Counts;
use crate::entry::{Entry, FileId, Kind};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::{LINK_LOCKS, LINKS_KEPT};
use crate::manifest::Recorded;

/// Which inodes of the source are at the target, and under which key.
#[derive(Debug)]
pub(super) struct Links {
    first: Mutex<BTreeMap<FileId, First>>,
    /// One name of an inode at a time; several inodes may share a lock.
    busy: Vec<tokio::sync::Mutex<()>>,
}

/// The first name of an inode.
#[derive(Debug, Clone)]
struct First {
    key: Key,
    /// What is known of the inode's bytes, where a manifest wants it.
    known: Checksums,
}

impl Default for Links {
    fn default() -> Self {
        Self { first: Mutex::default(), busy: (0..LINK_LOCKS).map(|_| tokio::sync::Mutex::default()).collect() }
    }
}

impl Copier {
    /// Whether this is one name of several that are to stay one file.
    pub(super) fn keeps_link(&self, entry: &Entry) -> bool {
        let kept = self.wanted().has(AttributeKind::HardLinks);
        kept && entry.links > 1 && entry.kind == Kind::Object && entry.file.is_some()
    }

    /// Notes that the target has this inode under this key already, and what is known of its bytes.
    fn note_link(&self, entry: &Entry, known: &Checksums) {
        if let (true, Some(file)) = (self.keeps_link(entry), entry.file) {
            let mut first = self.links.first.lock();
            if first.len() < LINKS_KEPT {
                first.entry(file).or_insert_with(|| First { key: entry.key.clone(), known: known.clone() });
            }
        }
    }

    /// Copies the first name, and links the others to it.
    pub(super) async fn copy_linked(self: &Arc<Self>, entry: &Entry) -> Result<Copied> {
        let Some(file) = entry.file else { return self.attempt(entry).await };
        let _alone = self.links.busy[file.inode as usize % LINK_LOCKS].lock().await;
        let first = self.links.first.lock().get(&file).cloned().filter(|first| first.key != entry.key);
        if let Some(first) = first {
            self.target_pace.request().await;
            match self.target.link(&first.key, &entry.key).await {
                Ok(()) => {
                    let recorded = self.options.blake3.then(|| Box::new(Recorded::of(entry, &first.known)));
                    let counts = Counts { copied: 1, ..Counts::default() };
                    return Ok(Copied::Done { counts, server_side: true, recorded });
                }
                // The first name went away meanwhile, or has too many links.
                Err(StoreError::Missing { .. } | StoreError::Unsupported { .. } | StoreError::Unavailable { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let copied = self.attempt(entry).await?;
        let known = match &copied {
            Copied::Done { recorded: Some(recorded), .. } => recorded.checksums.clone(),
            _ => Checksums::none(),
        };
        self.note_link(entry, &known);
        let full = self.links.first.lock().get(&file).is_none();
        Ok(match copied {
            Copied::Done { mut counts, server_side, recorded } => {
                counts.links_not_kept += u64::from(full);
                Copied::Done { counts, server_side, recorded }
            }
            Copied::Vanished => Copied::Vanished,
        })
    }
}
