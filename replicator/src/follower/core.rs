//! What a follower does next: a state machine over events, with the time as an argument.
//!
//! ```text
//! look -> connect -> register -> copy -> follow
//!   ^                                      |
//!   +------------- rest <------------------+    any fault that may pass
//!                  stop                         any that will not
//! ```
//! It accepts a page or an interval only where the last one ended, and hands them on to be
//! written one at a time, in order. What came in before a connection was lost is still written;
//! then it looks where the rows stand, and goes on from there.

use std::time::Duration;

use farshore_meta::engine::KeyValue;
use farshore_meta::{Bootstrap, DURABLE, Interval, RowsPage};
use farshore_proto::limits::PROTOCOL;
use farshore_proto::{Position, RegionId, VolumeId};

use super::backoff::Backoff;
use super::fault::Fault;
use super::freshness::Freshness;
use super::inbox::Inbox;
use crate::error::ReplicatorError;
use crate::message::{Delivery, Described};

/// How long an upstream may take to answer a call.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long a stream may be silent: ten heartbeats.
const SILENCE: Duration = Duration::from_secs(10);
/// How often progress is reported, if there is any.
const REPORT_EVERY: Duration = Duration::from_millis(250);
/// How often the upstream is pinged.
const PING_EVERY: Duration = Duration::from_millis(500);

/// Who follows whom.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) volume_id: VolumeId,
    pub(crate) mirror_id: RegionId,
    pub(crate) upstream: String,
}

/// How the mirror's rows stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing was copied yet.
    New,
    /// Some pages were.
    Copying(Bootstrap),
    /// All were, and the log is replayed until the digest agrees.
    Replaying(Position),
    /// The rows are those that the upstream had there.
    Following(Position),
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// The rows stand so.
    Stands(Standing),
    /// The upstream answered.
    Connected(Described),
    /// The log after this position is kept for this mirror.
    Registered(Position),
    /// A page that continues at `begin`.
    Page { begin: Vec<u8>, page: RowsPage },
    /// An interval.
    Delivered(Delivery),
    /// The connection is gone, or was never there.
    Lost(Fault),
    /// The page was written.
    Copied,
    /// The interval up to here was written, and the rows stand so.
    Applied(Standing),
    /// Writing failed, for now or for good; the rows may stand anywhere in between.
    WriteFailed { error: ReplicatorError, for_good: bool },
    /// Every reader sees everything up to here.
    Visible(Position),
    /// Time has passed.
    Tick,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Find out how the rows stand.
    Look,
    /// Reach the upstream and have it describe itself.
    Connect,
    /// Drop the connection and whatever it may still bring.
    Disconnect,
    /// The regions above are these.
    Above(Vec<RegionId>),
    /// Register, at this position or anew.
    Register(Option<Position>),
    /// Ask for the rows from this key on.
    RequestSnapshot(Vec<u8>),
    /// Follow from here.
    StartFollow(Position),
    /// Write a page.
    CopyPage(Vec<KeyValue>, Bootstrap),
    /// Write an interval.
    Apply(Interval),
    /// Tell the upstream; a ping of zero is none.
    Report { applied: Position, visible: Option<Position>, ping: u64 },
}

/// What the follower is about.
#[derive(Debug, Clone)]
pub(crate) enum Stage {
    Looking,
    Connecting { since: Duration },
    Registering { since: Duration },
    Copying,
    Following,
    Resting { until: Duration },
    Stopped(ReplicatorError),
}

/// What was done since the follower was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) rows: u64,
    pub(crate) intervals: u64,
    pub(crate) commits: u64,
    pub(crate) bytes: u64,
    pub(crate) malformed: u64,
    pub(crate) connections: u64,
}

/// The follower's state.
#[derive(Debug)]
pub(crate) struct Core {
    identity: Identity,
    stage: Stage,
    standing: Standing,
    inbox: Inbox,
    /// The bootstrap as it will be when the page under way is written.
    copying: Option<Bootstrap>,
    writing: bool,
    /// Where the next page begins.
    next_page: Vec<u8>,
    /// Where the next interval begins.
    tail: Option<Position>,
    received: Option<Position>,
    applied: Option<Position>,
    visible: Option<Position>,
    reported: Option<(Position, Option<Position>)>,
    heard_at: Duration,
    report_at: Duration,
    ping_at: Duration,
    backoff: Backoff,
    freshness: Freshness,
    last_error: Option<ReplicatorError>,
    upstream_inodes: Option<u64>,
    counts: Counts,
    actions: Vec<Action>,
}

