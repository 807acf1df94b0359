//! Both listings as one: that of keys under their own names, and that of escaped names, under their keys.

use bytes::Bytes;

use super::EscapingStore;
use super::names::is_reserved;
use crate::entry::{Entry, Kind};
use crate::error::{Result, StoreError};
use crate::key_escape::{RESERVED, place, unescape};
use crate::key_range::{KeyRange, place_after};
use crate::limits::MAX_EMPTY_PAGES;
use crate::store::{ListPage, ListRequest, PageEnd, Store, Unlisted};

/// Escaped names that were listed, under their keys.
#[derive(Debug, Default)]
struct Escaped {
    entries: Vec<Entry>,
    unlisted: Vec<Unlisted>,
    /// Up to where; none if to the end of the range.
    to: Option<Bytes>,
}

impl EscapingStore {
    /// A page of all keys.
    pub(super) async fn list_both(&self, request: &ListRequest) -> Result<ListPage> {
        if !self.is_used().await? {
            let mut page = self.inner.list(request).await?;
            let in_the_way = page.entries.iter().position(|entry| is_reserved(&entry.key));
            if let Some(entry) = in_the_way.map(|at| page.entries.remove(at)) {
                let reason = "it is where the directory of escaped keys would be; give it another name";
                page.unlisted.push(Unlisted::incomplete(entry.key.as_bytes(), reason));
            }
            return Ok(page);
        }
        let escaped = self.list_escaped(request).await?;
        let range = escaped.to.as_ref().map_or_else(|| request.range.clone(), |to| request.range.until(to.clone()));
        let limit = request.limit.saturating_sub(escaped.entries.len()).max(1);
        let mut page = self.inner.list(&ListRequest { range, limit, token: request.token.clone() }).await?;
        page.entries.retain(|entry| !is_reserved(&entry.key));
        page.unlisted.extend(escaped.unlisted);
        page.end = match (page.end, escaped.to) {
            (PageEnd::Complete, Some(to)) => PageEnd::more(to),
            (end, _) => end,
        };
        let to = if let PageEnd::More { next, .. } = &page.end { Some(next) } else { None };
        page.entries = merged(page.entries, escaped.entries, to);
        Ok(page)
    }

    /// The page of escaped names in a range, with at least one entry unless there is none.
    async fn list_escaped(&self, request: &ListRequest) -> Result<Escaped> {
        let start = place(request.range.start());
        let end = request.range.end().map(|end| place(end).into());
        let mut range = KeyRange::of_prefix(RESERVED).intersect(&KeyRange::new(start, end));
        let mut found = Escaped::default();
        for _ in 0..MAX_EMPTY_PAGES {
            if range.is_empty() {
                return Ok(found);
            }
            let inner = ListRequest { range: range.clone(), token: None, limit: (request.limit / 2).max(1) };
            let page = self.inner.list(&inner).await?;
            found.take(page.entries);
            found.unlisted.extend(page.unlisted);
            match page.end {
                PageEnd::Complete => return Ok(found),
                PageEnd::More { next, .. } => range = range.from(next),
            }
            if let Some(last) = found.entries.last() {
                found.to = Some(place_after(&last.key));
                return Ok(found);
            }
        }
        Err(StoreError::unavailable(self.name(), "list escaped keys", "too many pages in a row had none"))
    }
}

impl Escaped {
    fn take(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            match unescape(entry.key.as_bytes()) {
                Some(key) if entry.kind != Kind::Directory => self.entries.push(Entry { key, ..entry }),
                _ if entry.key.is_directory_name() && entry.size == 0 => {}
                _ => {
                    let reason = "it lies among escaped keys and is none; move it elsewhere";
                    self.unlisted.push(Unlisted::incomplete(entry.key.as_bytes(), reason));
                }
            }
        }
    }
}

/// Both lists as one, up to a place; of a key that is in both, the one under its own name unless that is a directory.
fn merged(own: Vec<Entry>, escaped: Vec<Entry>, to: Option<&Bytes>) -> Vec<Entry> {
    let below = |entry: &Entry| to.is_none_or(|to| entry.key.as_bytes() < to.as_ref());
    let mut all: Vec<_> = own.into_iter().chain(escaped.into_iter().filter(below)).collect();
    all.sort_by(|one, other| one.key.cmp(&other.key));
    all.dedup_by(|later, earlier| {
        let same = later.key == earlier.key;
        if same && earlier.kind == Kind::Directory {
            std::mem::swap(later, earlier);
        }
        same
    });
    all
}
