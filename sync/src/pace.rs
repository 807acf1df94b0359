//! The pace of one side: requests and bytes a second, and how many requests run at once, which is found by trying.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::allowance::Allowance;
use crate::error::Remedy;
use crate::merge::Side;

/// What a person allows one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceLimits {
    /// Requests a second; none means no limit.
    pub requests_per_second: Option<NonZeroU32>,
    /// Bytes a second; none means no limit. More than 32 bits can count is no limit.
    pub bytes_per_second: Option<u64>,
    /// The most requests at once.
    pub most_at_once: usize,
}

/// How many may run at once: it grows by one for each round that succeeded, and shrinks when a store asks for fewer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Concurrency {
    limit: f64,
    most: f64,
    /// Successes since the last shrinking: answers to requests that were under way then do not shrink it again.
    since_shrunk: f64,
}

/// A side's limits at work.
#[derive(Debug)]
pub struct Pace {
    requests: Option<DefaultDirectRateLimiter>,
    bytes: Option<(DefaultDirectRateLimiter, NonZeroU32)>,
    slots: Mutex<Slots>,
    freed: Notify,
    /// What is given of a job's limits, where others use them too; then the two limits above are not there.
    given: Option<(Arc<Allowance>, Side)>,
}

#[derive(Debug)]
struct Slots {
    concurrency: Concurrency,
    taken: usize,
}

/// The right to have one request under way; given back when it is dropped.
#[derive(Debug)]
pub struct Slot(Arc<Pace>);

impl Default for PaceLimits {
    fn default() -> Self {
        Self { requests_per_second: None, bytes_per_second: None, most_at_once: 64 }
    }
}

impl Concurrency {
    /// Begins in the middle between one and the most.
    pub fn new(most: usize) -> Self {
        let most = most.max(1) as f64;
        Self { limit: (most / 2.0).max(1.0), most, since_shrunk: 0.0 }
    }

    /// How many may run at once; at least one.
    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    /// A request succeeded.
    pub fn succeeded(&mut self) {
        self.since_shrunk += 1.0;
        self.limit = (self.limit + 1.0 / self.limit).min(self.most);
    }

    /// A request failed.
    pub fn failed(&mut self, remedy: Remedy) {
        if matches!(remedy, Remedy::SlowDown(_)) && self.since_shrunk >= self.limit / 2.0 {
            self.limit = (self.limit * 0.7).max(1.0);
            self.since_shrunk = 0.0;
        }
    }
}

impl Pace {
    /// A pace within these limits.
    pub fn new(limits: PaceLimits) -> Self {
        let bytes = limits.bytes_per_second.and_then(|rate| u32::try_from(rate).ok()).and_then(NonZeroU32::new);
        Self {
            requests: limits.requests_per_second.map(|rate| RateLimiter::direct(Quota::per_second(rate))),
            bytes: bytes.map(|rate| (RateLimiter::direct(Quota::per_second(rate)), rate)),
            slots: Mutex::new(Slots { concurrency: Concurrency::new(limits.most_at_once), taken: 0 }),
            freed: Notify::new(),
            given: None,
        }
    }

    /// The pace of a side whose limits are shared with others: bytes and requests come out of an allowance.
    pub fn given(limits: PaceLimits, allowance: Arc<Allowance>, side: Side) -> Self {
        let own = PaceLimits { requests_per_second: None, bytes_per_second: None, ..limits };
        Self { given: Some((allowance, side)), ..Self::new(own) }
    }

    /// How many requests may run at once where the store takes them.
    pub fn most_at_once(&self) -> usize {
        self.slots.lock().concurrency.most as usize
    }

    /// Waits until one more request may run.
    pub async fn slot(self: &Arc<Self>) -> Slot {
        loop {
            let freed = self.freed.notified();
            {
                let mut slots = self.slots.lock();
                if slots.taken < slots.concurrency.limit() {
                    slots.taken += 1;
                    return Slot(Arc::clone(self));
                }
            }
            freed.await;
        }
    }

    /// Waits until one more request may be sent.
    pub async fn request(&self) {
        if let Some(pool) = self.given.as_ref().and_then(|(allowance, side)| allowance.requests(*side)) {
            pool.take(1).await;
        }
        if let Some(requests) = &self.requests {
            requests.until_ready().await;
        }
    }

    /// Waits until these bytes are within the limit, in steps of at most one second's worth.
    pub async fn bytes(&self, count: usize) {
        if let Some(pool) = self.given.as_ref().and_then(|(allowance, side)| allowance.bytes(*side)) {
            pool.take(count as u64).await;
        }
        let Some((limiter, burst)) = &self.bytes else { return };
        let mut owed = count as u64;
        while let Some(step) = NonZeroU32::new(owed.min(u64::from(burst.get())) as u32) {
            let paid = limiter.until_n_ready(step).await;
            debug_assert!(paid.is_ok(), "a step is at most one burst");
            owed -= u64::from(step.get());
        }
    }

    /// A request succeeded.
    pub fn succeeded(&self) {
        self.slots.lock().concurrency.succeeded();
        self.freed.notify_one();
    }

    /// A request failed.
    pub fn failed(&self, remedy: Remedy) {
        self.slots.lock().concurrency.failed(remedy);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.slots.lock().taken -= 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn concurrency_grows_with_success_and_shrinks_once_for_each_round() {
        let mut concurrency = Concurrency::new(64);
        assert_eq!(concurrency.limit(), 32);
        for _ in 0..10_000 {
            concurrency.succeeded();
        }
        assert_eq!(concurrency.limit(), 64);
        for _ in 0..64 {
            concurrency.failed(Remedy::SlowDown(None));
        }
        assert_eq!(concurrency.limit(), 44);
        concurrency.failed(Remedy::Retry(None));
        assert_eq!(concurrency.limit(), 44);
        assert_eq!(Concurrency::new(1).limit(), 1);
    }

    #[tokio::test]
    async fn slots_and_bytes_are_held_to_their_limits() {
        let limits = PaceLimits { bytes_per_second: Some(1_000_000), most_at_once: 1, ..PaceLimits::default() };
        let pace = Arc::new(Pace::new(limits));
        let slot = pace.slot().await;
        let second = tokio::time::timeout(Duration::from_millis(20), pace.slot()).await;
        assert!(second.is_err());
        drop(slot);
        drop(pace.slot().await);
        let began = Instant::now();
        pace.bytes(1_300_000).await;
        assert!(began.elapsed() >= Duration::from_millis(250));
    }
}
