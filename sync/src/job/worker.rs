//! A worker: claims a range, lists it on both sides, merges, decides, copies, and tells the journal of its frontier.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::Context;
use super::feed::{Fed, Feed};
use crate::copy::{Copied, Copier};
use crate::counts::Counts;
use crate::entry::Entry;
use crate::error::{Remedy, Result as StoreResult, StoreError};
use crate::frontier::{Ended, Frontier, Ticket};
use crate::journal::{Claim, ClaimedRange, Deletion, Failure, JournalError, Result, WorkerId};
use crate::key::Key;
use crate::key_range::{KeyRange, place_after};
use crate::limits::{
    CLAIM_PAUSE, COPIES_AT_ONCE, FRONTIER_KEYS, READ_HERE_BYTES, SETTLE_INTERVAL, SETTLE_KEYS, SPLIT_PAGES,
};
use crate::merge::{Merge, Pair, Side, Step};
use crate::outcome::{Outcome, What};
use crate::plan::{CopyReason, Decision, decide};
use crate::split::{Split, Splitter};
use crate::store::ListRequest;

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
    copies: JoinSet<(Ticket, Ended)>,
    settled_at: Instant,
    pages: u32,
}

/// Why the work on a range ended before its end.
enum Broken {
    Store(StoreError),
    Journal(JournalError),
}

impl Worker {
    pub(super) fn new(context: Arc<Context>, id: WorkerId) -> Self {
        Self { context, id }
    }

    /// Works until no range is left or the job is stopped.
    pub(super) async fn run(self) -> Result<()> {
        while !self.context.is_stopped() {
            match self.context.journal().claim(&self.id).await? {
                Claim::Finished => break,
                Claim::Wait => tokio::time::sleep(CLAIM_PAUSE).await,
                Claim::Range(claimed) => self.work(claimed).await?,
            }
        }
        Ok(())
    }

    async fn work(&self, claimed: ClaimedRange) -> Result<()> {
        let mut work = RangeWork::new(Arc::clone(&self.context), claimed);
        let broken = match work.run().await {
            Ok(()) => return work.finish().await,
            Err(broken) => broken,
        };
        work.drain().await;
        match broken {
            // Another worker goes on with the range from its frontier.
            Broken::Journal(JournalError::Lost) => Ok(()),
            Broken::Journal(error) => Err(error),
            Broken::Store(error) => {
                self.context.stop(error);
                work.leave().await
            }
        }
    }
}

impl RangeWork {
    fn new(context: Arc<Context>, claimed: ClaimedRange) -> Self {
        let feed = |side| Feed::start(Arc::clone(&context.copier), side, claimed.range.clone());
        Self {
            source: feed(Side::Source),
            target: feed(Side::Target),
            end: claimed.range.end().cloned(),
            context,
            claimed,
            merge: Merge::default(),
            frontier: Frontier::default(),
            copies: JoinSet::new(),
            settled_at: Instant::now(),
            pages: 0,
        }
    }

