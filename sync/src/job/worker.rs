//! A worker: claims a range, lists it on both sides, merges, decides, copies, and tells the journal of its frontier.

mod claim;
mod directories;
mod help;
mod sharing;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::claim::Settling;
use self::directories::Directories;
use self::help::Help;
use super::Context;
use super::act::{account, act, bytes_of, key_of, listed, sides, tell};
use super::feed::{Fed, Feed};
use super::record::{is_to_be_read, record, recorded, standing};
use crate::counts::Counts;
use crate::entry::Entry;
use crate::error::{Result as StoreResult, StoreError};
use crate::frontier::{Ended, Frontier, Ticket};
use crate::journal::{Claim, ClaimedRange, Deletion, Failure, JournalError, Result, WorkerId};
use crate::limits::{
    CLAIM_PAUSE, COPIES_AT_ONCE, COPY_AHEAD_BYTES, FRONTIER_KEYS, LARGE_COPIES_AHEAD, LARGE_COPIES_OF_ONE,
    LARGE_COPY_BYTES, LONGEST_CLAIM_PAUSE, SPLIT_INTERVAL, SPLIT_PAUSE,
};
use crate::manifest::Recorded;
use crate::merge::{Merge, Pair, Side, Step};
use crate::outcome::What;
use crate::plan::{Decision, decide};
use crate::verdict::CopyReason;
use crate::verdict::is_directory;

/// One of a job's workers.
pub(super) struct Worker {
    context: Arc<Context>,
    id: WorkerId,
}

/// The work on one range.
struct RangeWork {
    context: Arc<Context>,
    claimed: ClaimedRange,
    /// Where the range ends for this worker.
    end: Option<Bytes>,
    source: Feed,
    target: Feed,
    merge: Merge,
    frontier: Frontier,
    directories: Directories,
    /// Copies, and at most one flush.
    running: JoinSet<Ran>,
    /// Drops copies, also those that run on threads of their own.
    dropped: watch::Sender<()>,
    open_bytes: u64,
    /// How many of them are large.
    open_large: usize,
    settling: Settling,
    settled_at: Instant,
    /// When the call began by which the journal last heard of this claim.
    heard_at: Instant,
    pages: u32,
    begun_at: Instant,
    /// When it is next looked whether others want a part of the range, and how long after the last time that is.
    look_at: Instant,
    look_pause: Duration,
    /// Where a store said that the rest is best split.
    ahead: Option<Bytes>,
}

/// What ran beside the merge.
#[allow(clippy::large_enum_variant, reason = "all but one of those that run are copies")]
enum Ran {
    /// A key ended; so many bytes had to be copied for it.
    Copy(Ticket, Ended, u64),
    /// A copy was dropped.
    Dropped,
    /// What had been written when this began is durable, or never will be.
    Flush(StoreResult<()>),
}

/// Why the work on a range ended before its end.
enum Broken {
    Store(StoreError),
    Journal(JournalError),
}

/// A large copy that has begun, counted until it has ended or is dropped.
struct LargeCopy(Arc<Context>);

impl LargeCopy {
    fn begin(context: &Arc<Context>) -> Self {
        context.large_copies.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(context))
    }
}

impl Drop for LargeCopy {
    fn drop(&mut self) {
        self.0.large_copies.fetch_sub(1, Ordering::Relaxed);
    }
}

fn is_large(bytes: u64) -> bool {
    bytes >= LARGE_COPY_BYTES
}

impl Context {
    /// Whether as many large copies have begun as can run soon.
    fn has_large_copies(&self) -> bool {
        self.large_copies.load(Ordering::Relaxed) >= LARGE_COPIES_AHEAD * self.copier.most_at_once()
    }
}

impl Worker {
    pub(super) fn new(context: Arc<Context>, id: WorkerId) -> Self {
        Self { context, id }
    }

