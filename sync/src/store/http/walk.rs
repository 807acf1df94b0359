//! A walk over a server's directories in the order of keys: a stack of directories, of each the next names in order.
//! Memory is bounded by a number of names for the whole walk; what is dropped is asked for again when it is needed.

use bytes::Bytes;
use futures::stream::TryStreamExt;
use http::StatusCode;

use super::client::Client;
use super::index::{Index, Told};
use super::links::{self, Link};
use crate::error::{Result, StoreError};
use crate::key::{Key, escaped};
use crate::key_range::{KeyRange, place_after};
use crate::limits::{INDEX_NAMES, MAX_KEY_BYTES, ODD_NAMES};
use crate::store::Unlisted;
use crate::store::local::names::{Names, Picker, after_name};
use crate::store::transport::Answer;
use crate::store::walks::Resumable;

/// Where a walk stands.
#[derive(Debug)]
pub(super) struct Walk {
    rest: KeyRange,
    levels: Vec<Level>,
    unlisted: Vec<Unlisted>,
    /// The most names kept; a limit of tests may be lower than the constant.
    most_names: usize,
}

/// A directory that the walk is in.
#[derive(Debug)]
struct Level {
    /// Its key: empty for the root, else with a slash at its end.
    prefix: Vec<u8>,
    names: Names,
    next: usize,
    /// The lowest name that was not passed yet, whichever names are kept.
    after: Vec<u8>,
    /// Whether no names come after those.
    complete: bool,
    /// Whether its odd names were told.
    told_odd: bool,
}

/// What the walk does next.
enum Step {
    Enter(Vec<u8>),
    File(Vec<u8>),
    Refill,
    Leave,
}

/// Why a directory has no index that can be read.
enum Unread {
    Gone,
    Hidden(String),
}

impl Walk {
    pub(super) fn new(rest: KeyRange) -> Self {
        Self { rest, levels: vec![Level::new(Vec::new())], unlisted: Vec::new(), most_names: INDEX_NAMES }
    }

    #[cfg(test)]
    pub(super) fn with_most_names(mut self, most: usize) -> Self {
        self.most_names = most;
        self
    }

    /// Ends earlier than it would have.
    pub(super) fn narrow(&mut self, end: Bytes) {
        self.rest = self.rest.until(end);
    }

    /// What could not be looked at since the last call.
    pub(super) fn take_unlisted(&mut self) -> Vec<Unlisted> {
        std::mem::take(&mut self.unlisted)
    }

    /// The next name of a file in order; none after the last of the range.
    pub(super) async fn next(&mut self, client: &Client) -> Result<Option<Key>> {
        while let Some(level) = self.levels.last_mut() {
            if self.rest.is_empty() {
                return Ok(None);
            }
            match level.step() {
                Step::Leave => drop(self.levels.pop()),
                Step::Refill => self.refill(client).await?,
                Step::Enter(name) => self.enter(&name),
                Step::File(name) => {
                    if let Some(key) = self.tell(&name) {
                        self.rest = self.rest.from(place_after(&key));
                        return Ok(Some(key));
                    }
                }
            }
        }
        Ok(None)
    }

    fn top(&self) -> &Level {
        self.levels.last().expect("a step is taken in a directory")
    }

    /// Goes into a directory, if keys of the range can be there.
    fn enter(&mut self, name: &[u8]) {
        let prefix = [self.top().prefix.as_slice(), name].concat();
        if prefix.len() > MAX_KEY_BYTES {
            self.unlisted.push(Unlisted::incomplete(&prefix, "its path has more than 1,024 bytes"));
        } else if !self.rest.intersect(&KeyRange::of_prefix(&prefix)).is_empty() {
            self.levels.push(Level::new(prefix));
            self.drop_outer_names();
        }
    }

