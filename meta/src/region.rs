//! A region: one place where a volume is served, on one engine.

use std::sync::Arc;

use farshore_proto::{Incarnation, Position, RegionId, Version, VolumeId};

use crate::digest::Digest;
use crate::engine::{Engine, Isolation, RangeRead, prefix_end};
use crate::error::{FsError, Result};
use crate::log::{self, Interval};
use crate::settings::Settings;
use crate::txn::Txn;
use crate::{key, row};

/// What a region is to its volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It takes writes, and its line of history is this one.
    Primary {
        /// The line of history that its commits belong to.
        incarnation: Incarnation,
    },
    /// It follows another region of this volume.
    Mirror {
        /// The volume.
        volume_id: VolumeId,
    },
}

/// Which region this is: one local row, written when the region is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionRecord {
    /// The region's identity.
    pub id: RegionId,
    /// What it is to its volume.
    pub role: Role,
}

/// A mirror as its upstream knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorRecord {
    /// The mirror's region.
    pub id: RegionId,
    /// What a person calls it.
    pub name: String,
    /// The log after this position is kept for it.
    pub applied: Position,
    /// Its readers see everything up to here.
    pub visible: Position,
    /// When it last reported, in milliseconds since 1970 by this region's clock.
    pub heard_unix_ms: u64,
}

/// Inodes and bytes in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Inodes.
    pub inodes: u64,
    /// Bytes that are not holes.
    pub bytes: u64,
}

/// What a region is at, read at one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionState {
    /// Where it stands in its volume's history.
    pub position: Position,
    /// The state digest there.
    pub digest: Digest,
}

/// One region of a volume, opened.
#[derive(Debug)]
pub struct Region {
    engine: Arc<dyn Engine>,
    record: RegionRecord,
}

impl Region {
    /// Opens what the engine holds.
    ///
    /// # Errors
    /// `BadVolume` when it holds neither a volume nor the beginning of a mirror.
    pub async fn open(engine: Arc<dyn Engine>) -> Result<Self> {
        match Self::find(&engine).await? {
            Some(record) => Ok(Self { engine, record }),
            None => Err(FsError::BadVolume(format!(
                "there is no volume in {}; create one with `farshore format` or `farshore mirror`",
                engine.url()
            ))),
        }
    }

    /// The record of the region that the engine holds, if any.
    pub async fn find(engine: &Arc<dyn Engine>) -> Result<Option<RegionRecord>> {
        let mut txn = engine.begin().await?;
        let record = txn.get(key::local::REGION, Isolation::Snapshot).await?;
        record.map(|value| row::decode_region(&value)).transpose()
    }

    /// Makes an empty engine the mirror of a volume, with nothing in it yet.
    ///
    /// # Errors
    /// `BadVolume` when the engine holds a volume already.
    pub async fn create_mirror(engine: Arc<dyn Engine>, id: RegionId, volume_id: VolumeId) -> Result<Self> {
        let record = RegionRecord { id, role: Role::Mirror { volume_id } };
        Self::begin_create(&engine, &record).await?.commit_followed().await?;
        Ok(Self { engine, record })
    }

    /// Begins the transaction that makes an empty engine the region that `record` says.
    pub(crate) async fn begin_create(engine: &Arc<dyn Engine>, record: &RegionRecord) -> Result<Txn> {
        let mut txn = Txn::new(engine.begin().await?);
        if txn.get(key::local::REGION).await?.is_some() {
            let url = engine.url();
            return Err(FsError::BadVolume(format!("there is a volume in {url} already; choose another META")));
        }
        txn.put_local(key::local::REGION, &row::encode_region(record));
        Ok(txn)
    }

    /// The region's identity.
    pub fn id(&self) -> RegionId {
        self.record.id
    }

    /// What it is to its volume.
    pub fn role(&self) -> Role {
        self.record.role
    }

    /// The engine that holds its rows.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// The line of history that this region's commits belong to.
    ///
    /// # Errors
    /// `ReadOnly` on a mirror.
    pub fn incarnation(&self) -> Result<Incarnation> {
        match self.record.role {
            Role::Primary { incarnation } => Ok(incarnation),
            Role::Mirror { .. } => Err(FsError::ReadOnly),
        }
    }

