//! How a worker shares its range: when others wait, it gives away the upper part of what has not begun.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::{Broken, RangeWork};
use crate::error::Result as StoreResult;
use crate::key::Key;
use crate::key_range::{KeyRange, place_after};
use crate::limits::{FEW_KEYS, SPLIT_INTERVAL, SPLIT_PAGES, SPLIT_SHARE};
use crate::merge::Side;
use crate::split::{Split, Splitter};
use crate::store::ListRequest;

impl RangeWork {
    /// Looks whether others wait, often enough that they do not wait long.
    pub(super) async fn split_if_due(&mut self) -> std::result::Result<(), Broken> {
        let begun = Instant::now();
        if !self.context.splits || begun < self.look_at || !self.is_worth_splitting() {
            return Ok(());
        }
        let pause = if self.split_if_wanted().await? {
            // Where one waits more may. How soon they are looked for depends on what it costs.
            begun.elapsed() * SPLIT_SHARE
        } else {
            let longer = (self.look_pause * 2).min(SPLIT_INTERVAL);
            std::mem::replace(&mut self.look_pause, longer)
        };
        self.look_at = Instant::now() + pause.min(SPLIT_INTERVAL);
        Ok(())
    }

    fn is_worth_splitting(&self) -> bool {
        let is_searched = || self.pages >= SPLIT_PAGES || self.begun_at.elapsed() >= SPLIT_INTERVAL;
        self.merge.last_key().is_some() && (self.place_ahead().is_some() || is_searched())
    }

    /// Where a store said that the rest is best split, while that lies beyond what came of either side.
    fn place_ahead(&self) -> Option<&Bytes> {
        let (ahead, last) = (self.ahead.as_ref()?, self.merge.last_key()?);
        let within = self.end.as_ref().is_none_or(|end| ahead < end);
        (within && **ahead > *last.as_bytes()).then_some(ahead)
    }

    /// Gives the upper part of what is not listed, or else of what has not begun, to a worker that waits. Whether it
    /// did.
    async fn split_if_wanted(&mut self) -> std::result::Result<bool, Broken> {
        let context = Arc::clone(&self.context);
        if !self.within_lease(context.journal().wants_ranges()).await? {
            return Ok(false);
        }
        let found = self.within_lease(async { Ok(self.place_to_split().await) }).await?;
        let Some(at) = found.map_err(Broken::Store)? else { return Ok(false) };
        let claimed = self.claimed.clone();
        self.claimed = self.held(context.journal().split(&claimed, &at)).await?;
        context.ranges_changed.send_replace(());
        self.end = self.claimed.range.end().cloned();
        if let Some(end) = &self.end {
            self.source.narrow(end);
            self.target.narrow(end);
            self.merge.narrow(end);
        }
        Ok(true)
    }

    async fn place_to_split(&self) -> StoreResult<Option<Bytes>> {
        if let Some(ahead) = self.place_ahead() {
            return Ok(Some(ahead.clone()));
        }
        let Some(last) = self.merge.last_key() else { return Ok(None) };
        let rest = KeyRange::new(place_after(last), self.end.clone());
        let beyond = if self.merge.is_complete() { None } else { self.find_split(&rest).await? };
        Ok(beyond.or_else(|| self.merge.middle_key(FEW_KEYS).map(Key::to_bytes)))
    }

    async fn find_split(&self, rest: &KeyRange) -> StoreResult<Option<Bytes>> {
        let mut splitter = Splitter::new(rest);
        let mut step = splitter.start();
        loop {
            step = match step {
                Split::No => return Ok(None),
                Split::At(at) => return Ok(Some(at)),
                Split::Probe(range) => {
                    let first = self.first_key(&range).await?;
                    splitter.found(first.as_ref(), &range)
                }
            };
        }
    }

    /// The first key of a range on either side. It decides where to split and nothing else.
    async fn first_key(&self, range: &KeyRange) -> StoreResult<Option<Key>> {
        let request = ListRequest { limit: 1, ..ListRequest::first(range.clone()) };
        let first = |side| {
            let (copier, store, request) = (&self.context.copier, self.context.listed(side), &request);
            async move { copier.retry(|| async { store.list(request).await }).await }
        };
        let (source, target) = futures::try_join!(first(Side::Source), first(Side::Target))?;
        let keys = source.entries.into_iter().chain(target.entries).map(|entry| entry.key);
        Ok(keys.filter(|key| range.contains(key.as_bytes())).min())
    }
}
