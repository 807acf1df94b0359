//! The queue before the committer: bounded by bytes, and always open to the order to stop.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use farshore_proto::Version;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::reads::Reads;
use super::writes::Writes;
use crate::engine::{EngineError, Result};

/// Most bytes of transactions that wait; past it, commits wait before they enter.
const MAX_QUEUED_KIB: usize = 64 << 10;

/// A transaction to commit.
pub(super) struct CommitRequest {
    /// The batch of the view that it read; none if it read nothing.
    pub(super) snapshot: Option<u64>,
    pub(super) reads: Reads,
    pub(super) writes: Writes,
    /// Its size as its limits count it.
    pub(super) bytes: usize,
    pub(super) reply: oneshot::Sender<Result<Version>>,
}

/// What the committer is asked for.
pub(super) enum Request {
    /// Commit this. The permit is its share of the queue.
    Commit(CommitRequest, OwnedSemaphorePermit),
    /// Make durable what is committed.
    Sync(oneshot::Sender<Result<()>>),
    /// Finish what came before, make it durable and free the directory.
    Stop(Option<oneshot::Sender<Result<()>>>),
}

/// The callers' end of the queue.
pub(super) struct Queue {
    requests: Sender<Request>,
    room: Arc<Semaphore>,
}

impl Queue {
    pub(super) fn new(requests: Sender<Request>) -> Self {
        Self { requests, room: Arc::new(Semaphore::new(MAX_QUEUED_KIB)) }
    }

    /// Waits for room, then for the commit.
    pub(super) async fn commit(
        &self,
        request: CommitRequest,
        answer: oneshot::Receiver<Result<Version>>,
    ) -> Result<Version> {
        let kib = (request.bytes >> 10).clamp(1, MAX_QUEUED_KIB) as u32;
        let permit = Arc::clone(&self.room).acquire_many_owned(kib).await.map_err(|_| EngineError::Closed)?;
        self.send(Request::Commit(request, permit))?;
        self.answered(answer).await
    }

    pub(super) async fn sync(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Sync(reply))?;
        self.answered(answer).await
    }

    /// Lets nothing more in and waits until the committer has stopped.
    pub(super) async fn close(&self) -> Result<()> {
        if self.room.is_closed() {
            return Err(EngineError::Closed);
        }
        let (reply, answer) = oneshot::channel();
        self.stop(Some(reply));
        self.answered(answer).await
    }

    /// Lets nothing more in and has the committer stop.
    pub(super) fn stop(&self, reply: Option<oneshot::Sender<Result<()>>>) {
        self.room.close();
        // An error says that the committer has stopped already.
        self.send(Request::Stop(reply)).ok();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.room.is_closed()
    }

    fn send(&self, request: Request) -> Result<()> {
        self.requests.send(request).map_err(|_| self.gone())
    }

    async fn answered<T>(&self, answer: oneshot::Receiver<Result<T>>) -> Result<T> {
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Why the committer does not answer.
    fn gone(&self) -> EngineError {
        if self.is_closed() {
            return EngineError::Closed;
        }
        EngineError::Poisoned { reason: "the committer ended; this is a bug".to_owned() }
    }
}
