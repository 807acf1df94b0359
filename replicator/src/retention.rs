//! How long the change log is kept: a decision over the registered mirrors and the clock.
//!
//! The log is kept for every registered mirror up to what it has applied, as long as its lease
//! lives; and beyond that for a short while, so that a mirror that changes its upstream, and lags
//! a little behind its new siblings, need not bootstrap anew. What is kept is not counted in
//! bytes: no engine counts a range cheaply, and the lease bounds it.

use std::collections::VecDeque;

use farshore_meta::MirrorRecord;
use farshore_proto::Position;

/// When mirrors are given up and what is kept beyond their need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionOptions {
    /// A mirror that was not heard of for longer is evicted, in milliseconds. Default 72 hours.
    pub lease_ms: u64,
    /// Log that no mirror needs is kept for as long as this, in milliseconds. Default 2 minutes.
    pub keep_ms: u64,
}

impl Default for RetentionOptions {
    fn default() -> Self {
        Self { lease_ms: 72 * 3_600_000, keep_ms: 120_000 }
    }
}

/// Where the region stood at some time: by these the log's age is known. They are kept in
/// memory; after a restart the log is kept for `keep_ms` from then on.
#[derive(Debug, Default)]
pub(crate) struct Samples(VecDeque<(u64, Position)>);

impl Samples {
    /// Notes where the region stands now, and forgets what is too old to be asked for again.
    pub(crate) fn note(&mut self, now_unix_ms: u64, position: Position, options: &RetentionOptions) {
        // A clock that was set back would hide every later sample behind the earlier ones.
        self.0.retain(|(at, _)| *at <= now_unix_ms);
        self.0.push_back((now_unix_ms, position));
        while self.0.get(1).is_some_and(|(at, _)| at + options.keep_ms <= now_unix_ms) {
            self.0.pop_front();
        }
    }

    /// The newest position that is at least `keep_ms` old.
    fn aged(&self, now_unix_ms: u64, options: &RetentionOptions) -> Option<Position> {
        let old = |(at, _): &&(u64, Position)| at + options.keep_ms <= now_unix_ms;
        self.0.iter().take_while(old).last().map(|(_, position)| *position)
    }
}

/// What to do about the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Mirrors whose lease has passed.
    pub(crate) evict: Vec<MirrorRecord>,
    /// The log up to here may go; nothing when it is all still wanted.
    pub(crate) trim_to: Option<Position>,
}

/// Decides what of the log may go at `now_unix_ms`.
pub(crate) fn decide(
    mirrors: &[MirrorRecord],
    samples: &Samples,
    now_unix_ms: u64,
    options: &RetentionOptions,
) -> Plan {
    let expired = |mirror: &&MirrorRecord| mirror.heard_unix_ms.saturating_add(options.lease_ms) < now_unix_ms;
    let evict: Vec<_> = mirrors.iter().filter(expired).cloned().collect();
    let needed = mirrors.iter().filter(|mirror| !expired(mirror)).map(|mirror| mirror.applied).min();
    let aged = samples.aged(now_unix_ms, options);
    let trim_to = aged.map(|aged| needed.map_or(aged, |needed| needed.min(aged)));
    Plan { evict, trim_to }
}

#[cfg(test)]
mod tests {
    use farshore_proto::{Incarnation, RegionId, Version};

    use super::*;

    const OPTIONS: RetentionOptions = RetentionOptions { lease_ms: 1_000, keep_ms: 100 };

    fn at(batch: u64) -> Position {
        Position { incarnation: Incarnation::new(1, [1; 12]), version: Version::new(batch, 0) }
    }

    fn mirror(id: u8, applied: u64, heard_unix_ms: u64) -> MirrorRecord {
        let id = RegionId::from_random([id; 16]);
        MirrorRecord { id, name: String::new(), applied: at(applied), visible: at(0), heard_unix_ms }
    }

    fn samples(times: &[u64]) -> Samples {
        let mut samples = Samples::default();
        for time in times {
            samples.note(*time, at(*time), &OPTIONS);
        }
        samples
    }

    #[test]
    fn without_mirrors_only_the_recent_log_is_kept() {
        let plan = decide(&[], &samples(&[1_000, 1_050, 1_100]), 1_160, &OPTIONS);
        assert_eq!(plan, Plan { evict: Vec::new(), trim_to: Some(at(1_050)) });
        assert_eq!(decide(&[], &samples(&[1_000]), 1_050, &OPTIONS).trim_to, None);
        assert_eq!(decide(&[], &samples(&[]), 1_050, &OPTIONS).trim_to, None);
    }

    #[test]
    fn the_slowest_live_mirror_holds_the_log() {
        let mirrors = [mirror(1, 700, 1_900), mirror(2, 1_500, 2_000)];
        assert_eq!(decide(&mirrors, &samples(&[1_800]), 2_000, &OPTIONS).trim_to, Some(at(700)));
    }

    #[test]
    fn a_mirror_past_its_lease_goes_and_holds_nothing() {
        let mirrors = [mirror(1, 700, 999), mirror(2, 1_500, 1_000)];
        let plan = decide(&mirrors, &samples(&[1_800]), 2_000, &OPTIONS);
        assert_eq!(plan, Plan { evict: vec![mirrors[0].clone()], trim_to: Some(at(1_500)) });
    }

    #[test]
    fn a_clock_set_back_evicts_nobody_and_keeps_the_log() {
        let plan = decide(&[mirror(1, 7, 9_000)], &samples(&[9_000, 50]), 60, &OPTIONS);
        assert_eq!(plan, Plan { evict: Vec::new(), trim_to: None });
    }

    #[test]
    fn samples_stay_few() {
        let mut samples = Samples::default();
        (0..10_000).for_each(|time| samples.note(time, at(time), &OPTIONS));
        assert!(samples.0.len() <= 102, "{}", samples.0.len());
    }
}
