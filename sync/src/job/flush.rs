//! What was written is made durable once for all workers of a process that wait for it.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::error::Result;

/// Counts writes, and knows how many of them are durable.
#[derive(Debug)]
pub(super) struct Flush {
    /// Writes that have ended, and one for what an earlier process of the job may have left.
    written: AtomicU64,
    /// How many of them are durable. After a flush that failed nothing is: a disk tells of what it lost once, and the
    /// next flush would hide it.
    durable: Mutex<Result<u64>>,
}

impl Flush {
    pub(super) fn new() -> Self {
        Self { written: AtomicU64::new(1), durable: Mutex::new(Ok(0)) }
    }

    /// A write has ended.
    pub(super) fn wrote(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
    }

    /// What has been written is durable when this returns; the store is asked unless another's flush was enough.
    pub(super) async fn run<F: Future<Output = Result<()>>>(&self, flush: impl FnOnce() -> F) -> Result<()> {
        let wanted = self.written.load(Ordering::Relaxed);
        let mut durable = self.durable.lock().await;
        if durable.clone()? >= wanted {
            return Ok(());
        }
        let written = self.written.load(Ordering::Relaxed);
        *durable = flush().await.map(|()| written);
        durable.clone().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::Notify;

    use super::*;
    use crate::error::StoreError;

    #[tokio::test]
    async fn what_is_written_while_it_flushes_is_flushed_once_more_for_all_who_wait() {
        let (flush, asked, go_on) = (Flush::new(), AtomicUsize::new(0), Notify::new());
        let ask = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            go_on.notified().await;
            Ok(())
        };
        let others = async {
            while asked.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
            flush.wrote();
            let go_on = async {
                while asked.load(Ordering::Relaxed) < 2 {
                    go_on.notify_one();
                    tokio::task::yield_now().await;
                }
                go_on.notify_one();
            };
            tokio::join!(flush.run(ask), flush.run(ask), go_on)
        };
        let (first, (second, third, ())) = tokio::join!(flush.run(ask), others);
        assert!(first.is_ok() && second.is_ok() && third.is_ok());
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        flush.run(ask).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 2, "nothing was written since");
    }

    #[tokio::test]
    async fn after_one_that_failed_none_is_tried() {
        let flush = Flush::new();
        let broken = StoreError::Undurable { store: "disk".into(), reason: "broken".into() };
        assert!(flush.run(|| async { Err(broken) }).await.is_err());
        assert!(flush.run(|| async { Ok(()) }).await.is_err());
    }
}
