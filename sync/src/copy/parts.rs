//! Copying an object in parts: each part is noted in the journal when the store has it, so that a killed copy goes on
//! with the parts that are missing, and nothing is under the key before all of them agree.

use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::OwnedSemaphorePermit;

use super::checked::Checked;
use super::{Backup, Copied, Copier, journal_error, known};
use crate::checksum::{Agreement, Checksums};
use crate::digest::{Hasher, PartDigest, combine};
use crate::entry::{Entry, Identity};
use crate::error::{Result, StoreError};
use crate::journal::{FinishedPart, JournalError, UploadRecord};
use crate::key::Key;
use crate::limits::PARTS_AT_ONCE;
use crate::parts::Cut;
use crate::store::{Body, PartRequest, PutRequest, ReadRequest, StoredPart, Upload};

/// An object that is being copied in parts.
#[derive(Clone)]
pub(super) struct PartCopy {
    pub(super) copier: Arc<Copier>,
    /// The source's object, and the state of it that is copied.
    pub(super) key: Key,
    pub(super) identity: Identity,
    pub(super) cut: Cut,
    pub(super) upload: Upload,
    pub(super) server_side: bool,
}

impl Copier {
    pub(super) async fn copy_in_parts(self: &Arc<Self>, entry: &Entry, cut: Cut, server_side: bool) -> Result<Copied> {
        let object = self.source_object(entry).await?;
        let mut request = self.request_of(&object);
        let record = self.resume_or_begin(entry, cut, &request).await?;
        let (identity, upload) = (entry.identity(), record.upload.clone());
        let copy = PartCopy { copier: Arc::clone(self), key: entry.key.clone(), identity, cut, upload, server_side };
        let parts = match copy.send_all(record.parts).await {
            Err(StoreError::Missing { what, .. }) => return Err(self.forgotten(&copy.upload, &what).await?),
            Err(error @ StoreError::Changed { .. }) => {
                self.abort(&copy.upload).await?;
                return Err(error);
            }
            parts => parts?,
        };
        let computed = combined(&parts);
        if let Agreement::Different(algorithm) = computed.agreement(&known(entry, &object)) {
            self.abort(&copy.upload).await?;
            let reason = format!("the {algorithm} of its parts is another than the one that the store tells");
            return Err(StoreError::corrupt(self.source.name(), &entry.key, reason));
        }
        request.checksums = self.sent(&computed);
        let stored: Vec<StoredPart> = parts.into_iter().map(|part| part.stored).collect();
        self.target_pace.request().await;
        let stored = match self.target.complete_multipart(&copy.upload, &request, &stored).await {
            Err(StoreError::Missing { what, .. }) => return Err(self.forgotten(&copy.upload, &what).await?),
            stored => stored?,
        };
        self.end_upload(&copy.upload).await?;
        self.verify(&request, &stored, &computed).await?;
        let known = if server_side { known(entry, &object) } else { computed };
        Ok(self.done(&object, entry.size, &stored, server_side, &known))
    }

    /// The upload that the journal knows, if it is of this very state and cut; else a new one.
    async fn resume_or_begin(&self, entry: &Entry, cut: Cut, request: &PutRequest) -> Result<UploadRecord> {
        let noted = self.journal.upload_of(&request.key).await.map_err(|error| journal_error(&entry.key, &error))?;
        // One of a backup of this key is gone on with where backups are made.
        let noted = noted.filter(|record| Backup::upload_at(&record.upload).is_none());
        match noted {
            Some(record)
                if record.identity == entry.identity()
                    && record.part_bytes == cut.part_bytes
                    && !record.upload.is_unnamed() =>
            {
                return Ok(record);
            }
            Some(record) => self.abort(&record.upload).await?,
            None => {}
        }
        // Noted before it begins, so that one whose name is never heard is found and aborted.
        let unnamed = Upload::unnamed(request.key.clone());
        let to_begin = UploadRecord {
            upload: unnamed.clone(),
            identity: entry.identity(),
            part_bytes: cut.part_bytes,
            parts: Vec::new(),
        };
        self.journal.begin_upload(&to_begin).await.map_err(|error| journal_error(&entry.key, &error))?;
        self.target_pace.request().await;
        let id = self.target.begin_multipart(request).await?;
        let upload = Upload { key: request.key.clone(), id };
        let record = UploadRecord { upload, ..to_begin };
        self.journal.begin_upload(&record).await.map_err(|error| journal_error(&entry.key, &error))?;
        self.end_upload(&unnamed).await?;
        Ok(record)
    }

    /// The store forgot an upload: it is begun anew when this error is retried.
    async fn forgotten(&self, upload: &Upload, what: &str) -> Result<StoreError> {
        self.end_upload(upload).await?;
        Ok(StoreError::unavailable(self.target.name(), format!("go on with {}", upload.key), what))
    }

    /// Ends an upload at the store and in the journal.
    pub(crate) async fn abort(&self, upload: &Upload) -> Result<()> {
        upload.abort_at(self.target.as_ref()).await?;
        self.end_upload(upload).await
    }

