//! Running a transaction until it takes effect once: conflicts are tried again, and a commit whose outcome is unknown
//! is found out first, by a row that only this operation's transaction leaves.

use std::ops::ControlFlow;
use std::time::Duration;

use farshore_meta::engine::{Advice, Engine, EngineError};
use parking_lot::Mutex;
use rand::RngExt;

use super::keys;
use super::rows::{Fault, Rows, Step};
use crate::journal::range::ProcessId;
use crate::journal::{JournalError, Result};

/// Attempts after which a conflict is handed to the caller: with pauses, some ten seconds.
const MAX_ATTEMPTS: u32 = 128;
/// Longest pause between two attempts.
const MAX_PAUSE_MS: u64 = 100;
/// Attempts that follow at once: most conflicts are gone by then.
const EAGER_ATTEMPTS: u32 = 2;

/// The rows that a process leaves to find out what became of its commits: one for each operation that is under way.
#[derive(Debug)]
pub(super) struct Marks {
    process: ProcessId,
    state: Mutex<MarkState>,
}

#[derive(Debug, Default)]
struct MarkState {
    serial: u64,
    slots: u32,
    free: Vec<u32>,
}

/// One operation's row and the value by which it knows its own commit.
#[derive(Debug)]
struct Mark {
    slot: u32,
    row: Vec<u8>,
    serial: u64,
}

impl Marks {
    pub(super) fn new(process: ProcessId) -> Self {
        Self { process, state: Mutex::default() }
    }

    fn take(&self) -> Mark {
        let mut state = self.state.lock();
        state.serial += 1;
        let slot = state.free.pop().unwrap_or_else(|| {
            state.slots += 1;
            state.slots
        });
        Mark { slot, row: keys::once(self.process, slot), serial: state.serial }
    }

    /// Gives a slot back. One whose operation was dropped is not: its commit may still be on its way.
    fn give_back(&self, mark: &Mark) {
        self.state.lock().free.push(mark.slot);
    }
}

/// The attempts at one operation. `transact!` is the loop around it.
pub(super) struct Attempts<'j> {
    engine: &'j dyn Engine,
    marks: &'j Marks,
    mark: Option<Mark>,
    action: &'static str,
    count: u32,
}

impl<'j> Attempts<'j> {
    /// For an operation that errors call `action`.
    pub(super) fn new(engine: &'j dyn Engine, marks: &'j Marks, action: &'static str) -> Self {
        let mark = engine.commit_may_be_unknown().then(|| marks.take());
        Self { engine, marks, mark, action, count: 0 }
    }

    /// Begins the next attempt, after a pause when earlier ones conflicted.
    pub(super) async fn begin(&mut self) -> Result<Rows> {
        if self.count > EAGER_ATTEMPTS {
            let most = (1 << (self.count - EAGER_ATTEMPTS).min(7)).min(MAX_PAUSE_MS);
            let pause = rand::rng().random_range(0..=most);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self.count += 1;
        let txn = self.engine.begin().await.map_err(|error| self.failed(&error))?;
        Ok(Rows::new(txn))
    }

    /// Commits what an attempt did, or says that another is needed.
    pub(super) async fn settle<T>(&mut self, rows: Rows, outcome: Step<T>) -> ControlFlow<Result<T>> {
        let value = match outcome {
            Ok(value) => value,
            Err(Fault::Journal(error)) => return self.done(Err(error)),
            Err(Fault::Engine(error)) => return self.after(&error),
        };
        match self.commit(rows).await {
            Ok(()) => self.done(Ok(value)),
            Err(error) => self.after(&error),
        }
    }

    /// Commits; a commit of unknown outcome that turns out not to have happened counts as a conflict.
    async fn commit(&self, mut rows: Rows) -> std::result::Result<(), EngineError> {
        if let Some(mark) = self.mark.as_ref().filter(|_| rows.has_written()) {
            rows.put_mark(&mark.row, mark.serial);
        }
        match rows.commit().await {
            Err(error) if error.advice() == Advice::FindOut => {
                if self.took_effect().await? {
                    Ok(())
                } else {
                    Err(EngineError::Conflict)
                }
            }
            outcome => outcome,
        }
    }

    /// Whether an attempt whose outcome is unknown was committed. All attempts read the row before they write it, and
    /// so does this, so an attempt that is still on its way can no longer succeed unseen.
    async fn took_effect(&self) -> std::result::Result<bool, EngineError> {
        let Some(mark) = &self.mark else { return Ok(false) };
        loop {
            let mut rows = Rows::new(self.engine.begin().await?);
            let outcome = match rows.find_mark(&mark.row, mark.serial).await {
                Ok(found) => rows.commit().await.map(|()| found),
                Err(error) => Err(error),
            };
            match outcome {
                Err(error) if error.advice() != Advice::GiveUp => {}
                outcome => return outcome,
            }
        }
    }

    /// What follows an attempt that failed with `error` and had no effect.
    fn after<T>(&self, error: &EngineError) -> ControlFlow<Result<T>> {
        if error.advice() == Advice::Retry && self.count < MAX_ATTEMPTS {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(Err(self.failed(error)))
    }

    fn done<T>(&mut self, result: Result<T>) -> ControlFlow<Result<T>> {
        if let Some(mark) = self.mark.take() {
            self.marks.give_back(&mark);
        }
        ControlFlow::Break(result)
    }

    fn failed(&self, error: &EngineError) -> JournalError {
        JournalError::failed(self.action, error)
    }
}

/// Runs `$body`, which works on the rows `$rows`, until it is committed once; gives its value.
macro_rules! transact {
    ($journal:expr, $action:expr, |$rows:ident| $body:expr) => {{
        let mut attempts =
            $crate::journal::engine::attempts::Attempts::new(&*$journal.engine, &$journal.marks, $action);
        loop {
            let mut rows = attempts.begin().await?;
            let $rows = &mut rows;
            let outcome = $body.await;
            if let std::ops::ControlFlow::Break(done) = attempts.settle(rows, outcome).await {
                break done;
            }
        }
    }};
}
pub(super) use transact;
