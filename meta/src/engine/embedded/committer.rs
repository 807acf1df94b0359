//! The committer: the one thread that writes. It takes what is queued as a group, judges
//! each transaction, writes and syncs the group once, shows it to readers, and answers.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use farshore_proto::Version;
use fjall::PersistMode;
use tokio::sync::{oneshot, watch};

use super::group::Group;
use super::high_water::HighWater;
use super::options::Durability;
use super::owner::Owner;
use super::queue::{CommitRequest, Request};
use super::shared::{Progress, Shared};
use super::store::Store;
use super::view::View;
use super::window::{Verdict, Window};
use crate::engine::{EngineError, Result};

/// Most transactions in a group. Their places in it must fit 16 bits.
const MAX_GROUP: usize = 4096;
/// Bytes after which a group is not grown further, so that none waits long for another.
const MAX_GROUP_BYTES: usize = 16 << 20;
/// How long bytes that only the operating system has stay unsynced, with `Durability::Os`.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Longest that closing waits for a read that is under way in another thread.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

type CloseReply = Option<oneshot::Sender<Result<()>>>;
type Accepted = Vec<(oneshot::Sender<Result<Version>>, Version)>;

/// The state of the thread.
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) requests: Receiver<Request>,
    pub(super) store: Store,
    pub(super) high_water: HighWater,
    pub(super) owner: Owner,
    pub(super) window: Window,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) durability: Durability,
    pub(super) next_batch: u64,
    pub(super) poisoned: Option<String>,
    /// When the oldest bytes that were not synced were written.
    pub(super) unsynced_since: Option<Instant>,
}

impl Committer {
    /// Serves the queue until it is told to stop.
    pub(super) fn run(mut self) {
        let reply = loop {
            if let ControlFlow::Break(reply) = self.turn() {
                break reply;
            }
        };
        self.finish(reply);
    }

    /// Takes a group, and the request after it if that is not a commit.
    fn turn(&mut self) -> ControlFlow<CloseReply> {
        let mut commits = Vec::new();
        let mut bytes = 0;
        let mut next = self.wait();
        while let Some(Request::Commit(commit, permit)) = next {
            drop(permit);
            bytes += commit.bytes;
            commits.push(commit);
            let full = commits.len() == MAX_GROUP || bytes >= MAX_GROUP_BYTES;
            next = if full { None } else { self.requests.try_recv().ok() };
        }
        if !commits.is_empty() {
            self.commit(commits);
        }
        match next {
            Some(Request::Stop(reply)) => return ControlFlow::Break(reply),
            Some(Request::Sync(reply)) => answer(reply, self.sync()),
            Some(Request::Commit(..)) | None => self.sync_if_due(),
        }
        ControlFlow::Continue(())
    }

    /// The next request; none when it is time to sync.
    fn wait(&self) -> Option<Request> {
        let Some(since) = self.unsynced_since else {
            // The sending end lives in `shared`, which this holds: it cannot be gone.
            return self.requests.recv().ok();
        };
        let left = (since + SYNC_INTERVAL).saturating_duration_since(Instant::now());
        self.requests.recv_timeout(left).ok()
    }

    fn commit(&mut self, commits: Vec<CommitRequest>) {
        if let Some(reason) = &self.poisoned {
            let error = EngineError::Poisoned { reason: reason.clone() };
            return commits.into_iter().for_each(|commit| answer(commit.reply, Err(error.clone())));
        }
        let batch = self.next_batch;
        self.next_batch += 1;
        self.window.begin_group(batch, Instant::now());
        let view = self.shared.view.load_full();
        let before = view.rows(self.store.keyspace(), &self.shared.layout);
        let mut group = Group::new(batch, before);
        let accepted = admit(commits, &mut group, &mut self.window);
        let Some(last) = group.last() else { return };
        let rows = group.into_rows();
        let outcome = self.write(rows, last);
        for (reply, version) in accepted {
            answer(reply, outcome.clone().map(|()| version));
        }
    }

