//! Pages of keys: from any place of a range, complete or an error, never silently short.
//!
//! From version 2026-02-06 on a listing can start at a key. Elsewhere what is before the place is read too, once: later
//! pages go on by the service's marker, which is bound to the prefix that it was given for and therefore kept with it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use super::AzureStore;
use super::address::Address;
use super::client::Call;
use super::headers::parse_md5;
use crate::entry::{ETag, Entry};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::key_range::{KeyRange, place_after};
use crate::limits::{MAX_EMPTY_PAGES, MAX_PAGE_BYTES, PAGE_ENTRIES};
use crate::store::transport::time;
use crate::store::transport::xml::{self, Node};
use crate::store::{ListPage, ListRequest, PageEnd, Unlisted};

/// What is asked of the server.
#[derive(Debug, Clone)]
pub(super) struct Query {
    /// What names begin with.
    pub(super) prefix: String,
    /// Where an earlier page went on.
    pub(super) marker: Option<String>,
    /// The name at which to start.
    from: Option<String>,
    /// How many at most.
    pub(super) limit: usize,
    /// Whether blobs of which only blocks were sent are listed too.
    pub(super) uncommitted: bool,
}

/// A page with its keys.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) entries: Vec<Entry>,
    unlisted: Vec<Unlisted>,
    /// Where the next page starts; none after the last.
    pub(super) marker: Option<String>,
}

/// An entry as the server told it.
#[derive(Debug, Default)]
struct RawEntry<'a> {
    name: Option<Cow<'a, str>>,
    size: Option<Cow<'a, str>>,
    modified: Option<Cow<'a, str>>,
    etag: Option<Cow<'a, str>>,
    md5: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    resource: Option<Cow<'a, str>>,
    tier: Option<Cow<'a, str>>,
    inferred: bool,
}

impl AzureStore {
    pub(super) async fn list_page(&self, request: &ListRequest) -> Result<ListPage> {
        if request.range.is_empty() {
            return Ok(ListPage::last(Vec::new()));
        }
        let damaged =
            |reason: &str| StoreError::corrupt(self.client.name(), &format!("the listing {}", request.range), reason);
        let mut query = self.query(request);
        let (mut last, mut empty) = (None::<Key>, 0);
        loop {
            let page = self.page(&query).await?;
            let marker = page.marker.clone();
            check_order(&page, last.as_ref()).map_err(|reason| damaged(&reason))?;
            empty = if page.entries.is_empty() { empty + 1 } else { 0 };
            last = page.entries.last().map(|entry| entry.key.clone()).or(last);
            if let Some(page) = within(page, request, &query) {
                return Ok(page);
            }
            if empty > MAX_EMPTY_PAGES {
                let reason = format!("{MAX_EMPTY_PAGES} pages in a row had no key");
                return Err(StoreError::unavailable(self.client.name(), "list", &reason));
            }
            if marker == query.marker {
                return Err(damaged("it goes around in a circle"));
            }
            query.marker = marker;
        }
    }

    fn query(&self, request: &ListRequest) -> Query {
        let root = self.client.address().prefix();
        let limit = request.limit.min(self.capabilities.page_entries).max(1);
        if let Some((prefix, marker)) = request.token.as_ref().and_then(parse_token) {
            return Query { prefix, marker: Some(marker), from: None, limit, uncommitted: false };
        }
        let prefix = format!("{root}{}", text_of(&request.range.common_prefix()));
        let from = format!("{root}{}", text_of(request.range.start()));
        let from = Some(from).filter(|from| *from > prefix);
        let skips = from.is_some() && !self.lists_from;
        let limit = if skips { limit.max(PAGE_ENTRIES) } else { limit };
        Query { prefix, marker: None, from: from.filter(|_| self.lists_from), limit, uncommitted: false }
    }

    /// A listing of everything, with blobs of which only blocks were sent.
    pub(super) fn query_of_uploads(&self, marker: Option<&str>) -> Query {
        let prefix = self.client.address().prefix().to_owned();
        Query { prefix, marker: marker.map(ToOwned::to_owned), from: None, limit: PAGE_ENTRIES, uncommitted: true }
    }

    /// One page, as the server told it.
    pub(super) async fn page(&self, query: &Query) -> Result<Page> {
        let mut call = Call::bucket(Method::GET, "list")
            .with("restype", "container")
            .with("comp", "list")
            .with("maxresults", query.limit.to_string());
        let prefix = Some(&query.prefix).filter(|prefix| !prefix.is_empty());
        let given = [("prefix", prefix), ("marker", query.marker.as_ref()), ("startFrom", query.from.as_ref())];
        for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            call = call.with(name, value);
        }
        if query.uncommitted {
            call = call.with("include", "uncommittedblobs");
        }
        let document = self.client.fetch(&call, MAX_PAGE_BYTES).await?;
        let page = parse(&document, self.client.address()).map_err(|reason| self.client.nonsense(&call, reason))?;
        if page.entries.len() > query.limit {
            return Err(self.client.nonsense(&call, "it has more entries than were asked for"));
        }
        Ok(page)
    }
}

