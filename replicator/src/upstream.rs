//! The address of the region that is followed, and connections to it.

use std::time::Duration;

use farshore_proto::limits::{MAX_MESSAGE_BYTES, PROTOCOL};
use farshore_proto::wire;
use farshore_proto::wire::replication_client::ReplicationClient;
use tonic::transport::{Channel, Endpoint};

use crate::error::{ReplicatorError, Result};
use crate::follower::Fault;
use crate::message::Described;
use crate::tls::{TlsOptions, tls_error, with_sources};

/// How long a connection may take to come about, across an ocean and with TLS.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How often the upstream is pinged by HTTP/2, and how long it may take to answer: a link that
/// was cut is noticed within their sum.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(4);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes under way on one stream and on one connection: 100 MB/s and more at 80 ms.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// How long one call that answers with a single message may take.
const CALL_WITHIN: Duration = Duration::from_secs(10);

pub(crate) type Client = ReplicationClient<Channel>;

/// A region to follow: its URL, and how to reach it.
#[derive(Debug, Clone)]
pub struct Upstream {
    url: String,
    endpoint: Endpoint,
}

impl Upstream {
    /// The region at `http://HOST:PORT`, or at `https://HOST:PORT` with `tls`.
    ///
    /// # Errors
    /// `BadUpstream` for a URL of another form, or https without TLS options; `Tls` when the
    /// options cannot be used.
    pub fn new(url: &str, tls: Option<&TlsOptions>) -> Result<Self> {
        let bad = |reason: &str| ReplicatorError::BadUpstream { url: url.to_owned(), reason: reason.to_owned() };
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| bad(&with_sources(&error)))?;
        let uri = endpoint.uri();
        if uri.host().is_none_or(str::is_empty) || uri.port_u16().is_none() {
            return Err(bad("it names no host and port"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(bad("nothing may follow the port"));
        }
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad("its scheme is neither http nor https")),
        };
        let endpoint = tuned(endpoint);
        let endpoint = match (secure, tls) {
            (false, _) => endpoint,
            (true, Some(tls)) => endpoint.tls_config(tls.client()).map_err(|error| tls_error(&error))?,
            (true, None) => {
                return Err(bad("https needs this side's certificate, its key and the upstream's authority"));
            }
        };
        Ok(Self { url: url.to_owned(), endpoint })
    }

    /// How a person names it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks it which region of which volume it is.
    ///
    /// # Errors
    /// `Unreachable`, `Refused`, `Protocol` or `Malformed`.
    pub async fn describe(&self) -> Result<Described> {
        self.connect().await?.1.map_err(|fault| match fault {
            Fault::Passing(error) | Fault::Final(error) => error,
            Fault::LogTrimmed => ReplicatorError::Malformed {
                upstream: self.url.clone(),
                reason: "it answers a question about itself with one about its log".to_owned(),
            },
        })
    }

    /// Connects and has it describe itself.
    pub(crate) async fn connect(&self) -> Result<(Client, Result<Described, Fault>)> {
        let channel = self.endpoint.connect().await.map_err(|error| self.unreachable(with_sources(&error)))?;
        let mut client = client(channel);
        let described = self.ask(&mut client).await;
        Ok((client, described))
    }

    async fn ask(&self, client: &mut Client) -> Result<Described, Fault> {
        let call = client.describe(wire::DescribeRequest { protocol: PROTOCOL });
        let reply = within_call(call).await.map_err(|status| Fault::of(&status, &self.url))?;
        Described::from_wire(&reply).map_err(|error| Fault::Passing(self.malformed(error.to_string())))
    }

    /// A client that connects when it is first used, and again when that is needed.
    pub(crate) fn lazy(&self) -> Client {
        client(self.endpoint.connect_lazy())
    }

    pub(crate) fn unreachable(&self, reason: String) -> ReplicatorError {
        ReplicatorError::Unreachable { upstream: self.url.clone(), reason }
    }

    pub(crate) fn malformed(&self, reason: String) -> ReplicatorError {
        ReplicatorError::Malformed { upstream: self.url.clone(), reason }
    }
}

fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_WITHIN)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
}

fn client(channel: Channel) -> Client {
    ReplicationClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// The answer to a call that is one message, within the time that such a call may take.
pub(crate) async fn within_call<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, tonic::Status> {
    match tokio::time::timeout(CALL_WITHIN, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(tonic::Status::deadline_exceeded(format!("no answer within {} s", CALL_WITHIN.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_other_forms_say_what_is_wrong() {
        assert_eq!(Upstream::new("http://primary:7440", None).unwrap().url(), "http://primary:7440");
        for (url, reason) in [
            ("primary", "port"),
            ("http://primary", "port"),
            ("ftp://primary:7440", "scheme"),
            ("http://primary:7440/path", "follow the port"),
            ("https://primary:7440", "certificate"),
            ("http://pri mary:7440", "url"),
        ] {
            let error = Upstream::new(url, None).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }
}
