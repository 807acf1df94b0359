//! The one door between what regions say to each other and the wire: all that a peer sends
//! is checked here, and gives an error that says what was wrong, never a panic.

use bytes::Bytes;
use farshore_meta::engine::KeyValue;
use farshore_meta::{Change, Commit, DURABLE, Digest, DurableKey, Interval, RowsPage};
use farshore_proto::limits::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
use farshore_proto::{Position, RegionId, Version, VolumeId, wire};
use std::time::Duration;

use crate::checksum::Checksummed;

/// Longest name of a volume or a mirror, in bytes: a person's word, not a text.
pub(crate) const MAX_LABEL_BYTES: usize = 255;
/// Most regions above one another.
pub(crate) const MAX_UPSTREAMS: usize = 64;

/// Why a message cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadMessage(pub(crate) String);

type Checked<T> = Result<T, BadMessage>;

impl From<farshore_proto::Malformed> for BadMessage {
    fn from(error: farshore_proto::Malformed) -> Self {
        Self(error.to_string())
    }
}

fn bad<T>(reason: impl Into<String>) -> Checked<T> {
    Err(BadMessage(reason.into()))
}

/// A position that a message must have.
pub(crate) fn position(field: Option<&wire::Position>) -> Checked<Position> {
    match field {
        Some(position) => Ok(Position::try_from(position)?),
        None => bad("a position is missing"),
    }
}

/// A name that people see: bounded, and without what would garble a terminal.
pub(crate) fn label(text: &str) -> Checked<String> {
    if text.len() > MAX_LABEL_BYTES {
        return bad(format!("a name of {} bytes; at most {MAX_LABEL_BYTES} are allowed", text.len()));
    }
    if text.chars().any(char::is_control) {
        return bad("a name with control characters");
    }
    Ok(text.to_owned())
}

/// What a region says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The protocol it speaks.
    pub protocol: u32,
    /// Its volume.
    pub volume_id: VolumeId,
    /// What people call the volume.
    pub volume_name: String,
    /// Its own identity.
    pub region_id: RegionId,
    /// Whether it takes writes.
    pub primary: bool,
    /// Where it stands.
    pub position: Position,
    /// The state digest there.
    pub digest: Digest,
    /// The regions above it, nearest first.
    pub upstreams: Vec<RegionId>,
    /// Whether it can be followed: false of a mirror that bootstraps.
    pub ready: bool,
    /// Inodes in use.
    pub used_inodes: u64,
}

impl Described {
    pub(crate) fn to_wire(&self) -> wire::DescribeReply {
        let id = |id: &RegionId| Bytes::copy_from_slice(id.as_bytes());
        wire::DescribeReply {
            protocol: self.protocol,
            volume_id: Bytes::copy_from_slice(self.volume_id.as_bytes()),
            volume_name: self.volume_name.clone(),
            region_id: id(&self.region_id),
            primary: self.primary,
            position: Some(self.position.into()),
            digest: Bytes::copy_from_slice(self.digest.as_bytes()),
            upstream_region_ids: self.upstreams.iter().map(id).collect(),
            ready: self.ready,
            used_inodes: self.used_inodes,
        }
    }

    pub(crate) fn from_wire(reply: &wire::DescribeReply) -> Checked<Self> {
        if reply.upstream_region_ids.len() > MAX_UPSTREAMS {
            return bad(format!("more than {MAX_UPSTREAMS} regions above one another"));
        }
        let ids = reply.upstream_region_ids.iter().map(|id| RegionId::try_from(id.as_ref()));
        Ok(Self {
            protocol: reply.protocol,
            volume_id: VolumeId::try_from(reply.volume_id.as_ref())?,
            volume_name: label(&reply.volume_name)?,
            region_id: RegionId::try_from(reply.region_id.as_ref())?,
            primary: reply.primary,
            position: position(reply.position.as_ref())?,
            digest: Digest::try_from(reply.digest.as_ref())?,
            upstreams: ids.collect::<Result<_, _>>()?,
            ready: reply.ready,
            used_inodes: reply.used_inodes,
        })
    }
}

/// An interval with what travels beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) interval: Interval,
    /// The newest ping that the interval answers; zero when none.
    pub(crate) pong: u64,
    /// How old the sender's state was at most when it read the interval.
    pub(crate) behind: Option<Duration>,
}

