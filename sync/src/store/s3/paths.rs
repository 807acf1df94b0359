//! Pages of servers that keep paths, in the order of keys.
//!
//! Such a server lists a directory `a` where its name is in order, before `a-b`, although `a/` comes after that. So
//! it is asked for directories rather than for keys, and each directory waits until the names are past its slash.
//! What is small is listed at once, with all that is in it, and sorted. A page starts where the one before ended, with the
//! names that came and were not given; elsewhere the directories on the way are opened anew, a request for each.

use std::cmp::Ordering;
use std::collections::VecDeque;

use bytes::Bytes;

use super::S3Store;
use super::listing::{Page, Query, before};
use crate::entry::Entry;
use crate::error::Result;
use crate::key::{Key, escaped};
use crate::key_range::KeyRange;
use crate::limits::{MAX_EMPTY_PAGES, PAGE_ENTRIES};
use crate::store::walks::Resumable;
use crate::store::{ListPage, ListRequest, PageEnd, Unlisted, index_to_split};

/// A directory that is being listed.
#[derive(Debug)]
struct Level {
    /// What its keys begin with.
    prefix: String,
    /// The names that came and are not given yet, in the server's order, which is that of names without slashes.
    names: VecDeque<Name>,
    /// The name after which the next ones are asked for; none if all came.
    after: Option<String>,
    /// The directories that came and whose slashes are not reached yet, the next one last.
    waiting: Vec<String>,
    /// Whether nothing of it was asked for yet, so that all that is in it may come at once.
    unasked: bool,
}

/// One name in a directory.
#[derive(Debug)]
enum Name {
    Object(Box<Entry>),
    /// The whole key with its slash.
    Directory(String),
}

/// What comes next in a directory.
#[derive(Debug)]
enum Next {
    /// More names have to be asked for.
    Ask,
    /// This object.
    Give(Box<Entry>),
    /// All of this directory.
    Enter(String),
    /// Nothing more.
    Leave,
}

/// Where a listing stands between two pages.
#[derive(Debug)]
pub(super) struct Open {
    rest: KeyRange,
    levels: Vec<Level>,
    early: VecDeque<Entry>,
}

/// A page that is being made.
struct Walk<'a> {
    store: &'a S3Store,
    request: &'a ListRequest,
    levels: Vec<Level>,
    /// What came early: entries of one page in the server's order, of which there may be more after the last alone.
    early: VecDeque<Entry>,
    given: Vec<Entry>,
    unlisted: Vec<Unlisted>,
    limit: usize,
}

impl S3Store {
    pub(super) async fn list_paths(&self, request: &ListRequest) -> Result<ListPage> {
        let start = request.range.start();
        let open = self.walks.lock().take(request).map(|open| (open.levels, open.early));
        let anew = || if start.is_empty() { vec![Level::whole(String::new())] } else { levels_to(start) };
        let (levels, early) = open.unwrap_or_else(|| (anew(), VecDeque::new()));
        let limit = self.page_limit(request);
        let mut walk = Walk { store: self, request, levels, early, given: Vec::new(), unlisted: Vec::new(), limit };
        for _ in 0..MAX_EMPTY_PAGES {
            if !walk.run_until_it_must_ask() {
                return Ok(ListPage { unlisted: walk.unlisted, ..ListPage::last(walk.given) });
            }
            // What is not asked for yet may be another's by the next page.
            if !walk.given.is_empty() {
                return Ok(self.keep(walk));
            }
            walk.ask().await?;
        }
        Err(self.too_many_empty_pages())
    }

    /// The page, and the walk for the next one, unless this only looked for one key.
    fn keep(&self, walk: Walk<'_>) -> ListPage {
        let place_ahead = walk.ahead();
        let mut page = ListPage { unlisted: walk.unlisted, ..ListPage::with_more(walk.given) };
        if let PageEnd::More { next, token, ahead } = &mut page.end
            && walk.limit > 1
        {
            *ahead = place_ahead;
            let rest = KeyRange::new(next.clone(), walk.request.range.end().cloned());
            *token = Some(self.walks.lock().keep(Open { rest, levels: walk.levels, early: walk.early }));
        }
        page
    }
}

impl Resumable for Open {
    fn rest(&self) -> &KeyRange {
        &self.rest
    }
}