    fn tell(&mut self, name: &[u8]) -> Option<Key> {
        let path = [self.top().prefix.as_slice(), name].concat();
        if !self.rest.contains(&path) {
            // Nothing follows a name after the range's end that is in it.
            if self.rest.end().is_some_and(|end| path.as_slice() >= end.as_ref()) {
                self.levels.clear();
            }
            return None;
        }
        let key = Key::new(path.clone()).ok();
        if key.is_none() {
            self.unlisted.push(Unlisted::incomplete(&path, "its path has more than 1,024 bytes"));
        }
        key
    }

    /// Reads the next names of the directory that the walk is in.
    async fn refill(&mut self, client: &Client) -> Result<()> {
        let start = self.rest.start();
        let top = self.top();
        let from = start.strip_prefix(top.prefix.as_slice()).unwrap_or_default().max(&top.after).to_vec();
        let (prefix, told_odd) = (top.prefix.clone(), top.told_odd);
        let mut picker = Picker::new(from, self.most_names);
        let mut odd = Vec::new();
        let is_root = self.levels.len() == 1;
        match read_index(client, &prefix, &mut picker, &mut odd).await? {
            Ok(()) => {
                let level = self.levels.last_mut().expect("the level that was read");
                let picked = picker.finish();
                (level.names, level.next, level.complete, level.told_odd) = (picked.names, 0, picked.complete, true);
                let odd = odd.into_iter().map(|name| [prefix.as_slice(), &name].concat());
                let odd = odd.filter(|place| !told_odd && self.rest.contains(place));
                self.unlisted.extend(odd.map(|place| Unlisted::incomplete(&place, "no file can have this name")));
            }
            Err(Unread::Gone) if !is_root => drop(self.levels.pop()),
            Err(Unread::Hidden(reason)) if !is_root => {
                self.unlisted.push(Unlisted::incomplete(&prefix, &reason));
                self.levels.pop();
            }
            Err(Unread::Gone) => return Err(StoreError::missing(client.name(), "the directory")),
            Err(Unread::Hidden(reason)) => {
                return Err(StoreError::invalid(format!("{}: its index", client.name()), reason));
            }
        }
        Ok(())
    }

    /// Keeps the number of names: those of outer directories are asked for again on the way back.
    fn drop_outer_names(&mut self) {
        let mut kept: usize = self.levels.iter().map(|level| level.names.len()).sum();
        let inner = self.levels.len() - 1;
        for level in &mut self.levels[..inner] {
            if kept <= self.most_names {
                break;
            }
            kept -= level.names.len();
            level.forget_names();
        }
    }
}

/// Tells a directory's names to the picker. A server's failure is an error; that there is no index, or none that can
/// be understood, is told.
async fn read_index(
    client: &Client,
    prefix: &[u8],
    picker: &mut Picker,
    odd: &mut Vec<Vec<u8>>,
) -> Result<std::result::Result<(), Unread>> {
    let path = client.directory(prefix);
    let action = format!("list `{}`", escaped(prefix));
    let answer = client.index(&path).await?;
    if let Some(unread) = unread(&answer) {
        return Ok(Err(unread));
    }
    if !answer.status.is_success() {
        return Err(client.refused(&action, None, answer).await);
    }
    let mut index = match Index::new(answer.header("content-type").unwrap_or_default()) {
        Ok(index) => index,
        Err(reason) => return Ok(Err(Unread::Hidden(reason))),
    };
    let mut chunks = answer.into_chunks(client.name().to_owned(), action);
    while let Some(chunk) = chunks.try_next().await? {
        let place = client.place(&path);
        let fed = index.feed(&chunk, |told| match told {
            Told::Name { name: "" | "." | "..", .. } => {}
            Told::Name { name, .. } if name.contains(['/', '\0']) => keep_odd(odd, name.as_bytes().to_vec()),
            Told::Name { name, directory } => add(picker, odd, name.as_bytes(), directory),
            Told::Link(written) => match links::link(place, written) {
                Link::Child { name, directory } => add(picker, odd, &name, directory),
                Link::Odd(name) => keep_odd(odd, name),
                Link::Elsewhere => {}
            },
        });
        if let Err(reason) = fed {
            return Ok(Err(Unread::Hidden(reason)));
        }
    }
    Ok(index.finish().map_err(Unread::Hidden))
}

