//! What a mirror does to its own rows: copying pages of its upstream's, and applying intervals.
//!
//! Positions and rows change in one transaction, whole commits at a time, so that a mirror
//! killed at any point goes on where it was.

use bytes::Bytes;
use farshore_proto::{Incarnation, Position};

use crate::codec::{Reader, Writer};
use crate::digest::Digest;
use crate::engine::KeyValue;
use crate::error::{FsError, Result};
use crate::key::{self, DurableKey};
use crate::log::{self, Commit, Interval};
use crate::region::{Region, Role};
use crate::row;
use crate::txn::Txn;

/// Most bytes of changes that a mirror applies in one transaction, unless one commit is
/// larger: they are written twice, as rows and as log.
const APPLY_BYTES: usize = 1_500_000;

/// How far a bootstrap has come: one local row of the mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// The upstream keeps the log after this position; the replay begins there.
    pub pinned: Position,
    /// The first durable key not copied yet; `None` once all are.
    pub next: Option<Vec<u8>>,
    /// The newest position at which a page was read: digests agree from here on, not before.
    pub settled_at: Position,
}

const V1: u8 = 1;

impl Bootstrap {
    /// A bootstrap that has copied nothing yet.
    pub fn begin(pinned: Position) -> Self {
        Self { pinned, next: Some(key::DURABLE.0.to_vec()), settled_at: pinned }
    }

    fn encode(&self) -> Vec<u8> {
        let fields = Writer::new().u8(V1).bytes(&self.pinned.to_bytes()).bytes(&self.settled_at.to_bytes());
        match &self.next {
            Some(next) => fields.u8(1).bytes(next).finish(),
            None => fields.u8(0).finish(),
        }
    }

    fn decode(value: &[u8]) -> Result<Self> {
        let mut reader = Reader::new("the bootstrap's record", value);
        reader.version(V1)?;
        let mut position = || -> Result<Position> {
            Ok(Position::try_from(reader.take(Position::LEN)?).expect("the length of a position"))
        };
        let (pinned, settled_at) = (position()?, position()?);
        let next = match reader.u8()? {
            0 => None,
            _ => Some(reader.rest().to_vec()),
        };
        Ok(Self { pinned, next, settled_at })
    }
}

/// How a mirror stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirrorPhase {
    /// It was made and has not begun to copy.
    New,
    /// It copies rows, or replays the log up to where its digest must agree.
    Bootstrapping(Bootstrap),
    /// It holds a state that its upstream had, and follows.
    Following,
}

impl Region {
    /// How this mirror stands.
    pub async fn mirror_phase(&self) -> Result<MirrorPhase> {
        self.expect_mirror()?;
        let mut txn = self.begin().await?;
        if let Some(value) = txn.peek(key::local::BOOTSTRAP).await? {
            return Ok(MirrorPhase::Bootstrapping(Bootstrap::decode(&value)?));
        }
        let applied = txn.peek(key::local::APPLIED).await?;
        Ok(if applied.is_some() { MirrorPhase::Following } else { MirrorPhase::New })
    }

    fn expect_mirror(&self) -> Result<()> {
        match self.role() {
            Role::Mirror { .. } => Ok(()),
            Role::Primary { .. } => Err(FsError::BadVolume("this region is a primary, not a mirror".into())),
        }
    }

    /// Takes a page of the upstream's durable rows, and how far the bootstrap is with it.
    pub async fn copy_page(&self, rows: &[KeyValue], bootstrap: &Bootstrap) -> Result<()> {
        self.expect_mirror()?;
        let mut txn = self.begin().await?;
        // Two that copy into one engine conflict here.
        txn.get(key::local::BOOTSTRAP).await?;
        for (key, value) in rows {
            DurableKey::parse(key)?;
            txn.touch(key, Some(value.clone())).await?;
        }
        txn.put_local(key::local::BOOTSTRAP, &bootstrap.encode());
        if bootstrap.next.is_none() {
            let pinned = row::encode_position(&bootstrap.pinned);
            txn.put_local(key::local::APPLIED, &pinned);
            txn.put_local(key::local::TRIMMED, &pinned);
        }
        txn.commit_followed().await?;
        Ok(())
    }

