//! Numbers for Prometheus, in its text format, over HTTP: one page, for whoever asks.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The longest request; what follows its first line is not looked at.
const MAX_REQUEST_BYTES: usize = 8 << 10;
/// The longest time that one who asks may take.
const ASKED_WITHIN: Duration = Duration::from_secs(10);

/// What can be measured.
pub(crate) trait Measured: Send + Sync {
    /// The page.
    fn page(&self) -> Page;
}

/// A page of numbers.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

/// Kinds of numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

impl Page {
    /// Adds a number, with labels as they are printed, such as `side="source"`.
    pub(crate) fn add(&mut self, name: &str, kind: Kind, help: &str, numbers: &[(&str, f64)]) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // Writing to a string cannot fail.
        write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n").unwrap_or_default();
        for (labels, number) in numbers {
            let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            writeln!(self.0, "{name}{labels} {number}").unwrap_or_default();
        }
    }
}

/// Serves at an address, if there is one, until the handle is aborted.
pub(crate) async fn serve(listen: Option<&str>, measured: Arc<dyn Measured>) -> Result<JoinHandle<()>> {
    let Some(listen) = listen else { return Ok(tokio::spawn(async {})) };
    let listener = TcpListener::bind(listen).await;
    let listener = listener.with_context(|| format!("cannot serve metrics at {listen:?}"))?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!("metrics are at http://{address}/metrics");
    }
    Ok(tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let answered = answer(stream, Arc::clone(&measured));
                    tokio::spawn(tokio::time::timeout(ASKED_WITHIN, answered));
                }
                // Such as too many open files: it may pass.
                Err(error) => {
                    tracing::debug!(%error, "a request for metrics was not taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }))
}

/// Answers one request and closes.
async fn answer(mut stream: TcpStream, measured: Arc<dyn Measured>) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).await?;
        request.extend_from_slice(&chunk[..read]);
        if read == 0 || request.len() > MAX_REQUEST_BYTES {
            return Ok(());
        }
    }
    let (status, body) = match path_of(&request) {
        Some("/metrics" | "/") => ("200 OK", measured.page().0),
        Some(_) => ("404 Not Found", "the numbers are at /metrics\n".to_owned()),
        None => ("405 Method Not Allowed", "only GET is answered\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// What a request with GET is for.
fn path_of(request: &[u8]) -> Option<&str> {
    let line = request.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let path = line.strip_prefix("GET ")?.split(' ').next()?;
    path.split('?').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One;

    impl Measured for One {
        fn page(&self) -> Page {
            let mut page = Page::default();
            page.add("a_total", Kind::Counter, "What it is.", &[("side=\"source\"", 3.0), ("", 4.5)]);
            page
        }
    }

    async fn ask(request: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(async move { answer(listener.accept().await.unwrap().0, Arc::new(One)).await });
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        served.await.unwrap().unwrap();
        answer
    }

    #[tokio::test]
    async fn a_page_is_served_as_prometheus_reads_it() {
        let answer = ask("GET /metrics?a=b HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let page = "# HELP a_total What it is.\n# TYPE a_total counter\na_total{side=\"source\"} 3\na_total 4.5\n";
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(&format!("\r\n\r\n{page}")), "{answer}");
        assert!(ask("GET /other HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404"));
        assert!(ask("POST /metrics HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 405"));
    }
}
