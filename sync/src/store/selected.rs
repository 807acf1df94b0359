//! A store of which only selected keys are listed. All else goes to the store as it is.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::FutureExt;
use futures::stream::{self, StreamExt};

use crate::entry::Entry;
use crate::error::Result;
use crate::key::Key;
use crate::key_range::{KeyRange, place_after};
use crate::pace::Pace;
use crate::selection::{Item, Selection};
use crate::store::layer::Layer;
use crate::store::{ListPage, ListRequest, PageEnd, Store};

/// Keys that are asked for at once. So many of one page of the store make it worth more than asking for each.
const KEYS_AT_ONCE: usize = 32;
/// Keys that are asked for in one page, whether they are there or not.
const KEYS_OF_A_PAGE: usize = 1_000;

/// A store of which only some keys are listed.
#[derive(Debug, Clone)]
pub struct Selected {
    store: Arc<dyn Store>,
    selection: Arc<Selection>,
    pace: Option<Arc<Pace>>,
}

/// A page that is being made.
struct Listing<'a> {
    selected: &'a Selected,
    limit: usize,
    page: ListPage,
    /// What is still to be listed.
    rest: KeyRange,
    /// The store's hints for a page from there on: its token, and where the rest is best split.
    hints: (Option<Bytes>, Option<Bytes>),
    /// The keys that were asked for.
    looked: usize,
    /// Whether keys lie so close together that the store's pages have many of them, as far as is known.
    dense: bool,
}

impl Selected {
    /// These keys of this store.
    pub fn new(store: Arc<dyn Store>, selection: Arc<Selection>) -> Self {
        Self { store, selection, pace: None }
    }

    /// The same where each key that is asked for is a request that its side's limits allow.
    pub(crate) fn paced(self, pace: Arc<Pace>) -> Self {
        Self { pace: Some(pace), ..self }
    }

    /// Single keys in a row, from the start of the range on, at most so many.
    fn keys(&self, range: &KeyRange, most: usize) -> Vec<Key> {
        let mut keys = Vec::new();
        let mut rest = range.clone();
        while keys.len() < most {
            let Some(Item::Key(key)) = self.selection.next(&rest) else { break };
            rest = rest.from(place_after(&key));
            keys.push(key);
        }
        keys
    }

    /// The entries of those keys that are there.
    async fn look(&self, keys: &[Key]) -> Result<Vec<Entry>> {
        let looks = stream::iter(keys.to_vec()).map(|key| self.look_at(key).boxed());
        let found: Vec<Result<Option<Entry>>> = looks.buffered(KEYS_AT_ONCE).collect().await;
        found.into_iter().filter_map(Result::transpose).collect()
    }

    async fn look_at(&self, key: Key) -> Result<Option<Entry>> {
        if let Some(pace) = &self.pace {
            pace.request().await;
        }
        self.store.look(&key).await
    }
}

impl Listing<'_> {
    fn room(&self) -> usize {
        self.limit - self.page.entries.len()
    }

    /// Single keys, the first of them at the start of the rest.
    async fn list_keys(&mut self) -> Result<()> {
        let close = self.selected.keys(&self.rest, if self.dense { KEYS_OF_A_PAGE } else { 0 });
        if close.len() >= KEYS_AT_ONCE {
            // From where the store's page before ended, if it was the one before, so that the store goes on there.
            let start = if self.hints.0.is_some() { self.rest.start().clone() } else { close[0].to_bytes() };
            self.list_range(&self.rest.from(start)).await?;
            let selection = &self.selected.selection;
            self.page.entries.retain(|entry| selection.contains(entry.key.as_bytes()));
            let passed = close.partition_point(|key| key.as_bytes() < &self.rest.start()[..]);
            if passed == 0 {
                // A gap: the next page begins at the next key.
                self.hints = (None, None);
            } else {
                self.dense = passed >= KEYS_AT_ONCE;
            }
            return Ok(());
        }
        let keys = self.selected.keys(&self.rest, KEYS_AT_ONCE);
        self.looked += keys.len();
        let mut found = self.selected.look(&keys).await?;
        let cut = found.len() > self.room();
        found.truncate(self.room());
        let last = if cut { found.last().map(|entry| &entry.key) } else { keys.last() };
        self.rest = last.map_or(self.rest.clone(), |last| self.rest.after(last));
        self.hints = (None, None);
        self.page.entries.extend(found);
        Ok(())
    }

    /// A page of the store in a range that begins at the first thing of the rest.
    async fn list_range(&mut self, range: &KeyRange) -> Result<()> {
        let (token, _) = std::mem::take(&mut self.hints);
        let token = token.filter(|_| range.start() == self.rest.start());
        let listed = self.selected.store.list(&ListRequest { range: range.clone(), limit: self.room(), token }).await?;
        self.page.entries.extend(listed.entries);
        self.page.unlisted.extend(listed.unlisted);
        let next = match listed.end {
            PageEnd::More { next, token, ahead } => {
                self.hints = (token, ahead);
                Some(next)
            }
            PageEnd::Complete => range.end().cloned(),
        };
        // Where a range has no end nothing follows it.
        self.rest = next.map_or_else(|| self.rest.until(self.rest.start().clone()), |next| self.rest.from(next));
        self.looked += 1;
        Ok(())
    }
}