/// The longest beginning that is text without a zero; it is not after the place.
fn text_of(place: &[u8]) -> &str {
    let len = std::str::from_utf8(place).map_or_else(|error| error.valid_up_to(), str::len);
    let text = std::str::from_utf8(&place[..len]).unwrap_or_default();
    text.split('\0').next().unwrap_or_default()
}

/// An end is believed only of a page in order: else what lies behind it might belong to the range.
fn check_order(page: &Page, last: Option<&Key>) -> std::result::Result<(), String> {
    let keys = last.into_iter().chain(page.entries.iter().map(|entry| &entry.key));
    let pairs = keys.clone().zip(keys.skip(1));
    for (one, next) in pairs {
        if one >= next {
            return Err(format!("{next} comes after {one}"));
        }
    }
    Ok(())
}

/// The page's part of the range; none if it has no key of it and more is to come.
fn within(mut page: Page, request: &ListRequest, query: &Query) -> Option<ListPage> {
    let range: &KeyRange = &request.range;
    let before = page.entries.partition_point(|entry| entry.key.as_bytes() < &range.start()[..]);
    page.entries.drain(..before);
    let inside = page.entries.partition_point(|entry| range.end().is_none_or(|end| entry.key.as_bytes() < &end[..]));
    let complete = inside < page.entries.len() || page.marker.is_none();
    page.entries.truncate(inside);
    if page.entries.len() > request.limit {
        // What was read beyond the limit is read again, from the same marker.
        page.entries.truncate(request.limit);
        let next = place_after(&page.entries.last()?.key);
        let token = query.marker.as_ref().map(|marker| token(&query.prefix, marker));
        let end = PageEnd::More { next, token, ahead: None };
        return Some(ListPage { unlisted: page.unlisted, end, ..ListPage::last(page.entries) });
    }
    if page.entries.is_empty() && !complete && page.unlisted.is_empty() {
        return None;
    }
    let token = page.marker.as_ref().map(|marker| token(&query.prefix, marker));
    let end = match page.entries.last() {
        _ if complete => PageEnd::Complete,
        Some(last) => PageEnd::More { next: place_after(&last.key), token, ahead: None },
        None => return None,
    };
    Some(ListPage { unlisted: page.unlisted, end, ..ListPage::last(page.entries) })
}

/// A marker with the prefix that it is bound to. Markers have no zero byte, because XML has none.
fn token(prefix: &str, marker: &str) -> Bytes {
    format!("{marker}\0{prefix}").into()
}

fn parse_token(token: &Bytes) -> Option<(String, String)> {
    let (marker, prefix) = std::str::from_utf8(token).ok()?.split_once('\0')?;
    Some((prefix.to_owned(), marker.to_owned()))
}

