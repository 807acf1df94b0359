//! Thousands of histories of a follower in a world that loses, repeats, swaps, damages and delays
//! what is sent, and in which both sides are killed at any moment. What must always hold: the
//! mirror's rows are those of the primary at the mirror's own position. What must come about:
//! once the faults end, both hold the same.
//!
//! The core is the real one, as are the wire's forms and the publisher's decision when to send.
//! The mirror's rows are a model in most histories and a real region in some; both are behind
//! one trait.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use farshore_meta::engine::KeyValue;
use farshore_meta::{Change, Commit, DURABLE, Digest, Interval, RowsPage};
use farshore_proto::limits::PROTOCOL;
use farshore_proto::{Incarnation, Position, RegionId, Version, VolumeId, wire};
use prost::Message;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::core::{Action, Core, Event, Identity, Standing};
use super::fault::Fault;
use crate::error::ReplicatorError;
use crate::message::{Delivery, Described, page_from_wire, page_to_wire};
use crate::publisher::Outlet;

mod replica;
use replica::{Model, Real, Replica};

fn volume_id() -> VolumeId {
    VolumeId::from_random([1; 16])
}

fn mirror_id() -> RegionId {
    RegionId::from_random([9; 16])
}

fn at(batch: u64) -> Position {
    Position { incarnation: Incarnation::new(1, [1; 12]), version: Version::new(batch, 0) }
}

/// The primary: its rows, its log, and when each commit was made.
struct Primary {
    rows: BTreeMap<Bytes, Bytes>,
    version: u64,
    log: Vec<(Commit, Digest, Duration)>,
    trimmed: Position,
    pin: Option<Position>,
    up: bool,
}

impl Primary {
    fn new() -> Self {
        let (rows, trimmed) = (BTreeMap::new(), at(0));
        Self { rows, version: 1, log: Vec::new(), trimmed, pin: None, up: true }
    }

    fn commit(&mut self, now: Duration, random: &mut StdRng) {
        self.version += random.random_range(1..1_000_u64);
        let mut changes = BTreeMap::new();
        for _ in 0..random.random_range(1..4) {
            let key = [b"DO".as_slice(), &random.random_range(0..24_u64).to_be_bytes()].concat();
            let value: Bytes = random.random::<u64>().to_be_bytes().to_vec().into();
            changes.insert(Bytes::from(key), random.random_bool(0.7).then_some(value));
        }
        for (key, value) in &changes {
            match value {
                Some(value) => self.rows.insert(key.clone(), value.clone()),
                None => self.rows.remove(key),
            };
        }
        let changes = changes.into_iter().map(|(key, value)| Change { key, value }).collect();
        let commit = Commit { version: Version::new(self.version, 0), changes };
        self.log.push((commit, replica::digest_of(&self.rows), now));
    }

    /// The digest that the rows had at `position`.
    fn digest_at(&self, position: Position) -> Digest {
        let before = self.log.iter().take_while(|(commit, ..)| commit.version <= position.version);
        before.last().map_or(Digest::default(), |(_, digest, _)| *digest)
    }

    fn interval(&self, from: Position, most: usize) -> Interval {
        let after = self.log.iter().filter(|(commit, ..)| commit.version > from.version);
        let commits: Vec<Commit> = after.map(|(commit, ..)| commit.clone()).take(most).collect();
        let whole = commits.len() < most;
        let end = if whole { at(self.version) } else { at(commits[most - 1].version.batch()) };
        Interval { from, to: end, commits, digest: whole.then(|| self.digest_at(end)) }
    }

    fn page(&self, begin: &[u8]) -> RowsPage {
        let from = self.rows.range::<[u8], _>((std::ops::Bound::Included(begin), std::ops::Bound::Unbounded));
        let mut rows: Vec<KeyValue> = from.take(5).map(|(key, value)| (key.clone(), value.clone())).collect();
        let last = rows.len() < 5;
        rows.truncate(4);
        let next = match rows.last().filter(|_| !last) {
            Some((key, _)) => [key.as_ref(), &[0]].concat(),
            None => DURABLE.1.to_vec(),
        };
        RowsPage { rows, read_at: at(self.version), next, last }
    }
}

/// What is under way to the follower.
enum Sent {
    Event(Event),
    Page { begin: Vec<u8>, bytes: Vec<u8> },
    Interval(Vec<u8>),
}

/// What the publisher does on this connection.
enum Stream {
    Pages(Vec<u8>),
    Intervals { from: Position, outlet: Outlet },
}