    /// Begins a transaction that only reads.
    pub(crate) async fn begin(&self) -> Result<Txn> {
        Ok(Txn::new(self.engine.begin().await?))
    }

    /// The volume's settings.
    ///
    /// # Errors
    /// `BadVolume` while a mirror has not copied them yet.
    pub async fn settings(&self) -> Result<Settings> {
        let mut txn = self.begin().await?;
        match txn.peek(key::SETTINGS).await? {
            Some(value) => row::decode_settings(&value),
            None => Err(FsError::BadVolume("the volume's settings are not here yet".into())),
        }
    }

    /// Where the region stands, and its digest there.
    pub async fn state(&self) -> Result<RegionState> {
        let mut txn = self.begin().await?;
        let position = self.position_of(&mut txn).await?;
        let digest = log::read_digest(txn.engine()).await?;
        Ok(RegionState { position, digest })
    }

    /// The position of a transaction's snapshot.
    pub(crate) async fn position_of(&self, txn: &mut Txn) -> Result<Position> {
        match self.record.role {
            Role::Primary { incarnation } => {
                let version = txn.read_version().await?;
                Ok(Position { incarnation, version })
            }
            Role::Mirror { .. } => match txn.peek(key::local::APPLIED).await? {
                Some(value) => row::decode_position("the applied position", &value),
                None => Ok(Position::start_of(Incarnation::new(0, [0; 12]))),
            },
        }
    }

    /// The interval that begins at `from`: everything up to the newest commit, or about
    /// `target_bytes` of it. Its commits are durable here before it is returned: what another
    /// region holds must not be lost to a power cut in this one.
    ///
    /// # Errors
    /// `LogTrimmed` when the log after `from` is no longer kept.
    pub async fn interval(&self, from: Position, target_bytes: usize) -> Result<Interval> {
        let mut txn = self.begin().await?;
        let end = self.position_of(&mut txn).await?;
        if end < from {
            return Err(FsError::Diverged(format!(
                "the position {from} lies ahead of this region's {end}: it belongs to another line of history"
            )));
        }
        let interval = log::read_interval(txn.engine(), from, end, target_bytes).await?;
        if !interval.commits.is_empty() {
            self.engine.sync_to(txn.read_version().await?).await?;
        }
        Ok(interval)
    }

    /// Returns once commits after `seen` may be there; see [`Engine::changed_since`].
    pub async fn changed_since(&self, seen: Version) -> Result<()> {
        Ok(self.engine.changed_since(seen).await?)
    }

    /// The version of this region's own engine now; what `changed_since` compares with.
    pub async fn engine_version(&self) -> Result<Version> {
        self.begin().await?.read_version().await
    }

    /// One page of the durable rows from `begin` on, with the position at which it was read. As with
    /// an interval, what it holds survives a power cut.
    pub async fn page(&self, begin: &[u8], end: &[u8], target_bytes: usize) -> Result<RowsPage> {
        let mut txn = self.begin().await?;
        let read_at = self.position_of(&mut txn).await?;
        let end = end.min(key::DURABLE.1);
        let begin = begin.max(key::DURABLE.0);
        if begin >= end {
            return Ok(RowsPage { rows: Vec::new(), read_at, next: end.to_vec(), last: true });
        }
        let page = txn.peek_range(&RangeRead::new(begin, end).target_bytes(target_bytes)).await?;
        self.engine.sync_to(txn.read_version().await?).await?;
        let next = match page.rows.last().filter(|_| page.more) {
            Some((last, _)) => [last.as_ref(), &[0]].concat(),
            None => end.to_vec(),
        };
        Ok(RowsPage { rows: page.rows, read_at, next, last: !page.more })
    }

    /// Inodes and bytes in use.
    pub async fn usage(&self) -> Result<Usage> {
        let mut txn = self.begin().await?;
        let inodes = read_sum(&mut txn, key::local::USED_INODES).await?;
        let bytes = read_sum(&mut txn, key::local::USED_BYTES).await?;
        Ok(Usage { inodes, bytes })
    }

    /// The mirrors registered here.
    pub async fn mirrors(&self) -> Result<Vec<MirrorRecord>> {
        let mut txn = self.begin().await?;
        read_mirrors(&mut txn).await
    }