    /// Works until no range is left or the job is stopped.
    pub(super) async fn run(self) -> Result<()> {
        let (mut pause, mut help) = (CLAIM_PAUSE, Help::new(Arc::clone(&self.context)));
        let mut ranges_changed = self.context.ranges_changed.subscribe();
        while !self.context.is_stopped() {
            let asked_at = Instant::now();
            ranges_changed.mark_unchanged();
            match self.context.journal().claim(&self.id).await? {
                Claim::Finished => break,
                Claim::Wait => {
                    help.go_on();
                    // What other processes do is found by asking again.
                    let asks_again = tokio::time::sleep(pause);
                    tokio::select! {
                        _ = ranges_changed.changed() => {}
                        () = asks_again => {}
                    }
                    pause = (pause * 2).min(LONGEST_CLAIM_PAUSE);
                }
                Claim::Range(claimed) => {
                    help.pause();
                    self.work(claimed, asked_at).await?;
                    self.context.ranges_changed.send_replace(());
                    pause = CLAIM_PAUSE;
                }
            }
        }
        help.end().await;
        Ok(())
    }

    async fn work(&self, claimed: ClaimedRange, asked_at: Instant) -> Result<()> {
        let mut work = RangeWork::new(Arc::clone(&self.context), claimed, asked_at);
        let broken = match work.run().await {
            Ok(()) => return work.finish().await,
            Err(broken) => broken,
        };
        match broken {
            // Another worker goes on with the range from its frontier. What runs here is dropped at once: a copy that
            // ended late would put an older state of its source over the one that the other has copied.
            Broken::Journal(JournalError::Lost) => {
                work.drop_copies().await;
                Ok(())
            }
            Broken::Journal(error) => {
                work.drop_copies().await;
                Err(error)
            }
            Broken::Store(error) => {
                self.context.stop(error);
                if work.wait_for_all().await.is_err() {
                    work.drop_copies().await;
                }
                work.leave().await
            }
        }
    }
}

impl RangeWork {
    fn new(context: Arc<Context>, claimed: ClaimedRange, heard_at: Instant) -> Self {
        let feed = |side| Feed::start(&context, side, claimed.range.clone());
        Self {
            source: feed(Side::Source),
            target: feed(Side::Target),
            end: claimed.range.end().cloned(),
            context,
            claimed,
            merge: Merge::default(),
            frontier: Frontier::default(),
            directories: Directories::default(),
            running: JoinSet::new(),
            dropped: watch::Sender::new(()),
            open_bytes: 0,
            open_large: 0,
            settling: Settling::default(),
            settled_at: Instant::now(),
            heard_at,
            pages: 0,
            begun_at: Instant::now(),
            look_at: Instant::now(),
            look_pause: SPLIT_PAUSE,
            ahead: None,
        }
    }

    /// Goes through the range; at its end every key has ended.
    async fn run(&mut self) -> std::result::Result<(), Broken> {
        loop {
            if let Some(stopped) = self.context.stopped() {
                return Err(Broken::Store(stopped));
            }
            while let Some(ran) = self.running.try_join_next() {
                self.ended(ran);
            }
            self.settle_if_due().await?;
            self.split_if_due().await?;
            if self.is_full() {
                self.wait_for_one().await?;
                continue;
            }
            match self.merge.step() {
                Step::Done => return self.wait_for_all().await,
                Step::Pair(pair) => self.pair(pair),
                Step::Need(side) => self.feed(side).await?,
            }
        }
    }

    /// Whether enough has begun and not ended.
    fn is_full(&self) -> bool {
        self.running.len() >= COPIES_AT_ONCE
            || self.frontier.open() >= FRONTIER_KEYS
            || self.open_bytes >= COPY_AHEAD_BYTES
            || (self.open_large >= LARGE_COPIES_OF_ONE && self.context.has_large_copies())
    }