/// A connection: what is under way, in order, and when it may arrive.
#[derive(Default)]
struct Connection {
    under_way: VecDeque<(Duration, Sent)>,
    stream: Option<Stream>,
}

/// How much goes wrong.
#[derive(Clone, Copy)]
struct Faults {
    message: f64,
    crash: f64,
}

const SOME: Faults = Faults { message: 0.08, crash: 0.01 };
const NONE: Faults = Faults { message: 0.0, crash: 0.0 };

struct World<R> {
    random: StdRng,
    now: Duration,
    primary: Primary,
    replica: R,
    core: Core,
    connection: Option<Connection>,
    writing: Option<Action>,
    shown: Option<Position>,
}

impl<R: Replica> World<R> {
    fn new(seed: u64, replica: R) -> Self {
        let core = new_core(seed);
        let random = StdRng::seed_from_u64(seed);
        let (now, primary) = (Duration::from_secs(1), Primary::new());
        Self { random, now, primary, replica, core, connection: None, writing: None, shown: None }
    }

    fn feed(&mut self, event: Event) {
        for action in self.core.step(self.now, event) {
            self.act(action);
        }
        self.check_staleness();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Look | Action::CopyPage(..) | Action::Apply(_) => {
                assert!(self.writing.is_none(), "one thing is written at a time");
                self.writing = Some(action);
            }
            Action::Connect => {
                self.connection = Some(Connection::default());
                let answer = if self.primary.up { Event::Connected(self.described()) } else { Event::Lost(gone()) };
                self.send(Sent::Event(answer));
            }
            Action::Disconnect => self.connection = None,
            Action::Above(_) => {}
            Action::Register(from) => self.register(from),
            Action::RequestSnapshot(begin) => self.begin(Stream::Pages(begin)),
            Action::StartFollow(from) => {
                let outlet = Outlet::new(self.now);
                self.begin(Stream::Intervals { from, outlet });
            }
            Action::Report { applied, visible, ping } => {
                assert!(visible.is_none_or(|visible| visible <= applied));
                self.primary.pin = self.primary.pin.max(Some(applied));
                if let Some(Connection { stream: Some(Stream::Intervals { outlet, .. }), .. }) = &mut self.connection {
                    outlet.pinged(ping);
                }
            }
        }
    }

    fn described(&self) -> Described {
        Described {
            protocol: PROTOCOL,
            volume_id: volume_id(),
            volume_name: "simulated".into(),
            region_id: RegionId::from_random([3; 16]),
            primary: true,
            position: at(self.primary.version),
            digest: self.primary.digest_at(at(self.primary.version)),
            upstreams: Vec::new(),
            ready: true,
            used_inodes: 24,
        }
    }

    fn register(&mut self, from: Option<Position>) {
        let pinned = from.unwrap_or(at(self.primary.version));
        assert!(pinned >= self.primary.trimmed, "a registered mirror's log is kept");
        self.primary.pin = Some(pinned);
        self.send(Sent::Event(Event::Registered(pinned)));
    }

    fn begin(&mut self, stream: Stream) {
        if let Some(connection) = &mut self.connection {
            connection.stream = Some(stream);
        }
    }

    /// Puts a message on its way.
    fn send(&mut self, sent: Sent) {
        let arrives = self.now + Duration::from_millis(self.random.random_range(1..80));
        if let Some(connection) = &mut self.connection {
            let after = connection.under_way.back().map_or(arrives, |(at, _)| arrives.max(*at));
            connection.under_way.push_back((after, sent));
        }
    }

    /// The publisher sends its next page or interval, if one is due and there is room.
    fn publish(&mut self, faults: Faults) {
        let room = self.connection.as_ref().is_some_and(|connection| connection.under_way.len() < 4);
        if !room || !self.primary.up {
            return;
        }
        let most = self.random.random_range(1..6);
        let Some(stream) = self.connection.as_mut().and_then(|connection| connection.stream.as_mut()) else {
            return;
        };
        let sent = match stream {
            Stream::Pages(begin) if begin.as_slice() >= DURABLE.1 => return,
            Stream::Pages(begin) => {
                let page = self.primary.page(begin);
                let begin = std::mem::replace(begin, page.next.clone());
                Sent::Page { begin, bytes: page_to_wire(page).encode_to_vec() }
            }
            Stream::Intervals { from, outlet } => {
                let ping = outlet.ping();
                let interval = self.primary.interval(*from, most);
                let Some(pong) = outlet.decide(&interval, ping, self.now) else {
                    return;
                };
                *from = interval.to;
                outlet.sent(pong, self.now);
                let behind = Some(Duration::ZERO);
                Sent::Interval(Delivery { interval, pong, behind }.into_wire().encode_to_vec())
            }
        };
        self.send_through(sent, faults);
    }

    /// Sends over a wire on which things go wrong.
    fn send_through(&mut self, mut sent: Sent, faults: Faults) {
        if !self.random.random_bool(faults.message) {
            return self.send(sent);
        }
        match self.random.random_range(0..5) {
            0 => {}
            1 => {
                let again = match &sent {
                    Sent::Page { begin, bytes } => Sent::Page { begin: begin.clone(), bytes: bytes.clone() },
                    Sent::Interval(bytes) => Sent::Interval(bytes.clone()),
                    Sent::Event(_) => return,
                };
                self.send(sent);
                self.send(again);
            }
            2 => {
                if let Sent::Page { bytes, .. } | Sent::Interval(bytes) = &mut sent {
                    let bit = self.random.random_range(0..bytes.len() * 8);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                self.send(sent);
            }
            3 => {
                self.send(sent);
                self.swap_last();
            }
            _ => self.cut(),
        }
    }

    fn swap_last(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        if connection.under_way.len() < 2 {
            return;
        }
        let last = connection.under_way.pop_back().into_iter();
        let before = connection.under_way.pop_back().into_iter();
        connection.under_way.extend(last.chain(before));
    }

    /// The connection breaks: what is under way may still come, then the error does.
    fn cut(&mut self) {
        let keep = self.random.random_range(0..4);
        let Some(connection) = &mut self.connection else {
            return;
        };
        connection.stream = None;
        connection.under_way.truncate(keep);
        self.send(Sent::Event(Event::Lost(gone())));
    }

    /// What has arrived is taken, if the core wants it.
    fn receive(&mut self) {
        if !self.core.wants_input() {
            return;
        }
        let Some(connection) = &mut self.connection else {
            return;
        };
        let Some((_, sent)) = connection.under_way.pop_front_if(|(at, _)| *at <= self.now) else {
            return;
        };
        let event = match sent {
            Sent::Event(event) => event,
            Sent::Page { begin, bytes } => decoded(wire::SnapshotPage::decode(bytes.as_slice()), |page| {
                page_from_wire(page, &begin).map(|page| Event::Page { begin: begin.clone(), page })
            }),
            Sent::Interval(bytes) => decoded(wire::Interval::decode(bytes.as_slice()), |interval| {
                Delivery::from_wire(interval).map(Event::Delivered)
            }),
        };
        self.feed(event);
    }

    /// What is being written is: what that did must be what the primary once had.
    fn finish_writing(&mut self) {
        let Some(action) = self.writing.take() else {
            return;
        };
        let event = match action {
            Action::Look => Event::Stands(self.replica.stands()),
            Action::CopyPage(rows, bootstrap) => {
                self.replica.copy(&rows, &bootstrap);
                Event::Copied
            }
            Action::Apply(interval) => match self.replica.apply(&interval) {
                Ok(()) => Event::Applied(self.replica.stands()),
                Err(error) => panic!("an honest primary's interval was refused: {error}"),
            },
            other => unreachable!("{other:?} writes nothing"),
        };
        self.check_prefix();
        self.feed(event);
    }

    fn check_prefix(&self) {
        if let Standing::Following(position) = self.replica.stands() {
            assert_eq!(self.replica.digest(), self.primary.digest_at(position), "at {position:?}");
        }
    }

    /// Whatever is claimed to be fresh is visible.
    fn check_staleness(&self) {
        let Some(basis) = self.core.freshness().visible_basis() else {
            return;
        };
        let before = self.primary.log.iter().take_while(|(_, _, made)| *made < basis.at);
        if let Some((commit, ..)) = before.last() {
            assert!(self.shown >= Some(at(commit.version.batch())), "{basis:?} but visible is {:?}", self.shown);
        }
    }

    fn show(&mut self) {
        if let Standing::Following(_) = self.core.standing()
            && self.core.applied() > self.shown
            && let Some(applied) = self.core.applied()
        {
            self.shown = Some(applied);
            self.feed(Event::Visible(applied));
        }
    }

    /// The follower's process dies, before or after what it wrote, and is started again.
    fn crash(&mut self) {
        if self.random.random_bool(0.5) {
            self.finish_writing();
        }
        self.writing = None;
        self.connection = None;
        self.shown = None;
        let seed = self.random.random();
        self.core = new_core(seed);
        self.feed(Event::Tick);
    }

    fn fail_or_mend_primary(&mut self) {
        self.primary.up = !self.primary.up;
        if !self.primary.up {
            self.cut();
        }
    }

    fn trim(&mut self) {
        let kept = self.primary.pin.unwrap_or(at(self.primary.version));
        self.primary.trimmed = self.primary.trimmed.max(kept);
        let trimmed = self.primary.trimmed.version;
        // The commits stay for the checks; reading them below the pin is what must not happen.
        if let Some(Connection { stream: Some(Stream::Intervals { from, .. }), .. }) = &self.connection {
            assert!(from.version >= trimmed, "what is still to be sent is kept");
        }
    }

    fn step(&mut self, faults: Faults, commits: f64) {
        self.now += Duration::from_millis(self.random.random_range(0..20));
        if self.random.random_bool(commits) {
            let now = self.now;
            self.primary.commit(now, &mut self.random);
        }
        if self.random.random_bool(faults.crash) {
            match self.random.random_range(0..3) {
                0 => self.crash(),
                1 => self.fail_or_mend_primary(),
                _ => self.trim(),
            }
        }
        self.publish(faults);
        self.receive();
        if self.random.random_bool(0.5) {
            self.finish_writing();
        }
        if self.random.random_bool(0.3) {
            self.show();
        }
        self.pass_time();
    }

    /// Time goes on to the next thing that waits for it alone.
    fn pass_time(&mut self) {
        let moves = self.writing.is_some() || self.connection.as_ref().is_some_and(|c| !c.under_way.is_empty());
        if let Some(due) = self.core.due_at() {
            if !moves && self.random.random_bool(0.2) {
                self.now = self.now.max(due);
            }
            if due <= self.now {
                self.feed(Event::Tick);
            }
        }
    }

    fn is_settled(&self) -> bool {
        let end = at(self.primary.version);
        matches!(self.core.standing(), Standing::Following(position) if *position == end) && self.shown == Some(end)
    }
}

