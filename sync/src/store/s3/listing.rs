//! Pages of keys: from any place of a range, complete or an error, never silently short.
//!
//! Pages go on after the last key rather than by a token, which is bound to the parameters of its first request and
//! so would not outlive a range that is split. A token is used only to get past pages without a single key.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use super::S3Store;
use super::address::Address;
use super::client::Call;
use super::headers::md5_of;
use crate::entry::{ETag, Entry, VersionId};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::key_range::KeyRange;
use crate::limits::{MAX_EMPTY_PAGES, MAX_PAGE_BYTES};
use crate::store::transport::xml::{self, Node};
use crate::store::transport::{encode, time};
use crate::store::{ListPage, ListRequest, Unlisted};

/// A page as the server told it.
#[derive(Debug, Default)]
struct RawPage<'a> {
    encoded: bool,
    truncated: Option<bool>,
    token: Option<String>,
    entries: Vec<RawEntry<'a>>,
    directories: Vec<Cow<'a, str>>,
}

#[derive(Debug, Default)]
struct RawEntry<'a> {
    key: Option<Cow<'a, str>>,
    size: Option<Cow<'a, str>>,
    modified: Option<Cow<'a, str>>,
    etag: Option<Cow<'a, str>>,
    class: Option<Cow<'a, str>>,
    /// Google's name of the object's state.
    generation: Option<Cow<'a, str>>,
}

/// A page with its keys.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) entries: Vec<Entry>,
    /// Directories, with the slash at their ends, if they were asked for.
    pub(super) directories: Vec<Key>,
    pub(super) unlisted: Vec<Unlisted>,
    pub(super) truncated: bool,
    token: Option<String>,
}

/// What is asked of the server, with keys as the bucket knows them.
#[derive(Debug, Default)]
pub(super) struct Query {
    /// What keys begin with.
    pub(super) prefix: String,
    /// The key after which the page starts.
    pub(super) after: Option<String>,
    /// How many at most.
    pub(super) limit: usize,
    /// Where an earlier page without keys went on.
    pub(super) token: Option<String>,
    /// Whether directories are told as such, and not what is in them.
    pub(super) by_directory: bool,
}

impl S3Store {
    pub(super) async fn list_page(&self, request: &ListRequest) -> Result<ListPage> {
        if request.range.is_empty() {
            return Ok(ListPage::last(Vec::new()));
        }
        let known = self.client.is_known_to_keep_paths();
        let page = if known == Some(true) { None } else { Some(self.list_keys(request).await) };
        // The first answer of all may have told that the server lists in another order than that of keys.
        match page {
            Some(page) if known.is_some() || self.client.is_known_to_keep_paths() != Some(true) => page,
            _ => self.list_paths(request).await,
        }
    }

    /// A page of a server that lists in the order of keys.
    async fn list_keys(&self, request: &ListRequest) -> Result<ListPage> {
        let root = self.client.address().prefix();
        let start = Start::of(&request.range);
        let prefix = format!("{root}{}", text_before_damage(&request.range.common_prefix()));
        let after = start.after.as_ref().map(|after| format!("{root}{after}")).filter(|after| *after >= prefix);
        let mut query = Query { prefix, after, limit: self.page_limit(request), ..Query::default() };
        for _ in 0..MAX_EMPTY_PAGES {
            let page = self.page(&query).await?;
            let (truncated, token) = (page.truncated, page.token.clone());
            if let Some(page) = page.within(&request.range, &start) {
                return page.map_err(|reason| self.damaged(request, &reason));
            }
            if truncated && (token.is_none() || token == query.token) {
                return Err(self.damaged(request, "there is more, but it does not say where it goes on"));
            }
            query.token = token;
        }
        Err(self.too_many_empty_pages())
    }

    pub(super) fn too_many_empty_pages(&self) -> StoreError {
        let reason = format!("{MAX_EMPTY_PAGES} pages in a row had no key");
        StoreError::unavailable(self.client.name(), "list", &reason)
    }

    pub(super) fn page_limit(&self, request: &ListRequest) -> usize {
        request.limit.min(self.capabilities.page_entries).max(1)
    }

