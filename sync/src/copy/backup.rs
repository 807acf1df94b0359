//! What is overwritten or deleted is brought to safety first: to the same key of another place of the same store, by the
//! store itself where it can. What lies there is never overwritten, and nothing goes before its backup is proven.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{Copied, Copier, CopyOptions, Ends};
use crate::attributes::{AttributeKind, AttributeSet};
use crate::entry::{Entry, Object};
use crate::error::{Result, StoreError};
use crate::journal::BackupUploads;
use crate::key::Key;
use crate::store::{Store, Upload};
use crate::verdict::is_directory;

/// Where backups go.
#[derive(Debug, Clone)]
pub struct Backup {
    /// The target, as its objects are read for it.
    pub target: Arc<dyn Store>,
    /// The place for backups: a store of the same kind that does not overlap with what the job lists.
    pub place: Arc<dyn Store>,
    /// What is added to each key there.
    pub suffix: String,
}

/// Makes backups for a job.
#[derive(Debug)]
pub(crate) struct Backups {
    copier: Arc<Copier>,
    suffix: String,
}

impl Backup {
    /// Whether the upload, of a job's journal, is one into the place for backups, and as that place knows it.
    pub fn upload_at(upload: &Upload) -> Option<Upload> {
        BackupUploads::below(upload)
    }
}

impl Backups {
    /// Backups of what a job's target has. Their uploads are noted in the job's journal, as those of backups.
    pub(super) fn new(backup: &Backup, of: &Ends, options: &CopyOptions, seed: u64, memory: &Arc<Semaphore>) -> Self {
        let ends = Ends {
            source: Arc::clone(&backup.target),
            target: Arc::clone(&backup.place),
            journal: Arc::new(BackupUploads::over(Arc::clone(&of.journal))),
            observer: Arc::clone(&of.observer),
            source_pace: Arc::clone(&of.target_pace),
            target_pace: Arc::clone(&of.target_pace),
        };
        let keep = AttributeSet::all().without(AttributeSet::of(&[AttributeKind::HardLinks]));
        let options = CopyOptions { keep, storage_class: None, blake3: false, ..options.clone() };
        let copier = Copier::named(ends, options, seed, backup.suffix.as_bytes());
        Self { copier: Arc::new(Copier { memory: Arc::clone(memory), ..copier }), suffix: backup.suffix.clone() }
    }

    /// Brings what the target has under this key to safety; how many bytes, if there was
    /// anything. Directories have none.
    pub(crate) async fn keep(&self, key: &Key) -> Result<Option<u64>> {
        let copier = &self.copier;
        let Some(there) = self.found(&copier.source, key).await? else { return Ok(None) };
        if is_directory(&there) {
            return Ok(None);
        }
        let name = self.name_of(key)?;
        if let Some(earlier) = self.found(&copier.target, &name).await? {
            return self.expect_same(&there, &earlier).await.map(|()| Some(there.size));
        }
        let adopted = copier.target.adopt(copier.source.as_ref(), key, &name).await;
        match adopted {
            Err(StoreError::Unsupported { .. }) => {}
            Err(StoreError::Missing { .. }) => return Ok(None),
            adopted => return adopted.map(|()| Some(there.size)),
        }
        let is_there = matches!(copier.copy_anew(&there).await?, Copied::Done { .. });
        Ok(is_there.then_some(there.size))
    }

    /// Aborts an upload that a killed job left.
    pub(crate) async fn abort(&self, upload: &Upload) -> Result<()> {
        self.copier.abort(upload).await
    }

    /// What lies there already is this very state, brought there before a kill, or an older one, which stays.
    async fn expect_same(&self, there: &Entry, earlier: &Entry) -> Result<()> {
        let alike = there.size == earlier.size && there.kind == earlier.kind;
        if alike && self.copier.equal_contents(there, earlier).await? {
            return Ok(());
        }
        let reason = "an older backup is there; give another --backup-dir, or a --backup-suffix";
        Err(StoreError::unholdable(self.copier.target.name(), &earlier.key, reason))
    }

    async fn found(&self, store: &Arc<dyn Store>, key: &Key) -> Result<Option<Entry>> {
        let head = || async {
            self.copier.target_pace.request().await;
            store.head(key, AttributeSet::NONE).await
        };
        match self.copier.retry(head).await {
            Ok(Object { entry, .. }) => Ok(Some(entry)),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn name_of(&self, key: &Key) -> Result<Key> {
        let name = Key::new([key.as_bytes(), self.suffix.as_bytes()].concat());
        name.map_err(|error| StoreError::unholdable(self.copier.target.name(), key, error.to_string()))
    }
}