#[async_trait]
impl Layer for Selected {
    fn below(&self) -> &dyn Store {
        self.store.as_ref()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        let limit = request.limit.clamp(1, self.store.capabilities().page_entries);
        let (page, rest) = (ListPage::last(Vec::new()), request.range.clone());
        let hints = (request.token.clone(), None);
        let mut listing = Listing { selected: self, limit, page, rest, hints, looked: 0, dense: true };
        while let Some(item) = self.selection.next(&listing.rest) {
            // A page that is to be filled up takes ever smaller ones of the store.
            if listing.room() * 2 <= limit || listing.looked >= KEYS_OF_A_PAGE {
                let (token, ahead) = listing.hints;
                listing.page.end = PageEnd::More { next: listing.rest.start().clone(), token, ahead };
                break;
            }
            match item {
                Item::Key(_) => listing.list_keys().await?,
                Item::Range(range) => listing.list_range(&range).await?,
            }
        }
        Ok(listing.page)
    }

    fn copies_from(&self, source: &dyn Store) -> bool {
        self.store.copies_from(source)
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use proptest::prelude::*;

    use super::*;
    use crate::store::{Body, CheckedListing, MemoryStore, PutRequest};

    /// Counts what a store is asked for, and the pages that go on where another ended.
    #[derive(Debug)]
    struct Asked {
        store: MemoryStore,
        pages: Mutex<usize>,
        going_on: Mutex<usize>,
        keys: Mutex<usize>,
    }

    #[async_trait]
    impl Layer for Asked {
        fn below(&self) -> &dyn Store {
            &self.store
        }

        async fn list(&self, request: &ListRequest) -> Result<ListPage> {
            *self.pages.lock() += 1;
            if let Some(token) = &request.token {
                assert_eq!(token, request.range.start(), "a token is for its place alone");
                *self.going_on.lock() += 1;
            }
            let mut page = self.store.list(request).await?;
            if let PageEnd::More { next, token, .. } = &mut page.end {
                *token = Some(next.clone());
            }
            Ok(page)
        }

        async fn look(&self, key: &Key) -> Result<Option<Entry>> {
            *self.keys.lock() += 1;
            self.store.look(key).await
        }
    }

    fn name(number: usize) -> String {
        format!("{number:06}")
    }

    async fn filled(count: usize) -> Arc<Asked> {
        let store = MemoryStore::objects("memory").with_capabilities(|can| can.page_entries = 100);
        for number in 0..count {
            let request = PutRequest::object(Key::try_from(name(number).as_str()).unwrap(), 0);
            store.put(&request, Body::empty()).await.unwrap();
        }
        Arc::new(Asked { store, pages: Mutex::default(), going_on: Mutex::default(), keys: Mutex::default() })
    }

    /// The keys that are listed of those selected, and how many pages and single keys the store was asked for.
    async fn listed(store: &Arc<Asked>, selection: Selection, limit: usize) -> (Vec<String>, usize, usize) {
        (*store.pages.lock(), *store.going_on.lock(), *store.keys.lock()) = (0, 0, 0);
        let selected = Selected::new(Arc::clone(store) as Arc<dyn Store>, Arc::new(selection));
        let mut listing = CheckedListing::new(Arc::new(selected), KeyRange::all(), limit);
        let mut keys = Vec::new();
        while let Some(page) = listing.next_page().await.unwrap() {
            keys.extend(page.entries.iter().map(|entry| entry.key.to_string()));
        }
        let asked = (*store.pages.lock(), *store.keys.lock());
        (keys, asked.0, asked.1)
    }

    fn selection(numbers: impl Iterator<Item = usize>) -> Selection {
        let mut selection = Selection::default();
        for number in numbers {
            selection.add_key(name(number).as_bytes());
        }
        selection
    }

    #[tokio::test]
    async fn few_keys_are_asked_for_and_keys_that_lie_close_are_listed() {
        let store = filled(10_000).await;
        let (keys, pages, single) = listed(&store, selection([5, 17, 9_999, 20_000].into_iter()), 100).await;
        assert_eq!(keys, [name(5), name(17), name(9_999)]);
        assert_eq!((pages, single), (0, 4));
        let (keys, pages, single) = listed(&store, selection((0..10_000).step_by(2)), 100).await;
        assert_eq!((keys.len(), single), (5_000, 0));
        assert!(pages <= 101, "{pages} pages for 100");
        let (keys, pages, single) = listed(&store, selection((0..10_000).step_by(101)), 100).await;
        assert_eq!(
            (keys.len(), pages + single),
            (100, 100),
            "a page that has one key of many is not followed by others"
        );
    }

    #[tokio::test]
    async fn pages_go_on_where_the_one_before_ended() {
        let store = filled(1_000).await;
        let mut prefixes = Selection::default();
        for prefix in ["0001", "0003"] {
            prefixes.add_prefix(prefix.as_bytes().to_vec());
        }
        let (keys, pages, _) = listed(&store, prefixes, 20).await;
        assert_eq!((keys.len(), pages, *store.going_on.lock()), (200, 10, 8), "each prefix begins anew");
        let (keys, pages, _) = listed(&store, selection((0..1_000).step_by(2)), 100).await;
        assert_eq!((keys.len(), pages, *store.going_on.lock()), (500, 10, 9));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_is_selected_is_listed_whatever_the_pages(
            keys in prop::collection::btree_set(0..400_usize, 0..200),
            prefixes in prop::collection::btree_set("0000?[0-3]{0,2}", 0..3), limit in 1..150_usize,
        ) {
            let mut chosen = selection(keys.into_iter());
            for prefix in prefixes {
                chosen.add_prefix(prefix.into_bytes());
            }
            let expected: Vec<_> = (0..300).map(name).filter(|name| chosen.contains(name.as_bytes())).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (keys, ..) = runtime.block_on(async { listed(&filled(300).await, chosen, limit).await });
            prop_assert_eq!(keys, expected);
        }
    }
}
