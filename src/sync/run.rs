//! A job from its command line to its exit code.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Result;
use farshore_sync::store::{Durability, LocalOptions};
use farshore_sync::{
    Allowance, AttributeKind, Directories, Job, JobError, JobOptions, Observer, Rates, Store, Summary,
};

use super::args::{CheckArgs, FsyncArg, LimitArgs, SidesArgs, SyncArgs};
use super::coordinator::Shared;
use super::journal::Kept;
use super::progress::{Print, Progress};
use super::report::Report;
use super::stores::{self, Absent, Sides, Written};
use super::summary::{Told, differences, ending, ending_of_check};
use super::watch::{self, Failures};
use super::{backup, choose, manifest, options};
use crate::exit::{Exit, Failure};
use crate::metrics;
use crate::output::say;
use crate::serving::EndSignals;

/// Runs `farshore sync`.
pub(crate) async fn sync(args: &SyncArgs) -> Result<()> {
    let mut signals = EndSignals::listen()?;
    let durability = if args.write.fsync == FsyncArg::Each { Durability::Each } else { Durability::AtFlush };
    let absent = if args.dry_run { Absent::Empty } else { Absent::Make };
    let moment = SystemTime::now();
    let options = options::of_sync(args, moment)?;
    if options.workers == 0 && args.share.coordinator.is_none() {
        return Err(Failure::error(Exit::Usage, "--workers 0 leaves all work to others: give --coordinator ADDR too"));
    }
    let local = LocalOptions { durability, sweep: !args.dry_run, ..LocalOptions::default() };
    let mut sides = until(stores::open(&args.sides, absent, local), &mut signals).await?;
    match until(backup::open(args, &sides, absent), &mut signals).await {
        Ok(backup) => sides.backup = backup,
        Err(error) => return sides.close().await.and(Err(error)),
    }
    let outcome = match args.watch {
        Some(every) => watch::watch(args, &sides, every, &mut signals).await,
        None => sync_once(args, &sides, options, moment, &mut signals).await,
    };
    let closed = sides.close().await;
    outcome.and(closed)
}

async fn sync_once(
    args: &SyncArgs,
    sides: &Sides,
    options: JobOptions,
    moment: SystemTime,
    signals: &mut EndSignals,
) -> Result<()> {
    let range = options.range.clone();
    let mut job = Job::new(Arc::clone(&sides.source), Arc::clone(&sides.target), options);
    if let Some(path) = &args.report.manifest {
        job = job.with_manifest(manifest::file(path, sides, range)?);
    }
    if let Some(backup) = &sides.backup {
        job = job.with_backup(backup.clone());
    }
    let lease = args.share.coordinator.as_ref().map(|_| args.share.lease);
    if lease.is_some() {
        sides.volumes.refuse_workers()?;
    }
    let of_the_moment = choose::is_of_the_moment(&args.choose) && lease.is_none();
    let mut kept = if args.dry_run || args.report.no_journal || of_the_moment {
        Kept::in_memory()?
    } else {
        Kept::open(&args.report, &job, &sides.directories, lease).await?
    };
    let goes_on = kept.begin(&job).await?;
    let pass = Pass { job, kept, appends: goes_on, failures: None, moment };
    ending(&pass.run(args, sides, signals).await?)
}

/// One pass of a job whose journal is open.
pub(super) struct Pass {
    pub(super) job: Job,
    pub(super) kept: Kept,
    /// Whether a report goes on.
    pub(super) appends: bool,
    /// Hears which keys failed.
    pub(super) failures: Option<Arc<Failures>>,
    /// When the command was given.
    pub(super) moment: SystemTime,
}

impl Pass {
    /// Runs it to its end, shows and tells of it.
    pub(super) async fn run(self, args: &SyncArgs, sides: &Sides, signals: &mut EndSignals) -> Result<Summary> {
        let Self { mut job, kept, appends, failures, moment } = self;
        let report = args.report.report.as_deref().map(|path| Report::open(path, appends)).transpose()?;
        let print = if args.dry_run && !args.json { Print::Plan } else { Print::Nothing };
        let progress = Arc::new(Progress::new(print, report));
        let shared = Shared::start(args, &job, sides, &kept, &progress, moment).await?;
        let limited = if shared.is_none() { Limited::of(&args.limits) } else { None };
        if let Some(allowance) =
            shared.as_ref().map(|shared| &shared.allowance).or(limited.as_ref().map(Limited::share))
        {
            job = job.within(Arc::clone(allowance));
        }
        let measured = metrics::serve(args.report.metrics.as_deref(), progress.clone()).await?;
        let observer: Arc<dyn Observer> = match failures {
            Some(failures) => Arc::new(failures.beside(progress.clone())),
            None => progress.clone(),
        };
        let running = Running { kept, progress: &progress, observer, shared, limited };
        let summary = running.run(&job, sides.written(), signals).await;
        measured.abort();
        let summary = summary?;
        let told = told([&sides.source, &sides.target], &summary, &progress);
        if args.json {
            say(&told.json(args.dry_run));
        } else {
            told.lines(args.dry_run).iter().for_each(|line| say(line));
        }
        Ok(summary)
    }
}

