//! Running a transaction until it takes effect once: conflicts are tried again, and a commit
//! whose outcome is unknown is found out first.

use std::ops::ControlFlow;
use std::time::Duration;

use farshore_proto::Incarnation;
use rand::RngExt;

use crate::engine::Advice;
use crate::error::{FsError, Result};
use crate::key;
use crate::region::Region;
use crate::txn::Txn;

/// Attempts after which a conflict is handed to the caller: with backoff, some ten seconds.
const MAX_ATTEMPTS: u32 = 128;
/// Longest pause between two attempts.
const MAX_PAUSE_MS: u64 = 100;
/// Attempts that follow at once: most conflicts are gone by then.
const EAGER_ATTEMPTS: u32 = 2;

/// The attempts at one transaction. `transact!` is the loop around it.
pub(crate) struct Attempts<'r> {
    region: &'r Region,
    incarnation: Incarnation,
    count: u32,
    /// A row that a commit of this transaction leaves, where its outcome may be unknown.
    mark: Option<Vec<u8>>,
}

impl<'r> Attempts<'r> {
    pub(crate) fn new(region: &'r Region) -> Result<Self> {
        let incarnation = region.incarnation()?;
        let mark = region.engine().commit_may_be_unknown().then(|| {
            let random: [u8; 16] = rand::rng().random();
            [key::local::ONCE, &random].concat()
        });
        Ok(Self { region, incarnation, count: 0, mark })
    }

    /// Begins the next attempt, after a pause when earlier ones conflicted.
    pub(crate) async fn begin(&mut self) -> Result<Txn> {
        if self.count > EAGER_ATTEMPTS {
            let most = (1 << (self.count - EAGER_ATTEMPTS).min(7)).min(MAX_PAUSE_MS);
            let pause = rand::rng().random_range(0..=most);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self.count += 1;
        let mut txn = self.region.begin().await?;
        if let Some(mark) = &self.mark {
            txn.put_local(mark, &[]);
        }
        Ok(txn)
    }

    /// Commits what an attempt did, or says that another is needed.
    pub(crate) async fn settle<T>(&mut self, txn: Txn, outcome: Result<T>) -> ControlFlow<Result<T>> {
        let value = match outcome {
            Ok(value) => value,
            Err(error) => return self.after(error).map_break(Err),
        };
        match txn.commit(self.incarnation).await {
            Ok(_) => ControlFlow::Break(Ok(value)),
            Err(error) if error.advice() == Advice::FindOut => match self.took_effect().await {
                Ok(true) => ControlFlow::Break(Ok(value)),
                Ok(false) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(Err(error)),
            },
            Err(error) => self.after(error).map_break(Err),
        }
    }

    /// Whether an attempt that failed with `error`, and had no effect, is to be tried again.
    fn after(&self, error: FsError) -> ControlFlow<FsError> {
        if error.advice() == Advice::Retry && self.count < MAX_ATTEMPTS {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(error)
    }

    /// Whether an attempt whose outcome was unknown was committed. The read is serialisable
    /// and committed, so that an attempt still under way can no longer succeed unseen.
    async fn took_effect(&self) -> Result<bool> {
        let Some(mark) = &self.mark else { return Ok(false) };
        loop {
            let mut txn = self.region.begin().await?;
            let found = txn.get(mark).await?.is_some();
            txn.delete_local(mark);
            match txn.commit_followed().await {
                Ok(_) => return Ok(found),
                Err(error) if error.advice() != Advice::GiveUp => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Runs `$body`, which works on the transaction `$txn`, until it is committed once; gives its value.
macro_rules! transact {
    ($region:expr, |$txn:ident| $body:expr) => {{
        let mut attempts = $crate::attempts::Attempts::new($region)?;
        loop {
            let mut transaction = attempts.begin().await?;
            let $txn = &mut transaction;
            let outcome = $body.await;
            if let std::ops::ControlFlow::Break(done) = attempts.settle(transaction, outcome).await {
                break done;
            }
        }
    }};
}
pub(crate) use transact;
