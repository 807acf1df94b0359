//! The listing with links under their keys here: each comes later than under its own name, after what lies between.
//!
//! A link whose name lies before a place and whose key lies after it has a name that the place begins with, because its
//! key is its name with more at the end. So a page looks for such names alone, and nothing is kept from page to page.

use super::{RcloneLinksStore, SUFFIX, is_link, key_of_link, shown};
use crate::attributes::AttributeSet;
use crate::entry::Entry;
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::key_range::place_after;
use crate::store::{ListPage, ListRequest, PageEnd, Unlisted};

impl RcloneLinksStore {
    /// A page in the order of the keys here.
    pub(super) async fn list_shown(&self, request: &ListRequest) -> Result<ListPage> {
        let earlier = self.links_before(request.range.start()).await?;
        let limit = request.limit.saturating_sub(earlier.len()).max(1);
        let mut page = self.inner.list(&ListRequest { limit, ..request.clone() }).await?;
        let end = match &page.end {
            PageEnd::More { next, .. } => Some(next),
            PageEnd::Complete => request.range.end(),
        };
        let (links, mut entries): (Vec<_>, Vec<_>) = page.entries.into_iter().partition(is_link);
        for link in earlier.into_iter().chain(links) {
            let Some(key) = key_of_link(&link.key) else {
                let reason = "its name with .rclonelink is longer than a key can be; give it a shorter one";
                page.unlisted.push(Unlisted::incomplete(link.key.as_bytes(), reason));
                continue;
            };
            if end.is_none_or(|end| key.as_bytes() < end.as_ref()) {
                entries.push(shown(link, &key));
            }
        }
        // Of a link and a file of one key the file comes first: its entry was there first.
        entries.sort_by(|one, other| one.key.cmp(&other.key));
        entries.dedup_by(|later, earlier| {
            let same = later.key == earlier.key;
            if same {
                let reason = "a symbolic link and a file would be one object; give one of them another name";
                page.unlisted.push(Unlisted::incomplete(later.key.as_bytes(), reason));
            }
            same
        });
        if entries.len() > request.limit {
            entries.truncate(request.limit);
            let next = entries.last().map(|last| place_after(&last.key)).unwrap_or_default();
            page.end = PageEnd::more(next);
        }
        page.entries = entries;
        Ok(page)
    }

    /// The links whose names lie before a place and whose keys do not.
    async fn links_before(&self, start: &[u8]) -> Result<Vec<Entry>> {
        let mut links = Vec::new();
        for len in 1..start.len() {
            let (name, rest) = start.split_at(len);
            if rest > SUFFIX || name.ends_with(b"/") {
                continue;
            }
            let Ok(name) = Key::new(name.to_vec()) else { continue };
            match self.found(&name, AttributeSet::NONE).await {
                Ok(object) => links.extend(object.map(|object| object.entry).filter(is_link)),
                // No link can have such a name.
                Err(StoreError::Unholdable { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(links)
    }
}