    /// Makes a group durable and shows it.
    fn write(&mut self, rows: BTreeMap<Bytes, Option<Bytes>>, last: Version) -> Result<()> {
        let written = match self.durability {
            Durability::Commit => {
                self.store.write(rows, last, PersistMode::SyncData).and_then(|()| self.raise_mark(last))
            }
            Durability::Os => self.store.write(rows, last, PersistMode::Buffer),
        };
        written.map_err(|error| self.poison(&error))?;
        match self.durability {
            Durability::Commit => self.unsynced_since = None,
            Durability::Os => drop(self.unsynced_since.get_or_insert_with(Instant::now)),
        }
        self.shared.view.store(Arc::new(View { last, snapshot: self.store.snapshot() }));
        self.progress.send_modify(|progress| {
            progress.last = last;
            if self.unsynced_since.is_none() {
                progress.durable = Version::end_of(last.batch());
            }
        });
        Ok(())
    }

    fn raise_mark(&mut self, durable: Version) -> Result<()> {
        self.high_water.raise(durable).map_err(|error| self.shared.layout.failed(error))
    }

    fn sync_if_due(&mut self) {
        if self.unsynced_since.is_some_and(|since| since.elapsed() >= SYNC_INTERVAL)
            && let Err(error) = self.sync()
        {
            tracing::error!(%error, "the rows could not be synced");
        }
    }

    /// Makes durable what is committed, unless it is.
    fn sync(&mut self) -> Result<()> {
        if let Some(reason) = &self.poisoned {
            return Err(EngineError::Poisoned { reason: reason.clone() });
        }
        if self.unsynced_since.is_none() {
            return Ok(());
        }
        let last = self.shared.view.load().last;
        let synced = self.store.sync().and_then(|()| self.raise_mark(last));
        synced.map_err(|error| self.poison(&error))?;
        self.unsynced_since = None;
        self.progress.send_modify(|progress| progress.durable = Version::end_of(last.batch()));
        Ok(())
    }

    /// Refuses everything from here on: after a failed write or fsync nobody knows what the
    /// disk holds, and a second fsync that succeeds would not say.
    fn poison(&mut self, error: &EngineError) -> EngineError {
        let reason = error.to_string();
        tracing::error!(reason, "the engine takes no more commits");
        self.unsynced_since = None;
        self.poisoned = Some(reason.clone());
        self.progress.send_modify(|progress| progress.poisoned = Some(reason.clone()));
        EngineError::Poisoned { reason }
    }

    /// Frees the directory: the last of it is the owner's lock.
    fn finish(mut self, reply: CloseReply) {
        let synced = self.sync();
        let Self { shared, requests, store, owner, progress, .. } = self;
        let keyspace = shared.keyspace.swap(None);
        drop(store);
        if let Some(keyspace) = keyspace {
            wait_until_unused(&keyspace);
        }
        drop((requests, progress, owner));
        if let Some(reply) = reply {
            answer(reply, synced);
        }
    }
}

/// Waits for reads in other threads that still use what this is the last handle of.
fn wait_until_unused<T>(handle: &Arc<T>) {
    let deadline = Instant::now() + CLOSE_PATIENCE;
    while Arc::strong_count(handle) > 1 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Judges each transaction; those that pass join the group, the others are answered.
fn admit(commits: Vec<CommitRequest>, group: &mut Group<'_>, window: &mut Window) -> Accepted {
    let mut accepted = Accepted::with_capacity(commits.len());
    for commit in commits {
        let verdict = commit.snapshot.map_or(Verdict::Pass, |snapshot| window.judge(snapshot, &commit.reads));
        let outcome = match verdict {
            Verdict::Pass => group.add(commit.writes, window),
            Verdict::Conflict => Err(EngineError::Conflict),
            Verdict::TooOld => Err(EngineError::TooOld),
        };
        match outcome {
            Ok(version) => accepted.push((commit.reply, version)),
            Err(error) => answer(commit.reply, Err(error)),
        }
    }
    accepted
}

/// Answers a caller, who may have gone.
fn answer<T>(reply: oneshot::Sender<Result<T>>, outcome: Result<T>) {
    reply.send(outcome).ok();
}
