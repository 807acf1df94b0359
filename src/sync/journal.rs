//! Where a job's journal is, and what becomes of it when the job ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use farshore_meta::engine::{EmbeddedOptions, Engine, EngineError, EngineUrl};
use farshore_sync::journal::{EngineJournal, Journal, JournalOptions, MemoryJournal, Opened, Sharing};
use farshore_sync::{Backup, Job};

use super::args::ReportArgs;
use super::stores::Written;
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
        engine: Arc<dyn Engine>,
        options: JournalOptions,
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
    /// With a lease, others work for the job too.
    pub(super) async fn open(
        args: &ReportArgs,
        job: &Job,
        directories: &[PathBuf],
        lease: Option<Duration>,
    ) -> Result<Self> {
        let (url, own) = url_of(args, job, directories)?;
        Self::at(&url, own, lease).await
    }

    /// The journal of a job that sees a part of what the one that was asked for sees.
    pub(super) async fn open_part(args: &ReportArgs, part: &Job, directories: &[PathBuf]) -> Result<Self> {
        let (url, own) = url_of(args, part, directories)?;
        let url = if own.is_some() { url } else { beside(url, ".changes") };
        Self::at(&url, own, None).await
    }

    async fn at(url: &EngineUrl, own: Option<PathBuf>, lease: Option<Duration>) -> Result<Self> {
        if let Some(own) = &own {
            remove_rest(own)?;
        }
        let engine = open_engine(url).await?;
        let options = match lease {
            Some(lease) => JournalOptions { lease, ..JournalOptions::new(Sharing::Shared) },
            None => JournalOptions::of(url),
        };
        let journal = Arc::new(EngineJournal::new(Arc::clone(&engine), options.clone()));
        Ok(Self::InEngine { engine, options, journal, own })
    }

    pub(super) fn journal(&self) -> Arc<dyn Journal> {
        match self {
            Self::InMemory(journal) => Arc::clone(journal) as Arc<dyn Journal>,
            Self::InEngine { journal, .. } => Arc::clone(journal) as Arc<dyn Journal>,
        }
    }

    /// The journal, if it outlives this process.
    pub(super) fn in_engine(&self) -> Option<Arc<EngineJournal>> {
        match self {
            Self::InMemory(_) => None,
            Self::InEngine { journal, .. } => Some(Arc::clone(journal)),
        }
    }

    /// Begins the job or goes on with it; whether it goes on. A job that was finished begins anew.
    pub(super) async fn begin(&mut self, job: &Job) -> Result<bool> {
        let identity = job.identity();
        match self.journal().open(&identity).await? {
            Opened::New => Ok(false),
            Opened::Finished(_) => {
                self.forget().await?;
                self.journal().open(&identity).await?;
                Ok(false)
            }
            Opened::Resumed(counts) => {
                let (listed, copied) = (counts.source_entries, counts.copied);
                tracing::info!(
                    "going on with a job begun earlier: {listed} objects were settled, {copied} of them copied"
                );
                Ok(true)
            }
        }
    }

    /// Begins the job anew, whatever of it was done. Uploads of the earlier run are aborted.
    pub(super) async fn begin_anew(&mut self, job: &Job, written: Written<'_>) -> Result<()> {
        let identity = job.identity();
        if self.journal().open(&identity).await? != Opened::New {
            abort_uploads(self.journal().as_ref(), written).await?;
            self.forget().await?;
            self.journal().open(&identity).await?;
        }
        Ok(())
    }

    /// Forgets the job that is there. A journal knows the job that it was opened for, so there is another one then.
    async fn forget(&mut self) -> Result<()> {
        if let Self::InEngine { engine, options, journal, .. } = self {
            journal.forget_job().await?;
            *journal = Arc::new(EngineJournal::new(Arc::clone(engine), options.clone()));
        }
        Ok(())
    }

    /// Ends with the journal: it is forgotten if the job is done, else kept for the next run. Uploads that nothing
    /// remembers are aborted.
    pub(super) async fn end(self, is_done: bool, written: Written<'_>) -> Result<()> {
        match self {
            Self::InMemory(journal) => abort_uploads(journal.as_ref(), written).await,
            Self::InEngine { journal, own, .. } => {
                if is_done {
                    journal.forget_job().await?;
                }
                journal.close().await?;
                match own.filter(|_| is_done) {
                    Some(own) => remove(&own),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Removes a journal's directory: under another name, so that one who is killed meanwhile leaves no half of a journal.
fn remove(own: &Path) -> Result<()> {
    fs::rename(own, rest_of(own)).with_context(|| format!("cannot remove {}", own.display()))?;
    remove_rest(own)
}

fn remove_rest(own: &Path) -> Result<()> {
    let rest = rest_of(own);
    match fs::remove_dir_all(&rest) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", rest.display()))
        }
        _ => Ok(()),
    }
}

fn rest_of(own: &Path) -> PathBuf {
    own.with_extension("done")
}

async fn abort_uploads(journal: &dyn Journal, written: Written<'_>) -> Result<()> {
    loop {
        let records = journal.uploads(None, UPLOADS).await?;
        if records.is_empty() {
            return Ok(());
        }
        for record in records {
            let aborted = match written.backup.zip(Backup::upload_at(&record.upload)) {
                Some((backup, upload)) => upload.abort_at(backup.place.as_ref()).await,
                None => record.upload.abort_at(written.target.as_ref()).await,
            };
            if let Err(error) = aborted {
                tracing::warn!(key = %record.upload.key, %error, "an upload in parts was left open at the target");
            }
            journal.end_upload(&record.upload).await?;
        }
    }
}

/// The engine of what a job that watches remembers: beside its journal, which goes with each pass.
pub(super) async fn open_memory(args: &ReportArgs, job: &Job, directories: &[PathBuf]) -> Result<Arc<dyn Engine>> {
    open_engine(&beside(url_of(args, job, directories)?.0, ".watch")).await
}

/// A place beside that of a journal.
fn beside(url: EngineUrl, suffix: &str) -> EngineUrl {
    match url {
        EngineUrl::Embedded { path } => {
            let mut name = path.into_os_string();
            name.push(suffix);
            EngineUrl::Embedded { path: name.into() }
        }
        EngineUrl::FoundationDb { cluster_file, prefix } => {
            EngineUrl::FoundationDb { cluster_file, prefix: format!("{prefix}{suffix}") }
        }
    }
}

/// Where the journal is, and the directory that is removed with it, if nobody named it.
fn url_of(args: &ReportArgs, job: &Job, directories: &[PathBuf]) -> Result<(EngineUrl, Option<PathBuf>)> {
    let (url, own) = if let Some(meta) = &args.journal {
        (engine_url(meta)?, None)
    } else {
        let own = place_of(job)?;
        (EngineUrl::embedded(&own), Some(own))
    };
    if let EngineUrl::Embedded { path } = &url {
        refuse_within(path, directories)?;
    }
    Ok((url, own))
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

#[cfg(test)]
mod tests {
    use farshore_sync::store::{Body, MemoryStore, PutRequest};
    use farshore_sync::{JobOptions, Key, Silent, Store};

    use super::*;

    async fn put(store: &MemoryStore, key: &str) {
        let request = PutRequest::object(Key::try_from(key).unwrap(), 1);
        store.put(&request, Body::Whole("x".into())).await.unwrap();
    }

    #[tokio::test]
    async fn a_job_that_is_done_is_done_anew_when_it_is_given_again_whatever_became_of_its_journal() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal").to_str().map(str::to_owned);
        let args = ReportArgs {
            report: None,
            manifest: None,
            manifest_read: false,
            journal,
            no_journal: false,
            metrics: None,
        };
        let (source, target) = (MemoryStore::objects("source"), MemoryStore::objects("target"));
        let (source, target) = (Arc::new(source), Arc::new(target));
        let job = Job::new(source.clone(), target.clone(), JobOptions::default());
        let target = target as Arc<dyn Store>;
        // Killed after the job's end and before its journal was forgotten; forgotten; once more.
        for (number, killed) in [true, false, false].into_iter().enumerate() {
            put(&source, &format!("key-{number}")).await;
            let mut kept = Kept::open(&args, &job, &[], None).await.unwrap();
            assert!(!kept.begin(&job).await.unwrap(), "pass {number} goes on with an earlier one");
            let summary = job.run(kept.journal(), Arc::new(Silent)).await.unwrap();
            assert_eq!((summary.counts.source_entries, summary.counts.copied), (number as u64 + 1, 1));
            if killed {
                kept.in_engine().unwrap().close().await.unwrap();
            } else {
                kept.end(true, Written { target: &target, backup: None }).await.unwrap();
            }
        }
    }

    #[test]
    fn what_was_left_of_a_removed_journal_goes() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("0123456789abcdef");
        fs::create_dir_all(rest_of(&own).join("half")).unwrap();
        fs::create_dir(&own).unwrap();
        remove_rest(&own).unwrap();
        assert!(own.exists() && !rest_of(&own).exists());
        remove(&own).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
