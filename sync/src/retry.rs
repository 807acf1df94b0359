//! When a failed request is sent again. The decision is pure; the loop around it sleeps.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::{Remedy, Result};

/// How often, and how long between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many times in all; at least 1.
    pub attempts: u32,
    /// The pause before the second attempt; doubled for each further one.
    pub first_pause: Duration,
    /// No pause is longer, but for one that a store asks for.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 8, first_pause: Duration::from_millis(100), longest_pause: Duration::from_secs(20) }
    }
}

impl RetryPolicy {
    /// The pause after the attempt of this number (from 1) that ended so; none if there is no further one. `random`
    /// lies in [0, 1) and spreads those who failed together over half the pause.
    pub fn pause(&self, attempt: u32, remedy: Remedy, random: f64) -> Option<Duration> {
        let (Remedy::Retry(asked) | Remedy::SlowDown(asked)) = remedy else { return None };
        if attempt >= self.attempts {
            return None;
        }
        let doubled = self.first_pause.saturating_mul(1 << (attempt - 1).min(20)).min(self.longest_pause);
        let spread = doubled.mul_f64(0.5 + random / 2.0);
        Some(asked.map_or(spread, |asked| asked + spread))
    }
}

/// Numbers that spread retries: from a seed, the same each time.
#[derive(Debug)]
pub struct Dice(AtomicU64);

impl Dice {
    /// Dice that begin with a seed.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next number in [0, 1).
    pub fn roll(&self) -> f64 {
        let mut mixed = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Does `act` until it succeeds, cannot succeed, or the policy ends it. `failed` hears of each failure.
pub(crate) async fn retry<T, F: Future<Output = Result<T>> + Send>(
    policy: &RetryPolicy,
    dice: &Dice,
    failed: impl Fn(Remedy) + Send + Sync,
    mut act: impl FnMut() -> F + Send,
) -> Result<T> {
    let mut attempt = 1;
    loop {
        let error = match act().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        failed(error.remedy());
        let Some(pause) = policy.pause(attempt, error.remedy(), dice.roll()) else { return Err(error) };
        tracing::debug!(%error, attempt, ?pause, "trying again");
        tokio::time::sleep(pause).await;
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_within_their_limits_and_end() {
        let policy = RetryPolicy::default();
        let pause = |attempt| policy.pause(attempt, Remedy::Retry(None), 0.999_999);
        assert!(pause(1).unwrap() <= Duration::from_millis(100));
        assert!(pause(3).unwrap() > Duration::from_millis(390));
        assert!(
            RetryPolicy { attempts: 99, ..policy }.pause(60, Remedy::Retry(None), 0.5).unwrap() <= policy.longest_pause
        );
        assert_eq!(pause(8), None);
        assert_eq!(policy.pause(1, Remedy::Report, 0.0), None);
        let asked = policy.pause(1, Remedy::SlowDown(Some(Duration::from_secs(5))), 0.0).unwrap();
        assert!(asked >= Duration::from_secs(5));
    }

    #[test]
    fn dice_are_spread_and_repeat_from_their_seed() {
        let (one, other) = (Dice::new(7), Dice::new(7));
        let rolls: Vec<f64> = (0..1000).map(|_| one.roll()).collect();
        assert!(rolls.iter().all(|roll| (0.0..1.0).contains(roll) && (*roll - other.roll()).abs() < f64::EPSILON));
        assert!((rolls.iter().sum::<f64>() / 1000.0 - 0.5).abs() < 0.05);
    }
}
