//! An engine whose commits conflict and are lost, and whose answers are lost, from a seed.

use async_trait::async_trait;
use bytes::Bytes;
use farshore_meta::engine::{Engine, EngineError, Isolation, RangePage, RangeRead, Result, Transaction};
use farshore_proto::Version;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Flaky {
    inner: Arc<dyn Engine>,
    random: Mutex<StdRng>,
}

/// What becomes of a commit.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Done,
    Conflict,
    /// It happened, and nobody is told.
    AnswerLost,
    /// It did not happen, and nobody is told.
    RequestLost,
}

struct Doomed {
    inner: Box<dyn Transaction>,
    fate: Fate,
}

impl Flaky {
    pub(super) fn new(inner: Arc<dyn Engine>, seed: u64) -> Self {
        Self { inner, random: Mutex::new(StdRng::seed_from_u64(seed)) }
    }
}

#[async_trait]
impl Engine for Flaky {
    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        let fate = match self.random.lock().random_range(0..20) {
            0..2 => Fate::Conflict,
            2..4 => Fate::AnswerLost,
            4..6 => Fate::RequestLost,
            _ => Fate::Done,
        };
        Ok(Box::new(Doomed { inner: self.inner.begin().await?, fate }))
    }

    async fn changed_since(&self, seen: Version) -> Result<()> {
        self.inner.changed_since(seen).await
    }

    fn commit_may_be_unknown(&self) -> bool {
        true
    }

    fn url(&self) -> String {
        self.inner.url()
    }

    async fn sync(&self) -> Result<()> {
        self.inner.sync().await
    }

    async fn sync_to(&self, version: Version) -> Result<()> {
        self.inner.sync_to(version).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[async_trait]
impl Transaction for Doomed {
    async fn read_version(&mut self) -> Result<Version> {
        self.inner.read_version().await
    }

    async fn get(&mut self, key: &[u8], isolation: Isolation) -> Result<Option<Bytes>> {
        self.inner.get(key, isolation).await
    }

    async fn range(&mut self, read: &RangeRead, isolation: Isolation) -> Result<RangePage> {
        self.inner.range(read, isolation).await
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.inner.set(key, value);
    }

    fn clear(&mut self, key: &[u8]) {
        self.inner.clear(key);
    }

    fn clear_range(&mut self, begin: &[u8], end: &[u8]) {
        self.inner.clear_range(begin, end);
    }

    fn add(&mut self, key: &[u8], operand: &[u8]) {
        self.inner.add(key, operand);
    }

    fn set_versionstamped(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]) {
        self.inner.set_versionstamped(prefix, suffix, value);
    }

    fn add_read_conflict(&mut self, begin: &[u8], end: &[u8]) {
        self.inner.add_read_conflict(begin, end);
    }

    async fn commit(self: Box<Self>) -> Result<Version> {
        match self.fate {
            Fate::Done => self.inner.commit().await,
            Fate::Conflict => Err(EngineError::Conflict),
            Fate::AnswerLost => self.inner.commit().await.and(Err(EngineError::CommitUnknown)),
            Fate::RequestLost => Err(EngineError::CommitUnknown),
        }
    }
}
