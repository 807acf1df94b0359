//! An engine whose reads can be held up between what they saw and what they say.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use farshore_meta::DurableKey;
use farshore_meta::engine::{Engine, Isolation, RangePage, RangeRead, Result, Transaction};
use farshore_proto::Version;
use parking_lot::Mutex;
use tokio::sync::oneshot;

const PATIENCE: Duration = Duration::from_secs(20);

struct Armed {
    key: DurableKey,
    reached: mpsc::Sender<()>,
    released: oneshot::Receiver<()>,
}

type Holds = Arc<Mutex<Vec<Armed>>>;

/// The decorator.
pub(crate) struct HeldEngine {
    inner: Arc<dyn Engine>,
    holds: Holds,
}

/// A read that is, or will be, held up.
pub(crate) struct Held {
    reached: mpsc::Receiver<()>,
    release: oneshot::Sender<()>,
}

impl Held {
    /// Waits until a read has seen its row.
    pub(crate) fn reached(&self) {
        self.reached.recv_timeout(PATIENCE).expect("nothing read that row");
    }

    pub(crate) fn release(self) {
        self.release.send(()).expect("the held read was dropped");
    }
}

impl HeldEngine {
    pub(crate) fn new(inner: Arc<dyn Engine>) -> Self {
        Self { inner, holds: Holds::default() }
    }

    /// Holds up the next read of `key`, and only that one.
    pub(crate) fn hold(&self, key: DurableKey) -> Held {
        let (reached_sender, reached) = mpsc::channel();
        let (release, released) = oneshot::channel();
        self.holds.lock().push(Armed { key, reached: reached_sender, released });
        Held { reached, release }
    }
}

impl std::fmt::Debug for HeldEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl Engine for HeldEngine {
    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        let inner = self.inner.begin().await?;
        Ok(Box::new(HeldTransaction { inner, holds: Arc::clone(&self.holds) }))
    }

    async fn changed_since(&self, seen: Version) -> Result<()> {
        self.inner.changed_since(seen).await
    }

    fn commit_may_be_unknown(&self) -> bool {
        self.inner.commit_may_be_unknown()
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

struct HeldTransaction {
    inner: Box<dyn Transaction>,
    holds: Holds,
}

impl HeldTransaction {
    fn armed(&self, key: &[u8]) -> Option<Armed> {
        let mut holds = self.holds.lock();
        let key = DurableKey::parse(key).ok().filter(|_| !holds.is_empty())?;
        let at = holds.iter().position(|armed| armed.key == key)?;
        Some(holds.remove(at))
    }
}

#[async_trait]
impl Transaction for HeldTransaction {
    async fn read_version(&mut self) -> Result<Version> {
        self.inner.read_version().await
    }

    async fn get(&mut self, key: &[u8], isolation: Isolation) -> Result<Option<Bytes>> {
        let value = self.inner.get(key, isolation).await?;
        if let Some(armed) = self.armed(key) {
            armed.reached.send(()).expect("the test waits");
            let _test_may_be_over = armed.released.await;
        }
        Ok(value)
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
        self.inner.commit().await
    }
}
