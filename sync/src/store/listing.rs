//! Requests for pages of a listing, and the pages.

use bytes::Bytes;

use crate::entry::Entry;
use crate::key::escaped;
use crate::key_range::{KeyRange, place_after};
use crate::limits::{NAMES_UNDER_WAY, PAGE_ENTRIES};

/// What to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRequest {
    /// The keys; the page begins at the first of them.
    pub range: KeyRange,
    /// The most entries wanted, at least 1; a page may have fewer although more follow.
    pub limit: usize,
    /// What the page before gave for this very place. A hint, which spares the store's work and may be lost.
    pub token: Option<Bytes>,
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage {
    /// The entries in the order of their keys. May be empty although more follow.
    pub entries: Vec<Entry>,
    /// Names within the page's part of the range that could not be looked at or are no keys.
    pub unlisted: Vec<Unlisted>,
    /// Whether this is all.
    pub end: PageEnd,
}

/// Whether a page is the last of its range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageEnd {
    /// The store says that the range has no more.
    Complete,
    /// The next page starts here.
    More {
        /// The first place of the next page: after the page's last entry and after the page's own start.
        next: Bytes,
        /// A hint for the next request.
        token: Option<Bytes>,
        /// A place after that, near the middle of what the store has already seen to follow, where the rest is best split.
        /// A hint: few stores see that far, and it costs those nothing.
        ahead: Option<Bytes>,
    },
}

/// Which of the names that a store has seen to follow a page is the best to split the rest at: the one in the middle of
/// all that follow. Not the next ones: pages that are ahead of the merge may have them.
pub(crate) fn index_to_split(seen: usize, more_follow: bool) -> Option<usize> {
    let middle = if more_follow { seen.checked_sub(1)? } else { seen / 2 };
    Some(middle.max(NAMES_UNDER_WAY)).filter(|index| *index < seen)
}

/// A part of a store that could not be listed, such as a directory that may not be read. It is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlisted {
    /// Where, in the printable form of keys.
    pub place: String,
    /// Why.
    pub reason: String,
    /// Whether keys may lie there that were not listed: then the listing is incomplete, and nothing is deleted.
    pub hides_keys: bool,
}

impl Unlisted {
    /// A place where keys may lie that were not listed.
    pub fn incomplete(place: &[u8], reason: &str) -> Self {
        Self { place: escaped(place), reason: reason.to_owned(), hides_keys: true }
    }

    /// Something that is no object and hides none.
    pub fn harmless(place: &[u8], reason: &str) -> Self {
        Self { hides_keys: false, ..Self::incomplete(place, reason) }
    }
}

impl ListRequest {
    /// The first page of a range, with the usual limit.
    pub fn first(range: KeyRange) -> Self {
        Self { range, limit: PAGE_ENTRIES, token: None }
    }

    /// The page that follows one of this request; none after the last.
    pub fn following(&self, page: &ListPage) -> Option<Self> {
        match &page.end {
            PageEnd::Complete => None,
            PageEnd::More { next, token, .. } => {
                Some(Self { range: self.range.from(next.clone()), limit: self.limit, token: token.clone() })
            }
        }
    }
}

impl PageEnd {
    /// The next page starts at this place, of which nothing else is known.
    pub fn more(next: Bytes) -> Self {
        Self::More { next, token: None, ahead: None }
    }
}

impl ListPage {
    /// A page after which nothing comes.
    pub fn last(entries: Vec<Entry>) -> Self {
        Self { entries, unlisted: Vec::new(), end: PageEnd::Complete }
    }

    /// A page that the next one follows right after its last entry; one without entries is the last.
    pub fn with_more(entries: Vec<Entry>) -> Self {
        let next = entries.last().map(|entry| place_after(&entry.key));
        let end = next.map_or(PageEnd::Complete, PageEnd::more);
        Self { end, ..Self::last(entries) }
    }
}
