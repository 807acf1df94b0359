//! `farshore sync-worker`: works for a job that a coordinator has.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Parser;
use farshore_sync::coordinator::{ASK_EVERY, CoordinatorError, Description, Link, LinkOptions, RemoteJournal};
use farshore_sync::store::{Durability, LocalOptions};
use farshore_sync::{Allowance, Job, JobOptions, Observer, Worked};
use tempfile::TempDir;
use tokio::sync::watch;

use super::args::{FsyncArg, SyncArgs, SyncWorkerArgs};
use super::coordinator::token;
use super::progress::Progress;
use super::stores::{self, Absent};
use super::{backup, options};
use crate::cli::{Cli, Command};
use crate::exit::{Exit, Failure};
use crate::metrics;
use crate::output::say;
use crate::serving::EndSignals;
use crate::tls;
use crate::units;

/// A worker at its job.
struct Worker {
    link: Arc<Link>,
    job: [u8; 16],
    progress: Arc<Progress>,
    allowance: Arc<Allowance>,
}

/// Runs `farshore sync-worker`.
pub(crate) async fn sync_worker(args: &SyncWorkerArgs) -> Result<()> {
    let mut signals = EndSignals::listen()?;
    let (tell, asked) = watch::channel(false);
    tokio::spawn(async move {
        signals.come().await;
        tell.send_replace(true);
    });
    let seed = rand::random();
    let link = Link::new(LinkOptions {
        address: args.address.clone(),
        tls: tls::read(&args.tls)?,
        token: token(args.token_file.as_deref())?,
        insecure: args.tls.insecure,
        patience: args.reconnect,
        seed,
    })?;
    let description = tokio::select! {
        described = link.describe() => described?,
        () = is_asked(asked.clone()) => return Err(interrupted()),
    };
    work(args, link, description, seed, asked).await
}

/// Returns once a signal has come.
async fn is_asked(mut asked: watch::Receiver<bool>) {
    if asked.wait_for(|asked| *asked).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn interrupted() -> anyhow::Error {
    Failure::error(Exit::Interrupted, "ended by a signal; other workers go on with the job")
}

async fn work(
    args: &SyncWorkerArgs,
    link: Arc<Link>,
    description: Description,
    seed: u64,
    asked: watch::Receiver<bool>,
) -> Result<()> {
    let allowance = Arc::new(Allowance::new(&description.limits));
    let job = job_of(args, &description, seed).await?.within(Arc::clone(&allowance));
    if job.identity().fingerprint != description.fingerprint {
        let message = format!(
            "this machine does not come to the same job as the coordinator ({}): is a directory of the two sides \
             another one here?",
            job.identity().description
        );
        return Err(Failure::error(Exit::OtherJob, message));
    }
    let progress = Arc::new(Progress::of_worker(description.wants_lines));
    let shown = progress.show();
    let measured = metrics::serve(args.metrics.as_deref(), progress.clone()).await?;
    let worker = Worker { link: Arc::clone(&link), job: description.job, progress: Arc::clone(&progress), allowance };
    let journal = Arc::new(RemoteJournal::new(&link, &description));
    let ended = tokio::select! {
        ended = job.work(journal, Arc::clone(&progress) as Arc<dyn Observer>, is_asked(asked)) => ended,
        error = worker.tell_on() => return Err(error.into()),
    };
    shown.abort();
    measured.abort();
    worker.tell_last().await;
    progress.finish()?;
    match ended? {
        Worked::Done => {}
        Worked::Left => return Err(interrupted()),
        Worked::Stopped(error) => return Err(error.into()),
    }
    let numbers = progress.numbers();
    say(&format!("{} objects copied here, {}", numbers.copied, units::size(numbers.moved_bytes)));
    Ok(())
}

impl Worker {
    /// Tells what was done, and takes what may be used, until that cannot be done any more.
    async fn tell_on(&self) -> CoordinatorError {
        loop {
            let told = self.link.tell(
                self.job,
                self.progress.numbers(),
                self.progress.take_lines(),
                self.allowance.wanted(),
                false,
            );
            match told.await {
                Ok(granted) => self.allowance.give(granted),
                Err(error) => return error,
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Tells the rest. What the coordinator does not hear any more is missing in its report, not in its journal.
    async fn tell_last(&self) {
        let (numbers, lines) = (self.progress.numbers(), self.progress.take_lines());
        let told = self.link.tell(self.job, numbers, lines, farshore_sync::coordinator::Limits::default(), true);
        if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(5), told).await {
            tracing::debug!(%error, "the coordinator did not hear the last lines");
        }
    }
}

/// The job that the coordinator describes, with this machine's stores and credentials.
async fn job_of(args: &SyncWorkerArgs, description: &Description, seed: u64) -> Result<Job> {
    let files = tempfile::tempdir().context("cannot make a temporary directory")?;
    let told = told_args(args, description, &files)?;
    let moment = UNIX_EPOCH + Duration::from_nanos(u64::try_from(description.moment_ns).unwrap_or_default());
    let options = JobOptions { workers: usize::from(args.workers), seed, ..options::of_sync(&told, moment)? };
    let durability = if told.write.fsync == FsyncArg::Each { Durability::Each } else { Durability::AtFlush };
    let local = LocalOptions { durability, ..LocalOptions::default() };
    let sides = stores::open(&told.sides, Absent::Error, local).await?;
    let backup = backup::open(&told, &sides, Absent::Make).await?;
    let job = Job::new(sides.source, sides.target, options);
    Ok(match backup {
        Some(backup) => job.with_backup(backup),
        None => job,
    })
}

/// The coordinator's command, with its files and sides as they are found here.
fn told_args(args: &SyncWorkerArgs, description: &Description, files: &TempDir) -> Result<SyncArgs> {
    let words = description.args.iter().map(|arg| OsString::from_vec(arg.to_vec()));
    let parsed = Cli::try_parse_from(words).map(|cli| cli.command);
    let Ok(Command::Sync(mut told)) = parsed else {
        return Err(Failure::error(Exit::OtherJob, "the coordinator's job has options that this build does not know"));
    };
    told.sides.source.clone_from(&description.source);
    told.sides.target.clone_from(&description.target);
    told.sides.access.source_profile.clone_from(&args.source_profile);
    told.sides.access.target_profile.clone_from(&args.target_profile);
    for (option, place) in told.choose.files() {
        let Some((_, data)) = description.files.iter().find(|(known, _)| known == option) else {
            *place = None;
            continue;
        };
        let file = files.path().join(option);
        std::fs::write(&file, data).with_context(|| format!("cannot write {}", file.display()))?;
        *place = Some(file);
    }
    Ok(*told)
}
