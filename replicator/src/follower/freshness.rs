//! How old what a mirror shows may be, measured with its own monotonic clock alone.
//!
//! A ping leaves at t0. The interval that answers it holds everything that was committed before
//! the ping arrived; once that interval is visible, so is all that was committed before t0. An
//! upstream that is a mirror itself adds how old its own rows were.

use std::collections::VecDeque;
use std::time::Duration;

use farshore_proto::Position;

/// Pings and answers remembered at most; beyond that the oldest go, which only makes what is
/// known older.
const REMEMBERED: usize = 1_024;

/// At `at` everything was known that the primary had committed `behind` before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Basis {
    pub(crate) at: Duration,
    pub(crate) behind: Duration,
}

impl Basis {
    /// How old what rests on this is at `now`.
    pub(crate) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.at) + self.behind
    }
}

/// What becomes known as a watermark passes the positions that answered pings.
#[derive(Debug, Default)]
struct Mark {
    pending: VecDeque<(Position, Basis)>,
    basis: Option<Basis>,
}

impl Mark {
    fn expect(&mut self, to: Position, basis: Basis) {
        self.pending.push_back((to, basis));
        if self.pending.len() > REMEMBERED {
            self.pending.pop_front();
        }
    }

    fn reached(&mut self, position: Position) {
        while let Some((_, basis)) = self.pending.pop_front_if(|(to, _)| *to <= position) {
            let newer = self.basis.is_none_or(|known| basis.age(basis.at) <= known.age(basis.at));
            if newer {
                self.basis = Some(basis);
            }
        }
    }
}

/// The pings under way, and what their answers have told.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    last_ping: u64,
    outstanding: VecDeque<(u64, Duration)>,
    applied: Mark,
    visible: Mark,
}

impl Freshness {
    /// A new ping that leaves at `now`.
    pub(crate) fn ping(&mut self, now: Duration) -> u64 {
        self.last_ping += 1;
        self.outstanding.push_back((self.last_ping, now));
        if self.outstanding.len() > REMEMBERED {
            self.outstanding.pop_front();
        }
        self.last_ping
    }

    /// The interval up to `to` answers `pong`; the upstream's rows were `behind` old.
    pub(crate) fn pong(&mut self, pong: u64, behind: Option<Duration>, to: Position) {
        let mut sent_at = None;
        while let Some((ping, at)) = self.outstanding.pop_front_if(|(ping, _)| *ping <= pong) {
            sent_at = (ping == pong).then_some(at);
        }
        if let (Some(at), Some(behind)) = (sent_at, behind) {
            self.applied.expect(to, Basis { at, behind });
            self.visible.expect(to, Basis { at, behind });
        }
    }

    /// The connection is gone: answers that have not come never will, nor will the intervals that
    /// carried answers and were not applied, if their rows are dropped.
    pub(crate) fn disconnected(&mut self) {
        self.outstanding.clear();
    }

    pub(crate) fn applied(&mut self, position: Position) {
        self.applied.reached(position);
    }

    pub(crate) fn visible(&mut self, position: Position) {
        self.visible.reached(position);
    }

    pub(crate) fn applied_basis(&self) -> Option<Basis> {
        self.applied.basis
    }

    pub(crate) fn visible_basis(&self) -> Option<Basis> {
        self.visible.basis
    }
}

#[cfg(test)]
mod tests {
    use farshore_proto::{Incarnation, Version};

    use super::*;

    fn at(batch: u64) -> Position {
        Position { incarnation: Incarnation::new(1, [1; 12]), version: Version::new(batch, 0) }
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn staleness_counts_from_the_ping_and_only_once_visible() {
        let mut freshness = Freshness::default();
        let first = freshness.ping(ms(1_000));
        freshness.pong(first, Some(ms(0)), at(5));
        freshness.applied(at(5));
        assert_eq!(freshness.applied_basis().unwrap().age(ms(1_300)), ms(300));
        assert_eq!(freshness.visible_basis(), None);
        freshness.visible(at(4));
        assert_eq!(freshness.visible_basis(), None);
        freshness.visible(at(5));
        assert_eq!(freshness.visible_basis().unwrap().age(ms(1_300)), ms(300));
    }

    #[test]
    fn an_upstream_that_is_behind_adds_to_it() {
        let mut freshness = Freshness::default();
        let ping = freshness.ping(ms(10));
        freshness.pong(ping, Some(ms(700)), at(5));
        freshness.visible(at(9));
        assert_eq!(freshness.visible_basis().unwrap().age(ms(30)), ms(720));
        let ping = freshness.ping(ms(40));
        freshness.pong(ping, None, at(9));
        freshness.visible(at(9));
        assert_eq!(freshness.visible_basis().unwrap().age(ms(40)), ms(730), "not known is not fresh");
    }

    #[test]
    fn an_older_basis_never_replaces_a_newer_one() {
        let mut freshness = Freshness::default();
        let (a, b) = (freshness.ping(ms(100)), freshness.ping(ms(200)));
        freshness.pong(a, Some(ms(0)), at(1));
        freshness.pong(b, Some(ms(5_000)), at(2));
        freshness.visible(at(2));
        assert_eq!(freshness.visible_basis().unwrap(), Basis { at: ms(100), behind: ms(0) });
    }

    #[test]
    fn answers_to_unknown_pings_are_nothing() {
        let mut freshness = Freshness::default();
        freshness.pong(9, Some(ms(0)), at(5));
        let ping = freshness.ping(ms(1));
        freshness.disconnected();
        freshness.pong(ping, Some(ms(0)), at(5));
        freshness.visible(at(5));
        assert_eq!(freshness.visible_basis(), None);
    }
}
