//! A server of Google's XML API, in memory: as much of it as sync uses, and strict. It refuses what the service refuses,
//! and also what it would silently ignore: headers of S3, conditions that it does not know, hashes that do not match.

#![allow(dead_code, reason = "each program of tests uses a part of it")]

mod bucket;
mod encoding;
mod service;

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use self::bucket::Bucket;

/// The only bucket.
pub(crate) const BUCKET: &str = "bucket";
/// The only token.
pub(crate) const TOKEN: &str = "token-of-tests";

/// A request as it came.
#[derive(Debug)]
pub(crate) struct Request {
    method: String,
    /// The path, encoded.
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What is answered.
#[derive(Debug)]
pub(crate) struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// The length that a `HEAD` tells.
    length: Option<usize>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A running server.
#[derive(Clone)]
pub(crate) struct Server {
    port: u16,
    bucket: Arc<Mutex<Bucket>>,
}

impl Server {
    /// Starts at a port that is free.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let server = Self { port, bucket: Arc::default() };
        let bucket = server.bucket.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, bucket.clone()));
            }
        });
        server
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Uploads in parts that are neither completed nor aborted.
    pub(crate) fn open_uploads(&self) -> usize {
        self.bucket.lock().expect("no request has panicked").open_uploads()
    }
}

/// Answers the requests of one connection.
async fn serve(mut stream: TcpStream, bucket: Arc<Mutex<Bucket>>) {
    let mut bytes = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut bytes).await {
        let is_head = request.method == "HEAD";
        let response = match request {
            request if request.header("content-length").is_none() && request.method.starts_with('P') => {
                service::refuse(411, "MissingContentLength")
            }
            request => {
                let mut bucket = bucket.lock().expect("no request has panicked");
                service::answer(&mut bucket, &request).unwrap_or_else(|refusal| refusal)
            }
        };
        let length = response.length.unwrap_or(response.body.len());
        let mut head = format!("HTTP/1.1 {} Told\r\nContent-Length: {length}\r\n", response.status);
        for (name, value) in &response.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.push_str("\r\n");
        let mut sent = head.into_bytes();
        if !is_head {
            sent.extend_from_slice(&response.body);
        }
        if stream.write_all(&sent).await.is_err() {
            return;
        }
    }
}

/// The next request, whole; none if the connection ends before that.
async fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Request> {
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    bytes.drain(..end + 4);
    let (line, headers) = head.split_once("\r\n").unwrap_or((&head, ""));
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers: Vec<_> = headers.split("\r\n").filter_map(header).collect();
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let parameter = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let text = |encoded: &str| String::from_utf8(encoding::decode(encoded)?).ok();
        Some((text(name)?, text(value)?))
    };
    let query = query.split('&').filter(|pair| !pair.is_empty()).filter_map(parameter).collect();
    let mut request = Request { method, path: path.to_owned(), query, headers, body: Vec::new() };
    let length: usize = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while bytes.len() < length {
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
    request.body = bytes.drain(..length).collect();
    Some(request)
}