fn add(picker: &mut Picker, odd: &mut Vec<Vec<u8>>, name: &[u8], directory: bool) {
    if name.len() > MAX_KEY_BYTES { keep_odd(odd, name.to_vec()) } else { picker.add(name, directory) }
}

fn keep_odd(odd: &mut Vec<Vec<u8>>, name: Vec<u8>) {
    if odd.len() < ODD_NAMES {
        odd.push(name);
    }
}

/// Why there is no index, by the status.
fn unread(answer: &Answer) -> Option<Unread> {
    match answer.status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Some(Unread::Gone),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(Unread::Hidden(answer.status.to_string())),
        status if status.is_redirection() => {
            let place = escaped(answer.header("location").unwrap_or_default().as_bytes());
            Some(Unread::Hidden(format!("the server says that it is at {place}; name that address")))
        }
        _ => None,
    }
}

impl Resumable for Walk {
    fn rest(&self) -> &KeyRange {
        &self.rest
    }
}

impl Level {
    fn new(prefix: Vec<u8>) -> Self {
        let (names, after) = (Names::default(), Vec::new());
        Self { prefix, names, next: 0, after, complete: false, told_odd: false }
    }

    fn step(&mut self) -> Step {
        loop {
            let Some(name) = self.names.get(self.next) else {
                return if self.complete { Step::Leave } else { Step::Refill };
            };
            self.next += 1;
            // An index may link to a name more than once.
            if name < self.after.as_slice() && !self.lies_in(name) {
                continue;
            }
            let name = name.to_vec();
            self.after = after_name(&name);
            return if name.ends_with(b"/") { Step::Enter(name) } else { Step::File(name) };
        }
    }

    /// Whether the lowest place that was not passed is within this directory.
    fn lies_in(&self, name: &[u8]) -> bool {
        name.ends_with(b"/") && self.after.starts_with(name)
    }

    fn forget_names(&mut self) {
        (self.names, self.next) = (Names::default(), 0);
        self.complete = false;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::store::http::HttpOptions;

    /// A server of `/`, which has 40 names and the directory `d/` with 40 more; each name is told twice.
    async fn client() -> Client {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = Vec::new();
                while !bytes.ends_with(b"\r\n\r\n") && stream.read_buf(&mut bytes).await.unwrap_or(0) > 0 {}
                let links =
                    (0..80).flat_map(|at| ["<a href=\"".to_owned(), (at * 7 % 40).to_string(), "\">x</a>".to_owned()]);
                let links = links.collect::<String>();
                let body = format!("<title>Index of /</title><a href=\"d/\">d</a>{links}</html>");
                let body = if bytes.starts_with(b"GET /d/") { body.replace("d/", "../") } else { body };
                let head = format!("Content-Type: text/html\r\nContent-Length: {}\r\nConnection: close", body.len());
                stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").as_bytes()).await.ok();
            }
        });
        Client::new(&HttpOptions::at(&address.parse().unwrap(), |_| None).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn every_name_is_told_once_however_few_are_kept() {
        let client = client().await;
        let mut all: Vec<String> = (0..40).flat_map(|at| [at.to_string(), format!("d/{at}")]).collect();
        all.sort();
        for most in [1, 3, 1000] {
            let mut walk = Walk::new(KeyRange::all()).with_most_names(most);
            let mut names = Vec::new();
            while let Some(key) = walk.next(&client).await.unwrap() {
                names.push(key.to_string());
            }
            assert_eq!(names, all, "with {most} names kept");
            let range = KeyRange::new("d/3", Some("d/32".into()));
            let mut walk = Walk::new(range).with_most_names(most);
            let mut names = Vec::new();
            while let Some(key) = walk.next(&client).await.unwrap() {
                names.push(key.to_string());
            }
            assert_eq!(names, ["d/3", "d/30", "d/31"], "with {most} names kept");
        }
    }
}
