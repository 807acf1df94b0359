//! Removing the rows of inodes that have lost their last name and are not open.

use std::sync::Arc;
use std::time::Duration;

use farshore_meta::{Ino, Tree, UnixTime};
use tokio::sync::{mpsc, oneshot};

/// Orphans taken up together; they share transactions.
const BATCH: usize = 256;
/// How long the first orphan waits for others to share its transaction.
const GATHER: Duration = Duration::from_millis(20);
/// Orphans waiting; one more waits in the call that made it.
const QUEUE: usize = 4_096;

enum Order {
    Reap(Ino),
    Finish(oneshot::Sender<()>),
}

/// The queue of orphans to be removed.
#[derive(Clone)]
pub(crate) struct Reaper(mpsc::Sender<Order>);

impl Reaper {
    /// Starts the task that removes what is queued.
    pub(crate) fn start(tree: Arc<Tree>, clock: fn() -> UnixTime) -> Self {
        let (orders, queue) = mpsc::channel(QUEUE);
        tokio::spawn(run(tree, clock, queue));
        Self(orders)
    }

    /// Queues an orphan that nobody has open.
    pub(crate) async fn reap(&self, ino: Ino) {
        if self.0.send(Order::Reap(ino)).await.is_err() {
            tracing::debug!(%ino, "the reaper has stopped; the orphan is removed at the next start");
        }
    }

    /// Returns once everything queued before is removed.
    pub(crate) async fn finish(&self) {
        let (done, finished) = oneshot::channel();
        if self.0.send(Order::Finish(done)).await.is_ok() {
            finished.await.unwrap_or_default();
        }
    }
}

async fn run(tree: Arc<Tree>, clock: fn() -> UnixTime, mut queue: mpsc::Receiver<Order>) {
    let mut orders = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut orders, BATCH).await > 0 {
        let only_orphans = orders.iter().all(|order| matches!(order, Order::Reap(_)));
        if only_orphans && orders.len() < BATCH {
            tokio::time::sleep(GATHER).await;
            while let Some(order) = queue.try_recv().ok().filter(|_| orders.len() < BATCH) {
                orders.push(order);
            }
        }
        let reap = |order: &Order| if let Order::Reap(ino) = order { Some(*ino) } else { None };
        let inos: Vec<_> = orders.iter().filter_map(reap).collect();
        if let Err(error) = tree.reap(&inos, clock()).await {
            tracing::warn!(%error, orphans = inos.len(), "removed files keep their rows until the next start");
        }
        for order in orders.drain(..) {
            if let Order::Finish(done) = order {
                done.send(()).unwrap_or_default();
            }
        }
    }
}
