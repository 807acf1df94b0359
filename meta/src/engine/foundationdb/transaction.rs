//! A transaction of FoundationDB.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use farshore_proto::Version;
use foundationdb::options::{ConflictRangeType, MutationType, StreamingMode};
use foundationdb::{FdbResult, KeySelector, RangeOption};

use super::{Place, read_version};
use crate::engine::limit::{Limit, RESERVED, STAMP_BYTES, may_exist};
use crate::engine::{Direction, EngineError, Isolation, RangePage, RangeRead, Result, Transaction};

/// A row whose key is completed with the commit's version.
struct Stamped {
    /// The whole key with zeros for the version, then where they begin, as FoundationDB takes it.
    template: Vec<u8>,
    /// The first and the last key that it can become.
    bounds: (Vec<u8>, Vec<u8>),
    value: Vec<u8>,
}

/// See the module.
pub(super) struct FoundationDbTransaction {
    inner: foundationdb::Transaction,
    place: Arc<Place>,
    limit: Limit,
    wrote: bool,
    /// Given to FoundationDB at the commit only: it refuses to read where such a row may be.
    stamped: Vec<Stamped>,
    /// A call failed that could not say so.
    failed: Option<EngineError>,
}

impl FoundationDbTransaction {
    pub(super) fn new(inner: foundationdb::Transaction, place: Arc<Place>) -> Self {
        let limit = Limit::with_key_overhead(place.prefix.len());
        Self { inner, place, limit, wrote: false, stamped: Vec::new(), failed: None }
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.place.prefix, key].concat()
    }

    /// The bounds of a range, cut to the keys that may exist; none if nothing is left.
    fn bounds(&self, begin: &[u8], end: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let end = end.min(&[RESERVED]);
        (begin < end).then(|| (self.key(begin), self.key(end)))
    }

    fn without_prefix(&self, key: &[u8]) -> Result<Bytes> {
        let key = key.strip_prefix(&self.place.prefix[..]).ok_or_else(|| EngineError::Damaged {
            path: self.place.url.clone().into(),
            reason: "it gave a key of another prefix".to_owned(),
        })?;
        Ok(Bytes::copy_from_slice(key))
    }

    /// Counts a mutation; true if it is to be made.
    fn mutates(&mut self, key: &[u8]) -> bool {
        self.wrote = true;
        may_exist(key)
    }

    /// Appends to `page` what one call gives; true when the range or a limit is reached.
    async fn extend(
        &self,
        page: &mut RangePage,
        bytes: &mut usize,
        read: &RangeRead,
        option: &RangeOption<'_>,
    ) -> Result<bool> {
        // The conflict range is added later, as far as rows were taken.
        let snapshot = true;
        let found = self.inner.get_range(option, 1, snapshot).await.map_err(|error| self.place.error(error))?;
        for row in &found {
            let key = self.without_prefix(row.key())?;
            *bytes += key.len() + row.value().len();
            page.rows.push((key, Bytes::copy_from_slice(row.value())));
            if read.is_full(page, *bytes) {
                return Ok(true);
            }
        }
        page.more = found.more();
        Ok(!found.more())
    }

    async fn page(&self, read: &RangeRead, begin: Vec<u8>, end: Vec<u8>) -> Result<RangePage> {
        let mut page = RangePage { rows: Vec::new(), more: true };
        let mut bytes = 0;
        let mut option = RangeOption {
            reverse: read.direction == Direction::Reverse,
            mode: StreamingMode::WantAll,
            ..RangeOption::from((begin, end))
        };
        let mut done = read.is_full(&page, bytes);
        while !done {
            let left = read.limit - page.rows.len();
            option.limit = i32::try_from(left).is_ok().then_some(left);
            option.target_bytes = i32::try_from(read.target_bytes - bytes).map_or(0, |left| left as usize);
            done = self.extend(&mut page, &mut bytes, read, &option).await?;
            if let Some((last, _)) = page.rows.last() {
                continue_after(&mut option, self.key(last));
            }
        }
        Ok(page)
    }

    fn conflict_with(&mut self, begin: &[u8], end: &[u8]) {
        self.limit.read(begin, end);
        let Some((begin, end)) = self.bounds(begin, end) else { return };
        if let Err(error) = self.inner.add_conflict_range(&begin, &end, ConflictRangeType::Read) {
            self.failed.get_or_insert(self.place.error(error));
        }
    }

    /// Hands over the rows with versionstamps, then commits.
    async fn commit_inner(self) -> Result<Version> {
        let place = self.place;
        for row in &self.stamped {
            self.inner.atomic_op(&row.template, &row.value, MutationType::SetVersionstampedKey);
        }
        let stamp = self.inner.get_versionstamp();
        let committed = self.inner.commit().await;
        // The stamp is there only while the transaction is.
        let _committed = committed.map_err(|error| place.commit_error(*error))?;
        let stamp = stamp.await.map_err(|error| place.commit_error(error))?;
        Version::try_from(&stamp[..]).map_err(|_| EngineError::CommitUnknown)
    }
}

