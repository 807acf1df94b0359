//! `--watch`: after the first pass another one, and another, until a signal comes. Between stores each compares
//! everything; from a volume each but the first compares what its change log tells.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use farshore_meta::{FsError, Ino};
use farshore_proto::Position;
use farshore_sync::follow::{Changed, Names, Place, WatchRecord, select};
use farshore_sync::journal::JobIdentity;
use farshore_sync::store::{ListRequest, Selected};
use farshore_sync::{Job, JobOptions, KeyRange, Observer, Outcome, Selection, Side, Store, Summary, What, Whole};
use rand::RngExt;

use super::args::{LinksArg, SyncArgs};
use super::journal::{Kept, open_memory};
use super::run::{Pass, interrupted};
use super::stores::Sides;
use super::summary::ending;
use super::volume::Served;
use super::{choose, options};
use crate::exit::{Exit, code_of};
use crate::serving::EndSignals;

/// Pauses differ by up to this part, so that many watchers do not ask one store at the same moment.
const JITTER: f64 = 0.2;
/// What is read of the log at once.
const LOG_BYTES: usize = 2 << 20;
/// Changed names and inodes of one pass: some 300 bytes each, with the rows that note them.
const MAX_CHANGED: usize = 50_000;
/// Keys that failed and are tried again with the next pass; with more, everything is compared again.
const MAX_FAILED: usize = 100_000;
/// How often a volume in which nothing changes is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often a place is noted although nothing was to be done: the log before it may then go.
const NOTE_EVERY: Duration = Duration::from_mins(1);

/// Goes on until a signal comes, which is the good end.
pub(super) async fn watch(args: &SyncArgs, sides: &Sides, every: Duration, signals: &mut EndSignals) -> Result<()> {
    let served = sides.volumes.source();
    served.map_or(Ok(()), Served::expect_changes)?;
    // An age is another one at each pass, and what was left out for it is in no log. A log tells names, and those of
    // links are no keys as rclone has them.
    let follows = !choose::is_of_the_moment(&args.choose) && args.sides.access.links == LinksArg::Metadata;
    let followed = served.zip(sides.source_root).filter(|_| follows);
    let ended = match followed {
        Some((served, root)) => Follow::open(args, sides, served, root, every).await?.run(signals).await,
        None => repeat(args, sides, every, signals).await,
    };
    match ended {
        Err(error) if code_of(&error) == Exit::Interrupted => Ok(()),
        ended => ended,
    }
}

/// Compares everything, again and again.
async fn repeat(args: &SyncArgs, sides: &Sides, every: Duration, signals: &mut EndSignals) -> Result<()> {
    let mut appends = false;
    loop {
        let job =
            Job::new(Arc::clone(&sides.source), Arc::clone(&sides.target), options::of_sync(args, SystemTime::now())?);
        let forgets = choose::is_of_the_moment(&args.choose);
        let mut kept =
            if forgets { Kept::in_memory()? } else { Kept::open(&args.report, &job, &sides.directories, None).await? };
        let goes_on = kept.begin(&job).await?;
        let pass = Pass { job, kept, appends: goes_on || appends, failures: None, moment: SystemTime::now() };
        let summary = pass.run(args, sides, signals).await;
        tolerated(summary.and_then(|summary| ending(&summary)))?;
        appends = true;
        pause(every, signals).await?;
    }
}

/// What the next pass may find better is told and passes.
fn tolerated(ended: Result<()>) -> Result<()> {
    match ended {
        Err(error) if matches!(code_of(&error), Exit::Partial | Exit::Withheld | Exit::Store | Exit::NoSpace) => {
            tracing::warn!("{error:#}; the next pass tries again");
            Ok(())
        }
        ended => ended,
    }
}

/// Waits, a little longer or shorter each time.
async fn pause(every: Duration, signals: &mut EndSignals) -> Result<()> {
    let pause = every.mul_f64(rand::rng().random_range(1.0 - JITTER..=1.0 + JITTER));
    tokio::select! {
        () = tokio::time::sleep(pause) => Ok(()),
        () = signals.come() => Err(interrupted()),
    }
}

/// The watch of a volume.
struct Follow<'a> {
    args: &'a SyncArgs,
    sides: &'a Sides,
    served: &'a Served,
    every: Duration,
    /// The directory whose keys they are.
    root: Ino,
    /// What is remembered over the end of the process.
    record: WatchRecord,
    names: Names,
    /// What failed, or was withheld: it is looked at again with the next pass, and only without it a place is noted.
    retry: Selection,
    noted: Instant,
    appends: bool,
}

/// Where a watch is: everything up to here was looked at.
#[derive(Debug, Clone, Copy)]
struct Reached {
    position: Position,
    target_entries: u64,
}