impl Delivery {
    pub(crate) fn into_wire(self) -> wire::Interval {
        let digest = self.interval.digest.map(|digest| Bytes::copy_from_slice(digest.as_bytes()));
        let unsealed = wire::Interval {
            from: Some(self.interval.from.into()),
            to: Some(self.interval.to.into()),
            commits: self.interval.commits.into_iter().map(commit_to_wire).collect(),
            digest: digest.unwrap_or_default(),
            pong: self.pong,
            behind_ms: self.behind.map(|behind| u64::try_from(behind.as_millis()).unwrap_or(u64::MAX)),
            checksum: Bytes::new(),
        };
        unsealed.sealed()
    }

    pub(crate) fn from_wire(mut message: wire::Interval) -> Checked<Self> {
        if !message.unseal() {
            return bad("an interval whose checksum is wrong");
        }
        let (from, to) = (position(message.from.as_ref())?, position(message.to.as_ref())?);
        let digest = match message.digest.as_ref() {
            [] => None,
            bytes => Some(Digest::try_from(bytes)?),
        };
        let commits = message.commits.into_iter().map(commit_from_wire).collect::<Checked<Vec<_>>>()?;
        check_order(from, to, &commits)?;
        let interval = Interval { from, to, commits, digest };
        Ok(Self { interval, pong: message.pong, behind: message.behind_ms.map(Duration::from_millis) })
    }
}

/// All commits lie in (from, to] and ascend.
fn check_order(from: Position, to: Position, commits: &[Commit]) -> Checked<()> {
    if to < from {
        return bad("an interval that ends before it begins");
    }
    let mut last = from;
    for commit in commits {
        let at = Position { incarnation: to.incarnation, version: commit.version };
        if at <= last || at > to {
            return bad(format!("a commit at {at:?} that is not in its place in ({from:?}, {to:?}]"));
        }
        last = at;
    }
    Ok(())
}

fn commit_to_wire(commit: Commit) -> wire::Commit {
    let change = |change: Change| wire::Change { key: change.key, value: change.value };
    wire::Commit {
        version: Bytes::copy_from_slice(commit.version.as_bytes()),
        changes: commit.changes.into_iter().map(change).collect(),
    }
}

fn commit_from_wire(commit: wire::Commit) -> Checked<Commit> {
    let version = Version::try_from(commit.version.as_ref())?;
    let mut changes: Vec<Change> = Vec::with_capacity(commit.changes.len());
    for wire::Change { key, value } in commit.changes {
        check_row(&key, value.as_ref())?;
        if changes.last().is_some_and(|last| last.key >= key) {
            return bad("a commit whose rows do not ascend");
        }
        changes.push(Change { key, value });
    }
    Ok(Commit { version, changes })
}

fn check_row(key: &[u8], value: Option<&Bytes>) -> Checked<()> {
    if key.len() > MAX_KEY_BYTES || value.is_some_and(|value| value.len() > MAX_VALUE_BYTES) {
        return bad("a row over the limits of a key or a value");
    }
    DurableKey::parse(key).map_err(|error| BadMessage(error.to_string()))?;
    Ok(())
}

/// A page of a snapshot as it is sent.
pub(crate) fn page_to_wire(page: RowsPage) -> wire::SnapshotPage {
    let row = |(key, value): KeyValue| wire::Row { key, value };
    let unsealed = wire::SnapshotPage {
        rows: page.rows.into_iter().map(row).collect(),
        read_at: Some(page.read_at.into()),
        next: page.next.into(),
        last: page.last,
        checksum: Bytes::new(),
    };
    unsealed.sealed()
}

/// A page that is to continue at `begin`.
pub(crate) fn page_from_wire(mut message: wire::SnapshotPage, begin: &[u8]) -> Checked<RowsPage> {
    if !message.unseal() {
        return bad("a snapshot page whose checksum is wrong");
    }
    let (next, last) = (message.next.to_vec(), message.last);
    if last != (next == DURABLE.1) || next.as_slice() <= begin || next.as_slice() > DURABLE.1 {
        return bad("a snapshot page that does not continue the one before it");
    }
    let mut rows: Vec<KeyValue> = Vec::with_capacity(message.rows.len());
    for wire::Row { key, value } in message.rows {
        check_row(&key, Some(&value))?;
        let ascends = rows.last().is_none_or(|(last, _)| *last < key);
        if !ascends || key.as_ref() < begin || key.as_ref() >= next.as_slice() {
            return bad("a snapshot page whose rows are not in its range, in order");
        }
        rows.push((key, value));
    }
    Ok(RowsPage { rows, read_at: position(message.read_at.as_ref())?, next, last })
}