    /// Takes the next page of a side, or what ends before it comes.
    async fn feed(&mut self, side: Side) -> std::result::Result<(), Broken> {
        let interval = self.settle_interval();
        let feed = if side == Side::Source { &mut self.source } else { &mut self.target };
        let fed = tokio::select! {
            fed = feed.next() => fed,
            Some(ran) = self.running.join_next() => {
                self.ended(ran);
                return Ok(());
            }
            () = tokio::time::sleep(interval) => return Ok(()),
        };
        let gone = || StoreError::bug("a listing ended without an end");
        let fed = fed.unwrap_or_else(|| Err(gone())).map_err(Broken::Store)?;
        self.take(side, fed);
        self.pages += 1;
        Ok(())
    }

    fn take(&mut self, side: Side, fed: Fed) {
        for unlisted in fed.unlisted {
            self.context.copier.observer.unlisted(side, &unlisted.place, &unlisted.reason);
            let hides = u64::from(unlisted.hides_keys);
            let counts = Counts { unlisted: hides, not_objects: 1 - hides, ..Counts::default() };
            let failure = Failure { place: unlisted.place, word: "unlisted".to_owned(), reason: unlisted.reason };
            self.frontier.note(counts, unlisted.hides_keys.then_some(failure));
        }
        self.ahead = fed.ahead.or(self.ahead.take());
        self.merge.push(side, fed.entries);
        let at_end = fed.listed_to.is_none_or(|listed| self.end.as_ref().is_some_and(|end| listed >= *end));
        if at_end {
            self.merge.complete(side);
        }
        if let Some(end) = &self.end {
            self.merge.narrow(end);
        }
    }

    /// Decides on a pair and does it, or begins to.
    fn pair(&mut self, pair: Pair) {
        let key = key_of(&pair).clone();
        let (source, target) = sides(&pair);
        if !self.context.options.filter.takes(source, target) {
            let ticket = self.frontier.begin(key);
            return self.frontier.end(ticket, Ended::filtered());
        }
        let listed = listed(&pair);
        let standing = standing(&self.context, target);
        let decision = decide(pair, &self.context.options.policy, &self.context.can);
        let ticket = self.frontier.begin(key);
        let dry_run = self.context.options.dry_run;
        let mut ended = Ended { counts: listed, ..Ended::default() };
        match decision {
            Decision::Skip(_) if is_to_be_read(&self.context, standing.as_ref()) => {
                ended.counts.skipped += 1;
                let (context, size) = (Arc::clone(&self.context), standing.as_ref().map_or(0, |object| object.size));
                self.spawn(ticket, (size, size), async move {
                    record(&context, &mut ended, standing).await;
                    ended
                });
            }
            Decision::Skip(_) => {
                ended.counts.skipped += 1;
                ended.recorded = standing;
                self.frontier.end(ticket, ended);
            }
            Decision::Delete(entry) => {
                ended.counts.deletions_planned += 1;
                ended.counts.deletion_bytes_planned += entry.size;
                if dry_run && self.backs_up() && !is_directory(&entry) {
                    ended.counts.backed_up += 1;
                }
                ended.deletion = Some(Deletion { key: entry.key, size: entry.size });
                self.frontier.end(ticket, ended);
            }
            Decision::Conflict(entry, conflict) => {
                ended.counts.conflicts += 1;
                self.tell(&entry, What::Conflict(conflict));
                self.frontier.end(ticket, ended);
            }
            Decision::Copy(entry, reason) if dry_run => {
                ended.counts.copied += 1;
                ended.counts.copied_bytes += entry.size;
                if reason != CopyReason::New && self.backs_up() && !is_directory(&entry) {
                    ended.counts.backed_up += 1;
                    self.tell(&entry, What::BackedUp);
                }
                self.tell(&entry, What::Copied { reason, server_side: false });
                self.frontier.end(ticket, ended);
            }
            Decision::UpdateMetadata(source, _) if dry_run => {
                ended.counts.updated += 1;
                ended.recorded = standing;
                self.tell(&source, What::Updated);
                self.frontier.end(ticket, ended);
            }
            decision => self.begin(ticket, ended, decision, standing),
        }
    }