impl Core {
    /// A follower that has not begun; its first action is to look. `seed` is for its pauses.
    pub(crate) fn new(identity: Identity, seed: u64) -> Self {
        Self {
            identity,
            stage: Stage::Looking,
            standing: Standing::New,
            inbox: Inbox::default(),
            copying: None,
            writing: false,
            next_page: DURABLE.0.to_vec(),
            tail: None,
            received: None,
            applied: None,
            visible: None,
            reported: None,
            heard_at: Duration::ZERO,
            report_at: Duration::ZERO,
            ping_at: Duration::ZERO,
            backoff: Backoff::new(seed),
            freshness: Freshness::default(),
            last_error: None,
            upstream_inodes: None,
            counts: Counts::default(),
            actions: vec![Action::Look],
        }
    }

    /// Takes what happened at `now`, a time since any fixed one; returns what to do, in order.
    pub(crate) fn step(&mut self, now: Duration, event: Event) -> Vec<Action> {
        match event {
            Event::Visible(position) => self.on_visible(position),
            _ if matches!(self.stage, Stage::Stopped(_)) => {}
            Event::Stands(standing) => self.on_stands(now, standing),
            Event::Connected(described) => self.on_connected(now, described),
            Event::Registered(pinned) => self.on_registered(now, pinned),
            Event::Page { begin, page } => self.on_page(now, &begin, page),
            Event::Delivered(delivery) => self.on_delivered(now, delivery),
            Event::Lost(fault) => self.on_lost(now, fault),
            Event::Copied => self.on_copied(now),
            Event::Applied(standing) => self.on_applied(now, standing),
            Event::WriteFailed { error, for_good } => self.on_write_failed(now, error, for_good),
            Event::Tick => self.on_tick(now),
        }
        self.write_next();
        self.look_if_rested(now);
        std::mem::take(&mut self.actions)
    }

    fn on_stands(&mut self, now: Duration, standing: Standing) {
        if !matches!(self.stage, Stage::Looking) {
            return;
        }
        if let Standing::Replaying(position) | Standing::Following(position) = standing {
            self.applied = Some(position);
            self.received = self.received.max(Some(position));
        }
        self.standing = standing;
        self.stage = Stage::Connecting { since: now };
        self.actions.push(Action::Connect);
    }

    fn on_connected(&mut self, now: Duration, described: Described) {
        if !matches!(self.stage, Stage::Connecting { .. }) {
            return;
        }
        if let Err(fault) = self.check_upstream(&described) {
            return self.on_lost(now, fault);
        }
        self.counts.connections += 1;
        self.upstream_inodes = Some(described.used_inodes);
        let above = std::iter::once(described.region_id).chain(described.upstreams).collect();
        self.actions.push(Action::Above(above));
        let resume_from = match &self.standing {
            Standing::New => None,
            Standing::Copying(bootstrap) => Some(bootstrap.pinned),
            Standing::Replaying(position) | Standing::Following(position) => Some(*position),
        };
        self.stage = Stage::Registering { since: now };
        self.actions.push(Action::Register(resume_from));
    }

    /// Whether the upstream is one that this mirror can follow.
    fn check_upstream(&self, described: &Described) -> Result<(), Fault> {
        let Identity { volume_id, mirror_id, upstream } = &self.identity;
        let upstream = upstream.clone();
        if described.protocol != PROTOCOL {
            let theirs = described.protocol;
            return Err(Fault::Passing(ReplicatorError::Protocol { upstream, ours: PROTOCOL, theirs }));
        }
        if described.volume_id != *volume_id {
            return Err(Fault::Final(ReplicatorError::WrongVolume {
                upstream,
                name: described.volume_name.clone(),
                found: described.volume_id,
                expected: *volume_id,
            }));
        }
        if described.region_id == *mirror_id || described.upstreams.contains(mirror_id) {
            return Err(Fault::Final(ReplicatorError::SelfUpstream { upstream, region: *mirror_id }));
        }
        if !described.ready {
            let reason = "it still bootstraps itself and cannot be followed yet".to_owned();
            return Err(Fault::Passing(ReplicatorError::Refused { upstream, reason }));
        }
        Ok(())
    }

    fn on_registered(&mut self, now: Duration, pinned: Position) {
        if !matches!(self.stage, Stage::Registering { .. }) {
            return;
        }
        self.heard_at = now;
        let bootstrap = match &self.standing {
            Standing::New => Bootstrap::begin(pinned),
            Standing::Copying(bootstrap) if bootstrap.pinned == pinned => bootstrap.clone(),
            Standing::Replaying(position) | Standing::Following(position) if *position == pinned => {
                return self.start_follow(now, pinned);
            }
            _ => {
                return self.on_malformed(now, "it keeps the log from another position than was asked for");
            }
        };
        self.next_page = bootstrap.next.clone().unwrap_or_else(|| DURABLE.1.to_vec());
        self.standing = Standing::Copying(bootstrap);
        self.stage = Stage::Copying;
        self.actions.push(Action::RequestSnapshot(self.next_page.clone()));
    }

