//! A transaction of the embedded engine: a view to read, its own writes, and what it read.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use farshore_proto::Version;
use tokio::sync::oneshot;

use super::key_range::KeyRange;
use super::merge::Merge;
use super::queue::CommitRequest;
use super::reads::Reads;
use super::shared::Shared;
use super::view::View;
use super::writes::{Write, Writes};
use crate::engine::limit::Limit;
use crate::engine::{EngineError, Isolation, KeyValue, RangePage, RangeRead, Result, Transaction};

/// The view that a transaction reads, and since when.
struct Snapshot {
    view: Arc<View>,
    taken_at: Instant,
}

/// See the module.
pub(super) struct EmbeddedTransaction {
    shared: Arc<Shared>,
    snapshot: Option<Snapshot>,
    reads: Reads,
    writes: Writes,
    limit: Limit,
}

impl EmbeddedTransaction {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (reads, writes, limit) = Default::default();
        Self { shared, snapshot: None, reads, writes, limit }
    }

    /// The view of this transaction, taken now if it has none yet.
    fn view(&mut self) -> Result<Arc<View>> {
        self.check_age()?;
        let take = || Snapshot { view: self.shared.view.load_full(), taken_at: Instant::now() };
        Ok(Arc::clone(&self.snapshot.get_or_insert_with(take).view))
    }

    fn check_age(&self) -> Result<()> {
        match &self.snapshot {
            Some(snapshot) if snapshot.taken_at.elapsed() > self.shared.max_age => Err(EngineError::TooOld),
            _ => Ok(()),
        }
    }

    /// The value of `key` in the view.
    fn read(&mut self, key: &[u8]) -> Result<Option<Bytes>> {
        let view = self.view()?;
        let keyspace = self.shared.keyspace.load();
        let keyspace = keyspace.as_deref().ok_or(EngineError::Closed)?;
        view.rows(keyspace, &self.shared.layout).get(key)
    }

    /// The rows of `range`, which is not empty, up to the limits of `read`.
    fn page(&mut self, range: &KeyRange, read: &RangeRead) -> Result<RangePage> {
        let view = self.view()?;
        let keyspace = self.shared.keyspace.load();
        let keyspace = keyspace.as_deref().ok_or(EngineError::Closed)?;
        let rows = view.rows(keyspace, &self.shared.layout);
        take_page(Merge::new(rows, &self.writes, range, read.direction), read)
    }

    fn note_read(&mut self, range: KeyRange) {
        self.limit.read(&range.begin, &range.end);
        self.reads.add_range(range);
    }
}

fn take_page(mut merged: impl Iterator<Item = Result<KeyValue>>, read: &RangeRead) -> Result<RangePage> {
    let mut page = RangePage { rows: Vec::new(), more: true };
    let mut bytes = 0;
    while page.more && !read.is_full(&page, bytes) {
        match merged.next().transpose()? {
            Some((key, value)) => {
                bytes += key.len() + value.len();
                page.rows.push((key, value));
            }
            None => page.more = false,
        }
    }
    Ok(page)
}

#[async_trait]
impl Transaction for EmbeddedTransaction {
    async fn read_version(&mut self) -> Result<Version> {
        Ok(Version::end_of(self.view()?.batch()))
    }

    async fn get(&mut self, key: &[u8], isolation: Isolation) -> Result<Option<Bytes>> {
        let effect = self.writes.effect(key);
        if let Some(write @ (Write::Set(_) | Write::Clear)) = effect {
            self.check_age()?;
            return Ok(write.apply(None));
        }
        let before = self.read(key)?;
        if isolation == Isolation::Serialisable {
            self.limit.read(key, key);
            self.reads.add_key(key);
        }
        Ok(match effect {
            Some(addition) => addition.apply(before.as_deref()),
            None => before,
        })
    }

    async fn range(&mut self, read: &RangeRead, isolation: Isolation) -> Result<RangePage> {
        let range = KeyRange::copy_of(&read.begin, &read.end);
        if range.is_empty() {
            return Ok(RangePage { rows: Vec::new(), more: false });
        }
        let page = self.page(&range, read)?;
        if isolation == Isolation::Serialisable {
            let (begin, end) = read.seen(&page);
            self.note_read(KeyRange { begin: begin.into(), end: end.into() });
        }
        Ok(page)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.limit.put(key, value);
        self.writes.set(key, value);
    }

    fn clear(&mut self, key: &[u8]) {
        self.limit.clear(key);
        self.writes.clear(key);
    }

    fn clear_range(&mut self, begin: &[u8], end: &[u8]) {
        self.limit.clear_range(begin, end);
        self.writes.clear_range(KeyRange::copy_of(begin, end));
    }

    fn add(&mut self, key: &[u8], operand: &[u8]) {
        self.limit.put(key, operand);
        self.writes.add(key, operand);
    }

    fn set_versionstamped(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]) {
        self.limit.put_stamped(prefix, suffix, value);
        self.writes.set_stamped(prefix, suffix, value);
    }

    fn add_read_conflict(&mut self, begin: &[u8], end: &[u8]) {
        // A view that is too old is found again, and reported, by the commit.
        self.view().ok();
        self.note_read(KeyRange::copy_of(begin, end));
    }

    async fn commit(mut self: Box<Self>) -> Result<Version> {
        if self.writes.is_empty() {
            return self.read_version().await;
        }
        self.check_age()?;
        self.limit.check()?;
        let (reply, answer) = oneshot::channel();
        let Self { shared, snapshot, reads, writes, limit } = *self;
        let snapshot = snapshot.map(|snapshot| snapshot.view.batch());
        let request = CommitRequest { snapshot, reads, writes, bytes: limit.bytes(), reply };
        shared.queue.commit(request, answer).await
    }
}
