//! A job's limits, handed out to many processes: each says what it would use, and gets its fair share of what the time
//! since then allows. All of it comes from one account, so the whole never uses more, however many ask. Pure: time
//! comes in.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::allowance::Amounts;

/// What may be used a second, by all processes together; none where there is no limit.
pub type Limits = Amounts<Option<u64>>;

/// How often each process asks.
pub const ASK_EVERY: Duration = Duration::from_millis(250);
/// The most time for which one answer gives, and for which what nobody used is saved up.
const SAVED: Duration = Duration::from_secs(1);
/// A process that did not ask for this long has no share any more.
const SILENT_AFTER: Duration = Duration::from_secs(3);

/// The job's accounts.
#[derive(Debug)]
pub(crate) struct Budget {
    accounts: Amounts<Option<Account>>,
}

/// What is left of one limit, and who wants how much of it.
#[derive(Debug)]
struct Account {
    a_second: u64,
    left: u64,
    /// Until when time was turned into what is left.
    filled: Duration,
    wants: BTreeMap<String, Want>,
}

#[derive(Debug, Clone, Copy)]
struct Want {
    amount: u64,
    said: Duration,
}

impl Budget {
    pub(crate) fn new(limits: &Limits, now: Duration) -> Self {
        Self { accounts: limits.map(|limit| limit.map(|a_second| Account::new(a_second, now))) }
    }

    /// Changes the limits; those that are there stay there.
    pub(crate) fn set(&mut self, limits: &Limits, now: Duration) {
        let Amounts { source_bytes, target_bytes, source_requests, target_requests } = &mut self.accounts;
        for (account, limit) in [
            (source_bytes, limits.source_bytes),
            (target_bytes, limits.target_bytes),
            (source_requests, limits.source_requests),
            (target_requests, limits.target_requests),
        ] {
            if let (Some(account), Some(limit)) = (account, limit) {
                account.set(limit, now);
            }
        }
    }

    /// What a process that would use `wanted` until it asks again may use.
    pub(crate) fn grant(&mut self, member: &str, wanted: Limits, now: Duration) -> Limits {
        let grant = |account: &mut Option<Account>, wanted: Option<u64>| {
            account.as_mut().map(|account| account.grant(member, wanted.unwrap_or(0), now))
        };
        Amounts {
            source_bytes: grant(&mut self.accounts.source_bytes, wanted.source_bytes),
            target_bytes: grant(&mut self.accounts.target_bytes, wanted.target_bytes),
            source_requests: grant(&mut self.accounts.source_requests, wanted.source_requests),
            target_requests: grant(&mut self.accounts.target_requests, wanted.target_requests),
        }
    }
}

impl Account {
    fn new(a_second: u64, now: Duration) -> Self {
        Self { a_second, left: 0, filled: now, wants: BTreeMap::new() }
    }

    fn set(&mut self, a_second: u64, now: Duration) {
        if self.a_second != a_second {
            self.fill(now);
            (self.a_second, self.filled) = (a_second, now);
            self.left = self.left.min(self.of(SAVED));
        }
    }

    fn grant(&mut self, member: &str, wanted: u64, now: Duration) -> u64 {
        self.fill(now);
        self.wants.retain(|_, want| now.saturating_sub(want.said) < SILENT_AFTER);
        let since = self.wants.get(member).map_or(ASK_EVERY, |want| now.saturating_sub(want.said)).min(SAVED);
        self.wants.insert(member.to_owned(), Want { amount: wanted, said: now });
        let wants: Vec<u64> = self.wants.values().map(|want| want.amount).collect();
        // What others left for longer than it takes them to ask is anybody's.
        let spare = self.left.saturating_sub(self.of(2 * ASK_EVERY));
        let granted = wanted.min(fair_share(self.of(since), &wants).max(spare)).min(self.left);
        self.left -= granted;
        granted
    }

