//! What of a side is listed: not what the filter leaves out as a whole.

use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;
use crate::filter::Filter;
use crate::pace::Pace;
use crate::selection::Selection;
use crate::store::layer::Layer;
use crate::store::{ListPage, ListRequest, PageEnd, Seek, Selected, Store};

/// A store that is only listed, and whose listing goes on behind what is left out, once it has met some of it.
#[derive(Debug)]
struct Pruned {
    store: Arc<dyn Store>,
    filter: Filter,
}

/// Both sides as they are listed.
pub(super) fn listed(sides: [(&Arc<dyn Store>, &Arc<Pace>); 2], filter: &Filter) -> [Arc<dyn Store>; 2] {
    let selection = filter.selection().map(Arc::new);
    sides.map(|side| narrowed(side, filter, selection.clone()))
}

/// A side with the directories in which what can be chosen lies.
pub(super) fn with_directories_above(side: (&Arc<dyn Store>, &Arc<Pace>), filter: &Filter) -> Arc<dyn Store> {
    narrowed(side, filter, filter.selection().map(Selection::with_directories_above).map(Arc::new))
}

fn narrowed(
    (store, pace): (&Arc<dyn Store>, &Arc<Pace>),
    filter: &Filter,
    selection: Option<Arc<Selection>>,
) -> Arc<dyn Store> {
    let store = Arc::clone(store);
    if store.capabilities().seek != Seek::Anywhere {
        return store;
    }
    let store = if filter.leaves_out_directories() {
        Arc::new(Pruned { store, filter: filter.clone() }) as Arc<dyn Store>
    } else {
        store
    };
    match selection {
        Some(selection) => Arc::new(Selected::new(store, selection).paced(Arc::clone(pace))),
        None => store,
    }
}

#[async_trait]
impl Layer for Pruned {
    fn below(&self) -> &dyn Store {
        self.store.as_ref()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        let mut page = self.store.list(request).await?;
        if let (PageEnd::More { next, .. }, Some(last)) = (&page.end, page.entries.last())
            && let Some(behind) = self.filter.place_behind_left_out(&last.key)
            && behind > *next
        {
            page.end = PageEnd::more(behind);
        }
        Ok(page)
    }
}
