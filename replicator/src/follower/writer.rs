//! The task that writes what the core tells it into the mirror's rows, one thing at a time, and
//! tells the mount what has changed.

use std::sync::Arc;
use std::time::Duration;

use farshore_meta::engine::{Advice, KeyValue};
use farshore_meta::{Bootstrap, DurableKey, FsError, Interval, MirrorPhase, Region};
use farshore_proto::Position;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::core::{Event, Standing};
use crate::error::ReplicatorError;

/// Intervals applied that the mount has not looked at yet; applying waits beyond that.
pub(crate) const APPLIED_AHEAD: usize = 1_024;
/// Keys in those: bounds their memory to some hundred megabytes at the very most.
const KEYS_AHEAD: u32 = 1 << 20;
/// Attempts at a write that conflicts; on a mirror only its own publisher can be in the way.
const ATTEMPTS: u32 = 10;

/// Where the rows stand and which have changed.
type News = (Position, Vec<DurableKey>);
/// What happened, and what the mount must know of it.
type Done = (Event, Option<News>);

/// What to write.
#[derive(Debug)]
pub(crate) enum Job {
    Look,
    Copy(Vec<KeyValue>, Bootstrap),
    Apply(Interval),
}

/// An interval that was applied: once the kernel has forgotten what it had of `changed`,
/// everything up to `to` is visible.
#[derive(Debug)]
pub struct Applied {
    /// Where the mirror's rows stand.
    pub to: Position,
    /// The durable rows that changed, in the order of their commits; a row may occur twice.
    pub changed: Vec<DurableKey>,
    _room: Option<OwnedSemaphorePermit>,
}

/// The writer's state.
pub(crate) struct Writer {
    region: Arc<Region>,
    jobs: mpsc::Receiver<Job>,
    done: mpsc::Sender<Event>,
    applied: mpsc::Sender<Applied>,
    room: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
    following: bool,
}

impl Writer {
    pub(crate) fn new(
        region: Arc<Region>,
        jobs: mpsc::Receiver<Job>,
        done: mpsc::Sender<Event>,
        applied: mpsc::Sender<Applied>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let room = Arc::new(Semaphore::new(KEYS_AHEAD as usize));
        Self { region, jobs, done, applied, room, stopping, following: false }
    }

    /// Works until there is nobody left to work for.
    pub(crate) async fn run(mut self) {
        while let Some(job) = self.jobs.recv().await {
            let (event, applied) = self.work(job).await;
            if self.done.send(event).await.is_err() {
                return;
            }
            if let Some((to, changed)) = applied {
                let mut stopping = self.stopping.clone();
                tokio::select! {
                    () = self.tell(to, changed) => {}
                    _ = stopping.wait_for(|stopping| *stopping) => {}
                }
            }
        }
    }

    /// Does a job; gives what happened, and what the mount must know.
    async fn work(&mut self, job: Job) -> Done {
        let outcome = match job {
            Job::Look => self.look().await,
            Job::Copy(rows, bootstrap) => self.copy(&rows, &bootstrap).await.map(|()| (Event::Copied, None)),
            Job::Apply(interval) => match self.apply(&interval).await {
                Ok(done) => return done,
                // Some of its commits may be in: what they changed must be forgotten too.
                Err(error) => {
                    let news = self.following.then(|| (interval.from, changed_in(&interval)));
                    return (failed(error), news);
                }
            },
        };
        outcome.unwrap_or_else(|error| (failed(error), None))
    }

    async fn look(&mut self) -> Result<Done, FsError> {
        let standing = self.standing().await?;
        let news = self.news(&standing, Vec::new);
        Ok((Event::Stands(standing), news))
    }

    async fn standing(&self) -> Result<Standing, FsError> {
        let position = || async { self.region.state().await.map(|state| state.position) };
        Ok(match self.region.mirror_phase().await? {
            MirrorPhase::New => Standing::New,
            MirrorPhase::Bootstrapping(bootstrap) if bootstrap.next.is_some() => Standing::Copying(bootstrap),
            MirrorPhase::Bootstrapping(_) => Standing::Replaying(position().await?),
            MirrorPhase::Following => Standing::Following(position().await?),
        })
    }

    async fn copy(&self, rows: &[KeyValue], bootstrap: &Bootstrap) -> Result<(), FsError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.region.copy_page(rows, bootstrap).await {
                Err(error) if may_retry(&error, attempt) => pause(attempt).await,
                outcome => return outcome,
            }
        }
    }

    async fn apply(&mut self, interval: &Interval) -> Result<Done, FsError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            // An attempt that came part of the way leaves the position inside the interval.
            let stands_before = self.region.state().await?.position == interval.from;
            match self.region.apply(interval).await {
                Err(error) if stands_before && may_retry(&error, attempt) => pause(attempt).await,
                outcome => {
                    outcome?;
                    break;
                }
            }
        }
        let standing = if self.following { Standing::Following(interval.to) } else { self.standing().await? };
        let news = self.news(&standing, || changed_in(interval));
        Ok((Event::Applied(standing), news))
    }

    /// What the mount must know: nothing before the mirror is ready, for nothing can be mounted.
    fn news(&mut self, standing: &Standing, changed: impl FnOnce() -> Vec<DurableKey>) -> Option<News> {
        let Standing::Following(position) = standing else {
            return None;
        };
        let begins = !std::mem::replace(&mut self.following, true);
        Some((*position, if begins { Vec::new() } else { changed() }))
    }

    async fn tell(&self, to: Position, changed: Vec<DurableKey>) {
        let keys = u32::try_from(changed.len()).unwrap_or(KEYS_AHEAD).min(KEYS_AHEAD);
        let room = Arc::clone(&self.room).acquire_many_owned(keys).await.ok();
        if self.applied.send(Applied { to, changed, _room: room }).await.is_err() {
            tracing::debug!("nobody asks any more what has changed");
        }
    }
}

fn changed_in(interval: &Interval) -> Vec<DurableKey> {
    let changes = interval.commits.iter().flat_map(|commit| &commit.changes);
    changes.filter_map(|change| DurableKey::parse(&change.key).ok()).collect()
}

fn may_retry(error: &FsError, attempt: u32) -> bool {
    error.advice() == Advice::Retry && attempt < ATTEMPTS
}

async fn pause(attempt: u32) {
    tokio::time::sleep(Duration::from_millis(1 << attempt)).await;
}

/// A commit of unknown outcome, or an engine out of reach, may be tried again after a look at
/// where the rows stand. Anything else a person must see.
fn failed(error: FsError) -> Event {
    let for_good = match &error {
        FsError::Engine(engine) => {
            use farshore_meta::engine::EngineError::Unavailable;
            engine.advice() == Advice::GiveUp && !matches!(engine, Unavailable { .. })
        }
        _ => true,
    };
    let error = match error {
        FsError::Diverged(reason) => ReplicatorError::Diverged { reason },
        error => ReplicatorError::Fs(error),
    };
    Event::WriteFailed { error, for_good }
}
