//! The limit on the bytes a second that are pulled from origins.

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Bytes a second, paid for after they came: the next pull waits.
#[derive(Debug)]
pub(crate) struct OriginLimiter {
    limiter: Option<DefaultDirectRateLimiter>,
    burst: NonZeroU32,
}

impl OriginLimiter {
    /// No limit when `bytes_per_second` is absent, zero or more than 32 bits can count.
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Self {
        let rate = bytes_per_second.and_then(|rate| u32::try_from(rate).ok()).and_then(NonZeroU32::new);
        let limiter = rate.map(|rate| RateLimiter::direct(Quota::per_second(rate)));
        Self { limiter, burst: rate.unwrap_or(NonZeroU32::MIN) }
    }

    /// Waits until `bytes` are within the limit, in steps of one second's worth.
    pub(crate) async fn pay(&self, bytes: usize) {
        let Some(limiter) = &self.limiter else { return };
        let mut owed = bytes as u64;
        while let Some(step) = NonZeroU32::new(owed.min(u64::from(self.burst.get())) as u32) {
            let paid = limiter.until_n_ready(step).await;
            debug_assert!(paid.is_ok(), "a step is at most one burst");
            owed -= u64::from(step.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[tokio::test]
    async fn holds_pulls_to_the_rate() {
        let limiter = OriginLimiter::new(Some(1_000_000));
        let began = Instant::now();
        limiter.pay(1_300_000).await;
        assert!(began.elapsed() >= Duration::from_millis(250));
        OriginLimiter::new(None).pay(usize::MAX).await;
    }
}