    fn start_follow(&mut self, now: Duration, from: Position) {
        self.tail = Some(from);
        self.heard_at = now;
        self.report_at = now;
        self.ping_at = now;
        self.reported = None;
        self.stage = Stage::Following;
        self.actions.push(Action::StartFollow(from));
    }

    fn on_page(&mut self, now: Duration, begin: &[u8], page: RowsPage) {
        if !matches!(self.stage, Stage::Copying) {
            return;
        }
        if begin != self.next_page {
            return self.on_malformed(now, "a snapshot page does not continue the one before it");
        }
        self.heard_at = now;
        self.next_page.clone_from(&page.next);
        self.inbox.push_page(page);
    }

    fn on_delivered(&mut self, now: Duration, delivery: Delivery) {
        if !matches!(self.stage, Stage::Following) {
            return;
        }
        let Delivery { interval, pong, behind } = delivery;
        if Some(interval.from) != self.tail {
            return self.on_malformed(now, "an interval does not begin where the one before it ended");
        }
        self.heard_at = now;
        self.tail = Some(interval.to);
        self.received = self.received.max(self.tail);
        self.freshness.pong(pong, behind, interval.to);
        if interval.from == interval.to && matches!(self.standing, Standing::Following(_)) {
            self.refresh();
        } else {
            self.inbox.push_interval(interval);
        }
    }

    /// An answer may be about a position that was passed already.
    fn refresh(&mut self) {
        self.applied.into_iter().for_each(|applied| self.freshness.applied(applied));
        self.visible.into_iter().for_each(|visible| self.freshness.visible(visible));
    }

    fn on_malformed(&mut self, now: Duration, reason: &str) {
        let upstream = self.identity.upstream.clone();
        self.on_lost(now, Fault::Passing(ReplicatorError::Malformed { upstream, reason: reason.to_owned() }));
    }

    fn on_lost(&mut self, now: Duration, fault: Fault) {
        match fault {
            // A pin that was lost before a single page was written costs nothing.
            Fault::LogTrimmed if self.standing == Standing::New => {
                let reason = "it trimmed the log while this mirror registered".to_owned();
                self.rest(now, ReplicatorError::Refused { upstream: self.identity.upstream.clone(), reason });
            }
            Fault::LogTrimmed => self.stop(self.trimmed()),
            Fault::Final(error) => self.stop(error),
            Fault::Passing(error) => self.rest(now, error),
        }
    }

    fn trimmed(&self) -> ReplicatorError {
        let position = match &self.standing {
            Standing::Copying(bootstrap) => Some(bootstrap.pinned),
            Standing::New | Standing::Replaying(_) | Standing::Following(_) => self.applied,
        };
        let upstream = self.identity.upstream.clone();
        match position {
            Some(position) => ReplicatorError::LogTrimmed { upstream, position },
            None => ReplicatorError::Refused { upstream, reason: "it keeps no log for this mirror".to_owned() },
        }
    }

    /// Drops the connection and tries again later. What came in is still written.
    fn rest(&mut self, now: Duration, error: ReplicatorError) {
        if matches!(self.stage, Stage::Resting { .. }) {
            return;
        }
        if matches!(error, ReplicatorError::Malformed { .. }) {
            self.counts.malformed += 1;
        }
        self.freshness.disconnected();
        self.last_error = Some(error);
        self.stage = Stage::Resting { until: now + self.backoff.next() };
        self.actions.push(Action::Disconnect);
    }

    fn stop(&mut self, error: ReplicatorError) {
        self.inbox.clear();
        self.last_error = Some(error.clone());
        self.stage = Stage::Stopped(error);
        self.actions.push(Action::Disconnect);
    }

    fn on_copied(&mut self, now: Duration) {
        self.writing = false;
        self.heard_at = now;
        self.succeeded();
        let Some(bootstrap) = self.copying.take() else {
            return;
        };
        if bootstrap.next.is_some() {
            self.standing = Standing::Copying(bootstrap);
            return;
        }
        self.standing = Standing::Replaying(bootstrap.pinned);
        self.applied = Some(bootstrap.pinned);
        if matches!(self.stage, Stage::Copying) {
            self.start_follow(now, bootstrap.pinned);
        }
    }

    fn on_applied(&mut self, now: Duration, standing: Standing) {
        self.writing = false;
        self.heard_at = now;
        self.succeeded();
        if let Standing::Replaying(position) | Standing::Following(position) = standing {
            self.applied = self.applied.max(Some(position));
            self.freshness.applied(position);
        }
        self.standing = standing;
        self.refresh();
    }

