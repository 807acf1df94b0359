//! Workers that wait get a part of a range as soon as a store knows where to split it.

use std::time::Duration;

use async_trait::async_trait;

use super::tests::put;
use super::*;
use crate::error::Result as StoreResult;
use crate::journal::MemoryJournal;
use crate::limits::{SPLIT_INTERVAL, SPLIT_PAGES};
use crate::outcome::Silent;
use crate::store::layer::Layer;
use crate::store::{ListPage, ListRequest, MemoryStore, PageEnd};

const PAGE: usize = 7;
const PAGE_TIME: Duration = Duration::from_millis(20);
const PAGES: u32 = 7;

/// A store whose pages take long; counts those that were given, and the most that were asked for at once.
#[derive(Debug)]
struct SlowPages {
    store: MemoryStore,
    tells_ahead: bool,
    pages: AtomicUsize,
    open: AtomicUsize,
    at_once: AtomicUsize,
}

impl SlowPages {
    fn of(store: MemoryStore, tells_ahead: bool) -> Arc<Self> {
        let [pages, open, at_once] = std::array::from_fn(|_| AtomicUsize::new(0));
        Arc::new(Self { store, tells_ahead, pages, open, at_once })
    }
}

#[async_trait]
impl Layer for SlowPages {
    fn below(&self) -> &dyn Store {
        &self.store
    }

    async fn list(&self, request: &ListRequest) -> StoreResult<ListPage> {
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.at_once.fetch_max(open, Ordering::SeqCst);
        self.pages.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(PAGE_TIME).await;
        self.open.fetch_sub(1, Ordering::SeqCst);
        let mut page = self.store.list(request).await?;
        if let PageEnd::More { ahead, .. } = &mut page.end {
            *ahead = ahead.take().filter(|_| self.tells_ahead);
        }
        Ok(page)
    }
}

async fn filled(name: &str) -> MemoryStore {
    let store = MemoryStore::objects(name).with_capabilities(|can| can.page_entries = PAGE);
    for number in 0..PAGES * PAGE as u32 {
        put(&store, &format!("{number:04}"), b"").await;
    }
    store
}

/// The pages that the source gave of a job that has nothing to copy, and the most at once.
async fn pages(tells_ahead: bool) -> (usize, usize) {
    let source = SlowPages::of(filled("source").await, tells_ahead);
    let target = SlowPages::of(filled("target").await, tells_ahead);
    let options = JobOptions { workers: 4, ..JobOptions::default() };
    let job = Job::new(Arc::clone(&source) as Arc<dyn Store>, target, options);
    let summary = job.run(Arc::new(MemoryJournal::new().unwrap()), Arc::new(Silent)).await.unwrap();
    assert_eq!((summary.counts.skipped, summary.complete), (u64::from(PAGES) * PAGE as u64, true), "{summary:?}");
    (source.pages.load(Ordering::SeqCst), source.at_once.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_short_listing_is_shared_where_a_store_knows_a_place_to_split_it_at() {
    assert!(2 * PAGES < SPLIT_PAGES && PAGES * PAGE_TIME < SPLIT_INTERVAL, "no place is searched for");
    let (alone, at_once) = pages(false).await;
    assert_eq!((alone, at_once), (PAGES as usize, 1));
    let (shared, at_once) = pages(true).await;
    assert!(at_once > 1, "{at_once} pages were listed at once");
    assert!(shared < 2 * PAGES as usize, "{shared} pages were listed to know {PAGES}");
}
