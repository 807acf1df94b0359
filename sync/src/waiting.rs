//! Threads that may wait for a disk. A call that waits must not hold up the few threads that run everything else, and
//! handing each over to another thread costs more than most of them take. Where copies go from one disk to another,
//! each is handed as a whole to one of a few threads, and its calls wait where they are.

use std::cell::Cell;
use std::fmt;
use std::future::Future;

use crossbeam::channel::{Receiver, Sender, unbounded};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

thread_local! {
    static MAY_WAIT: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread may wait for a disk.
pub(crate) fn may_wait() -> bool {
    MAY_WAIT.get()
}

type Task = Box<dyn FnOnce(&Handle) + Send>;

/// Some threads, each of which takes the next future once it is done with one. They end with their handle, and a runtime
/// that is shut down waits for them. What waits for them is bounded by whoever hands it over.
pub(crate) struct WaitingThreads {
    tasks: Sender<Task>,
}

impl WaitingThreads {
    /// Starts so many threads of the runtime that this is called in.
    pub(crate) fn start(count: usize) -> Self {
        let (tasks, taken) = unbounded::<Task>();
        let runtime = Handle::current();
        for _ in 0..count.max(1) {
            let (taken, runtime) = (taken.clone(), runtime.clone());
            runtime.clone().spawn_blocking(move || work(&taken, &runtime));
        }
        Self { tasks }
    }

    /// Runs a future to its end on one of the threads; what it spawns runs elsewhere. None if it panicked. Once nobody
    /// waits for what comes of it, it is not begun, or is dropped where it next waits for something else than a disk.
    pub(crate) fn run<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        future: F,
    ) -> impl Future<Output = Option<T>> + Send + use<T, F> + 'static {
        let (mut sender, receiver) = oneshot::channel();
        let task = Box::new(move |runtime: &Handle| {
            let ended = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = sender.closed() => None,
                    ended = future => Some(ended),
                }
            });
            // Nobody waits for it if this fails.
            ended.map_or(Ok(()), |ended| sender.send(ended)).unwrap_or_default();
        });
        let sent = self.tasks.send(task);
        drop(sent);
        async move { receiver.await.ok() }
    }
}

fn work(taken: &Receiver<Task>, runtime: &Handle) {
    MAY_WAIT.set(true);
    for task in taken {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| task(runtime)));
        if ended.is_err() {
            tracing::error!("a copy panicked");
        }
    }
}

impl fmt::Debug for WaitingThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitingThreads").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn only_their_own_threads_may_wait() {
        assert!(!may_wait());
        let threads = WaitingThreads::start(2);
        let looked = threads.run(async { (may_wait(), tokio::spawn(async { may_wait() }).await) }).await;
        let (inside, spawned) = looked.unwrap();
        assert!(inside && !spawned.unwrap() && !may_wait());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_panic_ends_one_future_and_no_thread() {
        let threads = WaitingThreads::start(1);
        let panicked = threads.run(async { panic!("on purpose") }).await;
        assert!(panicked.is_none_or(|()| false));
        assert_eq!(threads.run(async { 7 }).await, Some(7));
    }

    #[test]
    fn a_runtime_that_ends_waits_until_what_is_under_way_was_dropped() {
        /// Notes that it was dropped.
        struct Noted(std::sync::Arc<std::sync::atomic::AtomicBool>);
        impl Drop for Noted {
            fn drop(&mut self) {
                std::thread::sleep(std::time::Duration::from_millis(50));
                self.0.store(true, std::sync::atomic::Ordering::SeqCst);
            }
        }
        let dropped = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
        let noted = Noted(std::sync::Arc::clone(&dropped));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let threads = WaitingThreads::start(1);
            let (begun, begins) = oneshot::channel();
            let endless = threads.run(async move {
                let _noted = noted;
                begun.send(()).unwrap();
                std::future::pending::<()>().await;
            });
            let waiting = tokio::spawn(endless);
            begins.await.unwrap();
            waiting.abort();
        });
        drop(runtime);
        assert!(dropped.load(std::sync::atomic::Ordering::SeqCst));
    }
}
