//! A transaction on a region's rows: durable changes gather here and reach the engine
//! together with their record in the change log and their share of the state digest.

use std::collections::BTreeMap;

use bytes::Bytes;
use farshore_proto::limits::MAX_DURABLE_CHANGE_BYTES;
use farshore_proto::{Incarnation, Position, Version};

use crate::attr::Attr;
use crate::digest::Digest;
use crate::engine::{EngineError, Isolation, RangePage, RangeRead, Transaction};
use crate::error::{FsError, Result};
use crate::key::DurableKey;
use crate::{key, log, row};

/// How a durable row stood before the transaction and stands after it.
struct Touched {
    before: Option<Bytes>,
    after: Option<Bytes>,
}

/// One transaction of a region. Reads are serialisable unless they say otherwise.
pub(crate) struct Txn {
    inner: Box<dyn Transaction>,
    touched: BTreeMap<Bytes, Touched>,
}

impl Txn {
    pub(crate) fn new(inner: Box<dyn Transaction>) -> Self {
        Self { inner, touched: BTreeMap::new() }
    }

    /// The engine's transaction below.
    pub(crate) fn engine(&mut self) -> &mut dyn Transaction {
        self.inner.as_mut()
    }

    /// A row's value; the commit conflicts if it changes in between.
    pub(crate) async fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.inner.get(key, Isolation::Serialisable).await?)
    }

    /// A row's value, which may change before the commit.
    pub(crate) async fn peek(&mut self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.inner.get(key, Isolation::Snapshot).await?)
    }

    /// The rows of a range; the commit conflicts if one of them changes in between.
    pub(crate) async fn range(&mut self, read: &RangeRead) -> Result<RangePage> {
        Ok(self.inner.range(read, Isolation::Serialisable).await?)
    }

    /// The rows of a range, which may change before the commit.
    pub(crate) async fn peek_range(&mut self, read: &RangeRead) -> Result<RangePage> {
        Ok(self.inner.range(read, Isolation::Snapshot).await?)
    }

    /// Puts a durable row.
    pub(crate) async fn put(&mut self, key: &[u8], value: Vec<u8>) -> Result<()> {
        self.touch(key, Some(value.into())).await
    }

    /// Deletes a durable row, if it is there.
    pub(crate) async fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.touch(key, None).await
    }

    /// Changes a durable row; what stood there is read, because the digest loses it.
    pub(crate) async fn touch(&mut self, key: &[u8], after: Option<Bytes>) -> Result<()> {
        match &after {
            Some(value) if self.touched.contains_key(key) => self.inner.set(key, value),
            None if self.touched.contains_key(key) => self.inner.clear(key),
            _ => return self.touch_first(key, after).await,
        }
        if let Some(touched) = self.touched.get_mut(key) {
            touched.after = after;
        }
        Ok(())
    }

    async fn touch_first(&mut self, key: &[u8], after: Option<Bytes>) -> Result<()> {
        let before = self.get(key).await?;
        match &after {
            Some(value) => self.inner.set(key, value),
            None => self.inner.clear(key),
        }
        self.touched.insert(Bytes::copy_from_slice(key), Touched { before, after });
        Ok(())
    }

    /// Puts a row of this region alone.
    pub(crate) fn put_local(&mut self, key: &[u8], value: &[u8]) {
        self.inner.set(key, value);
    }

    /// Deletes a row of this region alone.
    pub(crate) fn delete_local(&mut self, key: &[u8]) {
        self.inner.clear(key);
    }

    /// Puts a local row whose key is `prefix`, the commit's version and `suffix`.
    pub(crate) fn put_local_stamped(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]) {
        self.inner.set_versionstamped(prefix, suffix, value);
    }

    /// The version of the snapshot that this transaction reads.
    pub(crate) async fn read_version(&mut self) -> Result<Version> {
        Ok(self.inner.read_version().await?)
    }

    /// The rows whose value really changed.
    fn changes(&self) -> Vec<log::Change> {
        let changed = self.touched.iter().filter(|(_, touched)| touched.before != touched.after);
        changed.map(|(key, touched)| log::Change { key: key.clone(), value: touched.after.clone() }).collect()
    }

    /// What the durable changes add to the state digest.
    pub(crate) fn digest_delta(&self) -> Digest {
        self.touched.iter().fold(Digest::default(), |sum, (key, touched)| {
            sum.plus(Digest::of_change(key, touched.before.as_deref(), touched.after.as_deref()))
        })
    }

    /// Commits the durable changes as a commit of `incarnation`, and the local ones with them.
    ///
    /// # Errors
    /// The engine's; `TooLarge` when the changes are over `MAX_DURABLE_CHANGE_BYTES`.
    pub(crate) async fn commit(mut self, incarnation: Incarnation) -> Result<Position> {
        let changes = self.changes();
        if !changes.is_empty() {
            let bytes = changes.iter().map(|c| c.key.len() + c.value.as_ref().map_or(0, Bytes::len)).sum();
            if bytes > MAX_DURABLE_CHANGE_BYTES {
                let limit = MAX_DURABLE_CHANGE_BYTES;
                return Err(EngineError::TooLarge { what: "a filesystem transaction", bytes, limit }.into());
            }
            self.write_log(&changes, &incarnation);
            self.add_sums()?;
        }
        let version = self.inner.commit().await?;
        Ok(Position { incarnation, version })
    }

    /// Commits changes whose log record the caller has written: those of an upstream.
    pub(crate) async fn commit_followed(mut self) -> Result<Version> {
        self.add_sums()?;
        Ok(self.inner.commit().await?)
    }

    fn write_log(&mut self, changes: &[log::Change], incarnation: &Incarnation) {
        let prefix = key::log_prefix(log::PARTITION, incarnation);
        for (number, chunk) in log::encode(changes).iter().enumerate() {
            self.inner.set_versionstamped(&prefix, &(number as u16).to_be_bytes(), chunk);
        }
    }

    /// Adds the changes to the region's sums: the state digest and what `statfs` shows.
    fn add_sums(&mut self) -> Result<()> {
        let digest = self.digest_delta();
        let (inodes, bytes) = self.usage_delta()?;
        if digest != Digest::default() {
            self.inner.add(key::local::DIGEST, digest.as_bytes());
        }
        for (key, delta) in [(key::local::USED_INODES, inodes), (key::local::USED_BYTES, bytes)] {
            if delta != 0 {
                self.inner.add(key, &delta.to_le_bytes());
            }
        }
        Ok(())
    }

    /// What the changes add to the inodes and bytes in use.
    fn usage_delta(&self) -> Result<(i64, i64)> {
        let mut delta = (0, 0);
        for (key, touched) in &self.touched {
            if !matches!(DurableKey::parse(key)?, DurableKey::Attr(_)) {
                continue;
            }
            let (inodes_before, bytes_before) = usage(touched.before.as_deref())?;
            let (inodes_after, bytes_after) = usage(touched.after.as_deref())?;
            delta.0 += inodes_after - inodes_before;
            delta.1 += bytes_after.wrapping_sub(bytes_before);
        }
        Ok(delta)
    }
}

fn usage(value: Option<&[u8]>) -> Result<(i64, i64)> {
    let Some(value) = value else { return Ok((0, 0)) };
    let attr: Attr = row::decode_attr(value)?;
    let allocated = i64::try_from(attr.allocated);
    let allocated =
        allocated.map_err(|_| FsError::Corrupt("an attribute row: more bytes than a file can have".into()))?;
    Ok((1, allocated))
}
