//! What this process may use of a job's limits. Whoever has the job gives it bit by bit, to this process and to others,
//! so that all together stay within them.

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::merge::Side;

/// One number for each limit that a job may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts<T> {
    /// Bytes from the source.
    pub source_bytes: T,
    /// Bytes to the target.
    pub target_bytes: T,
    /// Requests to the source.
    pub source_requests: T,
    /// Requests to the target.
    pub target_requests: T,
}

impl<T> Amounts<T> {
    /// The same of each.
    pub fn map<U>(&self, mut made: impl FnMut(&T) -> U) -> Amounts<U> {
        Amounts {
            source_bytes: made(&self.source_bytes),
            target_bytes: made(&self.target_bytes),
            source_requests: made(&self.source_requests),
            target_requests: made(&self.target_requests),
        }
    }
}

/// What was given and is not used.
#[derive(Debug)]
pub struct Allowance(Amounts<Option<Pool>>);

/// What was given of one limit.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    state: Mutex<PoolState>,
    given: Notify,
}

#[derive(Debug, Default)]
struct PoolState {
    left: u64,
    /// What those who wait still want.
    waited_for: u64,
    /// Since it was last asked what is wanted.
    used: u64,
}

impl Allowance {
    /// For a job that has these limits; what has none is never waited for.
    pub fn new(limits: &Amounts<Option<u64>>) -> Self {
        Self(limits.map(|limit| limit.map(|_| Pool::default())))
    }

    /// What this process would use until it is asked again, if nothing held it back.
    pub fn wanted(&self) -> Amounts<Option<u64>> {
        self.0.map(|pool| pool.as_ref().map(Pool::wanted))
    }

    /// Takes what was given.
    pub fn give(&self, given: Amounts<Option<u64>>) {
        let Amounts { source_bytes, target_bytes, source_requests, target_requests } = &self.0;
        for (pool, given) in [
            (source_bytes, given.source_bytes),
            (target_bytes, given.target_bytes),
            (source_requests, given.source_requests),
            (target_requests, given.target_requests),
        ] {
            if let (Some(pool), Some(given)) = (pool, given) {
                pool.give(given);
            }
        }
    }

    pub(crate) fn bytes(&self, side: Side) -> Option<&Pool> {
        match side {
            Side::Source => self.0.source_bytes.as_ref(),
            Side::Target => self.0.target_bytes.as_ref(),
        }
    }

    pub(crate) fn requests(&self, side: Side) -> Option<&Pool> {
        match side {
            Side::Source => self.0.source_requests.as_ref(),
            Side::Target => self.0.target_requests.as_ref(),
        }
    }
}

impl Pool {
    /// Waits until so much was given, and uses it up as it comes.
    pub(crate) async fn take(&self, count: u64) {
        let mut wait = Wait { pool: self, owed: count };
        self.state.lock().waited_for += count;
        loop {
            let given = self.given.notified();
            if wait.pay() {
                return;
            }
            given.await;
        }
    }

    fn give(&self, given: u64) {
        if given > 0 {
            self.state.lock().left += given;
            self.given.notify_waiters();
        }
    }

    /// Twice of what was used and what is waited for: who is held back asks for more each time.
    fn wanted(&self) -> u64 {
        let mut state = self.state.lock();
        let used = std::mem::take(&mut state.used);
        used.saturating_mul(2).saturating_add(state.waited_for).saturating_sub(state.left)
    }
}

/// One who waits; whoever goes away wants nothing any more.
struct Wait<'a> {
    pool: &'a Pool,
    owed: u64,
}

impl Wait<'_> {
    /// Takes what is there; whether that was all.
    fn pay(&mut self) -> bool {
        let mut state = self.pool.state.lock();
        let paid = self.owed.min(state.left);
        state.left -= paid;
        state.used += paid;
        state.waited_for -= paid;
        self.owed -= paid;
        self.owed == 0
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.pool.state.lock().waited_for -= self.owed;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_is_given_is_used_as_it_comes_and_no_more() {
        let limits = Amounts { source_bytes: Some(1), ..Amounts::default() };
        let allowance = Arc::new(Allowance::new(&limits));
        let taker = Arc::clone(&allowance);
        let taking = tokio::spawn(async move { taker.bytes(Side::Source).unwrap().take(100).await });
        let give = |amount| allowance.give(Amounts { source_bytes: Some(amount), ..Amounts::default() });
        for left in [100, 70, 40] {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let wanted = allowance.wanted();
            assert!(wanted.source_bytes.unwrap() >= left && wanted.target_bytes.is_none(), "{wanted:?}");
            assert!(!taking.is_finished());
            give(30);
        }
        give(10);
        taking.await.unwrap();
        let dropped = allowance.bytes(Side::Source).unwrap().take(50);
        assert!(tokio::time::timeout(Duration::from_millis(5), dropped).await.is_err());
        allowance.wanted();
        assert_eq!(allowance.wanted().source_bytes, Some(0), "nobody waits any more");
    }
}