    pub(super) fn damaged(&self, request: &ListRequest, reason: &str) -> StoreError {
        StoreError::corrupt(self.client.name(), &format!("the listing {}", request.range), reason)
    }

    /// One page, as the server told it.
    pub(super) async fn page(&self, query: &Query) -> Result<Page> {
        let mut call = Call::bucket(Method::GET, "list")
            .with("list-type", "2")
            .with("encoding-type", "url")
            .with("max-keys", query.limit.to_string());
        if query.by_directory {
            call = call.with("delimiter", "/");
        }
        let given = [("start-after", &query.after), ("continuation-token", &query.token)];
        for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            call = call.with(name, value);
        }
        if !query.prefix.is_empty() {
            call = call.with("prefix", &query.prefix);
        }
        let document = self.client.fetch(&call, MAX_PAGE_BYTES).await?;
        let raw = parse(&document).map_err(|reason| self.client.nonsense(&call, reason))?;
        let page = raw.checked(self.client.address(), self.md5_etags);
        page.map_err(|reason| self.client.nonsense(&call, reason))
    }
}

/// Where the server is to start: after this text, and what it gives before the place itself is dropped.
#[derive(Debug, PartialEq, Eq)]
struct Start {
    after: Option<String>,
    place: Bytes,
}

impl Start {
    /// S3 starts *after* a key. The place after a key is exact; before any other place lies the last character of it
    /// replaced by the one before, and the greatest character after that.
    fn of(range: &KeyRange) -> Self {
        let place = range.start().clone();
        let exact = range.starts_after().filter(|key| text_before_damage(key.as_bytes()).len() == key.as_bytes().len());
        let exact = exact.map(|key| text_before_damage(key.as_bytes()).to_owned());
        let after = exact.or_else(|| before(&place)).filter(|after| !after.is_empty());
        Self { after, place }
    }

    /// Whether the key lies between what was asked for and the place: it was listed only because S3 cannot do better.
    fn is_before_place(&self, key: &[u8]) -> bool {
        let after = self.after.as_deref().unwrap_or_default().as_bytes();
        key < self.place.as_ref() && (self.after.is_none() || key > after)
    }
}

/// A text below the place with hardly a key between: none but those that go on with the greatest character there is.
pub(super) fn before(place: &[u8]) -> Option<String> {
    let text = text_before_damage(place);
    // What is no text, or else the last character, gives way to the greatest character below it.
    let last = text.chars().next_back().filter(|_| text.len() == place.len());
    let kept = &text[..text.len() - last.map_or(0, char::len_utf8)];
    let rest = &place[kept.len()..];
    (!rest.is_empty()).then(|| match greatest_below(rest) {
        None | Some('\0') => kept.to_owned(),
        Some(lower) => format!("{kept}{lower}{}", char::MAX),
    })
}

/// The greatest character that is below these bytes, where the order of bytes is that of characters.
fn greatest_below(bytes: &[u8]) -> Option<char> {
    // What no character has, between U+D800 and U+DFFF, is as the one before.
    let is_below = |point: u32| char::from_u32(point).unwrap_or('\u{D7FF}').encode_utf8(&mut [0; 4]).as_bytes() < bytes;
    let (mut low, mut high) = (0, char::MAX as u32 + 1);
    while low < high {
        let middle = low.midpoint(high);
        if is_below(middle) { low = middle + 1 } else { high = middle }
    }
    (0..low).rev().find_map(char::from_u32)
}

/// The longest beginning that is text without a zero, which servers would repeat in documents that cannot hold it.
fn text_before_damage(bytes: &[u8]) -> &str {
    let len = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    let text = std::str::from_utf8(&bytes[..len]).unwrap_or_default();
    text.split('\0').next().unwrap_or_default()
}

