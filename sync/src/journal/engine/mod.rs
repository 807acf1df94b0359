//! The durable journal: rows of an engine, embedded in a directory or FoundationDB. It is shared by as many workers,
//! tasks and machines as have the engine.
//!
//! Safety: each call is one transaction, which reads the header and the claim that it is about. A journal that was
//! begun anew, a claim that was lost and a range that is finished therefore conflict with, or are seen by, whoever
//! still acts on them. A transaction whose outcome is unknown is found out before it is tried again.
//!
//! Read `keys.rs` and `records.rs` (the format), `rows.rs`, `attempts.rs`, `claims.rs`, then the rest.

mod attempts;
mod audit;
mod claims;
mod deletions;
mod keys;
mod options;
mod recorded;
mod records;
mod rows;
mod shares;
#[cfg(test)]
mod tests;
mod uploads;
mod watch;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use farshore_meta::engine::{Engine, EngineError, EngineUrl, Isolation};

use self::attempts::{Marks, transact};
pub use self::audit::Ranges;
use self::keys::{Numbered, Table};
use self::options::embedded_options;
pub use self::options::{Clock, JournalOptions, Sharing};
use self::records::{Header, JobState};
pub(crate) use self::records::{
    decode_deletions, decode_failure, decode_part, decode_recorded, decode_upload, encode_deletions, encode_failure,
    encode_part, encode_recorded, encode_upload,
};
use self::rows::{Rows, Step, Walk};
use self::watch::Watch;
use super::range::{ProcessId, RangeRecord};
use super::{
    Claim, ClaimedRange, Deletion, FINISHED_TOO_EARLY, Failure, FinishedPart, JobIdentity, Journal, JournalError,
    Opened, Result, Settled, UploadRecord, WorkerId, WorkerJournal,
};
use crate::counts::Counts;
use crate::key::Key;
use crate::manifest::Recorded;
use crate::store::Upload;

/// Rows of a forgotten job that one transaction removes.
const REMOVED_AT_ONCE: usize = 1_000;

/// A journal in an engine.
pub struct EngineJournal {
    engine: Arc<dyn Engine>,
    options: JournalOptions,
    process: ProcessId,
    /// The journal that was opened.
    born: OnceLock<[u8; 16]>,
    marks: Marks,
    watch: Watch,
}

impl EngineJournal {
    /// The journal in this engine, which holds nothing else.
    pub fn new(engine: Arc<dyn Engine>, options: JournalOptions) -> Self {
        let process = ProcessId(random());
        let watch = Watch::new(options.lease);
        Self { engine, options, process, born: OnceLock::new(), marks: Marks::new(process), watch }
    }

    /// The journal at `url`, which is made if it is not there.
    pub async fn at(url: &EngineUrl, options: JournalOptions) -> Result<Self> {
        let engine = match url.open(&embedded_options()).await {
            Err(EngineError::Missing { .. }) => match url.create(&embedded_options()).await {
                // Another process was faster.
                Err(EngineError::Exists { .. }) => url.open(&embedded_options()).await,
                created => created,
            },
            opened => opened,
        };
        let engine = engine.map_err(|error| JournalError::failed("be opened", &error))?;
        Ok(Self::new(engine, options))
    }

    /// Forgets the job that is there, finished or not, so that another can begin. Whoever still works on it gets
    /// errors from then on. A place that holds something else is left alone.
    pub async fn forget_job(&self) -> Result<()> {
        transact!(self, "forget its job", |rows| self.forget_job_in(rows))?;
        self.remove_forgotten().await
    }

    /// The random name of the journal that was opened: one that is begun anew has another. None before it is opened.
    pub fn name(&self) -> Option<[u8; 16]> {
        self.born.get().copied()
    }

    /// Makes everything durable and gives the engine free for another process.
    pub async fn close(&self) -> Result<()> {
        self.engine.close().await.map_err(|error| JournalError::failed("be closed", &error))
    }

    /// Marks the job, if there is one, as forgotten, under a name that nobody who works on it knows.
    async fn forget_job_in(&self, rows: &mut Rows) -> Step<()> {
        if let Some(header) = rows.header().await? {
            rows.put_header(&Header { born: random(), state: JobState::Forgotten, ..header });
        } else if rows.is_any().await? {
            return Err(self.no_journal().into());
        }
        Ok(())
    }