fn continue_after(option: &mut RangeOption<'_>, last: Vec<u8>) {
    if option.reverse {
        option.end = KeySelector::first_greater_or_equal(last);
    } else {
        option.begin = KeySelector::first_greater_than(last);
    }
}

#[async_trait]
impl Transaction for FoundationDbTransaction {
    async fn read_version(&mut self) -> Result<Version> {
        let version: FdbResult<i64> = self.inner.get_read_version().await;
        version.map(read_version).map_err(|error| self.place.error(error))
    }

    async fn get(&mut self, key: &[u8], isolation: Isolation) -> Result<Option<Bytes>> {
        if !may_exist(key) {
            return Ok(None);
        }
        let snapshot = isolation == Isolation::Snapshot;
        if !snapshot {
            self.limit.read(key, key);
        }
        let value = self.inner.get(&self.key(key), snapshot).await;
        let value = value.map_err(|error| self.place.error(error))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    async fn range(&mut self, read: &RangeRead, isolation: Isolation) -> Result<RangePage> {
        let Some((begin, end)) = self.bounds(&read.begin, &read.end) else {
            return Ok(RangePage { rows: Vec::new(), more: false });
        };
        let page = self.page(read, begin, end).await?;
        if isolation == Isolation::Serialisable {
            let (begin, end) = read.seen(&page);
            self.conflict_with(&begin, &end);
        }
        Ok(page)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.limit.put(key, value);
        if self.mutates(key) {
            self.inner.set(&self.key(key), value);
        }
    }

    fn clear(&mut self, key: &[u8]) {
        self.limit.clear(key);
        if self.mutates(key) {
            self.inner.clear(&self.key(key));
        }
    }

    fn clear_range(&mut self, begin: &[u8], end: &[u8]) {
        self.limit.clear_range(begin, end);
        let Some((begin, end)) = self.bounds(begin, end) else { return };
        self.wrote = true;
        self.inner.clear_range(&begin, &end);
        // A row that may be inside or outside stays: only a range across the version of a
        // commit that is not made yet could tell.
        self.stamped.retain(|row| begin > row.bounds.0 || row.bounds.1 >= end);
    }

    fn add(&mut self, key: &[u8], operand: &[u8]) {
        self.limit.put(key, operand);
        if self.mutates(key) {
            self.inner.atomic_op(&self.key(key), operand, MutationType::Add);
        }
    }

    fn set_versionstamped(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]) {
        self.limit.put_stamped(prefix, suffix, value);
        self.wrote = true;
        let prefix = self.key(prefix);
        let key = |stamp: u8| [&prefix[..], &[stamp; STAMP_BYTES], suffix].concat();
        let offset = (prefix.len() as u32).to_le_bytes();
        let template = [&key(0)[..], &offset].concat();
        self.stamped.push(Stamped { template, bounds: (key(0), key(u8::MAX)), value: value.to_vec() });
    }

    fn add_read_conflict(&mut self, begin: &[u8], end: &[u8]) {
        self.conflict_with(begin, end);
    }

    async fn commit(mut self: Box<Self>) -> Result<Version> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if !self.wrote {
            return self.read_version().await;
        }
        self.limit.check()?;
        self.commit_inner().await
    }
}
