//! A listing that is believed only as far as it keeps its contract: order, range, no repeats, progress, completeness.
//!
//! What breaks the contract is `Corrupt` and ends the listing; nobody deletes on the word of one that ended so.

use std::sync::Arc;

use bytes::Bytes;

use crate::entry::Entry;
use crate::error::{Result, StoreError};
use crate::key_range::{KeyRange, place_after};
use crate::store::{ListPage, ListRequest, PageEnd, Store, Unlisted};

/// Reads the pages of one range and checks each of them.
#[derive(Debug)]
pub struct CheckedListing {
    store: Arc<dyn Store>,
    check: PageCheck,
    limit: usize,
    token: Option<Bytes>,
}

/// The checks alone: what came so far, and what may come next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageCheck {
    /// What is still to come.
    rest: KeyRange,
    complete: bool,
}

/// A page that passed the checks.
#[derive(Debug, Default)]
pub struct CheckedPage {
    /// The entries, in order, within the range, after all earlier ones.
    pub entries: Vec<Entry>,
    /// What could not be listed.
    pub unlisted: Vec<Unlisted>,
    /// Where the rest is best split, if the store knows.
    pub ahead: Option<Bytes>,
}

impl CheckedListing {
    /// A listing of the range, in pages of at most `limit` entries.
    pub fn new(store: Arc<dyn Store>, range: KeyRange, limit: usize) -> Self {
        let limit = limit.min(store.capabilities().page_entries).max(1);
        Self { store, check: PageCheck::new(range), limit, token: None }
    }

    /// The next page; none once the store has said that the range is complete. After an error it can be asked again,
    /// for the same page.
    pub async fn next_page(&mut self) -> Result<Option<CheckedPage>> {
        if self.check.is_complete() {
            return Ok(None);
        }
        let request = ListRequest { range: self.check.rest.clone(), limit: self.limit, token: self.token.clone() };
        let page = self.store.list(&request).await.inspect_err(|_| self.token = None)?;
        let token = match &page.end {
            PageEnd::More { token, .. } => token.clone(),
            PageEnd::Complete => None,
        };
        let checked = self.check.accept(page, self.limit).map_err(|reason| {
            self.token = None;
            StoreError::corrupt(self.store.name(), &format!("the listing {}", request.range), reason)
        })?;
        self.token = token;
        Ok(Some(checked))
    }

    /// Gives up the keys from `end` on: another worker lists them.
    pub fn narrow(&mut self, end: Bytes) {
        self.check.narrow(end);
    }

    /// What is still to be listed.
    pub fn rest(&self) -> &KeyRange {
        &self.check.rest
    }

    /// Whether the store has said that nothing more comes.
    pub fn is_complete(&self) -> bool {
        self.check.is_complete()
    }
}

impl PageCheck {
    pub(crate) fn new(range: KeyRange) -> Self {
        Self { complete: range.is_empty(), rest: range }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    pub(crate) fn narrow(&mut self, end: Bytes) {
        self.rest = self.rest.until(end);
        self.complete |= self.rest.is_empty();
    }

    /// Takes a page, or says why it cannot be right. A page that is refused leaves the check as it was.
    pub(crate) fn accept(&mut self, page: ListPage, limit: usize) -> std::result::Result<CheckedPage, String> {
        if page.entries.len() > limit {
            return Err(format!("a page has {} entries where at most {limit} were asked for", page.entries.len()));
        }
        check_order(&self.rest, &page.entries)?;
        let after_last = page.entries.last().map_or_else(|| self.rest.start().clone(), |entry| place_after(&entry.key));
        let (rest, complete, ahead) = match page.end {
            PageEnd::Complete => (self.rest.from(after_last), true, None),
            PageEnd::More { next, .. } if next < after_last || next == *self.rest.start() => {
                return Err("the next page would begin before this one's end".to_owned());
            }
            PageEnd::More { next, ahead, .. } => {
                let rest = self.rest.from(next);
                let complete = rest.is_empty();
                (rest, complete, ahead)
            }
        };
        (self.rest, self.complete) = (rest, complete);
        let ahead = ahead.filter(|ahead| self.rest.contains(ahead));
        Ok(CheckedPage { entries: page.entries, unlisted: page.unlisted, ahead })
    }
}

fn check_order(range: &KeyRange, entries: &[Entry]) -> std::result::Result<(), String> {
    if let Some(outside) = entries.iter().find(|entry| !range.contains(entry.key.as_bytes())) {
        return Err(format!("it has {}, which was listed before or is outside", outside.key));
    }
    let swapped = entries.windows(2).find(|pair| pair[0].key >= pair[1].key);
    swapped.map_or(Ok(()), |pair| Err(format!("{} comes after {}", pair[1].key, pair[0].key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;

    fn entries(keys: &[&str]) -> Vec<Entry> {
        keys.iter().map(|key| Entry::object(Key::try_from(*key).unwrap(), 1)).collect()
    }

    fn bytes(place: &str) -> Bytes {
        Bytes::copy_from_slice(place.as_bytes())
    }

    fn more(keys: &[&str], next: &str) -> ListPage {
        ListPage { end: PageEnd::more(bytes(next)), ..ListPage::last(entries(keys)) }
    }

    #[test]
    fn pages_that_follow_each_other_are_taken() {
        let mut check = PageCheck::new(KeyRange::new("b", Some("m".into())));
        check.accept(ListPage::with_more(entries(&["b", "c"])), 2).unwrap();
        check.accept(more(&[], "e"), 2).unwrap();
        assert!(!check.is_complete());
        check.accept(ListPage::last(entries(&["e"])), 2).unwrap();
        assert!(check.is_complete());
        let mut check = PageCheck::new(KeyRange::new("b", Some("m".into())));
        check.accept(more(&["c"], "m"), 2).unwrap();
        assert!(check.is_complete(), "what follows is outside the range");
    }

    #[test]
    fn pages_that_cannot_be_right_are_refused() {
        let fresh = PageCheck::new(KeyRange::new("b", Some("m".into())));
        for page in [
            ListPage::last(entries(&["c", "b"])),
            ListPage::last(entries(&["c", "c"])),
            ListPage::last(entries(&["a"])),
            ListPage::last(entries(&["m"])),
            ListPage::last(entries(&["c", "d", "e"])),
            more(&["c"], "c"),
            more(&[], "b"),
            more(&[], "a"),
        ] {
            let mut check = fresh.clone();
            assert!(check.accept(page.clone(), 2).is_err(), "{page:?}");
            assert_eq!(check, fresh);
        }
    }

    #[test]
    fn a_place_ahead_counts_where_it_lies_ahead() {
        let ahead = |place: &str| {
            let end = PageEnd::More { next: bytes("e"), token: None, ahead: Some(bytes(place)) };
            let page = ListPage { end, ..ListPage::last(entries(&["c"])) };
            PageCheck::new(KeyRange::new("b", Some("m".into()))).accept(page, 2).unwrap().ahead
        };
        assert_eq!(ahead("f/").as_deref(), Some(&b"f/"[..]));
        assert_eq!(["c", "d", "m", "z"].map(ahead), [None, None, None, None]);
    }

    #[test]
    fn a_repeated_page_is_refused() {
        let mut check = PageCheck::new(KeyRange::all());
        let page = ListPage::with_more(entries(&["a", "b"]));
        check.accept(page.clone(), 2).unwrap();
        assert!(check.accept(page, 2).is_err());
    }
}
