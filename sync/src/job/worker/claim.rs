//! How a worker keeps its claim on a range, and ends it: the journal hears of its frontier in time, and copies do not
//! outlive what it was heard of last.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::Context;
use super::{Broken, Ran, RangeWork};
use crate::error::Result as StoreResult;
use crate::journal::{JournalError, Result, Settled};
use crate::limits::{SETTLE_INTERVAL, SETTLE_KEYS};

/// What the frontier has passed and the journal is to hear of next.
#[derive(Debug, Default)]
pub(super) enum Settling {
    /// The journal has heard of all that was taken.
    #[default]
    Nothing,
    /// It is being made durable.
    Flushing(Settled),
    /// The journal may hear of it.
    Durable(Settled),
}

impl Settling {
    /// What is being made durable is.
    pub(super) fn flushed(&mut self) {
        *self = match std::mem::take(self) {
            Self::Flushing(settled) => Self::Durable(settled),
            other => other,
        };
    }

    fn take(&mut self) -> Option<Settled> {
        match std::mem::take(self) {
            Self::Nothing => None,
            Self::Flushing(settled) | Self::Durable(settled) => Some(settled),
        }
    }
}

impl RangeWork {
    /// Tells the journal of the frontier, often enough to keep the claim and little enough to fit a transaction. Copies go
    /// on while what it passed is made durable.
    pub(super) async fn settle_if_due(&mut self) -> std::result::Result<(), Broken> {
        loop {
            match self.settling {
                Settling::Durable(_) => self.settle_what_was_taken().await?,
                Settling::Flushing(_) if self.heard_at.elapsed() >= self.settle_interval() => {
                    return self.renew().await;
                }
                Settling::Nothing if self.is_due() => self.begin_to_settle().await?,
                Settling::Flushing(_) | Settling::Nothing => return Ok(()),
            }
        }
    }

    fn is_due(&self) -> bool {
        self.frontier.is_full()
            || self.frontier.keys() >= SETTLE_KEYS
            || self.settled_at.elapsed() >= self.settle_interval()
    }

    async fn begin_to_settle(&mut self) -> std::result::Result<(), Broken> {
        self.settled_at = Instant::now();
        let Some(settled) = self.frontier.take() else { return self.renew().await };
        self.settling = Settling::Flushing(settled);
        let context = Arc::clone(&self.context);
        self.running.spawn(async move { Ran::Flush(flush_settled(&context).await) });
        Ok(())
    }

    async fn settle_what_was_taken(&mut self) -> std::result::Result<(), Broken> {
        let Some(settled) = self.settling.take() else { return Ok(()) };
        let (context, claimed) = (Arc::clone(&self.context), self.claimed.clone());
        let left = self.held(context.journal().settle(&claimed, settled)).await?;
        self.claimed = left.ok_or(Broken::Journal(JournalError::Lost))?;
        Ok(())
    }

    async fn renew(&mut self) -> std::result::Result<(), Broken> {
        let (context, claimed) = (Arc::clone(&self.context), self.claimed.clone());
        self.held(context.journal().renew(&claimed)).await
    }

    /// Makes all that was written durable, and tells the journal of what was taken for it.
    async fn flush_all(&mut self) -> std::result::Result<(), Broken> {
        self.flush_held().await?;
        self.settle_what_was_taken().await
    }

    /// Makes what was written durable, and keeps the claim however long that takes.
    async fn flush_held(&mut self) -> std::result::Result<(), Broken> {
        let context = Arc::clone(&self.context);
        let mut flushed = pin!(flush_settled(&context));
        loop {
            tokio::select! {
                flushed = &mut flushed => return flushed.map_err(Broken::Store),
                () = tokio::time::sleep(self.settle_interval()) => {}
            }
            self.renew().await?;
        }
    }

    /// A call that keeps the claim.
    pub(super) async fn held<T>(&mut self, call: impl Future<Output = Result<T>>) -> std::result::Result<T, Broken> {
        let began = Instant::now();
        let answer = self.within_lease(call).await?;
        self.heard_at = began;
        Ok(answer)
    }

    /// What is waited for while copies run. A journal that was not heard for the claim's lease may have given it away,
    /// so the claim counts as lost.
    pub(super) async fn within_lease<T>(
        &self,
        call: impl Future<Output = Result<T>>,
    ) -> std::result::Result<T, Broken> {
        let Some(lease) = self.context.journal().lease() else { return call.await.map_err(Broken::Journal) };
        // A tenth is left for what runs here to be dropped.
        let until = self.heard_at + lease * 9 / 10;
        let answer = tokio::time::timeout_at(until.into(), call).await;
        answer.map_err(|_| Broken::Journal(JournalError::Lost))?.map_err(Broken::Journal)
    }

    /// How often the journal hears of this claim: three times within its lease.
    pub(super) fn settle_interval(&self) -> Duration {
        self.context.journal().lease().map_or(SETTLE_INTERVAL, |lease| SETTLE_INTERVAL.min(lease / 4))
    }

    /// The range is done: all its keys have ended, and nothing runs.
    pub(super) async fn finish(mut self) -> Result<()> {
        match self.flush_all().await {
            Ok(()) => {}
            Err(Broken::Journal(JournalError::Lost)) => return Ok(()),
            Err(Broken::Journal(error)) => return Err(error),
            Err(Broken::Store(error)) => self.context.stop(error),
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
    pub(super) async fn leave(mut self) -> Result<()> {
        let told = match flush_settled(&self.context).await {
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
        while let Some(settled) = self.settling.take().or_else(|| self.frontier.take()) {
            let left = self.context.journal().settle(&self.claimed, settled).await?;
            self.claimed = left.ok_or(JournalError::Lost)?;
        }
        Ok(())
    }
}

/// What was put is durable before the journal calls it settled, if anybody can ask it later.
async fn flush_settled(context: &Context) -> StoreResult<()> {
    if context.journal().outlives_process() { context.flush().await } else { Ok(()) }
}
