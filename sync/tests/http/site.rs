//! A web server of the tests' own, which answers each path with what it was given for it, in any order and any number of
//! times, and keeps what it was asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use farshore_sync::store::http::{HttpOptions, HttpStore};
use farshore_sync::store::{CheckedListing, Unlisted};
use farshore_sync::{Entry, KeyRange};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The server.
pub(crate) struct Site {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

type Pages = Arc<BTreeMap<String, String>>;

impl Site {
    /// Serves whole answers by path; a `HEAD` gets the head of the same.
    pub(crate) async fn start(pages: impl IntoIterator<Item = (&str, String)>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let pages: Pages = Arc::new(pages.into_iter().map(|(path, answer)| (path.to_owned(), answer)).collect());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, pages.clone(), seen.clone()));
            }
        });
        Self { port, asked }
    }

    pub(crate) fn store(&self, path: &str) -> Arc<HttpStore> {
        let address = format!("http://127.0.0.1:{}/{path}", self.port);
        let options = HttpOptions::at(&address.parse().expect("it is an address"), |_| None);
        Arc::new(HttpStore::new(&options.expect("it is a place")).expect("it can be opened"))
    }

    /// The request lines.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

async fn serve(mut stream: TcpStream, pages: Pages, asked: Arc<Mutex<Vec<String>>>) {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let line = head.lines().next().unwrap_or_default().to_owned();
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned();
    let answer = pages.get(path).cloned().unwrap_or(missing);
    let head_end = answer.find("\r\n\r\n").map_or(answer.len(), |at| at + 4);
    asked.lock().push(format!("{method} {path}"));
    let sent = if method == "HEAD" { &answer[..head_end] } else { &answer };
    stream.write_all(sent.as_bytes()).await.ok();
}

/// Everything that a listing tells.
pub(crate) async fn list(
    store: &Arc<HttpStore>,
    range: KeyRange,
    limit: usize,
) -> farshore_sync::Result<(Vec<Entry>, Vec<Unlisted>)> {
    let mut listing = CheckedListing::new(store.clone(), range, limit);
    let (mut entries, mut unlisted) = (Vec::new(), Vec::new());
    while let Some(page) = listing.next_page().await? {
        entries.extend(page.entries);
        unlisted.extend(page.unlisted);
    }
    Ok((entries, unlisted))
}

/// The names of entries.
pub(crate) fn names(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8_lossy(entry.key.as_bytes()).into_owned()).collect()
}
