//! A job: everything of a range of keys from one store to another. Workers claim ranges from the journal; when all are
//! finished, the gate is asked and what it lets through is deleted.

mod act;
mod chosen;
mod feed;
mod finish;
mod flush;
mod last_pass;
mod record;
mod worker;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::flush::Flush;
use self::worker::Worker;
use crate::allowance::Allowance;
use crate::copy::{Backup, Copier, CopyOptions, Ends};
use crate::counts::Counts;
use crate::error::StoreError;
use crate::filter::Filter;
use crate::gate::{Closed, DeletionPolicy};
use crate::journal::{JobIdentity, Journal, JournalError, WorkerId, WorkerJournal};
use crate::key_range::KeyRange;
use crate::limits::SETTLED_PAUSE;
use crate::manifest::{ManifestError, ManifestFile, ManifestOptions};
use crate::merge::Side;
use crate::outcome::Observer;
use crate::pace::{Pace, PaceLimits};
use crate::policy::{ComparePolicy, Metadata, PairCapabilities};
use crate::store::{Capabilities, Seek, Store};

/// What a job is to do and how. Plain data; each field has a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobOptions {
    /// The keys that it is about.
    pub range: KeyRange,
    /// Which of them.
    pub filter: Filter,
    /// How entries are compared, and what may be written and deleted.
    pub policy: ComparePolicy,
    /// When planned deletions are carried out.
    pub deletion: DeletionPolicy,
    /// How copies are made.
    pub copy: CopyOptions,
    /// The source's limits.
    pub source_pace: PaceLimits,
    /// The target's limits.
    pub target_pace: PaceLimits,
    /// How many ranges are worked on at once here. With none, others do all of it.
    pub workers: usize,
    /// What both sides hold where the job sees a part of it: what the gate decides by.
    pub part_of: Option<Whole>,
    /// What is recorded for a manifest, if there is to be one.
    pub manifest: Option<ManifestOptions>,
    /// Whether nothing is changed, only told.
    pub dry_run: bool,
    /// A random number: it spreads retries, and names workers apart from those of other processes.
    pub seed: u64,
}

/// Both sides of a job that sees only a part of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    /// Whether the source has nothing at all.
    pub source_is_empty: bool,
    /// What the target has.
    pub target_entries: u64,
}

/// Two stores and what is to be done.
#[derive(Debug)]
pub struct Job {
    source: Arc<dyn Store>,
    target: Arc<dyn Store>,
    options: JobOptions,
    /// What this process may use of the limits, where it is not alone.
    allowance: Option<Arc<Allowance>>,
    /// Where the manifest is to be, for the one who ends the job.
    manifest: Option<Arc<ManifestFile>>,
    /// Where what is overwritten or deleted goes first.
    backup: Option<Backup>,
}

/// How a job ended.
#[derive(Debug, Clone)]
pub struct Summary {
    /// What was counted, also by earlier runs of the same job.
    pub counts: Counts,
    /// Whether every range was finished.
    pub complete: bool,
    /// Why planned deletions were not carried out, if they were not.
    pub closed: Option<Closed>,
    /// What ended the job early.
    pub error: Option<StoreError>,
}

/// How the work for another process's job ended.
#[derive(Debug, Clone)]
pub enum Worked {
    /// Every range is finished.
    Done,
    /// It was asked to leave; others go on.
    Left,
    /// It cannot go on.
    Stopped(StoreError),
}

/// Why a job could not run.
#[derive(Debug, Clone, Error)]
pub enum JobError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A store, before or after the work on ranges.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// What all workers of a job share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) copier: Arc<Copier>,
    /// Both sides as they are listed.
    listed: [Arc<dyn Store>; 2],
    pub(crate) options: JobOptions,
    pub(crate) can: PairCapabilities,
    /// Whether ranges can be split.
    pub(crate) splits: bool,
    /// Whether copies are dropped when it ends early, for it must end soon.
    pub(crate) leaves: AtomicBool,
    /// Large copies of this process that have begun and not ended.
    pub(crate) large_copies: AtomicUsize,
    /// Says that ranges of this process's were split or ended, to workers that wait for one.
    pub(crate) ranges_changed: watch::Sender<()>,
    /// Where the manifest is to be.
    pub(crate) manifest: Option<Arc<ManifestFile>>,
    /// Which writes are durable.
    flush: Flush,
    /// What ends the job early: the first of them.
    stopped: Mutex<Option<StoreError>>,
}