/// The directories on the way to a place, the innermost last, each to be listed from there on. No directory is below
/// what cannot be a name, so that the way ends there.
fn levels_to(place: &Bytes) -> Vec<Level> {
    let mut levels = Vec::new();
    let mut start = 0;
    let slashes = place.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    for slash in slashes {
        let (prefix, name) = (&place[..start], &place[start..slash]);
        if !is_name(name) {
            levels.extend(Level::from_name(prefix, &place[start..]));
            return levels;
        }
        levels.extend(Level::behind_directory(prefix, name));
        start = slash + 1;
    }
    levels.extend(Level::from_name(&place[..start], &place[start..]));
    levels
}

/// Whether a server of paths can have a directory of this name.
fn is_name(name: &[u8]) -> bool {
    let plain = std::str::from_utf8(name).is_ok() && !name.contains(&b'\\') && !name.contains(&0);
    plain && !matches!(name, b"" | b"." | b"..")
}

impl Level {
    /// A directory from the first name on that lies behind all of the directory `name` in it.
    fn behind_directory(prefix: &[u8], name: &[u8]) -> Option<Self> {
        // All names that go on below the slash come before what is in the directory.
        let after = format!("{}.{}", std::str::from_utf8(name).ok()?, char::MAX);
        Self::new(prefix, name, after)
    }

    /// A directory from this text on, which may be no name.
    fn from_name(prefix: &[u8], text: &[u8]) -> Option<Self> {
        // No name has a slash or a backslash: what follows one only tells where names go on.
        let cut = text.iter().position(|byte| matches!(byte, b'/' | b'\\')).map_or(text, |at| &text[..=at]);
        let key = text.strip_suffix(&[0]).filter(|key| is_name(key));
        let after = match key.map(std::str::from_utf8) {
            Some(Ok(key)) => key.to_owned(),
            _ => before(cut).unwrap_or_default(),
        };
        Self::new(prefix, cut, after)
    }

    fn new(prefix: &[u8], name: &[u8], after: String) -> Option<Self> {
        let prefix = std::str::from_utf8(prefix).ok()?.to_owned();
        // Directories whose names are a beginning of this one, and whose slashes come later, came before it.
        let text = String::from_utf8_lossy(name);
        let ends = text.char_indices().filter(|(_, character)| *character < '/').map(|(at, _)| at);
        let ends = ends.filter(|end| is_name(text[..*end].as_bytes()));
        let waiting = ends.map(|end| format!("{prefix}{}/", &text[..end])).collect();
        Some(Self { waiting, unasked: false, after: Some(after), ..Self::whole(prefix) })
    }

    /// A directory from its first name on.
    fn whole(prefix: String) -> Self {
        Self { prefix, names: VecDeque::new(), after: Some(String::new()), waiting: Vec::new(), unasked: true }
    }

    fn next(&mut self) -> Next {
        let Some(name) = self.names.front() else {
            return match (self.after.is_some(), self.waiting.pop()) {
                (true, waiting) => {
                    self.waiting.extend(waiting);
                    Next::Ask
                }
                (false, Some(directory)) => Next::Enter(directory),
                (false, None) => Next::Leave,
            };
        };
        if let Some(directory) = self.waiting.pop_if(|waiting| waiting.as_bytes() < name.key()) {
            return Next::Enter(directory);
        }
        match self.names.pop_front() {
            Some(Name::Object(entry)) => Next::Give(entry),
            Some(Name::Directory(directory)) => {
                self.waiting.push(directory);
                self.next()
            }
            None => Next::Leave,
        }
    }

    /// Takes a page of all that is in the directory. If that is not all of it, and there are directories in it, it is given
    /// back: names are asked for first.
    fn take_all(&mut self, page: Page) -> std::result::Result<Vec<Entry>, String> {
        if !page.truncated {
            let mut entries = page.entries;
            entries.sort_by(|one, other| one.key.cmp(&other.key));
            self.names = entries.into_iter().map(|entry| Name::Object(Box::new(entry))).collect();
            self.after = None;
            return Ok(Vec::new());
        }
        let names = page.entries.iter().map(|entry| &entry.key.as_bytes()[self.prefix.len()..]);
        let is_flat = names.clone().all(|name| !name.contains(&b'/'));
        // The directory's own marker alone does not tell where names go on.
        let has_names = names.clone().any(|name| !name.is_empty());
        if is_flat && has_names { self.take(page).map(|()| Vec::new()) } else { Ok(page.entries) }
    }

