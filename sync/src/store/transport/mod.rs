//! The HTTP client of stores: sends one request, as it is, once, with every wait bounded.
//!
//! It is beside object_store's own client because that one has no streaming bodies and sends addresses through a
//! parser that removes `.` and `..` segments. Addresses here are `http::Uri`s, which are sent byte for byte.
//! It knows no store: signing, credentials and retries are elsewhere. What answers of stores have in common is beside
//! it: encodings, XML, refusals, ranges, tags.

mod answer;
mod call;
pub(crate) mod encode;
mod outgoing;
pub(crate) mod ranged;
pub(crate) mod refusal;
pub(crate) mod tags;
pub(crate) mod time;
pub(crate) mod words;
pub(crate) mod xml;

use std::pin::pin;
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

pub(crate) use answer::{Answer, retry_after, text};
pub(crate) use call::Call;
use outgoing::{Outgoing, Progress};

use crate::error::{Result, StoreError};
use crate::limits::{CONNECT_TIMEOUT, IDLE_CONNECTION};
use crate::store::Body;

/// A client with its connections, which are kept open between requests.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    client: Client<HttpsConnector<HttpConnector>, Outgoing>,
}

/// Why no whole answer came.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The body that was to be sent failed: not the server's fault.
    Body(StoreError),
    /// The connection failed, broke or stalled.
    Wire(String),
    /// The answer cannot be right.
    Nonsense(String),
}

impl Transport {
    /// A client that trusts the machine's certificates.
    pub(crate) fn new() -> Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(|error| StoreError::invalid("the machine's certificates", error.to_string()))?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_idle_timeout(IDLE_CONNECTION).pool_timer(TokioTimer::new()).timer(TokioTimer::new());
        Ok(Self { client: builder.build(connector) })
    }

    /// Sends a request and waits for the head of its answer, at most `patience` after the last byte went out.
    pub(crate) async fn send(
        &self,
        request: http::Request<()>,
        body: Body,
        patience: Duration,
    ) -> std::result::Result<Answer, Failure> {
        let (body, progress) = Outgoing::new(body).await.map_err(Failure::Body)?;
        let answer = self.client.request(request.map(|()| body));
        let answer = while_it_moves(answer, &progress, patience).await;
        if let Some(error) = progress.take_failure() {
            return Err(Failure::Body(error));
        }
        let answer = answer.ok_or_else(|| Failure::Wire(format!("no answer within {} s", patience.as_secs())))?;
        answer.map(Answer::new).map_err(|error| Failure::Wire(chain(&error)))
    }
}

/// Waits for the answer while the body moves; none if nothing moved for so long.
async fn while_it_moves<T>(answer: impl Future<Output = T>, progress: &Progress, patience: Duration) -> Option<T> {
    let mut answer = pin!(answer);
    loop {
        let moved = progress.moved();
        if let Ok(answer) = tokio::time::timeout_at(moved + patience, &mut answer).await {
            return Some(answer);
        }
        if progress.moved() == moved {
            return None;
        }
    }
}

/// The error with what caused it; the outermost alone says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl Failure {
    /// As the error of a store that was asked to do this.
    pub(crate) fn into_error(self, store: &str, action: &str) -> StoreError {
        match self {
            Self::Body(error) => error,
            Self::Wire(reason) => StoreError::unavailable(store, action, &reason),
            Self::Nonsense(reason) => StoreError::corrupt(store, &format!("the answer to {action}"), reason),
        }
    }
}