/// The range of durable keys that a snapshot asks for.
pub(crate) fn key_range(begin: &[u8], end: &[u8]) -> Checked<()> {
    if begin < DURABLE.0 || end > DURABLE.1 || begin >= end || begin.len() > MAX_KEY_BYTES + 1 {
        return bad("a key range that is empty or outside the durable rows");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use farshore_proto::Incarnation;

    use super::*;

    fn at(batch: u64) -> Position {
        Position { incarnation: Incarnation::new(1, [1; 12]), version: Version::new(batch, 0) }
    }

    fn delivery() -> Delivery {
        let change = |key: &'static [u8], value: Option<&'static [u8]>| Change {
            key: Bytes::from_static(key),
            value: value.map(Bytes::from_static),
        };
        let commit = |batch, changes| Commit { version: Version::new(batch, 0), changes };
        let commits = vec![
            commit(3, vec![change(b"DN", Some(b"12")), change(b"DS", None)]),
            commit(7, vec![change(b"DN", Some(b""))]),
        ];
        let interval = Interval { from: at(2), to: at(9), commits, digest: Some(Digest::default()) };
        Delivery { interval, pong: 4, behind: Some(Duration::from_millis(30)) }
    }

    fn refused(change: impl Fn(&mut Interval)) -> String {
        let mut delivery = delivery();
        change(&mut delivery.interval);
        Delivery::from_wire(delivery.into_wire()).unwrap_err().to_string()
    }

    #[test]
    fn intervals_round_trip() {
        assert_eq!(Delivery::from_wire(delivery().into_wire()).unwrap(), delivery());
        let cut = Delivery { interval: Interval { digest: None, ..delivery().interval }, behind: None, pong: 0 };
        assert_eq!(Delivery::from_wire(cut.clone().into_wire()).unwrap(), cut);
    }

    #[test]
    fn intervals_that_no_publisher_sends_are_refused() {
        assert!(refused(|interval| interval.to = at(1)).contains("ends before"));
        assert!(refused(|interval| interval.to = at(6)).contains("not in its place"));
        assert!(refused(|interval| interval.from = at(3)).contains("not in its place"));
        assert!(refused(|interval| interval.commits.swap(0, 1)).contains("not in its place"));
        assert!(refused(|interval| interval.commits[0].changes.swap(0, 1)).contains("ascend"));
        assert!(refused(|interval| interval.commits[1].changes[0].key = Bytes::from_static(b"Lr")).contains("durable"));
        let mut damaged = delivery().into_wire();
        damaged.commits[0].changes[0].value = Some(Bytes::from_static(b"13"));
        assert!(Delivery::from_wire(damaged).unwrap_err().to_string().contains("checksum"));
    }

    #[test]
    fn pages_must_continue_where_the_last_one_ended() {
        let row = |key: &'static [u8]| (Bytes::from_static(key), Bytes::from_static(b"v"));
        let page = |rows, next: &[u8], last| RowsPage { rows, read_at: at(1), next: next.to_vec(), last };
        let check = |page: RowsPage, begin: &[u8]| page_from_wire(page_to_wire(page), begin);
        let good = page(vec![row(b"DN"), row(b"DS")], b"E", true);
        assert_eq!(check(good.clone(), b"D").unwrap(), good);
        assert!(check(good.clone(), b"DO").is_err());
        assert!(check(page(vec![row(b"DS"), row(b"DN")], b"E", true), b"D").is_err());
        assert!(check(page(vec![row(b"DN")], b"DN", false), b"D").is_err());
        assert!(check(page(vec![], b"D", false), b"D").is_err());
        assert!(check(page(vec![], b"E", false), b"D").is_err());
        assert!(check(page(vec![], b"F", true), b"D").is_err());
    }

    #[test]
    fn labels_are_bounded() {
        assert!(label("east").is_ok());
        assert!(label("\u{1b}[2J").is_err() && label(&"x".repeat(256)).is_err());
    }
}