    /// Takes a page of names; an order that is not that of names is told.
    fn take(&mut self, page: Page) -> std::result::Result<(), String> {
        let objects = page.entries.into_iter().map(|entry| Name::Object(Box::new(entry)));
        let directories = page.directories.iter().map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
        let mut names: Vec<Name> = objects.chain(directories.map(Name::Directory)).collect();
        // The directory's own marker comes with every page.
        if self.after.as_ref().is_some_and(|after| !after.is_empty()) {
            names.retain(|name| name.key().len() > self.prefix.len());
        }
        names.sort_by(Name::by_name);
        let last = names.last().map(|name| String::from_utf8_lossy(name.name()).into_owned());
        let last = last.map(|last| last.get(self.prefix.len()..).unwrap_or_default().to_owned());
        if page.truncated && last.as_ref().is_none_or(|last| Some(last) <= self.after.as_ref()) {
            return Err(format!("the directory {} has more, but it does not go on", escaped(self.prefix.as_bytes())));
        }
        self.after = last.filter(|_| page.truncated);
        self.names.extend(names);
        Ok(())
    }
}

impl Name {
    fn key(&self) -> &[u8] {
        match self {
            Self::Object(entry) => entry.key.as_bytes(),
            Self::Directory(directory) => directory.as_bytes(),
        }
    }

    /// Without the slash of a directory: what the server sorts by.
    fn name(&self) -> &[u8] {
        match self {
            Self::Object(entry) => entry.key.as_bytes(),
            Self::Directory(directory) => directory.trim_end_matches('/').as_bytes(),
        }
    }

    fn by_name(one: &Self, other: &Self) -> Ordering {
        one.name().cmp(other.name())
    }
}

impl Walk<'_> {
    /// Gives what is known already. Whether it must ask for more; if not, the range is complete.
    fn run_until_it_must_ask(&mut self) -> bool {
        while self.given.len() < self.limit {
            let Some(level) = self.levels.last_mut() else { return false };
            match level.next() {
                Next::Ask => return true,
                Next::Leave => drop(self.levels.pop()),
                Next::Give(entry) if self.is_past_end(entry.key.as_bytes()) => return false,
                Next::Give(entry) => self.give(*entry),
                Next::Enter(directory) if self.is_past_end(directory.as_bytes()) => return false,
                Next::Enter(directory) => self.levels.push(Level::whole(directory)),
            }
        }
        true
    }

    /// The best to split at of the outermost directories that came and were not entered.
    fn ahead(&self) -> Option<Bytes> {
        self.levels.iter().find_map(|level| {
            let mut directories = level.names.iter().filter_map(|name| match name {
                Name::Directory(directory) if !self.is_past_end(directory.as_bytes()) => Some(directory),
                _ => None,
            });
            let index = index_to_split(directories.clone().count(), level.after.is_some())?;
            directories.nth(index).map(|directory| Bytes::copy_from_slice(directory.as_bytes()))
        })
    }

    fn is_past_end(&self, key: &[u8]) -> bool {
        self.request.range.end().is_some_and(|end| key >= &end[..])
    }

    /// An object that lies before the place was given by an earlier page.
    fn give(&mut self, entry: Entry) {
        if self.request.range.start().as_ref() <= entry.key.as_bytes() {
            self.given.push(entry);
        }
    }

    /// Asks for what comes next in the innermost directory.
    async fn ask(&mut self) -> Result<()> {
        let Some(mut level) = self.levels.pop() else { return Ok(()) };
        let taken = if std::mem::take(&mut level.unasked) {
            let page = match take_early(&mut self.early, level.prefix.as_bytes()) {
                Some(page) => page,
                None => self.page(&level, self.limit, false).await?,
            };
            level.take_all(page).map(|early| {
                if !early.is_empty() && is_in_order_of_names(&early) {
                    self.early = early.into();
                }
            })
        } else {
            level.take(self.page(&level, PAGE_ENTRIES, true).await?)
        };
        taken.map_err(|reason| self.store.damaged(self.request, &reason))?;
        self.levels.push(level);
        Ok(())
    }

    async fn page(&mut self, level: &Level, limit: usize, by_directory: bool) -> Result<Page> {
        let root = self.store.client.address().prefix();
        let prefix = format!("{root}{}", level.prefix);
        let after = level.after.as_ref().filter(|after| !after.is_empty()).map(|after| format!("{prefix}{after}"));
        let mut page = self.store.page(&Query { prefix, after, limit, by_directory, token: None }).await?;
        self.unlisted.append(&mut page.unlisted);
        let outside = |key: &Key| !key.as_bytes().starts_with(level.prefix.as_bytes());
        if page.entries.iter().any(|entry| outside(&entry.key)) || page.directories.iter().any(outside) {
            return Err(self.store.damaged(self.request, "it has keys outside the directory that was asked for"));
        }
        Ok(page)
    }
}