fn new_core(seed: u64) -> Core {
    let identity = Identity { volume_id: volume_id(), mirror_id: mirror_id(), upstream: "the primary".into() };
    Core::new(identity, seed)
}

fn gone() -> Fault {
    Fault::Passing(ReplicatorError::Unreachable { upstream: "the primary".into(), reason: "cut".into() })
}

fn decoded<M>(
    message: Result<M, prost::DecodeError>,
    check: impl FnOnce(M) -> Result<Event, crate::message::BadMessage>,
) -> Event {
    let checked = message.map_err(|error| error.to_string());
    let checked = checked.and_then(|message| check(message).map_err(|error| error.to_string()));
    checked.unwrap_or_else(|reason| {
        let upstream = "the primary".to_owned();
        Event::Lost(Fault::Passing(ReplicatorError::Malformed { upstream, reason }))
    })
}

/// Runs one history; gives how many faults of a kind the core has met.
fn history<R: Replica>(seed: u64, replica: R, steps: usize) -> (u64, u64) {
    let mut world = World::new(seed, replica);
    for _ in 0..world.random.random_range(0..40) {
        let now = world.now;
        world.primary.commit(now, &mut world.random);
    }
    world.feed(Event::Tick);
    let busy = world.random.random_range(0.05..0.6);
    for _ in 0..steps {
        world.step(SOME, busy);
    }
    world.primary.up = true;
    for _ in 0..20_000 {
        world.step(NONE, 0.0);
        if world.is_settled() {
            assert_eq!(world.replica.rows(), world.primary.rows.clone().into_iter().collect::<Vec<_>>());
            let counts = world.core.counts();
            return (counts.malformed, counts.connections);
        }
    }
    panic!("seed {seed} does not settle: {:?} {:?}", world.core.stage(), world.core.standing());
}

#[test]
fn every_history_ends_with_the_same_rows_and_never_shows_any_other() {
    let (mut malformed, mut connections) = (0, 0);
    for seed in 0..2_000 {
        let met = history(seed, Model::default(), 250);
        malformed += met.0;
        connections += met.1;
    }
    assert!(malformed > 1_000 && connections > 4_000, "the faults are real: {malformed} {connections}");
}

#[test]
fn histories_on_a_real_region_end_alike() {
    for seed in 0..12 {
        history(seed, Real::new(), 250);
    }
}