fn parse(document: &[u8], address: &Address) -> std::result::Result<Page, String> {
    let (mut page, mut marker, mut class) = (Page::default(), None, None);
    let (mut depth, mut entry) = (0_usize, None::<RawEntry<'_>>);
    xml::walk(document, |node| {
        match node {
            Node::Open(name) if depth == 0 && name != "EnumerationResults" => return Err(format!("it is a {name}")),
            Node::Open(name) => {
                if depth == 2 && name == "Blob" {
                    entry = Some(RawEntry::default());
                }
                depth += 1;
            }
            Node::Close(_) => {
                depth -= 1;
                if let Some(raw) = entry.take_if(|_| depth == 2) {
                    page.take(&raw, address, &mut class)?;
                }
            }
            Node::Leaf(name, _) if depth == 0 => return Err(format!("it is an empty {name}")),
            Node::Leaf("NextMarker", text) if depth == 1 => marker = Some(text.into_owned()),
            Node::Leaf(name, text) => {
                if let Some(entry) = entry.as_mut().filter(|_| depth == 3 || depth == 4) {
                    entry.take(name, text);
                }
            }
        }
        Ok(())
    })?;
    let marker = marker.ok_or("it does not say whether it is complete")?;
    page.marker = Some(marker).filter(|marker| !marker.is_empty());
    Ok(page)
}

impl<'a> RawEntry<'a> {
    fn take(&mut self, name: &str, text: Cow<'a, str>) {
        match name {
            "Name" => self.name = Some(text),
            "Content-Length" => self.size = Some(text),
            "Last-Modified" => self.modified = Some(text),
            "Etag" => self.etag = Some(text),
            "Content-MD5" => self.md5 = Some(text),
            "BlobType" => self.kind = Some(text),
            "ResourceType" => self.resource = Some(text),
            "AccessTier" => self.tier = Some(text),
            "AccessTierInferred" => self.inferred = text == "true",
            _ => {}
        }
    }

    /// `class` is that of the entry before: most are the same, and then share one text.
    fn entry(&self, key: Key, class: &mut Option<Arc<str>>) -> std::result::Result<Entry, String> {
        let size = self.size.as_deref().and_then(|size| size.trim().parse().ok());
        let size = size.ok_or_else(|| format!("{key} has no size"))?;
        let mut entry = Entry::object(key, size);
        entry.modified = self.modified.as_deref().and_then(time::from_http);
        entry.etag = self.etag.as_deref().filter(|etag| !etag.is_empty()).map(ETag::new);
        let is_block = self.kind.as_deref().is_none_or(|kind| kind == "BlockBlob");
        entry.checksums = self.md5.as_deref().filter(|_| is_block).and_then(parse_md5).into_iter().collect();
        let tier = self.tier.as_deref().filter(|tier| !tier.is_empty() && !self.inferred);
        if class.as_deref() != tier {
            *class = tier.map(Into::into);
        }
        entry.storage_class.clone_from(class);
        Ok(entry)
    }
}

impl Page {
    fn take(
        &mut self,
        raw: &RawEntry<'_>,
        address: &Address,
        class: &mut Option<Arc<str>>,
    ) -> std::result::Result<(), String> {
        let name = raw.name.as_deref().ok_or("an entry has no name")?;
        if raw.resource.as_deref() == Some("directory") {
            self.unlisted.push(Unlisted::harmless(name.as_bytes(), "a directory of a hierarchical account, no object"));
            return Ok(());
        }
        match address.key(name) {
            Ok(Some(key)) => self.entries.push(raw.entry(key, class)?),
            Ok(None) => {}
            Err(reason) if name.starts_with(address.prefix()) => {
                self.unlisted.push(Unlisted::incomplete(name.as_bytes(), &reason));
            }
            Err(reason) => return Err(reason),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::azure::{AzureOptions, Credentials};

    fn page(document: &str) -> std::result::Result<Page, String> {
        let mut options = AzureOptions::new("acct", "c", Credentials::Anonymous);
        "p/".clone_into(&mut options.prefix);
        parse(document.as_bytes(), &Address::new(&options).unwrap())
    }

    fn document(names: &[&str], marker: &str) -> String {
        let blobs = names.iter().map(|name| {
            format!(
                "<Blob>{name}<Properties><Last-Modified>Fri, 24 May 2013 00:00:00 GMT</Last-Modified><Etag>0x8D</Etag>\
                 <Content-Length>11</Content-Length><Content-MD5>sQqNsWTgdUEFt6mb5y4/5Q==</Content-MD5>\
                 <BlobType>BlockBlob</BlobType><AccessTier>Cool</AccessTier></Properties><OrMetadata /></Blob>"
            )
        });
        let blobs: String = blobs.collect();
        format!(
            "<?xml version=\"1.0\"?><EnumerationResults ContainerName=\"c\"><Blobs>{blobs}</Blobs>{marker}</EnumerationResults>"
        )
    }

    const LAST: &str = "<NextMarker />";

    #[test]
    fn entries_are_read_as_they_are() {
        let names = ["<Name>p/</Name>", "<Name Encoded=\"true\">p/a%EF%BF%BF%20b</Name>", "<Name>p/a&amp;b</Name>"];
        let page = page(&document(&names, LAST)).unwrap();
        let keys: Vec<_> = page.entries.iter().map(|entry| entry.key.as_bytes()).collect();
        assert_eq!(keys, ["a\u{FFFF} b".as_bytes(), b"a&b"]);
        let first = &page.entries[0];
        assert_eq!((first.size, first.storage_class.as_deref()), (11, Some("Cool")));
        assert_eq!(first.etag.as_ref().unwrap().as_str(), "0x8D");
        assert_eq!((first.checksums.iter().count(), page.marker), (1, None));
    }

    #[test]
    fn what_is_not_whole_is_an_error() {
        let names = ["<Name>p/a</Name>"];
        assert!(page(&document(&names, LAST)).is_ok());
        assert_eq!(page(&document(&names, "<NextMarker>m</NextMarker>")).unwrap().marker.as_deref(), Some("m"));
        for wrong in [
            document(&names, ""),
            document(&[""], LAST),
            document(&["<Name>elsewhere</Name>"], LAST),
            document(&names, LAST).replace("11", "eleven"),
            "<EnumerationResults/>".to_owned(),
            "<html><body/></html>".to_owned(),
            document(&names, LAST)[..200].to_owned(),
        ] {
            assert!(page(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pages_out_of_order_are_refused() {
        let page = page(&document(&["<Name>p/b</Name>", "<Name>p/c</Name>"], LAST)).unwrap();
        let key = |text: &str| Key::try_from(text).unwrap();
        assert!(check_order(&page, None).is_ok() && check_order(&page, Some(&key("a"))).is_ok());
        assert!(check_order(&page, Some(&key("b"))).is_err());
        let twice = Page { entries: vec![page.entries[0].clone(), page.entries[0].clone()], ..Page::default() };
        assert!(check_order(&twice, None).is_err());
    }

    #[test]
    fn tokens_come_back() {
        assert_eq!(parse_token(&token("p/", "2!8!x")), Some(("p/".to_owned(), "2!8!x".to_owned())));
        assert_eq!(parse_token(&Bytes::from_static(b"nonsense")), None);
    }
}
