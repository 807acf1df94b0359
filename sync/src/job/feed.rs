//! A side's listing, one page ahead of the merge.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::Context;
use crate::copy::Copier;
use crate::entry::Entry;
use crate::error::Result;
use crate::key_range::KeyRange;
use crate::limits::{PAGE_ENTRIES, PAGES_AHEAD};
use crate::merge::Side;
use crate::store::{CheckedListing, CheckedPage, Unlisted};

/// Pages as they come.
pub(super) struct Feed {
    pages: mpsc::Receiver<Result<Fed>>,
    /// Where the range ends, once a part of it was given away.
    end: Arc<Mutex<Option<Bytes>>>,
}

/// A checked page, and how far the listing is with it.
pub(super) struct Fed {
    pub(super) entries: Vec<Entry>,
    pub(super) unlisted: Vec<Unlisted>,
    /// Every key below this was listed; none if every key of the range was.
    pub(super) listed_to: Option<Bytes>,
    /// Where the rest is best split, if the store knows.
    pub(super) ahead: Option<Bytes>,
}

impl Feed {
    /// Begins to list; ends when the feed is dropped.
    pub(super) fn start(context: &Context, side: Side, range: KeyRange) -> Self {
        let (sender, pages) = mpsc::channel(PAGES_AHEAD);
        let (copier, store) = (Arc::clone(&context.copier), Arc::clone(context.listed(side)));
        let end = Arc::new(Mutex::new(None));
        let narrowed = Arc::clone(&end);
        tokio::spawn(async move {
            let mut listing = CheckedListing::new(store, range, PAGE_ENTRIES);
            loop {
                if let Some(end) = narrowed.lock().take() {
                    listing.narrow(end);
                }
                let page = next_page(&copier, side, &mut listing).await;
                let last = page.as_ref().map_or(true, |fed| fed.listed_to.is_none());
                if sender.send(page).await.is_err() || last {
                    return;
                }
            }
        });
        Self { pages, end }
    }

    /// Gives up the keys from `end` on. A page that was asked for already may have some of them.
    pub(super) fn narrow(&self, end: &Bytes) {
        *self.end.lock() = Some(end.clone());
    }

    /// The next page; none after the last or after an error.
    pub(super) async fn next(&mut self) -> Option<Result<Fed>> {
        self.pages.recv().await
    }
}

async fn next_page(copier: &Copier, side: Side, listing: &mut CheckedListing) -> Result<Fed> {
    let pace = if side == Side::Source { &copier.source_pace } else { &copier.target_pace };
    // The listing asks for the same page again after an error.
    let listing = tokio::sync::Mutex::new(listing);
    let next = || async {
        pace.request().await;
        listing.lock().await.next_page().await
    };
    let page = copier.retry(next).await?;
    let listing = listing.into_inner();
    let CheckedPage { entries, unlisted, ahead } = page.unwrap_or_default();
    copier.observer.listed(side, entries.len() as u64);
    let listed_to = (!listing.is_complete()).then(|| listing.rest().start().clone());
    Ok(Fed { entries, unlisted, listed_to, ahead })
}
