//! Where a job's journal is, and what becomes of it when the job ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use farshore_meta::engine::{EmbeddedOptions, Engine, EngineError, EngineUrl};
use farshore_sync::journal::{EngineJournal, Journal, JournalOptions, MemoryJournal, Opened, WorkerJournal};
use farshore_sync::{Job, Store};

use super::args::ReportArgs;
use crate::assembly::engine_url;
use crate::exit::{Exit, Failure};

/// Memory for a journal's rows, which are few.
const CACHE_BYTES: u64 = 4 << 20;
/// Uploads that are looked at at once.
const UPLOADS: usize = 100;

/// A job's journal.
pub(super) enum Kept {
    /// Gone with the process: nothing resumes.
    InMemory(Arc<MemoryJournal>),
    /// Rows of an engine.
    InEngine {
        journal: Arc<EngineJournal>,
        /// The directory that is removed when the job is done, because nobody named it.
        own: Option<PathBuf>,
    },
}

impl Kept {
    /// A journal for what changes nothing.
    pub(super) fn in_memory() -> Result<Self> {
        Ok(Self::InMemory(Arc::new(MemoryJournal::new()?)))
    }

    /// The journal that was asked for, or the one that this very job has in the state directory.
    pub(super) async fn open(args: &ReportArgs, job: &Job, directories: &[PathBuf]) -> Result<Self> {
        let (url, own) = if let Some(meta) = &args.journal {
            (engine_url(meta)?, None)
        } else {
            let own = place_of(job)?;
            (EngineUrl::embedded(&own), Some(own))
        };
        if let EngineUrl::Embedded { path } = &url {
            refuse_within(path, directories)?;
        }
        let engine = open_engine(&url).await?;
        Ok(Self::InEngine { journal: Arc::new(EngineJournal::new(engine, JournalOptions::of(&url))), own })
    }

    pub(super) fn journal(&self) -> Arc<dyn Journal> {
        match self {
            Self::InMemory(journal) => Arc::clone(journal) as Arc<dyn Journal>,
            Self::InEngine { journal, .. } => Arc::clone(journal) as Arc<dyn Journal>,
        }
    }

    /// Begins the job or goes on with it; whether it goes on. A job that was finished begins anew.
    pub(super) async fn begin(&self, job: &Job) -> Result<bool> {
        let identity = job.identity();
        let mut opened = self.journal().open(&identity).await?;
        if let (Opened::Finished(_), Self::InEngine { journal, .. }) = (opened, self) {
            journal.forget_job().await?;
            opened = journal.open(&identity).await?;
        }
        let Opened::Resumed(counts) = opened else { return Ok(false) };
        let (listed, copied) = (counts.source_entries, counts.copied);
        tracing::info!("going on with a job begun earlier: {listed} objects were settled, {copied} of them copied");
        Ok(true)
    }

    /// Ends with the journal: it is forgotten if the job is done, else kept for the next run. Uploads that nothing
    /// remembers are aborted.
    pub(super) async fn end(self, is_done: bool, target: &Arc<dyn Store>) -> Result<()> {
        match self {
            Self::InMemory(journal) => abort_uploads(&journal, target).await,
            Self::InEngine { journal, own } => {
                if is_done {
                    journal.forget_job().await?;
                }
                journal.close().await?;
                match own.filter(|_| is_done) {
                    Some(own) => fs::remove_dir_all(&own).with_context(|| format!("cannot remove {}", own.display())),
                    None => Ok(()),
                }
            }
        }
    }
}

async fn abort_uploads(journal: &MemoryJournal, target: &Arc<dyn Store>) -> Result<()> {
    loop {
        let records = journal.uploads(None, UPLOADS).await?;
        if records.is_empty() {
            return Ok(());
        }
        for record in records {
            if let Err(error) = target.abort_multipart(&record.upload).await {
                tracing::warn!(key = %record.upload.key, %error, "an upload in parts was left open at the target");
            }
            journal.end_upload(&record.upload).await?;
        }
    }
}

async fn open_engine(url: &EngineUrl) -> Result<Arc<dyn Engine>> {
    let options =
        EmbeddedOptions { cache_bytes: CACHE_BYTES, write_buffer_bytes: CACHE_BYTES, ..EmbeddedOptions::default() };
    match url.open(&options).await {
        Err(EngineError::Missing { .. }) => {
            if let EngineUrl::Embedded { path } = url
                && let Some(above) = path.parent()
            {
                fs::create_dir_all(above).with_context(|| format!("cannot make {}", above.display()))?;
            }
            Ok(url.create(&options).await?)
        }
        opened => Ok(opened?),
    }
}

/// The place in the user's state directory that belongs to this very job.
fn place_of(job: &Job) -> Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home);
    let without = "there is no HOME for the journal; name a place with --journal, or give --no-journal";
    let state = state.ok_or_else(|| Failure::error(Exit::Usage, without))?;
    let fingerprint = job.identity().fingerprint;
    let (first, _) = fingerprint.split_first_chunk().expect("a fingerprint has 32 bytes");
    Ok(state.join("farshore/sync").join(format!("{:016x}", u64::from_be_bytes(*first))))
}

/// A journal within a side would be copied while it changes, or deleted.
fn refuse_within(path: &Path, directories: &[PathBuf]) -> Result<()> {
    let Some(side) = directories.iter().find(|side| path.starts_with(side)) else { return Ok(()) };
    let (path, side) = (path.display(), side.display());
    let message = format!("the journal {path} lies in {side}; name another place with --journal, or give --no-journal");
    Err(Failure::error(Exit::Usage, message))
}