    fn succeeded(&mut self) {
        self.backoff.reset();
        if !matches!(self.stage, Stage::Resting { .. }) {
            self.last_error = None;
        }
    }

    fn on_write_failed(&mut self, now: Duration, error: ReplicatorError, for_good: bool) {
        self.writing = false;
        self.copying = None;
        self.inbox.clear();
        if for_good {
            self.stop(error);
        } else {
            self.rest(now, error);
        }
    }

    fn on_visible(&mut self, position: Position) {
        self.visible = self.visible.max(Some(position));
        self.freshness.visible(position);
    }

    fn write_next(&mut self) {
        if self.writing || matches!(self.stage, Stage::Stopped(_)) {
            return;
        }
        if let Some(page) = self.inbox.pop_page() {
            self.copy(page);
        } else if let Some(interval) = self.inbox.pop_interval() {
            self.counts.intervals += 1;
            self.counts.commits += interval.commits.len() as u64;
            self.counts.bytes += interval.commits.iter().map(|commit| commit.bytes() as u64).sum::<u64>();
            self.writing = true;
            self.actions.push(Action::Apply(interval));
        }
    }

    fn copy(&mut self, page: RowsPage) {
        let Standing::Copying(before) = &self.standing else {
            return;
        };
        let bootstrap = Bootstrap {
            pinned: before.pinned,
            next: (!page.last).then_some(page.next),
            settled_at: before.settled_at.max(page.read_at),
        };
        self.counts.rows += page.rows.len() as u64;
        self.copying = Some(bootstrap.clone());
        self.writing = true;
        self.actions.push(Action::CopyPage(page.rows, bootstrap));
    }

    fn on_tick(&mut self, now: Duration) {
        match self.stage {
            Stage::Connecting { since } | Stage::Registering { since } if now >= since + ANSWER_WITHIN => {
                self.on_silence(now, "it gave no answer");
            }
            Stage::Copying | Stage::Following if self.wants_input() && now >= self.heard_at + SILENCE => {
                self.on_silence(now, "it sent nothing");
            }
            Stage::Following if now >= self.report_at => self.report(now),
            _ => {}
        }
    }

    fn on_silence(&mut self, now: Duration, what: &str) {
        let upstream = self.identity.upstream.clone();
        let reason = format!("{what} for {} s", SILENCE.as_secs());
        self.rest(now, ReplicatorError::Unreachable { upstream, reason });
    }

    fn report(&mut self, now: Duration) {
        self.report_at = now + REPORT_EVERY;
        let Some(applied) = self.applied else { return };
        let visible = self.visible.map(|visible| visible.min(applied));
        let ping_due = now >= self.ping_at;
        if !ping_due && self.reported == Some((applied, visible)) {
            return;
        }
        let ping = if ping_due { self.freshness.ping(now) } else { 0 };
        if ping_due {
            self.ping_at = now + PING_EVERY;
        }
        self.reported = Some((applied, visible));
        self.actions.push(Action::Report { applied, visible, ping });
    }

    fn look_if_rested(&mut self, now: Duration) {
        let Stage::Resting { until } = self.stage else {
            return;
        };
        if now >= until && !self.writing && self.inbox.is_empty() {
            self.stage = Stage::Looking;
            self.actions.push(Action::Look);
        }
    }

    /// Whether more may be taken from the connection.
    pub(crate) fn wants_input(&self) -> bool {
        self.inbox.has_room()
    }

    /// When a `Tick` is due at the latest; `None` when nothing waits for time.
    pub(crate) fn due_at(&self) -> Option<Duration> {
        let silence = self.wants_input().then_some(self.heard_at + SILENCE);
        match self.stage {
            Stage::Connecting { since } | Stage::Registering { since } => Some(since + ANSWER_WITHIN),
            Stage::Copying => silence,
            Stage::Following => Some(silence.map_or(self.report_at, |silence| silence.min(self.report_at))),
            Stage::Resting { until } if !self.writing => Some(until),
            _ => None,
        }
    }

    pub(crate) fn stage(&self) -> &Stage {
        &self.stage
    }

    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    pub(crate) fn received(&self) -> Option<Position> {
        self.received
    }

    pub(crate) fn applied(&self) -> Option<Position> {
        self.applied
    }

    pub(crate) fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    pub(crate) fn last_error(&self) -> Option<&ReplicatorError> {
        self.last_error.as_ref()
    }

    pub(crate) fn upstream_inodes(&self) -> Option<u64> {
        self.upstream_inodes
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }
}
