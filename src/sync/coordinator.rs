//! `farshore sync --coordinator`: the job is held here, for workers that call.

use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use farshore_sync::coordinator::{Coordinator, CoordinatorOptions, Description, Token};
use farshore_sync::store::{Scheme, StoreAddress};
use farshore_sync::{Allowance, Job, Store};

use super::args::{ShareArgs, SyncArgs};
use super::journal::Kept;
use super::options;
use super::progress::Progress;
use super::stores::Sides;
use crate::exit::{Exit, Failure};
use crate::tls;

/// How long nobody may work before that is told.
const NO_WORKER_FOR: Duration = Duration::from_secs(30);

/// A job that is shared, and what this process may use of its limits.
pub(super) struct Shared {
    coordinator: Coordinator,
    pub(super) allowance: Arc<Allowance>,
    works_here: bool,
}

impl Shared {
    /// Begins to serve the job of an opened journal, if that was asked for.
    pub(super) async fn start(
        args: &SyncArgs,
        job: &Job,
        sides: &Sides,
        kept: &Kept,
        progress: &Arc<Progress>,
        moment: SystemTime,
    ) -> Result<Option<Self>> {
        let Some(listen) = &args.share.coordinator else { return Ok(None) };
        let rates = options::rates(&args.limits);
        let journal = kept.in_engine().context("a job that is shared has a journal in an engine")?;
        let description = Description {
            job: journal.name().context("the journal was opened")?,
            fingerprint: job.identity().fingerprint,
            source: absolute(&args.sides.source, &sides.source)?,
            target: absolute(&args.sides.target, &sides.target)?,
            args: std::env::args_os().map(|arg| arg.into_vec().into()).collect(),
            moment_ns: nanoseconds(moment),
            files: files(args)?,
            lease: args.share.lease,
            wants_lines: args.report.report.is_some(),
            limits: rates.limits(),
        };
        let allowance = Arc::new(Allowance::new(&description.limits));
        let options = listening(&args.share, listen).await?;
        let coordinator = Coordinator::start(journal, description, rates, &options, progress.clone()).await?;
        tracing::info!("workers may call at {}: farshore sync-worker ADDR", coordinator.address());
        Ok(Some(Self { coordinator, allowance, works_here: args.limits.workers > 0 }))
    }

    /// Gives this process its share of the limits, for as long as it is waited for, and tells if nobody works.
    pub(super) async fn share(&self) {
        tokio::join!(self.coordinator.share_with(&self.allowance), self.tell_of_no_worker());
    }

    async fn tell_of_no_worker(&self) {
        if self.works_here {
            return;
        }
        loop {
            tokio::time::sleep(NO_WORKER_FOR).await;
            if self.coordinator.working() == 0 {
                let address = self.coordinator.address();
                tracing::warn!("no worker is at the job; start some: farshore sync-worker {address}");
            }
        }
    }

    /// Lets the workers go: the job is done, or was given up for a reason.
    pub(super) async fn end(self, given_up: Option<String>) {
        self.coordinator.stop(given_up).await;
    }
}

async fn listening(args: &ShareArgs, listen: &str) -> Result<CoordinatorOptions> {
    let mut found = tokio::net::lookup_host(listen).await.with_context(|| format!("cannot listen at {listen:?}"))?;
    let none = || Failure::error(Exit::Usage, format!("{listen:?} is no address to listen at, such as 127.0.0.1:7450"));
    Ok(CoordinatorOptions {
        listen: found.next().ok_or_else(none)?,
        tls: tls::read(&args.tls)?,
        token: token(args.token_file.as_deref())?,
        insecure: args.tls.insecure,
    })
}

/// The token in a file that was named.
pub(super) fn token(file: Option<&Path>) -> Result<Option<Token>> {
    Ok(file.map(Token::read).transpose()?)
}

/// A side's address as it is understood elsewhere; what was given has no secrets, or it would have been refused.
fn absolute(given: &str, store: &Arc<dyn Store>) -> Result<String> {
    let address: StoreAddress = given.parse()?;
    Ok(if address.scheme == Scheme::File { store.name().to_owned() } else { given.to_owned() })
}

/// The files that decide which objects are meant.
fn files(args: &SyncArgs) -> Result<Vec<(String, bytes::Bytes)>> {
    let choose = &args.choose;
    let named = [
        ("ignore-file", &choose.ignore_file),
        ("files-from", &choose.files_from),
        ("retry-report", &choose.retry_report),
    ];
    let named = named.into_iter().filter_map(|(option, file)| Some((option, file.as_deref()?)));
    let read = |(option, file): (&str, &Path)| {
        let data = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok((option.to_owned(), data.into()))
    };
    named.map(read).collect()
}

fn nanoseconds(moment: SystemTime) -> i64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