    async fn end_upload(&self, upload: &Upload) -> Result<()> {
        self.journal.end_upload(upload).await.map_err(|error| journal_error(&upload.key, &error))
    }
}

impl PartCopy {
    /// Sends the parts that the store does not have, with others where there are others: all parts, in order.
    async fn send_all(&self, parts: Vec<FinishedPart>) -> Result<Vec<FinishedPart>> {
        let _sending = self.copier.senders.begin(&self.upload);
        if self.is_shared() { self.send_shared().await } else { self.send_missing(parts).await }
    }

    async fn send_missing(&self, mut parts: Vec<FinishedPart>) -> Result<Vec<FinishedPart>> {
        let has = |number: u32| parts.iter().any(|part| part.stored.number == number);
        let missing: Vec<u32> = (1..=self.cut.count()).filter(|number| !has(*number)).collect();
        let send = |number| async move {
            let _room = self.room().await;
            self.send_noted(number).await
        };
        let sent = stream::iter(missing).map(send).buffer_unordered(PARTS_AT_ONCE);
        let sent: Vec<FinishedPart> = sent.try_collect().await?;
        parts.extend(sent);
        parts.sort_by_key(|part| part.stored.number);
        Ok(parts)
    }

    /// Room in memory for a part.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        let len = self.cut.part_bytes.min(self.cut.size);
        if self.server_side { None } else { self.copier.memory(len).await }
    }

    /// Sends a part for which there is room, and notes it.
    pub(super) async fn send_noted(&self, number: u32) -> Result<FinishedPart> {
        let part = self.copier.retry(|| self.send_where_it_waits(number)).await?;
        let noted = self.copier.journal.finish_part(&self.upload, &part).await;
        if let Err(JournalError::Lost) = noted {
            // Whoever ended the upload did so before this part came, which some stores keep.
            self.copier.retry(|| async { self.upload.abort_at(self.copier.target.as_ref()).await }).await?;
        }
        noted.map_err(|error| journal_error(&self.upload.key, &error))?;
        Ok(part)
    }

    /// Between disks each part goes by turns on a thread of its own: handing each chunk over costs more than its copy.
    async fn send_where_it_waits(&self, number: u32) -> Result<FinishedPart> {
        let range = self.cut.range(number);
        let Some(threads) = self.copier.threads_for(range.len) else { return self.send(number).await };
        let copy = self.clone();
        let sent = threads.run(async move { copy.send(number).await }).await;
        sent.unwrap_or_else(|| Err(StoreError::bug(format!("part {number} of {} panicked", self.key))))
    }

    async fn send(&self, number: u32) -> Result<FinishedPart> {
        let range = self.cut.range(number);
        let copier = &self.copier;
        let read = ReadRequest { range, ..ReadRequest::whole(&self.key, &self.identity) };
        if self.server_side {
            let _slot = copier.target_pace.slot().await;
            copier.target_pace.request().await;
            let stored = copier.target.copy_part(copier.source.as_ref(), &read, &self.upload, number).await?;
            return Ok(FinishedPart { stored, digest: None });
        }
        let _slot = copier.target_pace.slot().await;
        copier.source_pace.request().await;
        let reading = copier.source.read(&read).await?;
        let hasher = Hasher::of_part(range.offset, self.cut.part_bytes, copier.extra(&Checksums::none()));
        let checked = Checked::with(copier, &self.key, reading.bytes, range.len, Checksums::none(), hasher);
        copier.target_pace.request().await;
        let mut part = PartRequest { number, range, checksums: Checksums::none() };
        let (stored, (computed, digest)) = if copier.is_gathered(range.len) {
            let (bytes, computed) = checked.collect_part().await?;
            part.checksums = copier.sent(&computed.0);
            (copier.target.put_part(&self.upload, &part, Body::Whole(bytes)).await?, computed)
        } else {
            let (body, computed) = checked.into_part();
            let stored = copier.target.put_part(&self.upload, &part, body).await?;
            let computed = computed.lock().take();
            (stored, computed.ok_or_else(|| StoreError::bug("a part was stored before its end"))?)
        };
        self.check_part(&stored, range.len, &computed)?;
        Ok(FinishedPart { stored, digest: Some(digest) })
    }

    fn check_part(&self, stored: &StoredPart, len: u64, computed: &Checksums) -> Result<()> {
        let agree = !matches!(stored.checksums.agreement(computed), Agreement::Different(_));
        if stored.size == len && agree {
            return Ok(());
        }
        let what = format!("part {} of {}", stored.number, self.upload.key);
        Err(StoreError::corrupt(
            self.copier.target.name(),
            &what,
            "its length or checksum is another than what was sent",
        ))
    }
}

/// The checksums of the whole; none if a part was copied by the store itself.
fn combined(parts: &[FinishedPart]) -> Checksums {
    let digests: Option<Vec<PartDigest>> = parts.iter().map(|part| part.digest).collect();
    digests.map_or_else(Checksums::none, |digests| combine(&digests))
}