/// Whether entries are in the order of names, directory by directory, so that what lies before an entry came whole.
fn is_in_order_of_names(entries: &[Entry]) -> bool {
    let names = |entry: &Entry| entry.key.to_bytes().into_iter().map(|byte| if byte == b'/' { 0 } else { byte });
    entries.windows(2).all(|pair| names(&pair[0]).lt(names(&pair[1])))
}

/// What came early of a directory. It is all of it if something else came after it; nothing is believed of a server that
/// tells of a directory in two places.
fn take_early(early: &mut VecDeque<Entry>, prefix: &[u8]) -> Option<Page> {
    let within = |entry: &Entry| entry.key.as_bytes().starts_with(prefix);
    let start = early.iter().position(within)?;
    let end = early.iter().rposition(within)? + 1;
    let truncated = end == early.len();
    let entries: Vec<_> = early.drain(start..end).collect();
    entries.iter().all(within).then(|| Page::of_entries(entries, truncated))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(key: &str) -> Name {
        Name::Object(Box::new(Entry::object(Key::try_from(key).unwrap(), 1)))
    }

    fn order(mut level: Level) -> Vec<String> {
        let mut met = Vec::new();
        loop {
            match level.next() {
                Next::Give(entry) => met.push(entry.key.to_string()),
                Next::Enter(directory) => met.push(directory),
                Next::Ask | Next::Leave => return met,
            }
        }
    }

    #[test]
    fn a_directory_waits_for_the_names_before_its_slash() {
        let directory = |name: &str| Name::Directory(format!("{name}/"));
        let names = [directory("a"), directory("a-"), object("a--"), object("a-b"), object("a.txt"), object("a0")];
        let level = Level { names: names.into(), after: None, ..Level::whole(String::new()) };
        assert_eq!(order(level), ["a--", "a-/", "a-b", "a.txt", "a/", "a0"].map(ToOwned::to_owned));
    }

    #[test]
    fn what_came_early_of_a_directory_is_all_of_it_if_something_came_after_it() {
        let entries = |keys: &[&str]| keys.iter().map(|key| Entry::object(Key::try_from(*key).unwrap(), 1)).collect();
        let mut early: VecDeque<Entry> = entries(&["a/", "a/x", "a-b/x", "c", "d/x", "d/y"]);
        let mut take = |prefix: &str| {
            let page = take_early(&mut early, prefix.as_bytes())?;
            Some((page.entries.iter().map(|entry| entry.key.to_string()).collect::<Vec<_>>(), page.truncated))
        };
        assert_eq!(take("a-b/"), Some((vec!["a-b/x".to_owned()], false)));
        assert_eq!(take("a/"), Some((vec!["a/".to_owned(), "a/x".to_owned()], false)));
        assert_eq!((take("a/"), take("b/")), (None, None));
        assert_eq!(take("d/"), Some((vec!["d/x".to_owned(), "d/y".to_owned()], true)));
        let mut twice: VecDeque<Entry> = entries(&["a/x", "b/x", "a/y", "c"]);
        assert!(take_early(&mut twice, b"a/").is_none(), "a server may have told the rest anywhere");
    }

    #[test]
    fn the_order_of_names_is_not_that_of_keys() {
        let entries = |keys: &[&str]| -> Vec<_> {
            keys.iter().map(|key| Entry::object(Key::try_from(*key).unwrap(), 1)).collect()
        };
        assert!(is_in_order_of_names(&entries(&["a/", "a/b/c", "a/b-", "a-b/x", "a.", "b"])));
        assert!(!is_in_order_of_names(&entries(&["a-b/x", "a/b"])));
    }

    #[test]
    fn directories_on_the_way_to_a_place_are_opened_behind_it() {
        let levels = levels_to(&Bytes::from_static(b"a-x/b/c.d\0"));
        let shown: Vec<_> =
            levels.iter().map(|level| (level.prefix.as_str(), level.after.as_deref().unwrap())).collect();
        assert_eq!(shown, [("", "a-x.\u{10FFFF}"), ("a-x/", "b.\u{10FFFF}"), ("a-x/b/", "c.d")]);
        assert_eq!(levels[0].waiting, ["a/"]);
        assert_eq!(levels[2].waiting, ["a-x/b/c/", "a-x/b/c.d/"]);
        for (place, after) in
            [("/b/c", ".\u{10FFFF}"), ("a\\b/c", "a[\u{10FFFF}"), ("a\0b/c", "a"), ("../x", "...\u{10FFFF}")]
        {
            let levels = levels_to(&Bytes::copy_from_slice(place.as_bytes()));
            let shown: Vec<_> = levels.iter().map(|level| level.after.as_deref().unwrap()).collect();
            assert_eq!(shown, [after], "{place}");
        }
    }
}