    /// Adds a mirror or moves its record on.
    pub async fn put_mirror(&self, mirror: &MirrorRecord) -> Result<()> {
        let mut txn = self.engine.begin().await?;
        txn.set(&key::mirror(&mirror.id), &row::encode_mirror(mirror));
        txn.commit().await?;
        Ok(())
    }

    /// Moves the record of a mirror on, never back. False when the mirror is not registered
    /// (any more): a report that comes late must not bring back what was evicted.
    pub async fn advance_mirror(&self, report: &MirrorRecord) -> Result<bool> {
        let mut txn = self.begin().await?;
        let key = key::mirror(&report.id);
        let Some(value) = txn.get(&key).await? else { return Ok(false) };
        let known = row::decode_mirror(report.id, &value)?;
        let moved = MirrorRecord {
            name: known.name,
            applied: known.applied.max(report.applied),
            visible: known.visible.max(report.visible),
            heard_unix_ms: known.heard_unix_ms.max(report.heard_unix_ms),
            id: known.id,
        };
        txn.put_local(&key, &row::encode_mirror(&moved));
        txn.commit_followed().await?;
        Ok(true)
    }

    /// Forgets a mirror if its record still is `seen`; false when it has changed since.
    pub async fn evict_mirror(&self, seen: &MirrorRecord) -> Result<bool> {
        let mut txn = self.begin().await?;
        let key = key::mirror(&seen.id);
        let now = txn.get(&key).await?.map(|value| row::decode_mirror(seen.id, &value)).transpose()?;
        if now.as_ref() != Some(seen) {
            return Ok(false);
        }
        txn.delete_local(&key);
        txn.commit_followed().await?;
        Ok(true)
    }

    /// Forgets a mirror: no log is kept for it any more.
    pub async fn remove_mirror(&self, id: RegionId) -> Result<()> {
        let mut txn = self.engine.begin().await?;
        txn.clear(&key::mirror(&id));
        txn.commit().await?;
        Ok(())
    }

    /// Deletes the log up to `wanted`, or up to what the slowest mirror still needs.
    /// Returns where the log now begins.
    pub async fn trim_log(&self, wanted: Position) -> Result<Position> {
        let mut txn = self.begin().await?;
        let mirrors = read_mirrors(&mut txn).await?;
        txn.range(&RangeRead::prefix(key::local::MIRRORS)).await?;
        let kept = mirrors.iter().map(|mirror| mirror.applied).fold(wanted, Position::min);
        let trimmed = match txn.get(key::local::TRIMMED).await? {
            Some(value) => row::decode_position("the log's beginning", &value)?,
            None => Position::start_of(Incarnation::new(0, [0; 12])),
        };
        if kept <= trimmed {
            return Ok(trimmed);
        }
        let engine = txn.engine();
        engine.clear_range(key::LOG.0, &key::log_after(log::PARTITION, &kept));
        engine.set(key::local::TRIMMED, &row::encode_position(&kept));
        txn.commit_followed().await?;
        Ok(kept)
    }
}

/// A page of durable rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsPage {
    /// The rows, in order.
    pub rows: Vec<crate::engine::KeyValue>,
    /// The position at which they were read.
    pub read_at: Position,
    /// Every durable row before this key, from the page's beginning on, is in it.
    pub next: Vec<u8>,
    /// No row follows in the range asked for.
    pub last: bool,
}

async fn read_mirrors(txn: &mut Txn) -> Result<Vec<MirrorRecord>> {
    let prefix = key::local::MIRRORS;
    let page = txn.peek_range(&RangeRead::new(prefix, prefix_end(prefix))).await?;
    let mut mirrors = Vec::with_capacity(page.rows.len());
    for (key, value) in page.rows {
        let id = RegionId::try_from(&key[prefix.len()..]);
        let id = id.map_err(|error| FsError::Corrupt(error.to_string()))?;
        mirrors.push(row::decode_mirror(id, &value)?);
    }
    Ok(mirrors)
}

async fn read_sum(txn: &mut Txn, key: &[u8]) -> Result<u64> {
    let Some(value) = txn.peek(key).await? else { return Ok(0) };
    let bytes: [u8; 8] = value.as_ref().try_into().map_err(|_| FsError::Corrupt("a usage sum".into()))?;
    Ok(i64::from_le_bytes(bytes).max(0) as u64)
}
