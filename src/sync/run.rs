//! A job from its command line to its exit code.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Result;
use farshore_sync::store::{Durability, LocalOptions};
use farshore_sync::{AttributeKind, Directories, Job, JobError, Observer, Store, Summary};

use super::args::{CheckArgs, FsyncArg, SyncArgs};
use super::coordinator::Shared;
use super::journal::Kept;
use super::progress::{Print, Progress};
use super::report::Report;
use super::stores::{self, Absent, Sides};
use super::summary::{Told, differences, ending, ending_of_check};
use super::{choose, options};
use crate::exit::{Exit, Failure};
use crate::metrics;
use crate::output::say;
use crate::serving::EndSignals;

/// Runs `farshore sync`.
pub(crate) async fn sync(args: &SyncArgs) -> Result<()> {
    let signals = EndSignals::listen()?;
    let durability = if args.write.fsync == FsyncArg::Each { Durability::Each } else { Durability::AtFlush };
    let absent = if args.dry_run { Absent::Empty } else { Absent::Make };
    let moment = SystemTime::now();
    let options = options::of_sync(args, moment)?;
    if options.workers == 0 && args.share.coordinator.is_none() {
        return Err(Failure::error(Exit::Usage, "--workers 0 leaves all work to others: give --coordinator ADDR too"));
    }
    let sides = stores::open(&args.sides, absent, LocalOptions { durability, sweep: !args.dry_run }).await?;
    let mut job = Job::new(Arc::clone(&sides.source), Arc::clone(&sides.target), options);
    let lease = args.share.coordinator.as_ref().map(|_| args.share.lease);
    let of_the_moment = choose::is_of_the_moment(&args.choose) && lease.is_none();
    let kept = if args.dry_run || args.report.no_journal || of_the_moment {
        Kept::in_memory()?
    } else {
        Kept::open(&args.report, &job, &sides.directories, lease).await?
    };
    let goes_on = kept.begin(&job).await?;
    let report = args.report.report.as_deref().map(|path| Report::open(path, goes_on)).transpose()?;
    let print = if args.dry_run && !args.json { Print::Plan } else { Print::Nothing };
    let progress = Arc::new(Progress::new(print, report));
    let shared = Shared::start(args, &job, &sides, &kept, &progress, moment).await?;
    if let Some(shared) = &shared {
        job = job.within(Arc::clone(&shared.allowance));
    }
    let measured = metrics::serve(args.report.metrics.as_deref(), progress.clone()).await?;
    let summary = run(&job, &sides, kept, &progress, shared, signals).await?;
    measured.abort();
    let told = told(&sides, &summary, &progress);
    if args.json {
        say(&told.json(args.dry_run));
    } else {
        told.lines(args.dry_run).iter().for_each(|line| say(line));
    }
    ending(&summary)
}

/// Runs `farshore check`.
pub(crate) async fn check(args: &CheckArgs) -> Result<()> {
    let signals = EndSignals::listen()?;
    let mut options = options::of_check(args)?;
    let local = LocalOptions { sweep: false, ..LocalOptions::default() };
    let sides = stores::open(&args.sides, Absent::Error, local).await?;
    if args.attributes || (has_directories(&sides.source) && has_directories(&sides.target)) {
        options.policy.directories = Directories::Keep;
    }
    let job = Job::new(Arc::clone(&sides.source), Arc::clone(&sides.target), options);
    let report = args.report.as_deref().map(|path| Report::open(path, false)).transpose()?;
    let print = if args.json { Print::DifferenceJson } else { Print::Difference };
    let progress = Arc::new(Progress::new(print, report));
    let summary = run(&job, &sides, Kept::in_memory()?, &progress, None, signals).await?;
    let told = told(&sides, &summary, &progress);
    if args.json {
        say(&told.json(true));
    } else if differences(&summary.counts) == 0 {
        say(&told.compared());
    }
    ending_of_check(&summary)
}

/// Runs the job until its end or until a signal comes. A job that ends early leaves its journal.
async fn run(
    job: &Job,
    sides: &Sides,
    kept: Kept,
    progress: &Arc<Progress>,
    shared: Option<Shared>,
    signals: EndSignals,
) -> Result<Summary> {
    let observer: Arc<dyn Observer> = progress.clone();
    let shown = progress.show();
    let ended = tokio::select! {
        ended = job.run(kept.journal(), observer) => Some(ended),
        () = signals.come() => None,
        () = share(shared.as_ref()) => None,
    };
    // After a signal workers wait for the same command to be given again.
    if let (Some(shared), Some(ended)) = (shared, &ended) {
        shared.end(given_up(ended)).await;
    }
    shown.abort();
    let reported = progress.finish();
    let is_done = matches!(&ended, Some(Ok(summary)) if summary.complete);
    kept.end(is_done, &sides.target).await?;
    let interrupted = || Failure::error(Exit::Interrupted, "ended by a signal; give the same command to go on");
    let summary = ended.ok_or_else(interrupted)??;
    reported.map(|()| summary)
}

/// Serves the workers of this process their share of the limits.
async fn share(shared: Option<&Shared>) {
    match shared {
        Some(shared) => shared.share().await,
        None => std::future::pending().await,
    }
}

/// Why workers have nothing more to do, if that is not because all is done.
fn given_up(ended: &std::result::Result<Summary, JobError>) -> Option<String> {
    match ended {
        Ok(summary) => summary.error.as_ref().map(ToString::to_string),
        Err(error) => Some(error.to_string()),
    }
}

fn told<'a>(sides: &'a Sides, summary: &'a Summary, progress: &Progress) -> Told<'a> {
    Told {
        source: sides.source.name(),
        target: sides.target.name(),
        summary,
        elapsed: progress.elapsed(),
        moved_bytes: progress.moved_bytes(),
    }
}

/// Whether every directory is there as such: among objects, others make none.
fn has_directories(store: &Arc<dyn Store>) -> bool {
    let can = store.capabilities();
    can.holds.has(AttributeKind::Directories) && can.posix_in_metadata.is_none()
}