fn parse(document: &[u8]) -> std::result::Result<RawPage<'_>, String> {
    let mut page = RawPage::default();
    let (mut depth, mut entry, mut directory) = (0_usize, None::<RawEntry<'_>>, false);
    xml::walk(document, |node| {
        match node {
            Node::Open(name) if depth == 0 && name != "ListBucketResult" => return Err(format!("it is a {name}")),
            Node::Open(name) => {
                if depth == 1 {
                    entry = (name == "Contents").then(RawEntry::default);
                    directory = name == "CommonPrefixes";
                }
                depth += 1;
            }
            Node::Close(_) => {
                depth -= 1;
                page.entries.extend(entry.take_if(|_| depth == 1));
            }
            Node::Leaf(name, text) => match (&mut entry, depth) {
                (Some(entry), 2) => entry.take(name, text),
                (None, 1) => page.take(name, text)?,
                (None, 2) if directory && name == "Prefix" => page.directories.push(text),
                (None, 0) => return Err(format!("it is an empty {name}")),
                _ => {}
            },
        }
        Ok(())
    })?;
    Ok(page)
}

impl<'a> RawEntry<'a> {
    fn take(&mut self, name: &str, text: Cow<'a, str>) {
        match name {
            "Key" => self.key = Some(text),
            "Size" => self.size = Some(text),
            "LastModified" => self.modified = Some(text),
            "ETag" => self.etag = Some(text),
            "StorageClass" => self.class = Some(text),
            "Generation" => self.generation = Some(text),
            _ => {}
        }
    }
}

impl<'a> RawPage<'a> {
    fn take(&mut self, name: &str, text: Cow<'a, str>) -> std::result::Result<(), String> {
        match name {
            "IsTruncated" => {
                self.truncated = Some(text.parse().map_err(|_| "it does not say whether it is complete")?);
            }
            "NextContinuationToken" => self.token = Some(text.into_owned()),
            "EncodingType" => self.encoded = text == "url",
            _ => {}
        }
        Ok(())
    }

    fn checked(self, address: &Address, md5_etags: bool) -> std::result::Result<Page, String> {
        let truncated = self.truncated.ok_or("it does not say whether it is complete")?;
        let (mut entries, mut unlisted) = (Vec::with_capacity(self.entries.len()), Vec::new());
        let mut class: Option<Arc<str>> = None;
        for raw in &self.entries {
            let full = self.decoded(raw.key.as_deref().ok_or("an entry has no key")?)?;
            match address.key(&full) {
                Ok(Some(key)) => entries.push(entry(key, raw, md5_etags, &mut class)?),
                Ok(None) => {}
                Err(reason) if full.starts_with(address.prefix().as_bytes()) => {
                    unlisted.push(Unlisted::incomplete(&full, &reason));
                }
                Err(reason) => return Err(reason),
            }
        }
        let mut directories = Vec::with_capacity(self.directories.len());
        for directory in &self.directories {
            directories.extend(address.key(&self.decoded(directory)?)?);
        }
        Ok(Page { entries, directories, unlisted, truncated, token: self.token })
    }

    fn decoded<'t>(&self, text: &'t str) -> std::result::Result<Cow<'t, [u8]>, String> {
        let bytes = if self.encoded { encode::decode(text) } else { Some(Cow::Borrowed(text.as_bytes())) };
        bytes.ok_or_else(|| format!("the key {text} is not encoded right"))
    }
}

/// `class` is that of the entry before: most are the same, and then share one text.
fn entry(
    key: Key,
    raw: &RawEntry<'_>,
    md5_etags: bool,
    class: &mut Option<Arc<str>>,
) -> std::result::Result<Entry, String> {
    let size = raw.size.as_deref().and_then(|size| size.trim().parse().ok());
    let size = size.ok_or_else(|| format!("{key} has no size"))?;
    let mut entry = Entry::object(key, size);
    entry.modified = raw.modified.as_deref().and_then(time::from_iso);
    entry.etag = raw.etag.as_deref().filter(|etag| !etag.is_empty()).map(ETag::new);
    if let Some((scope, sum)) = entry.etag.as_ref().filter(|_| md5_etags).and_then(md5_of) {
        entry.checksums.add(scope, sum);
    }
    entry.version = raw.generation.as_deref().filter(|version| !version.is_empty()).map(VersionId::new);
    let named = raw.class.as_deref().filter(|class| !class.is_empty()).unwrap_or("STANDARD");
    if class.as_deref() != Some(named) {
        *class = Some(named.into());
    }
    entry.storage_class.clone_from(class);
    Ok(entry)
}