    /// Does what takes time.
    fn begin(&mut self, ticket: Ticket, mut ended: Ended, decision: Decision, standing: Option<Recorded>) {
        let (context, size, bytes) = (Arc::clone(&self.context), ended.counts.source_bytes, bytes_of(&decision));
        let (above, running) = self.directories_of(&decision);
        self.spawn(ticket, (size, bytes), async move {
            let _running = running;
            directories::wait(above).await;
            let (entry, reason, done) = act(&context, decision).await;
            context.flush.wrote();
            let recorded = recorded(&context, &done, standing);
            account(&context, &mut ended, &entry, reason, done);
            record(&context, &mut ended, recorded).await;
            ended
        });
    }

    /// The directory that a copy has to wait for, and the one that it makes, where directories are objects.
    fn directories_of(&mut self, decision: &Decision) -> (Option<directories::Ended>, Option<directories::Running>) {
        let Decision::Copy(entry, _) = decision else { return (None, None) };
        if !self.context.copier.target.capabilities().directories_are_objects() {
            return (None, None);
        }
        let above = self.directories.above(&entry.key);
        (above, is_directory(entry).then(|| self.directories.begin(&entry.key)))
    }

    /// Does something about an object of some size in a task of its own.
    fn spawn(&mut self, ticket: Ticket, (size, bytes): (u64, u64), act: impl Future<Output = Ended> + Send + 'static) {
        self.open_bytes += bytes;
        let mut dropped = self.dropped.subscribe();
        let large = is_large(bytes).then(|| LargeCopy::begin(&self.context));
        self.open_large += usize::from(large.is_some());
        let act = async move {
            let _large = large;
            tokio::select! {
                biased;
                _ = dropped.changed() => Ran::Dropped,
                ended = act => Ran::Copy(ticket, ended, bytes),
            }
        };
        match self.context.copier.threads_for(size) {
            Some(threads) => {
                let ended = threads.run(act);
                self.running.spawn(async { ended.await.expect("what panics there panics here") })
            }
            None => self.running.spawn(act),
        };
    }

    fn backs_up(&self) -> bool {
        self.context.copier.backups.is_some()
    }

    fn tell(&self, entry: &Entry, what: What) {
        tell(&self.context.copier, entry, what);
    }

    fn ended(&mut self, ran: std::result::Result<Ran, tokio::task::JoinError>) {
        match ran {
            Ok(Ran::Dropped) => {}
            Ok(Ran::Copy(ticket, ended, bytes)) => {
                self.open_bytes -= bytes;
                self.open_large -= usize::from(is_large(bytes));
                self.frontier.end(ticket, ended);
            }
            Ok(Ran::Flush(Ok(()))) => self.settling.flushed(),
            Ok(Ran::Flush(Err(error))) => self.context.stop(error),
            // Its key stays open, so the frontier never passes it.
            Err(error) => self.context.stop(StoreError::bug(format!("a copy ended: {error}"))),
        }
    }

    /// Waits until something ends, or until the journal should hear that this worker lives.
    async fn wait_for_one(&mut self) -> std::result::Result<(), Broken> {
        if let Some(stopped) = self.context.leaving() {
            return Err(Broken::Store(stopped));
        }
        let interval = self.settle_interval().min(SPLIT_INTERVAL);
        tokio::select! {
            ran = self.running.join_next() => {
                if let Some(ran) = ran {
                    self.ended(ran);
                }
            }
            () = tokio::time::sleep(interval) => {}
        }
        self.settle_if_due().await
    }

    /// Ends the copies of a range that is not this worker's any more.
    async fn drop_copies(&mut self) {
        self.dropped.send_replace(());
        self.running.shutdown().await;
    }

    async fn wait_for_all(&mut self) -> std::result::Result<(), Broken> {
        while !self.running.is_empty() {
            self.wait_for_one().await?;
        }
        Ok(())
    }
}