/// Runs `farshore check`.
pub(crate) async fn check(args: &CheckArgs) -> Result<()> {
    let mut signals = EndSignals::listen()?;
    let (source, target) = match (&args.manifest, &args.target) {
        (Some(file), _) => return manifest::audit(args, file, &mut signals).await,
        (None, Some(target)) => (args.source.clone(), target.clone()),
        (None, None) => return Err(Failure::error(Exit::Usage, "give DST too, or a --manifest to compare SRC with")),
    };
    let options = options::of_check(args)?;
    let local = LocalOptions { sweep: false, ..LocalOptions::default() };
    let places = SidesArgs { source, target, access: args.access.clone() };
    let sides = until(stores::open(&places, Absent::Error, local), &mut signals).await?;
    let outcome = check_sides(args, &sides, options, &mut signals).await;
    let closed = sides.close().await;
    outcome.and(closed)
}

async fn check_sides(args: &CheckArgs, sides: &Sides, mut options: JobOptions, signals: &mut EndSignals) -> Result<()> {
    if args.attributes || (has_directories(&sides.source) && has_directories(&sides.target)) {
        options.policy.directories = Directories::Keep;
    }
    let range = options.range.clone();
    let mut job = Job::new(Arc::clone(&sides.source), Arc::clone(&sides.target), options);
    if let Some(path) = &args.write_manifest {
        job = job.with_manifest(manifest::file(path, sides, range)?);
    }
    compare(args, job, [&sides.source, &sides.target], signals).await
}

/// Compares what two stores have, and tells of each difference.
pub(super) async fn compare(
    args: &CheckArgs,
    mut job: Job,
    [source, target]: [&Arc<dyn Store>; 2],
    signals: &mut EndSignals,
) -> Result<()> {
    let limited = Limited::of(&args.limits);
    if let Some(limited) = &limited {
        job = job.within(Arc::clone(limited.share()));
    }
    let report = args.report.as_deref().map(|path| Report::open(path, false)).transpose()?;
    let print = if args.json { Print::DifferenceJson } else { Print::Difference };
    let progress = Arc::new(Progress::new(print, report));
    let (kept, observer) = (Kept::in_memory()?, progress.clone());
    let running = Running { kept, progress: &progress, observer, shared: None, limited };
    let summary = running.run(&job, Written { target, backup: None }, signals).await?;
    let told = told([source, target], &summary, &progress);
    if args.json {
        say(&told.json(true));
    } else if differences(&summary.counts) == 0 {
        say(&told.compared());
    }
    ending_of_check(&summary)
}

/// Does something unless a signal comes first.
pub(super) async fn until<T>(act: impl Future<Output = Result<T>>, signals: &mut EndSignals) -> Result<T> {
    tokio::select! {
        done = act => done,
        () = signals.come() => Err(interrupted()),
    }
}

pub(super) fn interrupted() -> anyhow::Error {
    Failure::error(Exit::Interrupted, "ended by a signal; give the same command to go on")
}

/// What a job has around it while it runs.
struct Running<'a> {
    kept: Kept,
    progress: &'a Arc<Progress>,
    observer: Arc<dyn Observer>,
    shared: Option<Shared>,
    limited: Option<Limited>,
}

/// Limits that change with the time, of a process that has its job for itself.
struct Limited {
    rates: Rates,
    allowance: Arc<Allowance>,
}

impl Limited {
    /// None where the limits stay as they are.
    fn of(limits: &LimitArgs) -> Option<Self> {
        let rates = options::rates(limits);
        let allowance = Arc::new(Allowance::new(&rates.limits()));
        rates.change().then_some(Self { rates, allowance })
    }

    fn share(&self) -> &Arc<Allowance> {
        &self.allowance
    }
}

impl Running<'_> {
    /// Runs the job until its end or until a signal comes. A job that ends early leaves its journal.
    async fn run(self, job: &Job, written: Written<'_>, signals: &mut EndSignals) -> Result<Summary> {
        let Self { kept, progress, observer, shared, limited } = self;
        let shown = progress.show();
        let ended = tokio::select! {
            ended = job.run(kept.journal(), observer) => Some(ended),
            () = signals.come() => None,
            () = share(shared.as_ref(), limited.as_ref()) => None,
        };
        // After a signal workers wait for the same command to be given again.
        if let (Some(shared), Some(ended)) = (shared, &ended) {
            shared.end(given_up(ended)).await;
        }
        shown.abort();
        let reported = progress.finish();
        let is_done = matches!(&ended, Some(Ok(summary)) if summary.complete);
        kept.end(is_done, written).await?;
        let summary = ended.ok_or_else(interrupted)??;
        reported.map(|()| summary)
    }
}

/// Serves the workers of this process their share of the limits.
async fn share(shared: Option<&Shared>, limited: Option<&Limited>) {
    match (shared, limited) {
        (Some(shared), _) => shared.share().await,
        (None, Some(limited)) => limited.rates.give(&limited.allowance).await,
        (None, None) => std::future::pending().await,
    }
}

/// Why workers have nothing more to do, if that is not because all is done.
fn given_up(ended: &std::result::Result<Summary, JobError>) -> Option<String> {
    match ended {
        Ok(summary) => summary.error.as_ref().map(ToString::to_string),
        Err(error) => Some(error.to_string()),
    }
}

fn told<'a>([source, target]: [&'a Arc<dyn Store>; 2], summary: &'a Summary, progress: &Progress) -> Told<'a> {
    Told {
        source: source.name(),
        target: target.name(),
        summary,
        elapsed: progress.elapsed(),
        moved_bytes: progress.moved_bytes(),
    }
}

/// Whether every directory is there as such: among objects, others make none.
pub(super) fn has_directories(store: &Arc<dyn Store>) -> bool {
    let can = store.capabilities();
    can.holds.has(AttributeKind::Directories) && can.posix_in_metadata.is_none()
}
