//! A store of which only selected keys are listed. All else goes to the store as it is.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::FutureExt;
use futures::stream::{self, StreamExt};

use super::selection::{Item, Selection};
use crate::attributes::AttributeSet;
use crate::entry::Entry;
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::key_range::{KeyRange, place_after};
use crate::store::layer::Layer;
use crate::store::{ListPage, ListRequest, PageEnd, Store};

/// Keys that are asked for at once.
const HEADS_AT_ONCE: usize = 32;
/// Keys that are asked for in one page, whether they are there or not.
const HEADS_OF_A_PAGE: usize = 1_000;

/// A store of which only some keys are listed.
#[derive(Debug, Clone)]
pub struct Selected {
    store: Arc<dyn Store>,
    selection: Arc<Selection>,
}

impl Selected {
    /// These keys of this store.
    pub fn new(store: Arc<dyn Store>, selection: Arc<Selection>) -> Self {
        Self { store, selection }
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
        let heads = stream::iter(keys.to_vec()).map(|key| self.look_at(key).boxed());
        let found: Vec<Result<Option<Entry>>> = heads.buffered(HEADS_AT_ONCE).collect().await;
        found.into_iter().filter_map(Result::transpose).collect()
    }

    async fn look_at(&self, key: Key) -> Result<Option<Entry>> {
        match self.store.head(&key, AttributeSet::NONE).await {
            Ok(object) => Ok(Some(object.entry)),
            // What a store cannot hold, it does not have.
            Err(StoreError::Missing { .. } | StoreError::Unholdable { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Layer for Selected {
    fn below(&self) -> &dyn Store {
        self.store.as_ref()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        let limit = request.limit.clamp(1, self.store.capabilities().page_entries);
        let mut page = ListPage::last(Vec::new());
        let (mut rest, mut looked) = (request.range.clone(), 0);
        while let Some(item) = self.selection.next(&rest) {
            let room = limit - page.entries.len();
            if room == 0 || looked >= HEADS_OF_A_PAGE {
                page.end = PageEnd::more(rest.start().clone());
                break;
            }
            match item {
                Item::Key(_) => {
                    let keys = self.keys(&rest, room.min(HEADS_AT_ONCE));
                    looked += keys.len();
                    page.entries.extend(self.look(&keys).await?);
                    rest = keys.last().map_or(rest.clone(), |last| rest.after(last));
                }
                Item::Range(range) => {
                    let part = ListRequest { range: range.clone(), limit: room, token: None };
                    let listed = self.store.list(&part).await?;
                    page.entries.extend(listed.entries);
                    page.unlisted.extend(listed.unlisted);
                    let next = match listed.end {
                        PageEnd::More { next, .. } => Some(next),
                        PageEnd::Complete => range.end().cloned(),
                    };
                    let Some(next) = next else { break };
                    rest = rest.from(next);
                    looked += 1;
                }
            }
        }
        Ok(page)
    }

    fn copies_from(&self, source: &dyn Store) -> bool {
        self.store.copies_from(source)
    }
}