impl Default for JobOptions {
    fn default() -> Self {
        Self {
            range: KeyRange::all(),
            filter: Filter::all(),
            policy: ComparePolicy::default(),
            deletion: DeletionPolicy::default(),
            copy: CopyOptions::default(),
            source_pace: PaceLimits::default(),
            target_pace: PaceLimits::default(),
            workers: 4,
            part_of: None,
            manifest: None,
            dry_run: false,
            seed: 0,
        }
    }
}

impl Summary {
    /// Whether everything that was asked for was done.
    pub fn is_clean(&self) -> bool {
        let counts = &self.counts;
        self.complete && self.closed.is_none() && counts.failed + counts.unlisted + counts.conflicts == 0
    }
}

impl Job {
    /// A job from one store to another.
    pub fn new(source: Arc<dyn Store>, target: Arc<dyn Store>, options: JobOptions) -> Self {
        Self { source, target, options, allowance: None, manifest: None, backup: None }
    }

    /// The same with limits that are shared with other processes: what may be used of them comes out of an allowance.
    #[must_use]
    pub fn within(self, allowance: Arc<Allowance>) -> Self {
        Self { allowance: Some(allowance), ..self }
    }

    /// The same with a manifest that is written at its end; its options say what is recorded.
    #[must_use]
    pub fn with_manifest(self, file: ManifestFile) -> Self {
        Self { manifest: Some(Arc::new(file)), ..self }
    }

    /// The same with a place to which what is overwritten or deleted goes first.
    #[must_use]
    pub fn with_backup(self, backup: Backup) -> Self {
        Self { backup: Some(backup), ..self }
    }

    fn pace(&self, limits: PaceLimits, side: Side) -> Arc<Pace> {
        Arc::new(match &self.allowance {
            Some(allowance) => Pace::given(limits, Arc::clone(allowance), side),
            None => Pace::new(limits),
        })
    }

    /// What tells this job from others.
    pub fn identity(&self) -> JobIdentity {
        let JobOptions { range, filter, policy, deletion, copy, dry_run, part_of, manifest, .. } = &self.options;
        let description = format!("{} to {}, {range}", self.source.name(), self.target.name());
        let sides = [&self.source, &self.target].map(|side| side.capabilities());
        let in_metadata = sides[0].posix_in_metadata.is_some();
        // Where links are other objects, keys are others.
        let kept = (copy.keep, &copy.storage_class, in_metadata, sides.map(|side| side.holds));
        let all = format!(
            "{description} {:?} {policy:?} {deletion:?} {kept:?} {:?} {dry_run}{}",
            filter.spec(),
            copy.verify,
            if part_of.is_some() { " a part" } else { "" }
        );
        // What an earlier run did not record is missing, so a job that records is another one.
        let all = match manifest {
            Some(ManifestOptions { reads }) => format!("{all} a manifest, read {reads}"),
            None => all,
        };
        let all = match &self.backup {
            Some(Backup { place, suffix, .. }) => format!("{all} backups in {} with {suffix:?}", place.name()),
            None => all,
        };
        JobIdentity { fingerprint: *blake3::hash(all.as_bytes()).as_bytes(), description, range: range.clone() }
    }

    /// Runs the job, or goes on with it, until its end or until it cannot go on.
    pub async fn run(&self, journal: Arc<dyn Journal>, observer: Arc<dyn Observer>) -> Result<Summary, JobError> {
        journal.open(&self.identity()).await?;
        let context = Arc::new(self.context(Arc::clone(&journal) as Arc<dyn WorkerJournal>, observer));
        context.work().await?;
        while !context.is_stopped() && !journal.is_settled().await? {
            tokio::time::sleep(SETTLED_PAUSE).await;
        }
        finish::finish(&context, journal.as_ref()).await
    }

    /// Works for a job that another process has, until every range is finished, this one cannot go on, or it is asked to
    /// leave; then it tells what is settled and gives back what it has.
    pub async fn work(
        &self,
        journal: Arc<dyn WorkerJournal>,
        observer: Arc<dyn Observer>,
        asked: impl Future<Output = ()>,
    ) -> Result<Worked, JobError> {
        let context = Arc::new(self.context(journal, observer));
        let mut working = pin!(context.work());
        tokio::select! {
            worked = &mut working => worked?,
            () = asked => {
                context.stop(StoreError::unavailable("this process", "go on", &"it was asked to end"));
                context.leaves.store(true, Ordering::Relaxed);
                working.await?;
                return Ok(Worked::Left);
            }
        }
        Ok(context.stopped().map_or(Worked::Done, Worked::Stopped))
    }