    /// Goes through the range; at its end every key has ended.
    async fn run(&mut self) -> std::result::Result<(), Broken> {
        loop {
            if let Some(stopped) = self.context.stopped() {
                return Err(Broken::Store(stopped));
            }
            while let Some(copied) = self.copies.try_join_next() {
                self.ended(copied);
            }
            self.settle_if_due().await?;
            if self.copies.len() >= COPIES_AT_ONCE || self.frontier.open() >= FRONTIER_KEYS {
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

    /// Takes the next page of a side, or a copy that ends before it comes.
    async fn feed(&mut self, side: Side) -> std::result::Result<(), Broken> {
        let feed = if side == Side::Source { &mut self.source } else { &mut self.target };
        let fed = tokio::select! {
            fed = feed.next() => fed,
            Some(copied) = self.copies.join_next() => {
                self.ended(copied);
                return Ok(());
            }
            () = tokio::time::sleep(SETTLE_INTERVAL) => return Ok(()),
        };
        let gone = || StoreError::bug("a listing ended without an end");
        let fed = fed.unwrap_or_else(|| Err(gone())).map_err(Broken::Store)?;
        self.take(side, fed);
        self.pages += 1;
        if self.context.splits && self.pages.is_multiple_of(SPLIT_PAGES) {
            self.split_if_wanted().await?;
        }
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
        let decision = decide(pair, &self.context.options.policy, &self.context.can);
        let ticket = self.frontier.begin(key);
        let dry_run = self.context.options.dry_run;
        let mut ended = Ended { counts: listed, ..Ended::default() };
        match decision {
            Decision::Skip(_) => {
                ended.counts.skipped += 1;
                self.frontier.end(ticket, ended);
            }
            Decision::Delete(entry) => {
                ended.counts.deletions_planned += 1;
                ended.counts.deletion_bytes_planned += entry.size;
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
                self.tell(&entry, What::Copied { reason, server_side: false });
                self.frontier.end(ticket, ended);
            }
            Decision::UpdateMetadata(source, _) if dry_run => {
                ended.counts.updated += 1;
                self.tell(&source, What::Updated);
                self.frontier.end(ticket, ended);
            }
            decision => self.begin(ticket, ended, decision),
        }
    }

    /// Does what takes time in a task of its own.
    fn begin(&mut self, ticket: Ticket, mut ended: Ended, decision: Decision) {
        let (context, size) = (Arc::clone(&self.context), ended.counts.source_bytes);
        let act = async move {
            let (entry, reason, done) = act(&context, decision).await;
            account(&context, &mut ended, &entry, reason, done);
            (ticket, ended)
        };
        match &self.context.waiting {
            // The parts of a large object go side by side, each on a thread of its own.
            Some(threads) if size <= READ_HERE_BYTES => {
                let ended = threads.run(act);
                self.copies.spawn(async { ended.await.expect("what panics there panics here") })
            }
            _ => self.copies.spawn(act),
        };
    }

    fn tell(&self, entry: &Entry, what: What) {
        tell(&self.context.copier, entry, what);
    }

    fn ended(&mut self, copied: std::result::Result<(Ticket, Ended), tokio::task::JoinError>) {
        match copied {
            Ok((ticket, ended)) => self.frontier.end(ticket, ended),
            // Its key stays open, so the frontier never passes it.
            Err(error) => self.context.stop(StoreError::bug(format!("a copy ended: {error}"))),
        }
    }

    /// Waits for a copy, or until the journal should hear that this worker lives.
    async fn wait_for_one(&mut self) -> std::result::Result<(), Broken> {
        tokio::select! {
            copied = self.copies.join_next() => {
                if let Some(copied) = copied {
                    self.ended(copied);
                }
            }
            () = tokio::time::sleep(SETTLE_INTERVAL) => {}
        }
        self.settle_if_due().await
    }

    async fn wait_for_all(&mut self) -> std::result::Result<(), Broken> {
        while !self.copies.is_empty() {
            self.wait_for_one().await?;
        }
        Ok(())
    }

    /// Waits for the copies of a range that is given up.
    async fn drain(&mut self) {
        while let Some(copied) = self.copies.join_next().await {
            self.ended(copied);
        }
    }

    /// Tells the journal of the frontier, often enough to keep the claim and little enough to fit a transaction.
    async fn settle_if_due(&mut self) -> std::result::Result<(), Broken> {
        while self.frontier.is_full() {
            self.settle().await?;
        }
        if self.frontier.keys() < SETTLE_KEYS && self.settled_at.elapsed() < SETTLE_INTERVAL {
            return Ok(());
        }
        self.settle().await
    }

    async fn settle(&mut self) -> std::result::Result<(), Broken> {
        self.settled_at = Instant::now();
        let Some(settled) = self.frontier.take() else {
            return self.context.journal().renew(&self.claimed).await.map_err(Broken::Journal);
        };
        self.flush().await.map_err(Broken::Store)?;
        let left = self.context.journal().settle(&self.claimed, settled).await.map_err(Broken::Journal)?;
        self.claimed = left.ok_or(Broken::Journal(JournalError::Lost))?;
        Ok(())
    }

    /// What was put is durable before the journal calls it settled.
    async fn flush(&self) -> StoreResult<()> {
        if self.context.options.dry_run {
            return Ok(());
        }
        self.context.copier.retry(|| async { self.context.copier.target.flush().await }).await
    }

    /// The range is done: all its keys are settled.
    async fn finish(mut self) -> Result<()> {
        if let Err(error) = self.flush().await {
            self.context.stop(error);
        }
        if self.context.is_stopped() {
            return self.leave().await;
        }
        let settled = std::mem::take(&mut self.frontier).finish();
        match self.context.journal().settle(&self.claimed, settled).await {
            Err(JournalError::Lost) => Ok(()),
            settled => settled.map(drop),
        }
    }

    /// The job ends before the range does: what is settled is told, the rest is given back.
    async fn leave(mut self) -> Result<()> {
        let told = match self.flush().await {
            Ok(()) => self.tell_the_rest().await,
            Err(_) => Ok(()),
        };
        let released = match told {
            Ok(()) => self.context.journal().release(&self.claimed).await,
            told => told,
        };
        match released {
            Err(JournalError::Lost) => Ok(()),
            released => released,
        }
    }

    async fn tell_the_rest(&mut self) -> Result<()> {
        while let Some(settled) = self.frontier.take() {
            let left = self.context.journal().settle(&self.claimed, settled).await?;
            self.claimed = left.ok_or(JournalError::Lost)?;
        }
        Ok(())
    }

    /// Gives the upper part of what is not listed to a worker that waits.
    async fn split_if_wanted(&mut self) -> std::result::Result<(), Broken> {
        if !self.context.journal().wants_ranges().await.map_err(Broken::Journal)? {
            return Ok(());
        }
        let Some(last) = self.merge.last_key() else { return Ok(()) };
        let rest = KeyRange::new(place_after(last), self.end.clone());
        let Some(at) = self.find_split(&rest).await.map_err(Broken::Store)? else { return Ok(()) };
        self.claimed = self.context.journal().split(&self.claimed, &at).await.map_err(Broken::Journal)?;
        self.merge.narrow(&at);
        self.end = Some(at);
        Ok(())
    }

    async fn find_split(&self, rest: &KeyRange) -> StoreResult<Option<Bytes>> {
        let mut splitter = Splitter::new(rest);
        let mut step = splitter.start();
        loop {
            step = match step {
                Split::No => return Ok(None),
                Split::At(at) => return Ok(Some(at)),
                Split::Probe(range) => {
                    let first = self.first_key(&range).await?;
                    splitter.found(first.as_ref(), &range)
                }
            };
        }
    }

    /// The first key of a range on either side. It decides where to split and nothing else.
    async fn first_key(&self, range: &KeyRange) -> StoreResult<Option<Key>> {
        let request = ListRequest { limit: 1, ..ListRequest::first(range.clone()) };
        let copier = &self.context.copier;
        let (source, target) = futures::try_join!(
            copier.retry(|| async { copier.source.list(&request).await }),
            copier.retry(|| async { copier.target.list(&request).await }),
        )?;
        let keys = source.entries.into_iter().chain(target.entries).map(|entry| entry.key);
        Ok(keys.filter(|key| range.contains(key.as_bytes())).min())
    }
}

/// What is counted of a pair for having been listed.
fn listed(pair: &Pair) -> Counts {
    let (source, target) = sides(pair);
    Counts {
        source_entries: u64::from(source.is_some()),
        source_bytes: source.map_or(0, |entry| entry.size),
        target_entries: u64::from(target.is_some()),
        ..Counts::default()
    }
}

fn sides(pair: &Pair) -> (Option<&Entry>, Option<&Entry>) {
    match pair {
        Pair::Source(source) => (Some(source), None),
        Pair::Target { entry, .. } => (None, Some(entry)),
        Pair::Both(source, target) => (Some(source), Some(target)),
    }
}

fn key_of(pair: &Pair) -> &Key {
    match pair {
        Pair::Source(entry) | Pair::Target { entry, .. } | Pair::Both(entry, _) => &entry.key,
    }
}

/// What was done about a decision that takes time; no result where nothing was to be done.
async fn act(context: &Context, decision: Decision) -> (Entry, Option<CopyReason>, StoreResult<Option<Copied>>) {
    let copier = &context.copier;
    match decision {
        Decision::Copy(entry, reason) => {
            let copied = copier.copy(&entry).await;
            (entry, Some(reason), copied.map(Some))
        }
        Decision::UpdateMetadata(source, target) => {
            let updated = copier.update(&source, &target).await;
            (source, None, updated.map(Some))
        }
        Decision::CompareContents(source, target) => {
            let reason = CopyReason::Contents;
            match copier.equal_contents(&source, &target).await {
                Ok(true) => (source, Some(reason), Ok(None)),
                Ok(false) if context.options.dry_run => {
                    let counts = Counts { copied: 1, copied_bytes: source.size, ..Counts::default() };
                    (source, Some(reason), Ok(Some(Copied::Done { counts, server_side: false })))
                }
                Ok(false) => {
                    let copied = copier.copy(&source).await;
                    (source, Some(reason), copied.map(Some))
                }
                // Gone or changed meanwhile: the copy looks again.
                Err(StoreError::Missing { .. } | StoreError::Changed { .. }) if !context.options.dry_run => {
                    let copied = copier.copy(&source).await;
                    (source, Some(reason), copied.map(Some))
                }
                Err(error) => (source, Some(reason), Err(error)),
            }
        }
        Decision::Skip(_) | Decision::Delete(_) | Decision::Conflict(..) => {
            unreachable!("what takes no time was done at once")
        }
    }
}

/// Counts and tells what came of a key.
fn account(
    context: &Context,
    ended: &mut Ended,
    entry: &Entry,
    reason: Option<CopyReason>,
    done: StoreResult<Option<Copied>>,
) {
    let what = match done {
        Ok(None) => {
            ended.counts.skipped += 1;
            return;
        }
        Ok(Some(Copied::Vanished)) => {
            ended.counts.vanished += 1;
            What::Vanished
        }
        Ok(Some(Copied::Done { counts, server_side })) => {
            ended.counts += counts;
            reason.map_or(What::Updated, |reason| What::Copied { reason, server_side })
        }
        Err(error) => {
            ended.counts.failed += 1;
            if error.remedy() == Remedy::Stop {
                context.stop(error.clone());
            }
            let (word, reason) = (error.word(), error.to_string());
            let place = entry.key.to_string();
            ended.failure = Some(Failure { place, word: word.to_owned(), reason: reason.clone() });
            What::Failed { word, reason }
        }
    };
    tell(&context.copier, entry, what);
}

fn tell(copier: &Copier, entry: &Entry, what: What) {
    copier.observer.outcome(&Outcome { key: entry.key.clone(), size: entry.size, what });
}