    /// Applies an interval that begins where this mirror stands; returns its new position.
    ///
    /// The digest is compared before the last transaction commits: a state that differs from
    /// the upstream's is never applied. During a bootstrap it is compared from
    /// `Bootstrap::settled_at` on, and the bootstrap ends with the first that agrees.
    ///
    /// # Errors
    /// `Diverged` when the digests differ or the interval begins elsewhere.
    pub async fn apply(&self, interval: &Interval) -> Result<Position> {
        self.expect_mirror()?;
        let mut commits = interval.commits.as_slice();
        loop {
            let count = first_batch(commits);
            let (batch, rest) = commits.split_at(count);
            let last = rest.is_empty();
            let reached = if last { interval.to } else { end_of(interval, batch) };
            self.apply_batch(interval, batch, reached, last).await?;
            if last {
                return Ok(interval.to);
            }
            commits = rest;
        }
    }

    async fn apply_batch(&self, interval: &Interval, batch: &[Commit], reached: Position, last: bool) -> Result<()> {
        let mut txn = self.begin().await?;
        // Two that apply to one engine conflict here, rather than apply the same commits twice.
        txn.get(key::local::APPLIED).await?;
        let at = self.position_of(&mut txn).await?;
        let tiles = if interval.commits.first() == batch.first() || batch.is_empty() {
            at == interval.from
        } else {
            at < reached
        };
        if !tiles {
            let from = interval.from;
            return Err(FsError::Diverged(format!("the interval from {from:?} does not begin at {at:?}")));
        }
        for commit in batch {
            apply_commit(&mut txn, commit, incarnation_of(interval)).await?;
        }
        if last {
            self.check_digest(&mut txn, interval).await?;
        }
        txn.put_local(key::local::APPLIED, &row::encode_position(&reached));
        txn.commit_followed().await?;
        Ok(())
    }

    async fn check_digest(&self, txn: &mut Txn, interval: &Interval) -> Result<()> {
        let Some(expected) = interval.digest else { return Ok(()) };
        if let Some(value) = txn.peek(key::local::BOOTSTRAP).await? {
            if interval.to < Bootstrap::decode(&value)?.settled_at {
                return Ok(());
            }
            txn.delete_local(key::local::BOOTSTRAP);
        }
        let found = log::read_digest(txn.engine()).await?.plus(txn.digest_delta());
        if found == expected {
            return Ok(());
        }
        Err(FsError::Diverged(diverged(interval.to, expected, found)))
    }
}

fn diverged(at: Position, expected: Digest, found: Digest) -> String {
    format!(
        "this mirror's rows differ from its upstream's at {at}: the digest is {found}, it should be {expected}; \
         remove the mirror's META and start it again to bootstrap anew"
    )
}

fn incarnation_of(interval: &Interval) -> Incarnation {
    interval.to.incarnation
}

fn end_of(interval: &Interval, batch: &[Commit]) -> Position {
    let version = batch.last().expect("a batch that is not the last holds a commit").version;
    Position { incarnation: incarnation_of(interval), version }
}

/// How many of `commits` one transaction takes: at least one, if there is one.
fn first_batch(commits: &[Commit]) -> usize {
    let mut bytes = 0;
    let over = commits.iter().position(|commit| {
        bytes += commit.bytes();
        bytes > APPLY_BYTES
    });
    over.map_or(commits.len(), |count| count.max(1))
}

async fn apply_commit(txn: &mut Txn, commit: &Commit, incarnation: Incarnation) -> Result<()> {
    for change in &commit.changes {
        DurableKey::parse(&change.key)?;
        txn.touch(&change.key, change.value.clone()).await?;
    }
    let position = Position { incarnation, version: commit.version };
    for (number, chunk) in log::encode(&commit.changes).into_iter().enumerate() {
        let key = key::log_chunk(log::PARTITION, &position, number as u16);
        txn.put_local(&key, &Bytes::from(chunk));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use farshore_proto::Version;

    use super::*;

    #[test]
    fn bootstrap_records_round_trip() {
        let pinned = Position { incarnation: Incarnation::new(1, [2; 12]), version: Version::new(3, 4) };
        for next in [None, Some(b"DI".to_vec()), Some(Vec::new())] {
            let bootstrap = Bootstrap { pinned, next, settled_at: pinned };
            assert_eq!(Bootstrap::decode(&bootstrap.encode()).unwrap(), bootstrap);
        }
        assert!(Bootstrap::decode(&[1, 2]).is_err());
    }

    #[test]
    fn batches_hold_whole_commits_and_at_least_one() {
        let commit = |bytes: usize| Commit {
            version: Version::ZERO,
            changes: vec![log::Change { key: vec![0; bytes].into(), value: None }],
        };
        assert_eq!(first_batch(&[]), 0);
        assert_eq!(first_batch(&[commit(APPLY_BYTES + 1), commit(1)]), 1);
        assert_eq!(first_batch(&[commit(APPLY_BYTES - 1), commit(1), commit(1)]), 2);
    }
}