impl Page {
    /// A page of objects alone.
    pub(super) fn of_entries(entries: Vec<Entry>, truncated: bool) -> Self {
        Self { entries, directories: Vec::new(), unlisted: Vec::new(), truncated, token: None }
    }

    /// The page's part of the range; none if it has no key of it and more is to come.
    fn within(mut self, range: &KeyRange, start: &Start) -> Option<std::result::Result<ListPage, String>> {
        // An end is believed only of a page in order: else what lies behind it might belong to the range.
        if let Some(pair) = self.entries.windows(2).find(|pair| pair[0].key >= pair[1].key) {
            return Some(Err(format!("{} comes after {}", pair[1].key, pair[0].key)));
        }
        self.entries.retain(|entry| !start.is_before_place(entry.key.as_bytes()));
        let inside =
            self.entries.partition_point(|entry| range.end().is_none_or(|end| entry.key.as_bytes() < &end[..]));
        let complete = inside < self.entries.len() || !self.truncated;
        self.entries.truncate(inside);
        if self.entries.is_empty() && !complete {
            let reason = || "a whole page has only names that are no keys".to_owned();
            return (!self.unlisted.is_empty()).then(|| Err(reason()));
        }
        let end = if complete { ListPage::last(self.entries) } else { ListPage::with_more(self.entries) };
        Some(Ok(ListPage { unlisted: self.unlisted, ..end }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::PageEnd;
    use crate::store::s3::S3Options;

    fn page(document: &str) -> std::result::Result<Page, String> {
        let mut options = S3Options::new("b");
        "p/".clone_into(&mut options.prefix);
        parse(document.as_bytes())?.checked(&Address::new(&options).unwrap(), true)
    }

    fn document(truncated: &str, keys: &[&str]) -> String {
        let contents = keys.iter().map(|key| {
            format!("<Contents><Key>{key}</Key><LastModified>2013-05-24T00:00:00.000Z</LastModified><ETag>&quot;5d41402abc4b2a76b9719d911017c592&quot;</ETag><Size>5</Size><StorageClass>GLACIER</StorageClass><Owner><ID>o</ID></Owner></Contents>")
        });
        let contents: String = contents.collect();
        format!(
            "<ListBucketResult xmlns=\"x\"><Name>b</Name>{contents}<EncodingType>url</EncodingType>{truncated}</ListBucketResult>"
        )
    }

    const COMPLETE: &str = "<IsTruncated>false</IsTruncated>";
    const MORE: &str = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>";

    #[test]
    fn odd_keys_are_read_as_they_are() {
        let page = page(&document(COMPLETE, &["p/", "p/%01%0A", "p//a%2F..", "p/a+b%2Bc", "p/dir/"])).unwrap();
        let keys: Vec<_> = page.entries.iter().map(|entry| entry.key.as_bytes()).collect();
        assert_eq!(keys, [&b"\x01\n"[..], b"/a/..", b"a b+c", b"dir/"]);
        let first = &page.entries[0];
        assert_eq!((first.size, first.storage_class.as_deref()), (5, Some("GLACIER")));
        assert_eq!(first.etag.as_ref().unwrap().as_str(), "5d41402abc4b2a76b9719d911017c592");
        assert_eq!(first.checksums.iter().count(), 1);
        assert_eq!(first.modified.unwrap().seconds(), 1_369_353_600);
    }

    #[test]
    fn pages_that_are_not_whole_are_errors() {
        let whole = document(COMPLETE, &["p/a"]);
        for wrong in [
            String::new(),
            whole[..whole.len() - 20].to_owned(),
            document("", &["p/a"]),
            document("<IsTruncated>perhaps</IsTruncated>", &["p/a"]),
            document(COMPLETE, &["q/a"]),
            document(COMPLETE, &["p/%zz"]),
            whole.replace("<Size>5</Size>", ""),
            whole.replace("<Size>5</Size>", "<Size>-1</Size>"),
            whole.replace("ListBucketResult", "Error"),
            "<ListBucketResult/>".to_owned(),
            "<html><body>It works</body></html>".to_owned(),
        ] {
            assert!(page(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_page_is_cut_to_its_range() {
        let within = |truncated: &str, keys: &[&str], range: &KeyRange| {
            page(&document(truncated, keys)).unwrap().within(range, &Start::of(range))
        };
        let range = KeyRange::new("b", Some("d".into()));
        let cut = within(MORE, &["p/a\u{10FFFF}z", "p/b", "p/c", "p/d"], &range).unwrap().unwrap();
        assert_eq!(cut.entries.len(), 2);
        assert_eq!(cut.end, PageEnd::Complete, "what follows is outside");
        let more = within(MORE, &["p/b", "p/c"], &range).unwrap().unwrap();
        assert_eq!(more.end, PageEnd::more("c\0".into()));
        assert!(within(MORE, &[], &range).is_none());
        assert!(within(MORE, &["p/a\u{10FFFF}a"], &range).is_none(), "all of it lies before");
        assert_eq!(within(COMPLETE, &[], &range).unwrap().unwrap().end, PageEnd::Complete);
        assert!(within(MORE, &["p/c", "p/b"], &range).unwrap().is_err());
        assert!(within(MORE, &["p/d", "p/c"], &range).unwrap().is_err(), "an end is not believed out of order");
        let earlier = within(COMPLETE, &["p/0"], &range).unwrap().unwrap();
        assert_eq!(earlier.entries.len(), 1, "a key that was not asked for is left for the listing's check to refuse");
    }

    #[test]
    fn starts_are_after_a_text_below_the_place() {
        let after = |place: &str| Start::of(&KeyRange::new(place.as_bytes().to_vec(), None)).after;
        assert_eq!(after("key\0").as_deref(), Some("key"));
        assert_eq!(after("a/b").as_deref(), Some("a/a\u{10FFFF}"));
        assert_eq!(after("\u{e000}").as_deref(), Some("\u{d7ff}\u{10FFFF}"));
        assert_eq!(after(""), None);
        assert_eq!(after("\0"), None);
    }

    #[test]
    fn hardly_a_key_lies_between_a_place_and_the_text_before_it() {
        assert_eq!(before(b"000000\x97").unwrap(), "000000\x7F\u{10FFFF}");
        assert_eq!(before(b"a\xFF").unwrap(), "a\u{10FFFF}\u{10FFFF}");
        assert_eq!(before("a\u{E000}".as_bytes()).unwrap(), "a\u{D7FF}\u{10FFFF}");
        assert_eq!(before(b"a\0b").unwrap(), "a");
        assert_eq!(before(b"\x01").unwrap(), "");
        assert_eq!(before(b""), None);
    }

    proptest! {
        #[test]
        fn the_text_before_a_place_is_below_it(
            place in prop::collection::vec(prop::sample::select(&b"\x01/09a\x7F\x80\xC3\xA9\xED\x9F\xF4\xFF"[..]), 1..6),
            key in "[\u{1}/09a\u{7F}\u{80}\u{E9}\u{D7FF}\u{E000}]{0,6}",
        ) {
            let before = before(&place).unwrap();
            prop_assert!(before.as_bytes() < place.as_slice());
            prop_assert!(key <= before || key.as_bytes() >= place.as_slice(), "{key:?} lies between");
        }
    }

    proptest! {
        #[test]
        fn no_key_of_the_range_lies_before_its_start(place in prop::collection::vec(any::<u8>(), 0..6), key in ".{1,6}") {
            let range = KeyRange::new(place, None);
            let start = Start::of(&range);
            let listed = start.after.as_ref().is_none_or(|after| key.as_bytes() > after.as_bytes());
            if range.contains(key.as_bytes()) {
                prop_assert!(listed && !start.is_before_place(key.as_bytes()));
            } else if listed {
                prop_assert!(start.is_before_place(key.as_bytes()));
            }
        }
    }
}
