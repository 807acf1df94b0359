//! The part of a coordinator's journal that a worker uses, over its link.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use farshore_proto::wire;
use farshore_proto::wire::sync_work_reply::Outcome;
use farshore_proto::wire::sync_work_request::Act;

use super::Description;
use super::convert::{
    after_to, claimed_part_to, name_to, part_to, range_from, range_to, refusal_from, sender_to, settle_to, upload_from,
    upload_to, uploads_from,
};
use super::link::Link;
use crate::journal::{
    Claim, ClaimedPart, ClaimedRange, FinishedPart, JournalError, PartClaim, Result, Settled, SharedUploads,
    UploadRecord, WorkerId, WorkerJournal,
};
use crate::key::Key;
use crate::store::Upload;

/// A coordinator's journal.
#[derive(Debug)]
pub struct RemoteJournal {
    link: Arc<Link>,
    job: Bytes,
    lease: Duration,
}

impl RemoteJournal {
    /// The journal of the job that the coordinator described.
    pub fn new(link: &Arc<Link>, description: &Description) -> Self {
        Self { link: Arc::clone(link), job: Bytes::copy_from_slice(&description.job), lease: description.lease }
    }

    async fn call(&self, act: Act) -> Result<Outcome> {
        match self.link.work(&self.job, act).await? {
            Outcome::Refusal(refusal) => Err(refusal_from(&refusal)),
            outcome => Ok(outcome),
        }
    }

    async fn done(&self, act: Act) -> Result<()> {
        match self.call(act).await? {
            Outcome::Done(_) => Ok(()),
            other => Err(self.nonsense(&other)),
        }
    }

    fn range(&self, range: wire::SyncRange) -> Result<ClaimedRange> {
        Ok(range_from(Some(range)).map_err(|reason| self.link.malformed(reason))?)
    }

    fn nonsense(&self, outcome: &Outcome) -> JournalError {
        self.link.malformed(format!("{outcome:?} is no answer to what was asked")).into()
    }
}

#[async_trait]
impl SharedUploads for RemoteJournal {
    async fn share(&self, sender: &WorkerId, upload: &Upload) -> Result<()> {
        self.done(Act::Share(sender_to(sender, upload))).await
    }

    async fn keep_shared(&self, sender: &WorkerId, upload: &Upload) -> Result<()> {
        self.done(Act::KeepShared(sender_to(sender, upload))).await
    }

    async fn withdraw(&self, sender: &WorkerId, upload: &Upload) -> Result<()> {
        self.done(Act::Withdraw(sender_to(sender, upload))).await
    }

    async fn shared(&self, after: Option<&Key>, limit: usize) -> Result<Vec<UploadRecord>> {
        match self.call(Act::Shared(after_to(after, limit))).await? {
            Outcome::Uploads(uploads) => Ok(uploads_from(uploads).map_err(|reason| self.link.malformed(reason))?),
            other => Err(self.nonsense(&other)),
        }
    }

    async fn claim_part(&self, sender: &WorkerId, upload: &Upload) -> Result<PartClaim> {
        match self.call(Act::ClaimPart(sender_to(sender, upload))).await? {
            // Parts are counted from 1 on.
            Outcome::Part(number) if number > 0 => Ok(PartClaim::Part(number)),
            Outcome::Wait(_) => Ok(PartClaim::Wait),
            Outcome::Finished(_) => Ok(PartClaim::Finished),
            other => Err(self.nonsense(&other)),
        }
    }

    async fn renew_part(&self, claimed: &ClaimedPart) -> Result<()> {
        self.done(Act::RenewPart(claimed_part_to(claimed))).await
    }

    async fn release_part(&self, claimed: &ClaimedPart) -> Result<()> {
        self.done(Act::ReleasePart(claimed_part_to(claimed))).await
    }
}

#[async_trait]
impl WorkerJournal for RemoteJournal {
    fn lease(&self) -> Option<Duration> {
        Some(self.lease)
    }

    async fn claim(&self, worker: &WorkerId) -> Result<Claim> {
        match self.call(Act::Claim(worker.0.clone())).await? {
            Outcome::Range(range) => self.range(range).map(Claim::Range),
            Outcome::Wait(_) => Ok(Claim::Wait),
            Outcome::Finished(_) => Ok(Claim::Finished),
            other => Err(self.nonsense(&other)),
        }
    }

    async fn wants_ranges(&self) -> Result<bool> {
        match self.call(Act::WantsRanges(wire::SyncNothing {})).await? {
            Outcome::Wanted(wanted) => Ok(wanted),
            other => Err(self.nonsense(&other)),
        }
    }

    async fn split(&self, claimed: &ClaimedRange, at: &Bytes) -> Result<ClaimedRange> {
        let split = wire::SyncSplit { range: Some(range_to(claimed)), at: at.clone() };
        match self.call(Act::Split(split)).await? {
            Outcome::Range(left) => self.range(left),
            other => Err(self.nonsense(&other)),
        }
    }

    async fn settle(&self, claimed: &ClaimedRange, settled: Settled) -> Result<Option<ClaimedRange>> {
        match self.call(Act::Settle(settle_to(claimed, &settled))).await? {
            Outcome::Range(left) => self.range(left).map(Some),
            Outcome::Finished(_) => Ok(None),
            other => Err(self.nonsense(&other)),
        }
    }

    async fn renew(&self, claimed: &ClaimedRange) -> Result<()> {
        self.done(Act::Renew(range_to(claimed))).await
    }

    async fn release(&self, claimed: &ClaimedRange) -> Result<()> {
        self.done(Act::Release(range_to(claimed))).await
    }

    async fn upload_of(&self, key: &Key) -> Result<Option<UploadRecord>> {
        match self.call(Act::UploadOf(key.to_bytes())).await? {
            Outcome::Upload(upload) => Ok(Some(upload_from(upload).map_err(|reason| self.link.malformed(reason))?)),
            Outcome::Done(_) => Ok(None),
            other => Err(self.nonsense(&other)),
        }
    }

    async fn begin_upload(&self, record: &UploadRecord) -> Result<()> {
        self.done(Act::BeginUpload(upload_to(record))).await
    }

    async fn finish_part(&self, upload: &Upload, part: &FinishedPart) -> Result<()> {
        self.done(Act::FinishPart(part_to(upload, part))).await
    }

    async fn end_upload(&self, upload: &Upload) -> Result<()> {
        self.done(Act::EndUpload(name_to(upload))).await
    }
}
