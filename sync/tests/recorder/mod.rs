//! A server that records raw requests and gives scripted answers, byte for byte.

#![allow(dead_code, reason = "each program of tests uses a part of it")]

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    /// The request line, without its end.
    pub(crate) line: String,
    /// The headers, in lower case, a line each.
    pub(crate) headers: String,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Recorded {
    /// What was asked for: the second word of the line.
    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).expect("a request line has a target")
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// The server. It gives its answers in their order, one for each request, and then closes the connection.
pub(crate) struct Recorder {
    port: u16,
    requests: Arc<Mutex<Vec<Recorded>>>,
}

impl Recorder {
    pub(crate) async fn start(answers: impl IntoIterator<Item = String>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let recorded = requests.clone();
        let mut answers: VecDeque<String> = answers.into_iter().collect();
        tokio::spawn(async move {
            while let Some(answer) = answers.pop_front() {
                let (mut stream, _) = listener.accept().await.expect("it accepts");
                if let Some(request) = read_request(&mut stream).await {
                    recorded.lock().push(request);
                    stream.write_all(answer.as_bytes()).await.ok();
                }
            }
        });
        Self { port, requests }
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.requests.lock().clone()
    }
}

/// An answer that ends its connection.
pub(crate) fn answer(status: &str, headers: &[&str], body: &str) -> String {
    let headers = headers.iter().flat_map(|header| [*header, "\r\n"]).collect::<String>();
    let len = if headers.to_lowercase().contains("content-length") {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    format!("HTTP/1.1 {status}\r\n{headers}{len}Connection: close\r\n\r\n{body}")
}

/// The document of an error.
pub(crate) fn error(status: &str, code: &str, headers: &[&str]) -> String {
    answer(status, headers, &format!("<Error><Code>{code}</Code><Message>no</Message></Error>"))
}

async fn read_request(stream: &mut TcpStream) -> Option<Recorded> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let (line, headers) = head.split_once("\r\n").unwrap_or((&head, ""));
    let mut recorded = Recorded {
        line: line.to_owned(),
        headers: headers.replace("\r\n", "\n").to_lowercase(),
        body: bytes[end + 4..].to_vec(),
    };
    let len = recorded.header("content-length").map_or(0, |len| len.parse().expect("a length is a number"));
    while recorded.body.len() < len {
        if stream.read_buf(&mut recorded.body).await.ok()? == 0 {
            break;
        }
    }
    Some(recorded)
}
