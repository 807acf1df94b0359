//! A web server that is read: its directories by their indexes, or a single file.
//!
//! What a server does not tell is not guessed: a directory whose page is no index that is known, and a file without a
//! size, are reported as not listed. Nothing outside the address is ever asked for. Read `walk.rs` and `index.rs` first.

mod client;
mod html;
mod index;
mod links;
mod options;
mod reading;
mod walk;

use async_trait::async_trait;
use futures::stream::{self, StreamExt, TryStreamExt};
use parking_lot::Mutex;

pub use options::HttpOptions;

use self::client::Client;
use self::reading::Looked;
use self::walk::Walk;
use super::walks::{Resumable, Walks};
use super::{Capabilities, ListPage, ListRequest, PageEnd, ReadRequest, Reading, Store, Unlisted};
use crate::attributes::{AttributeKind, AttributeSet};
use crate::entry::Object;
use crate::error::Result;
use crate::key::Key;
use crate::limits::HEADS_AT_ONCE;

/// A directory or a file of a web server. Nothing can be written.
#[derive(Debug)]
pub struct HttpStore {
    client: Client,
    capabilities: Capabilities,
    /// The only object, if the address is that of a file.
    file: Option<Key>,
    walks: Mutex<Walks<Walk>>,
}

impl HttpStore {
    /// Opens a store; contacts nobody.
    pub fn new(options: &HttpOptions) -> Result<Self> {
        let client = Client::new(options)?;
        let file = if options.is_directory() { None } else { Some(Key::new(base_name(&options.path))?) };
        let capabilities = Capabilities {
            holds: AttributeSet::of(&[AttributeKind::ContentHeaders]),
            lists_source_times: true,
            ..Capabilities::read_only()
        };
        Ok(Self { client, capabilities, file, walks: Mutex::default() })
    }

    async fn list_file(&self, key: &Key, request: &ListRequest) -> Result<ListPage> {
        let listed = request.range.contains(key.as_bytes());
        let object = if listed { Some(self.head_object(key).await?) } else { None };
        Ok(ListPage::last(object.into_iter().map(|object| object.entry).collect()))
    }

    async fn look_at(&self, key: Key) -> Result<(Key, Looked)> {
        let looked = self.look(&key).await?;
        Ok((key, looked))
    }

    async fn list_directories(&self, request: &ListRequest) -> Result<ListPage> {
        let walk = self.walks.lock().take(request);
        let mut walk = walk.unwrap_or_else(|| Walk::new(request.range.clone()));
        if let Some(end) = request.range.end() {
            walk.narrow(end.clone());
        }
        let (mut names, mut more) = (Vec::new(), true);
        while more && names.len() < request.limit.max(1) {
            let next = walk.next(&self.client).await?;
            more = next.is_some();
            names.extend(next);
        }
        let mut page = ListPage::last(Vec::with_capacity(names.len()));
        page.unlisted = walk.take_unlisted();
        let looked = stream::iter(names).map(|key| self.look_at(key));
        let looked: Vec<(Key, Looked)> = looked.buffered(HEADS_AT_ONCE).try_collect().await?;
        for (key, looked) in looked {
            match looked {
                Looked::File(object) => page.entries.push(object.entry),
                Looked::Hidden(reason) => page.unlisted.push(Unlisted::incomplete(key.as_bytes(), &reason)),
                // A link that leads nowhere, or a file that is gone since.
                Looked::Absent => page.unlisted.push(Unlisted::harmless(key.as_bytes(), "its server has no such file")),
            }
        }
        if more {
            let next = walk.rest().start().clone();
            page.end = PageEnd::More { next, token: Some(self.walks.lock().keep(walk)), ahead: None };
        }
        Ok(page)
    }
}

fn base_name(path: &[u8]) -> Vec<u8> {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec()
}

#[async_trait]
impl Store for HttpStore {
    fn name(&self) -> &str {
        self.client.name()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        match &self.file {
            Some(key) => self.list_file(key, request).await,
            None => self.list_directories(request).await,
        }
    }

    async fn head(&self, key: &Key, _wanted: AttributeSet) -> Result<Object> {
        self.head_object(key).await
    }

    async fn read(&self, request: &ReadRequest) -> Result<Reading> {
        self.read_range(request).await
    }
}
