//! The queue to the cache's writer thread, which alone creates, fills and evicts files.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::file::{CacheFile, DATA_AT};
use super::index::Index;
use super::layout::{Layout, allocated_bytes};
use crate::fetch::VerifiedPiece;

enum Job {
    /// The permit is the piece's place in the queue.
    Write(VerifiedPiece, OwnedSemaphorePermit),
    Flush(oneshot::Sender<()>),
}

/// The sending side. The channel itself has no bound; every piece in it holds a permit for
/// its bytes, and flushes are as many as their callers.
#[derive(Debug)]
pub(super) struct WriteQueue {
    sender: UnboundedSender<Job>,
    room: Arc<Semaphore>,
    queue_bytes: usize,
}

impl WriteQueue {
    pub(super) fn start(layout: Layout, index: Arc<Index>, queue_bytes: usize) -> Self {
        let queue_bytes = queue_bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let (sender, receiver) = unbounded_channel();
        let filler = Filler { layout, index, failing: false };
        let spawned = std::thread::Builder::new().name("block-cache".to_owned()).spawn(move || filler.run(receiver));
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for the block cache: nothing new is cached");
        }
        Self { sender, room: Arc::new(Semaphore::new(queue_bytes)), queue_bytes }
    }

    pub(super) fn offer(&self, piece: VerifiedPiece) -> bool {
        let room = Arc::clone(&self.room).try_acquire_many_owned(self.permits(&piece));
        room.is_ok_and(|permit| self.sender.send(Job::Write(piece, permit)).is_ok())
    }

    pub(super) async fn push(&self, piece: VerifiedPiece) {
        let room = Arc::clone(&self.room).acquire_many_owned(self.permits(&piece)).await;
        if let Ok(permit) = room {
            // The writer is gone only if it could not start, which was told.
            drop(self.sender.send(Job::Write(piece, permit)));
        }
    }

    pub(super) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.sender.send(Job::Flush(done)).is_ok() {
            // An error means that the writer is gone, and with it all that was queued.
            drop(wait.await);
        }
    }

    /// A piece larger than the queue takes all of it.
    fn permits(&self, piece: &VerifiedPiece) -> u32 {
        piece.data.len().clamp(1, self.queue_bytes) as u32
    }
}

/// The writer thread.
struct Filler {
    layout: Layout,
    index: Arc<Index>,
    /// The last write failed, which was told.
    failing: bool,
}

impl Filler {
    fn run(mut self, mut jobs: UnboundedReceiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            match job {
                Job::Write(piece, permit) => {
                    self.fill(&piece);
                    drop(permit);
                }
                // Whoever waited may be gone.
                Job::Flush(done) => drop(done.send(())),
            }
        }
    }

    fn fill(&mut self, piece: &VerifiedPiece) {
        let name = piece.tree.name();
        let evicted = self.index.reserve(name, DATA_AT + piece.data.len() as u64);
        if self.evict(&evicted, piece).is_break() {
            return;
        }
        match self.write(piece) {
            Ok(()) => self.failing = false,
            Err(error) => {
                self.index.forget(&name);
                self.layout.remove(&name);
                self.tell_once(&error);
            }
        }
    }

    fn write(&self, piece: &VerifiedPiece) -> std::io::Result<()> {
        let name = piece.tree.name();
        let file = CacheFile::create(&self.layout.path_of(&name))?;
        let renewed = file.write(piece)?;
        let allocated = allocated_bytes(file.inner())?;
        let count = piece.tree.hashes().count();
        let evicted = self.index.written(name, allocated, piece.groups(), count, renewed);
        // The block itself may be among them, written a moment ago: it is gone again then.
        let _kept = self.evict(&evicted, piece);
        Ok(())
    }

    /// Removes the files; breaks if the piece's own block is one of them.
    fn evict(&self, evicted: &[farshore_proto::BlockName], piece: &VerifiedPiece) -> ControlFlow<()> {
        for name in evicted {
            self.layout.remove(name);
        }
        let own = evicted.contains(&piece.tree.name());
        if own { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn tell_once(&mut self, error: &std::io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            let directory = self.layout.root().display();
            tracing::warn!(%directory, %error, "the block cache cannot be written: reading goes on without it; free space there");
        }
    }
}