    /// Removes the rows of a forgotten job, the header last, so that a removal that was interrupted goes on.
    async fn remove_forgotten(&self) -> Result<()> {
        while transact!(self, "forget its job", |rows| Self::remove_some(rows))? {}
        Ok(())
    }

    /// Removes some rows of a forgotten job; whether there were any. An embedded engine removes row by row.
    async fn remove_some(rows: &mut Rows) -> Step<bool> {
        if !rows.header().await?.is_some_and(|header| header.state == JobState::Forgotten) {
            return Ok(false);
        }
        let mut walk = Walk::between(Table::first(), Table::last(), Isolation::Snapshot).limit(REMOVED_AT_ONCE);
        let mut others = 0;
        for (row, _) in rows.page(&mut walk).await? {
            if *row != keys::header() {
                rows.clear(&row);
                others += 1;
            }
        }
        if others == 0 {
            rows.clear(&keys::header());
        }
        Ok(true)
    }

    fn no_journal(&self) -> JournalError {
        JournalError::NoJournal { place: self.engine.url() }
    }

    async fn open_in(&self, rows: &mut Rows, job: &JobIdentity) -> Step<(Opened, Header)> {
        let Some(header) = rows.header().await? else { return self.begin_job(rows, job).await };
        if header.job.fingerprint != job.fingerprint || header.job.range != job.range {
            return Err(JournalError::OtherJob { there: header.job.description }.into());
        }
        let counts = rows.counts().await?;
        let opened = match header.state {
            JobState::Finished => Opened::Finished(counts),
            JobState::Begun | JobState::Forgotten => Opened::Resumed(counts),
        };
        Ok((opened, header))
    }

    async fn begin_job(&self, rows: &mut Rows, job: &JobIdentity) -> Step<(Opened, Header)> {
        if rows.is_any().await? {
            return Err(self.no_journal().into());
        }
        let header = Header { born: random(), job: job.clone(), state: JobState::Begun };
        rows.put_header(&header);
        if !job.range.is_empty() {
            let id = rows.take_numbers(Numbered::Range, 1).await?;
            rows.put_range(id, &RangeRecord::new(job.range.clone()));
        }
        Ok((Opened::New, header))
    }

    /// The header, if the journal is still the one that was opened.
    async fn header(&self, rows: &mut Rows) -> Step<Header> {
        let Some(born) = self.born.get() else {
            return Err(JournalError::invalid("it was used before it was opened").into());
        };
        match rows.header().await? {
            Some(header) if header.born == *born => Ok(header),
            Some(header) => Err(JournalError::OtherJob { there: header.job.description }.into()),
            None => Err(JournalError::OtherJob { there: "none; it was removed meanwhile".into() }.into()),
        }
    }

    async fn counts_in(&self, rows: &mut Rows) -> Step<Counts> {
        self.header(rows).await?;
        rows.counts().await
    }

    async fn failures_in(&self, rows: &mut Rows, skip: u64, limit: usize) -> Step<Vec<Failure>> {
        self.header(rows).await?;
        let mut walk = Walk::between(keys::failure(skip), Table::Failure.end(), Isolation::Snapshot).limit(limit);
        let mut failures = Vec::new();
        while failures.len() < limit {
            let page = rows.page(&mut walk).await?;
            if page.is_empty() {
                break;
            }
            for (_, value) in page {
                failures.push(records::decode_failure(&value)?);
            }
        }
        failures.truncate(limit);
        Ok(failures)
    }

    async fn is_settled_in(&self, rows: &mut Rows) -> Step<bool> {
        self.header(rows).await?;
        let mut walk = Walk::table(Table::Range, Isolation::Serialisable).limit(1);
        Ok(rows.page(&mut walk).await?.is_empty())
    }

    async fn finish_in(&self, rows: &mut Rows) -> Step<()> {
        let header = self.header(rows).await?;
        if !self.is_settled_in(rows).await? {
            return Err(JournalError::invalid(FINISHED_TOO_EARLY).into());
        }
        rows.put_header(&Header { state: JobState::Finished, ..header });
        Ok(())
    }
}