    fn context(&self, journal: Arc<dyn WorkerJournal>, observer: Arc<dyn Observer>) -> Context {
        let (here, there) = (self.source.capabilities(), self.target.capabilities());
        let can = PairCapabilities {
            target_holds: there.holds,
            same_times: here.lists_source_times && there.lists_source_times,
            time_precision: std::time::Duration::from_nanos(here.time_precision_ns.max(there.time_precision_ns)),
            kept: here.holds.and(there.holds).and(self.options.copy.keep),
            metadata: metadata(here, there),
        };
        let splits = here.seek == Seek::Anywhere && there.seek == Seek::Anywhere;
        let ends = Ends {
            source: Arc::clone(&self.source),
            target: Arc::clone(&self.target),
            journal,
            observer,
            source_pace: self.pace(self.options.source_pace, Side::Source),
            target_pace: self.pace(self.options.target_pace, Side::Target),
        };
        let copy = CopyOptions { blake3: self.options.manifest.is_some(), ..self.options.copy.clone() };
        let copier = Arc::new(Copier::new(ends, copy, self.options.seed, self.backup.as_ref()));
        let sides = [(&copier.source, &copier.source_pace), (&copier.target, &copier.target_pace)];
        let listed = chosen::listed(sides, &self.options.filter);
        Context {
            copier,
            listed,
            options: self.options.clone(),
            can,
            splits,
            leaves: AtomicBool::new(false),
            large_copies: AtomicUsize::new(0),
            ranges_changed: watch::Sender::new(()),
            manifest: self.manifest.clone(),
            flush: Flush::new(),
            stopped: Mutex::new(None),
        }
    }
}

/// Which side has what filesystems keep in metadata, if the other has files.
fn metadata(here: &Capabilities, there: &Capabilities) -> Metadata {
    match (here.posix_in_metadata, there.posix_in_metadata) {
        (Some(_), None) => Metadata::AtSource,
        (None, Some(form)) => Metadata::AtTarget { form, room: there.user_metadata_bytes },
        _ => Metadata::Nowhere,
    }
}

impl Context {
    /// Ends the job early, for this reason unless it has one.
    pub(crate) fn stop(&self, reason: StoreError) {
        self.stopped.lock().get_or_insert(reason);
    }

    /// Why the job ends early, if it does.
    pub(crate) fn stopped(&self) -> Option<StoreError> {
        self.stopped.lock().clone()
    }

    /// Why the job ends, if what runs is to be dropped for it.
    pub(crate) fn leaving(&self) -> Option<StoreError> {
        self.leaves.load(Ordering::Relaxed).then(|| self.stopped()).flatten()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.lock().is_some()
    }

    /// A side as it is listed.
    pub(crate) fn listed(&self, side: Side) -> &Arc<dyn Store> {
        &self.listed[usize::from(side == Side::Target)]
    }

    pub(crate) fn journal(&self) -> &dyn WorkerJournal {
        self.copier.journal.as_ref()
    }

    /// Makes what was written durable. Once it has failed it always does.
    pub(crate) async fn flush(&self) -> Result<(), StoreError> {
        if self.options.dry_run {
            return Ok(());
        }
        self.flush.run(|| self.copier.retry(|| async { self.copier.target.flush().await })).await
    }

    /// Runs this process's workers until each has ended.
    async fn work(self: &Arc<Self>) -> Result<(), JobError> {
        let mut workers = JoinSet::new();
        for number in 0..self.options.workers {
            let name = format!("{:016x}-{number}", self.options.seed);
            workers.spawn(Worker::new(Arc::clone(self), WorkerId(name)).run());
        }
        while let Some(ended) = workers.join_next().await {
            let ended = ended.map_err(|error| StoreError::bug(format!("a worker ended: {error}")))?;
            if let Err(error) = ended {
                self.stop(StoreError::unavailable("the journal", "go on", &error));
                return Err(error.into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod backup_tests;
#[cfg(test)]
mod chosen_tests;
#[cfg(test)]
mod directories_tests;
#[cfg(test)]
mod flush_tests;
#[cfg(test)]
mod origin_tests;
#[cfg(test)]
mod shared_tests;
#[cfg(test)]
mod sharing_tests;
#[cfg(test)]
mod silent_tests;
#[cfg(test)]
mod tests;
