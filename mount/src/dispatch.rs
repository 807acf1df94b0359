//! Runs a request's work: at once where it was read if it need not wait, else on the runtime.
//!
//! Most requests are answered from memory or by the embedded engine, and never wait. For them
//! a task on the runtime would cost more than the work itself. So the work is polled once on
//! the thread that read the request, with a waker that does nothing; if that does not finish
//! it, the same pinned future becomes a task. No wake-up is lost by it: a task is polled anew
//! before anything waits for it, and a future must then look at its state again and register
//! the waker of that latest poll. What became ready in between is seen by that poll, and what
//! becomes ready later wakes the task.
//!
//! A request cannot be interrupted, therefore every task has a deadline. What only reads is
//! dropped then. What changes something goes on after its caller was told of the timeout,
//! since the change may be half way in the engine; `late` gets its outcome and sees to it that
//! the kernel forgets what it believes about the names and inodes concerned.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use farshore_meta::Result as FsResult;
use tokio::runtime::Handle;

use crate::errno::Failure;

/// What happens to work whose deadline has passed.
pub(crate) enum Late<T> {
    /// It is dropped.
    Drop,
    /// It goes on, and its outcome is for this.
    Finish(Box<dyn FnOnce(FsResult<T>) + Send>),
}

type Work<T> = Pin<Box<dyn Future<Output = FsResult<T>> + Send>>;

/// Runs requests' work.
#[derive(Debug, Clone)]
pub(crate) struct Dispatcher {
    runtime: Handle,
}

impl Dispatcher {
    /// A dispatcher onto `runtime`.
    pub(crate) fn new(runtime: Handle) -> Self {
        Self { runtime }
    }

    /// Runs `work` and gives its outcome to `answer`, at the latest after `deadline`.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        deadline: Duration,
        work: impl Future<Output = FsResult<T>> + Send + 'static,
        late: Late<T>,
        answer: impl FnOnce(Result<T, Failure>) + Send + 'static,
    ) {
        let _runtime = self.runtime.enter();
        let mut work: Work<T> = Box::pin(work);
        match poll_once(&mut work) {
            Ok(Poll::Ready(outcome)) => answer(outcome.map_err(Failure::Volume)),
            Ok(Poll::Pending) => {
                self.runtime.spawn(wait(deadline, work, late, answer));
            }
            Err(Panicked) => answer(Err(Failure::Panicked)),
        }
    }

    /// Runs what may take for ever.
    pub(crate) fn run_unlimited(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(work);
    }
}

struct Panicked;

/// Polls with a waker that does nothing. A panic is caught: it must not end the thread that
/// reads requests.
fn poll_once<T>(work: &mut Work<T>) -> Result<Poll<FsResult<T>>, Panicked> {
    let mut context = Context::from_waker(Waker::noop());
    catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut context))).map_err(|_| Panicked)
}

async fn wait<T>(
    deadline: Duration,
    mut work: Work<T>,
    late: Late<T>,
    answer: impl FnOnce(Result<T, Failure>) + Send + 'static,
) {
    if let Ok(outcome) = tokio::time::timeout(deadline, &mut work).await {
        return answer(outcome.map_err(Failure::Volume));
    }
    answer(Err(Failure::TimedOut(deadline)));
    if let Late::Finish(finish) = late {
        finish(work.await);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;
    use std::thread;

    use farshore_meta::FsError;
    use tokio::runtime::Runtime;
    use tokio::sync::{Mutex, Notify, oneshot};

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn dispatcher() -> (Runtime, Dispatcher) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let dispatcher = Dispatcher::new(runtime.handle().clone());
        (runtime, dispatcher)
    }

    #[test]
    fn ready_work_is_answered_on_the_calling_thread() {
        let (_runtime, dispatcher) = dispatcher();
        let (sender, answers) = mpsc::channel();
        dispatcher.run(LONG, async { Ok(7) }, Late::Drop, move |outcome| {
            sender.send((outcome.unwrap(), thread::current().id())).unwrap();
        });
        assert_eq!(answers.try_recv().unwrap(), (7, thread::current().id()));
    }

    #[test]
    fn a_wake_between_the_polls_is_not_lost() {
        let (_runtime, dispatcher) = dispatcher();
        let (sender, answers) = mpsc::channel();
        for round in 0..10_000u32 {
            let (wake, woken) = oneshot::channel();
            let sender = sender.clone();
            let waker = thread::spawn(move || wake.send(round).unwrap());
            let work = async move { woken.await.map_err(|_| FsError::NotFound) };
            dispatcher.run(LONG, work, Late::Drop, move |outcome| sender.send(outcome.unwrap()).unwrap());
            assert_eq!(answers.recv_timeout(LONG).unwrap(), round);
            waker.join().unwrap();
        }
    }

    #[test]
    fn locks_notifies_and_many_futures_go_on_as_tasks() {
        let (_runtime, dispatcher) = dispatcher();
        let (sender, answers) = mpsc::channel();
        let (lock, notify) = (Arc::new(Mutex::new(0u32)), Arc::new(Notify::new()));
        for _ in 0..200 {
            let (lock, notify, sender) = (Arc::clone(&lock), Arc::clone(&notify), sender.clone());
            let work = async move {
                let mut held = lock.lock().await;
                let (notified, sleeps) =
                    (notify.notified(), (0..3).map(|_| tokio::time::sleep(Duration::from_micros(50))));
                futures::future::join(notified, futures::future::join_all(sleeps)).await;
                *held += 1;
                Ok(*held)
            };
            dispatcher.run(LONG, work, Late::Drop, move |outcome| sender.send(outcome.unwrap()).unwrap());
        }
        for expected in 1..=200 {
            notify.notify_one();
            assert_eq!(answers.recv_timeout(LONG).unwrap(), expected);
        }
    }

    #[test]
    fn late_work_is_answered_for_and_finished() {
        let (_runtime, dispatcher) = dispatcher();
        let (sender, answers) = mpsc::channel();
        let (finish, finished) = mpsc::channel();
        let (wake, woken) = oneshot::channel();
        let work = async move { woken.await.map_err(|_| FsError::NotFound) };
        let late = Late::Finish(Box::new(move |outcome: FsResult<u8>| finish.send(outcome.unwrap()).unwrap()));
        dispatcher.run(Duration::from_millis(20), work, late, move |outcome| sender.send(outcome.is_err()).unwrap());
        assert!(answers.recv_timeout(LONG).unwrap());
        wake.send(9).unwrap();
        assert_eq!(finished.recv_timeout(LONG).unwrap(), 9);
    }

    #[test]
    fn a_panic_is_an_answer() {
        let (_runtime, dispatcher) = dispatcher();
        let (sender, answers) = mpsc::channel();
        let work = async { if true { panic!("a bug in a handler") } else { Ok(()) } };
        dispatcher.run(LONG, work, Late::Drop, move |outcome| sender.send(outcome.is_err()).unwrap());
        assert!(answers.try_recv().unwrap());
    }
}
