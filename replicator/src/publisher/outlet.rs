//! When an interval goes out to a follower: a decision over the interval and the clock.

use std::time::Duration;

use farshore_meta::Interval;

use super::options::HEARTBEAT;

/// One follower's side of the stream: what it asked for last and when it was sent something.
#[derive(Debug)]
pub(crate) struct Outlet {
    ping: u64,
    sent_at: Duration,
}

impl Outlet {
    /// A stream that begins at `now`; its first interval goes out at once.
    pub(crate) fn new(now: Duration) -> Self {
        Self { ping: 0, sent_at: now.saturating_sub(HEARTBEAT) }
    }

    /// The follower asks for an echo of `ping`.
    pub(crate) fn pinged(&mut self, ping: u64) {
        self.ping = self.ping.max(ping);
    }

    /// The ping that an interval read from now on can answer.
    pub(crate) fn ping(&self) -> u64 {
        self.ping
    }

    /// When a heartbeat is due.
    pub(crate) fn heartbeat_at(&self) -> Duration {
        self.sent_at + HEARTBEAT
    }

    /// The pong to send the interval with, if it is to be sent now. `ping` is what `ping()` gave
    /// before the interval was read. An interval that was cut short answers no ping: what was
    /// committed before the ping may be in the next one.
    pub(crate) fn decide(&self, interval: &Interval, ping: u64, now: Duration) -> Option<u64> {
        let pong = if interval.digest.is_some() { ping } else { 0 };
        let wanted = !interval.commits.is_empty() || pong != 0 || now >= self.heartbeat_at();
        wanted.then_some(pong)
    }

    /// An interval was sent at `now` with `pong`.
    pub(crate) fn sent(&mut self, pong: u64, now: Duration) {
        self.sent_at = now;
        if self.ping == pong {
            self.ping = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use farshore_meta::{Change, Commit, Digest};
    use farshore_proto::{Incarnation, Position, Version};

    use super::*;

    const START: Duration = Duration::from_secs(100);

    fn interval(commits: usize, whole: bool) -> Interval {
        let at = Position::start_of(Incarnation::new(1, [0; 12]));
        let change = Change { key: Bytes::from_static(b"DN"), value: None };
        let commit = Commit { version: Version::new(1, 0), changes: vec![change] };
        Interval { from: at, to: at, commits: vec![commit; commits], digest: whole.then(Digest::default) }
    }

    #[test]
    fn commits_go_out_at_once_and_emptiness_waits_for_a_reason() {
        let mut outlet = Outlet::new(START);
        assert_eq!(outlet.decide(&interval(0, true), 0, START), Some(0), "the first goes out");
        outlet.sent(0, START);
        assert_eq!(outlet.decide(&interval(0, true), 0, START), None);
        assert_eq!(outlet.decide(&interval(1, true), 0, START), Some(0));
        assert_eq!(outlet.decide(&interval(0, true), 5, START), Some(5));
        assert_eq!(outlet.decide(&interval(0, true), 0, START + HEARTBEAT), Some(0));
    }

    #[test]
    fn an_interval_cut_short_answers_no_ping() {
        let mut outlet = Outlet::new(START);
        outlet.pinged(3);
        assert_eq!(outlet.decide(&interval(9, false), outlet.ping(), START), Some(0));
        outlet.sent(0, START);
        assert_eq!(outlet.ping(), 3, "still to be answered");
        outlet.sent(3, START);
        assert_eq!(outlet.ping(), 0);
    }
}