fn random() -> [u8; 16] {
    rand::random()
}

impl fmt::Debug for EngineJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EngineJournal({}, {:?})", self.engine.url(), self.options)
    }
}

#[async_trait]
impl WorkerJournal for EngineJournal {
    fn lease(&self) -> Option<Duration> {
        (self.options.sharing == Sharing::Shared).then_some(self.options.lease)
    }

    async fn claim(&self, worker: &WorkerId) -> Result<Claim> {
        transact!(self, "give out a range", |rows| self.claim_in(rows, worker))
    }

    async fn wants_ranges(&self) -> Result<bool> {
        transact!(self, "look for waiting workers", |rows| self.wants_ranges_in(rows))
    }

    async fn split(&self, claimed: &ClaimedRange, at: &Bytes) -> Result<ClaimedRange> {
        transact!(self, "split a range", |rows| self.split_in(rows, claimed, at))
    }

    async fn settle(&self, claimed: &ClaimedRange, settled: Settled) -> Result<Option<ClaimedRange>> {
        let settled = &settled;
        transact!(self, "note what is settled", |rows| self.settle_in(rows, claimed, settled))
    }

    async fn renew(&self, claimed: &ClaimedRange) -> Result<()> {
        transact!(self, "renew a claim", |rows| self.renew_in(rows, claimed))
    }

    async fn release(&self, claimed: &ClaimedRange) -> Result<()> {
        transact!(self, "take a claim back", |rows| self.release_in(rows, claimed))
    }

    async fn upload_of(&self, key: &Key) -> Result<Option<UploadRecord>> {
        transact!(self, "read an upload", |rows| self.upload_of_in(rows, key))
    }

    async fn begin_upload(&self, record: &UploadRecord) -> Result<()> {
        transact!(self, "note an upload", |rows| self.begin_upload_in(rows, record))
    }

    async fn finish_part(&self, upload: &Upload, part: &FinishedPart) -> Result<()> {
        transact!(self, "note a part", |rows| self.finish_part_in(rows, upload, part))
    }

    async fn end_upload(&self, upload: &Upload) -> Result<()> {
        transact!(self, "forget an upload", |rows| self.end_upload_in(rows, upload))
    }
}

#[async_trait]
impl Journal for EngineJournal {
    async fn open(&self, job: &JobIdentity) -> Result<Opened> {
        self.remove_forgotten().await?;
        let (opened, header) = transact!(self, "be opened", |rows| self.open_in(rows, job))?;
        if *self.born.get_or_init(|| header.born) != header.born {
            return Err(JournalError::OtherJob { there: header.job.description });
        }
        Ok(opened)
    }

    async fn is_settled(&self) -> Result<bool> {
        transact!(self, "look whether all is settled", |rows| self.is_settled_in(rows))
    }

    async fn counts(&self) -> Result<Counts> {
        transact!(self, "read its sums", |rows| self.counts_in(rows))
    }

    async fn failures(&self, skip: u64, limit: usize) -> Result<Vec<Failure>> {
        transact!(self, "read its failures", |rows| self.failures_in(rows, skip, limit))
    }

    async fn deletions(&self, before: Option<&Key>, limit: usize) -> Result<Vec<Deletion>> {
        transact!(self, "read planned deletions", |rows| self.deletions_in(rows, before, limit))
    }

    async fn recorded(&self, from: &Bytes) -> Result<Vec<Recorded>> {
        transact!(self, "read its manifest", |rows| self.recorded_in(rows, from))
    }

    async fn end_deletions(&self, from: &Key, counts: Counts) -> Result<()> {
        transact!(self, "note deletions", |rows| self.end_deletions_in(rows, from, &counts))
    }

    async fn uploads(&self, after: Option<&Key>, limit: usize) -> Result<Vec<UploadRecord>> {
        transact!(self, "read its uploads", |rows| self.uploads_in(rows, after, limit))
    }

    async fn finish(&self) -> Result<()> {
        transact!(self, "note that it is finished", |rows| self.finish_in(rows))
    }
}