    /// Adds what the time since the last call allows, up to what may be saved, so that quiet minutes are not followed
    /// by a burst. The time that makes less than a whole one is kept for the next call.
    fn fill(&mut self, now: Duration) {
        let earned = self.of(now.saturating_sub(self.filled));
        if earned == 0 {
            return;
        }
        let nanos = u128::from(earned) * 1_000_000_000 / u128::from(self.a_second.max(1));
        self.filled += Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.left = self.left.saturating_add(earned).min(self.of(SAVED).max(1));
    }

    fn of(&self, time: Duration) -> u64 {
        u64::try_from(u128::from(self.a_second) * time.as_nanos() / 1_000_000_000).unwrap_or(u64::MAX)
    }
}

/// The largest share that all can have of which some want less: those get what they want, the rest get the same.
fn fair_share(whole: u64, wants: &[u64]) -> u64 {
    let mut sorted = wants.to_vec();
    sorted.sort_unstable();
    let mut left = whole;
    for (at, want) in sorted.iter().enumerate() {
        let share = left / (sorted.len() - at) as u64;
        if *want >= share {
            // One is the least, so that who wants something is not starved by rounding; the account bounds it.
            return share.max(1);
        }
        left -= want;
    }
    whole
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn those_who_want_little_leave_the_rest_to_others() {
        assert_eq!(fair_share(100, &[10, 500, 500]), 45);
        assert_eq!(fair_share(100, &[500, 500, 500, 500]), 25);
        assert_eq!(fair_share(100, &[10, 20]), 100);
        assert_eq!(fair_share(2, &[5, 5, 5]), 1);
    }

    /// What each of them got in a minute, asking as often as it does, never quite in time.
    fn used(limit: u64, wants: &[u64], delays_ms: &[u64]) -> Vec<u64> {
        let mut account = Account::new(limit, Duration::ZERO);
        let mut used = vec![0; wants.len()];
        let mut next: Vec<u64> = (0..wants.len() as u64).map(|number| number * 37 % 250).collect();
        loop {
            let (number, now) = next.iter().copied().enumerate().min_by_key(|(_, at)| *at).unwrap();
            if now >= 60_000 {
                return used;
            }
            let since = 250 + delays_ms[(now as usize + number) % delays_ms.len()];
            used[number] += account.grant(&number.to_string(), wants[number], Duration::from_millis(now));
            next[number] = now + since;
        }
    }

    proptest! {
        #[test]
        fn the_whole_stays_at_the_limit(
            limit in 10_u64..1_000_000_000,
            workers in 1_usize..20,
            delays in prop::collection::vec(0_u64..200, 1..20),
        ) {
            let sum: u64 = used(limit, &vec![u64::MAX; workers], &delays).iter().sum();
            let whole = limit * 60;
            prop_assert!(sum <= whole + whole / 50, "{sum} of {whole}");
            prop_assert!(sum >= whole - whole / 20, "{sum} of {whole}");
        }
    }

    #[test]
    fn shares_are_fair() {
        let used = used(1_000_000, &[10_000, u64::MAX, u64::MAX], &[0, 20, 90, 3]);
        assert!((1_500_000..=2_400_000).contains(&used[0]), "{used:?}");
        let (one, other) = (used[1] as f64, used[2] as f64);
        assert!((one / other - 1.0).abs() < 0.05, "{used:?}");
    }

    #[test]
    fn a_silent_process_has_no_share() {
        let mut account = Account::new(1_000, Duration::ZERO);
        let at = Duration::from_millis;
        let mut last = 0;
        for time in (250..=2_000).step_by(250) {
            account.grant("two", 1_000_000, at(time));
            last = account.grant("one", 1_000_000, at(time));
        }
        assert_eq!(last, 125);
        for time in (2_250..=6_000).step_by(250) {
            last = account.grant("one", 1_000_000, at(time));
        }
        assert_eq!(last, 250);
    }
}