impl<'a> Follow<'a> {
    async fn open(
        args: &'a SyncArgs,
        sides: &'a Sides,
        served: &'a Served,
        root: Ino,
        every: Duration,
    ) -> Result<Self> {
        let job =
            Job::new(Arc::clone(&sides.source), Arc::clone(&sides.target), options::of_sync(args, SystemTime::now())?);
        let memory = open_memory(&args.report, &job, &sides.directories).await?;
        let record = WatchRecord::new(Arc::clone(&memory), of_volume(&job.identity(), served));
        let (names, retry) = (Names::new(memory), Selection::default());
        Ok(Self { args, sides, served, every, root, record, names, retry, noted: Instant::now(), appends: false })
    }

    async fn run(mut self, signals: &mut EndSignals) -> Result<()> {
        let mut at = match self.record.get().await? {
            Some(Place::Reached { position, target_entries }) => Some(Reached { position, target_entries }),
            _ => None,
        };
        loop {
            at = match at {
                None => self.everything(signals).await?,
                Some(reached) => self.changes(reached, signals).await?,
            };
            pause(self.every, signals).await?;
            if let Some(reached) = at.filter(|_| self.retry.is_empty()) {
                self.until_changed(reached.position, signals).await?;
            }
        }
    }

    /// Compares everything. Where the volume stood before is noted first: a pass that is killed goes on, and what
    /// changed since is in the log.
    async fn everything(&mut self, signals: &mut EndSignals) -> Result<Option<Reached>> {
        let job = Job::new(
            Arc::clone(&self.sides.source),
            Arc::clone(&self.sides.target),
            options::of_sync(self.args, SystemTime::now())?,
        );
        let mut kept = Kept::open(&self.args.report, &job, &self.sides.directories, None).await?;
        let goes_on = kept.begin(&job).await?;
        let begun = match self.record.get().await? {
            Some(Place::Begun(position)) if goes_on => position,
            _ => {
                kept.begin_anew(&job, self.sides.written()).await?;
                let position = self.served.region.state().await?.position;
                self.record.put(&Place::Begun(position)).await?;
                position
            }
        };
        self.names.note_below(&self.served.volume, self.root).await?;
        self.retry = Selection::default();
        let failures = Arc::new(Failures::default());
        let pass = Pass {
            job,
            kept,
            appends: goes_on || self.appends,
            failures: Some(Arc::clone(&failures)),
            moment: SystemTime::now(),
        };
        self.appends = true;
        let summary = match pass.run(self.args, self.sides, signals).await {
            Ok(summary) => summary,
            Err(error) => return tolerated(Err(error)).map(|()| None),
        };
        tolerated(ending(&summary))?;
        let failed = failures.take();
        let (Some(failed), true) = (failed, is_whole(&summary)) else { return Ok(None) };
        // Of a pass that went on, earlier failures are counted and not known by name.
        if failed.len() as u64 != summary.counts.failed {
            return Ok(None);
        }
        self.retry = failed;
        let target_entries = summary.counts.target_entries.max(summary.counts.source_entries);
        let reached = Reached { position: begun, target_entries };
        self.note(reached).await?;
        Ok(Some(reached))
    }

    /// Compares what changed since; none if that cannot be told any more.
    async fn changes(&mut self, from: Reached, signals: &mut EndSignals) -> Result<Option<Reached>> {
        let (changed, to) = match self.read_log(from.position).await {
            Err(FsError::LogTrimmed(_) | FsError::Diverged(_)) => {
                tracing::warn!("the log since {} is not kept any more; everything is compared again", from.position);
                return Ok(None);
            }
            read => read?,
        };
        self.names.note(&self.served.volume, &changed).await?;
        let mut selection = select(&self.served.volume, self.root, &self.names, &changed).await?;
        if selection.has_escapes() {
            tracing::info!("keys changed that have other names in the volume; everything is compared again");
            return Ok(None);
        }
        selection.extend(&std::mem::take(&mut self.retry));
        let reached = Reached { position: to, ..from };
        if selection.is_empty() {
            if self.noted.elapsed() > NOTE_EVERY {
                self.note(reached).await?;
            }
            return Ok(Some(reached));
        }
        tracing::debug!(keys = selection.len(), "looking at what changed");
        match self.pass(&selection, from.target_entries, signals).await? {
            Some(failed) => self.retry = failed,
            None => self.retry = selection,
        }
        self.note(reached).await?;
        Ok(Some(reached))
    }

    /// What changed after a position, and up to where.
    async fn read_log(&self, from: Position) -> std::result::Result<(Changed, Position), FsError> {
        let (mut changed, mut at) = (Changed::default(), from);
        loop {
            let interval = self.served.region.interval(at, LOG_BYTES).await?;
            interval.commits.iter().try_for_each(|commit| changed.add(commit))?;
            at = interval.to;
            if interval.digest.is_some() || changed.len() >= MAX_CHANGED {
                return Ok((changed, at));
            }
        }
    }

