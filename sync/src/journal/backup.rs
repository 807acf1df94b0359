//! The uploads of backups in a job's journal: of the same keys as the job's own, and told from those by their ids, so that each
//! is gone on with, or aborted, in the store that it is in.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Claim, ClaimedPart, ClaimedRange, FinishedPart, PartClaim, Result, Settled, SharedUploads, UploadRecord, WorkerId,
    WorkerJournal,
};
use crate::key::Key;
use crate::store::{Upload, UploadId};

/// What ids of uploads of backups begin with: no store gives such.
const BACKUP: &str = "\u{1}backup:";

/// A job's journal, for backups.
#[derive(Debug)]
pub(crate) struct BackupUploads {
    journal: Arc<dyn WorkerJournal>,
}

impl BackupUploads {
    pub(crate) fn over(journal: Arc<dyn WorkerJournal>) -> Self {
        Self { journal }
    }

    /// The upload as the place for backups knows it, if it is one of a backup.
    pub(crate) fn below(upload: &Upload) -> Option<Upload> {
        let id = upload.id.as_str().strip_prefix(BACKUP)?;
        Some(Upload { key: upload.key.clone(), id: UploadId::new(id) })
    }

    fn noted(upload: &Upload) -> Upload {
        Upload { key: upload.key.clone(), id: UploadId::new(format!("{BACKUP}{}", upload.id.as_str())) }
    }
}

#[async_trait]
impl SharedUploads for BackupUploads {
    async fn share(&self, sender: &WorkerId, upload: &Upload) -> Result<()> {
        self.journal.share(sender, &Self::noted(upload)).await
    }

    async fn keep_shared(&self, sender: &WorkerId, upload: &Upload) -> Result<()> {
        self.journal.keep_shared(sender, &Self::noted(upload)).await
    }

    async fn withdraw(&self, sender: &WorkerId, upload: &Upload) -> Result<()> {
        self.journal.withdraw(sender, &Self::noted(upload)).await
    }

    async fn shared(&self, after: Option<&Key>, limit: usize) -> Result<Vec<UploadRecord>> {
        let shared = self.journal.shared(after, limit).await?.into_iter();
        Ok(shared.filter_map(|record| Some(UploadRecord { upload: Self::below(&record.upload)?, ..record })).collect())
    }

    async fn claim_part(&self, sender: &WorkerId, upload: &Upload) -> Result<PartClaim> {
        self.journal.claim_part(sender, &Self::noted(upload)).await
    }

    async fn renew_part(&self, claimed: &ClaimedPart) -> Result<()> {
        self.journal.renew_part(&ClaimedPart { upload: Self::noted(&claimed.upload), ..claimed.clone() }).await
    }

    async fn release_part(&self, claimed: &ClaimedPart) -> Result<()> {
        self.journal.release_part(&ClaimedPart { upload: Self::noted(&claimed.upload), ..claimed.clone() }).await
    }
}

#[async_trait]
impl WorkerJournal for BackupUploads {
    /// None: nobody else sends parts of a backup, for he would send those of the job's source to its target.
    fn lease(&self) -> Option<Duration> {
        None
    }

    async fn claim(&self, worker: &WorkerId) -> Result<Claim> {
        self.journal.claim(worker).await
    }

    async fn wants_ranges(&self) -> Result<bool> {
        self.journal.wants_ranges().await
    }

    async fn split(&self, claimed: &ClaimedRange, at: &Bytes) -> Result<ClaimedRange> {
        self.journal.split(claimed, at).await
    }

    async fn settle(&self, claimed: &ClaimedRange, settled: Settled) -> Result<Option<ClaimedRange>> {
        self.journal.settle(claimed, settled).await
    }

    async fn renew(&self, claimed: &ClaimedRange) -> Result<()> {
        self.journal.renew(claimed).await
    }

    async fn release(&self, claimed: &ClaimedRange) -> Result<()> {
        self.journal.release(claimed).await
    }

    async fn upload_of(&self, key: &Key) -> Result<Option<UploadRecord>> {
        let noted = self.journal.upload_of(key).await?;
        Ok(noted.and_then(|record| Some(UploadRecord { upload: Self::below(&record.upload)?, ..record })))
    }

    async fn begin_upload(&self, record: &UploadRecord) -> Result<()> {
        self.journal.begin_upload(&UploadRecord { upload: Self::noted(&record.upload), ..record.clone() }).await
    }

    async fn finish_part(&self, upload: &Upload, part: &FinishedPart) -> Result<()> {
        self.journal.finish_part(&Self::noted(upload), part).await
    }

    async fn end_upload(&self, upload: &Upload) -> Result<()> {
        self.journal.end_upload(&Self::noted(upload)).await
    }
}
