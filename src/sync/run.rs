//! A job from its command line to its exit code.

use std::sync::Arc;

use anyhow::Result;
use farshore_sync::store::{Durability, LocalOptions};
use farshore_sync::{AttributeKind, Directories, Job, Observer, Store, Summary};

use super::args::{CheckArgs, FsyncArg, SyncArgs};
use super::journal::Kept;
use super::progress::{Print, Progress};
use super::report::Report;
use super::stores::{self, Absent, Sides};
use super::summary::{Told, differences, ending, ending_of_check};
use super::{choose, options};
use crate::exit::{Exit, Failure};
use crate::output::say;
use crate::serving::EndSignals;

/// Runs `farshore sync`.
pub(crate) async fn sync(args: &SyncArgs) -> Result<()> {
    let signals = EndSignals::listen()?;
    let durability = if args.write.fsync == FsyncArg::Each { Durability::Each } else { Durability::AtFlush };
    let absent = if args.dry_run { Absent::Empty } else { Absent::Make };
    let options = options::of_sync(args)?;
    let sides = stores::open(&args.sides, absent, LocalOptions { durability, sweep: !args.dry_run }).await?;
    let job = Job::new(Arc::clone(&sides.source), Arc::clone(&sides.target), options);
    let forgets = args.dry_run || args.report.no_journal || choose::is_of_the_moment(&args.choose);
    let kept = if forgets { Kept::in_memory()? } else { Kept::open(&args.report, &job, &sides.directories).await? };
    let goes_on = kept.begin(&job).await?;
    let report = args.report.report.as_deref().map(|path| Report::open(path, goes_on)).transpose()?;
    let print = if args.dry_run && !args.json { Print::Plan } else { Print::Nothing };
    let progress = Arc::new(Progress::new(print, report));
    let summary = run(&job, &sides, kept, &progress, signals).await?;
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
    if has_directories(&sides.source) && has_directories(&sides.target) {
        options.policy.directories = Directories::Keep;
    }
    let job = Job::new(Arc::clone(&sides.source), Arc::clone(&sides.target), options);
    let report = args.report.as_deref().map(|path| Report::open(path, false)).transpose()?;
    let print = if args.json { Print::DifferenceJson } else { Print::Difference };
    let progress = Arc::new(Progress::new(print, report));
    let summary = run(&job, &sides, Kept::in_memory()?, &progress, signals).await?;
    let told = told(&sides, &summary, &progress);
    if args.json {
        say(&told.json(true));
    } else if differences(&summary.counts) == 0 {
        say(&told.compared());
    }
    ending_of_check(&summary)
}

/// Runs the job until its end or until a signal comes. A job that ends early leaves its journal.
async fn run(job: &Job, sides: &Sides, kept: Kept, progress: &Arc<Progress>, signals: EndSignals) -> Result<Summary> {
    let observer: Arc<dyn Observer> = progress.clone();
    let shown = progress.show();
    let ended = tokio::select! {
        ended = job.run(kept.journal(), observer) => Some(ended),
        () = signals.come() => None,
    };
    shown.abort();
    let reported = progress.finish();
    let is_done = matches!(&ended, Some(Ok(summary)) if summary.complete);
    kept.end(is_done, &sides.target).await?;
    let interrupted = || Failure::error(Exit::Interrupted, "ended by a signal; give the same command to go on");
    let summary = ended.ok_or_else(interrupted)??;
    reported.map(|()| summary)
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

fn has_directories(store: &Arc<dyn Store>) -> bool {
    store.capabilities().holds.has(AttributeKind::Directories)
}