    /// Compares what is selected; what failed of it, or none if the pass was not whole.
    async fn pass(
        &mut self,
        selection: &Selection,
        target_entries: u64,
        signals: &mut EndSignals,
    ) -> Result<Option<Selection>> {
        let selected = |store: &Arc<dyn Store>, selection: &Arc<Selection>| -> Arc<dyn Store> {
            Arc::new(Selected::new(Arc::clone(store), Arc::clone(selection)))
        };
        let selection = Arc::new(selection.clone());
        let (source, target) = (selected(&self.sides.source, &selection), selected(&self.sides.target, &selection));
        let part_of = Some(self.whole(target_entries).await?);
        let job = Job::new(source, target, JobOptions { part_of, ..options::of_sync(self.args, SystemTime::now())? });
        let mut kept = Kept::open_part(&self.args.report, &job, &self.sides.directories).await?;
        kept.begin_anew(&job, self.sides.written()).await?;
        let failures = Arc::new(Failures::default());
        let pass =
            Pass { job, kept, appends: self.appends, failures: Some(Arc::clone(&failures)), moment: SystemTime::now() };
        self.appends = true;
        let summary = match pass.run(self.args, self.sides, signals).await {
            Ok(summary) => summary,
            Err(error) => return tolerated(Err(error)).map(|()| None),
        };
        tolerated(ending(&summary))?;
        Ok(failures.take().filter(|_| is_whole(&summary)))
    }

    /// What is true of both sides as wholes, for the gate of a pass that sees a part.
    async fn whole(&self, target_entries: u64) -> Result<Whole> {
        let request = ListRequest { limit: 1, ..ListRequest::first(KeyRange::all()) };
        let source_is_empty = self.sides.source.list(&request).await?.entries.is_empty();
        Ok(Whole { source_is_empty, target_entries })
    }

    /// Notes a place for the next process, unless something before it is still to be done.
    async fn note(&mut self, reached: Reached) -> Result<()> {
        if !self.retry.is_empty() {
            return Ok(());
        }
        let Reached { position, target_entries } = reached;
        self.record.put(&Place::Reached { position, target_entries }).await?;
        self.noted = Instant::now();
        if self.served.follows() {
            // Nobody else reads the log of a mirror that is there for this job.
            self.served.region.trim_log(position).await?;
        }
        Ok(())
    }

    async fn until_changed(&self, position: Position, signals: &mut EndSignals) -> Result<()> {
        while self.served.region.state().await?.position <= position {
            self.served.expect_following()?;
            tokio::select! {
                changed = self.served.changed(position, LOOK_EVERY) => changed?,
                () = signals.come() => return Err(interrupted()),
            }
        }
        Ok(())
    }
}

/// The same job for another volume is another one, even at the same place.
fn of_volume(job: &JobIdentity, served: &Served) -> JobIdentity {
    let mut fingerprint = job.fingerprint;
    for (byte, own) in fingerprint.iter_mut().zip(served.settings.volume_id.as_bytes()) {
        *byte ^= own;
    }
    JobIdentity { fingerprint, ..job.clone() }
}

/// Whether all was looked at and nothing withheld; single keys may have failed.
fn is_whole(summary: &Summary) -> bool {
    summary.complete && summary.closed.is_none() && summary.error.is_none()
}

/// Remembers which keys failed.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<Failed>);

#[derive(Debug, Default)]
struct Failed {
    keys: Selection,
    too_many: bool,
}

/// Hears of a job for two.
#[derive(Debug)]
struct Both {
    failures: Arc<Failures>,
    other: Arc<dyn Observer>,
}

impl Failures {
    /// An observer that tells this one of failures and another one of everything.
    pub(super) fn beside(self: Arc<Self>, other: Arc<dyn Observer>) -> impl Observer {
        Both { failures: self, other }
    }

    fn add(&self, key: &farshore_sync::Key) {
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failed.too_many |= failed.keys.len() >= MAX_FAILED;
        if !failed.too_many {
            failed.keys.add_key(key.as_bytes());
        }
    }

    /// The keys that failed; none if they were too many.
    fn take(&self) -> Option<Selection> {
        let failed = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        (!failed.too_many).then_some(failed.keys)
    }
}

impl Observer for Both {
    fn listed(&self, side: Side, entries: u64) {
        self.other.listed(side, entries);
    }

    fn copied_bytes(&self, bytes: u64) {
        self.other.copied_bytes(bytes);
    }

    fn outcome(&self, outcome: &Outcome) {
        if matches!(outcome.what, What::Failed { .. }) {
            self.failures.add(&outcome.key);
        }
        self.other.outcome(outcome);
    }

    fn unlisted(&self, side: Side, place: &str, reason: &str) {
        self.other.unlisted(side, place, reason);
    }
}
