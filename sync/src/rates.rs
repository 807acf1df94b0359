//! A job's limits as they are at this time, and how a process that has the job for itself takes what they allow.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::allowance::{Allowance, Amounts};
use crate::budget::{ASK_EVERY, Budget, Limits};
use crate::schedule::{Schedule, WeekMinute};

/// What stands for a limit that a schedule lifts for some time: more than anybody uses.
const LIFTED: u64 = u64::MAX;
/// The name of the only one who asks.
const ALONE: &str = "alone";

/// Tells the minute of the week.
pub type WallClock = Arc<dyn Fn() -> WeekMinute + Send + Sync>;

/// The limits of a job, some of which change with the time.
#[derive(Clone)]
pub struct Rates {
    schedules: Amounts<Option<Schedule>>,
    clock: WallClock,
}

impl Rates {
    /// These, by this clock.
    pub fn new(schedules: Amounts<Option<Schedule>>, clock: WallClock) -> Self {
        Self { schedules, clock }
    }

    /// The limits at this time. One that a schedule lifts is there, but above all that can be used.
    pub fn limits(&self) -> Limits {
        let now = (self.clock)();
        self.schedules.map(|schedule| schedule.as_ref().map(|schedule| schedule.at(now).unwrap_or(LIFTED)))
    }

    /// Whether one of them changes with the time.
    pub fn change(&self) -> bool {
        let Amounts { source_bytes, target_bytes, source_requests, target_requests } = &self.schedules;
        let all = [source_bytes, target_bytes, source_requests, target_requests];
        all.into_iter().flatten().any(|schedule| schedule.constant().is_none())
    }

    /// Gives a process that shares its limits with nobody what they allow, for as long as it is waited for.
    pub async fn give(&self, allowance: &Allowance) {
        let begun = Instant::now();
        let mut budget = Budget::new(&self.limits(), begun.elapsed());
        loop {
            budget.set(&self.limits(), begun.elapsed());
            allowance.give(budget.grant(ALONE, allowance.wanted(), begun.elapsed()));
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}

impl fmt::Debug for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rates({:?})", self.schedules)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_schedule_changes_what_is_given_and_what_was_saved_up_is_not_kept() {
        let rate = |text: &str| text.parse().map_err(|_| "no rate".to_owned());
        let schedule = Schedule::parse("08:00,1000 09:00,100000 10:00,off 11:00,200", rate).unwrap();
        let hour = Arc::new(AtomicU32::new(8));
        let hand = Arc::clone(&hour);
        let clock = move || WeekMinute::new(2, hand.load(Ordering::Relaxed), 30).unwrap();
        let schedules = Amounts { target_bytes: Some(schedule), ..Amounts::default() };
        let rates = Rates::new(schedules, Arc::new(clock));
        assert!(rates.change());
        assert_eq!(rates.limits(), Amounts { target_bytes: Some(1_000), ..Amounts::default() });
        let mut now = Duration::ZERO;
        let mut budget = Budget::new(&rates.limits(), now);
        let mut given = |hours: u32| {
            hour.store(hours, Ordering::Relaxed);
            let mut sum = 0_u64;
            for _ in 0..40 {
                now += ASK_EVERY;
                budget.set(&rates.limits(), now);
                // Two processes that share it, each of which would use all.
                for name in ["one", "two"] {
                    let wanted = Amounts { target_bytes: Some(1 << 40), ..Amounts::default() };
                    sum = sum.saturating_add(budget.grant(name, wanted, now).target_bytes.unwrap());
                }
            }
            sum
        };
        // Ten seconds of each.
        assert!((9_000..=10_250).contains(&given(8)));
        assert!((950_000..=1_050_000).contains(&given(9)));
        assert!(given(10) >= 78 << 40, "all that was wanted, but for the first time that it was asked");
        assert!((1_900..=2_250).contains(&given(11)));
    }

    #[test]
    fn a_limit_that_is_always_the_same_does_not_change() {
        let schedules = Amounts { source_requests: Some(Schedule::always(7)), ..Amounts::default() };
        let rates = Rates::new(schedules, Arc::new(|| WeekMinute::new(0, 0, 0).unwrap()));
        assert!(!rates.change());
        assert_eq!(rates.limits().source_requests, Some(7));
    }
}
