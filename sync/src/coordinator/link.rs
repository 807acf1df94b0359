//! A worker's line to its coordinator. A call whose line breaks is made again, with pauses, for a bounded time: the
//! coordinator may have been killed and started again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use farshore_proto::limits::{MAX_MESSAGE_BYTES, SYNC_PROTOCOL};
use farshore_proto::wire;
use farshore_proto::wire::coordinator_client::CoordinatorClient;
use farshore_proto::wire::sync_describe_part::Part;
use farshore_proto::wire::sync_work_reply::Outcome;
use farshore_proto::wire::sync_work_request::Act;
use farshore_replicator::{TlsOptions, with_sources};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::access::{Token, may_call};
use super::convert::{amounts_from, amounts_to};
use super::members::Numbers;
use super::{CoordinatorError, Description, Result};
use crate::budget::Limits;
use crate::retry::Dice;

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How often the coordinator is pinged, and how long it may take to answer: a line that was cut is noticed within
/// their sum.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(4);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one call may take: a step of the journal is tried again for some ten seconds.
const CALL_WITHIN: Duration = Duration::from_secs(30);
/// Pauses between attempts double from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// The most that a job's description may be, with its files: a list of some ten million keys.
const MAX_DESCRIPTION_BYTES: usize = 1 << 30;

/// How a worker reaches its coordinator.
#[derive(Debug, Clone)]
pub struct LinkOptions {
    /// Where: HOST:PORT, http://HOST:PORT or https://HOST:PORT.
    pub address: String,
    /// Mutual TLS.
    pub tls: Option<TlsOptions>,
    /// What to show.
    pub token: Option<Token>,
    /// Talk beyond loopback without TLS.
    pub insecure: bool,
    /// For how long a coordinator that does not answer is tried again.
    pub patience: Duration,
    /// A random number that tells this process from others.
    pub seed: u64,
}

/// A line to a coordinator.
#[derive(Debug)]
pub struct Link {
    client: CoordinatorClient<Channel>,
    options: LinkOptions,
    member: String,
    serial: AtomicU64,
    told: AtomicU64,
    /// Whether it was told that the coordinator does not answer.
    is_cut: AtomicBool,
    dice: Dice,
}

impl Link {
    /// A line that comes about with its first call.
    ///
    /// # Errors
    /// `BadAddress`, `Insecure` or `Tls`.
    pub fn new(options: LinkOptions) -> Result<Arc<Self>> {
        let endpoint = endpoint(&options)?;
        let client = CoordinatorClient::new(endpoint.connect_lazy())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let member = format!("{:016x}", options.seed);
        let (serial, told) = (AtomicU64::new(0), AtomicU64::new(0));
        let dice = Dice::new(options.seed);
        Ok(Arc::new(Self { client, options, member, serial, told, is_cut: AtomicBool::new(false), dice }))
    }

    /// Asks what the job is.
    ///
    /// # Errors
    /// `Unreachable`, `Refused`, `Tls` or `Malformed`.
    pub async fn describe(&self) -> Result<Description> {
        self.describe_as(SYNC_PROTOCOL, env!("CARGO_PKG_VERSION")).await
    }

    pub(super) async fn describe_as(&self, protocol: u32, version: &str) -> Result<Description> {
        let asked = || {
            let request = wire::SyncDescribeRequest { protocol, version: version.to_owned() };
            let (mut client, request) = (self.client.clone(), self.request(request));
            async move {
                let mut parts = client.describe(request).await?.into_inner();
                let (mut all, mut bytes) = (Vec::new(), 0);
                while let Some(part) = parts.message().await? {
                    if let Some(Part::File(piece)) = &part.part {
                        bytes += piece.data.len();
                    }
                    if bytes > MAX_DESCRIPTION_BYTES {
                        return Err(Status::invalid_argument("the job's files are too large"));
                    }
                    all.extend(part.part);
                }
                Ok(all)
            }
        };
        let parts = self.persist(asked).await?;
        described(parts).map_err(|reason| self.malformed(reason))
    }

    /// One act on the journal.
    pub(super) async fn work(&self, job: &Bytes, act: Act) -> Result<Outcome> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed) + 1;
        let request = wire::SyncWorkRequest { job: job.clone(), member: self.member.clone(), serial, act: Some(act) };
        let call = || {
            let (mut client, request) = (self.client.clone(), self.request(request.clone()));
            async move { client.work(request).await.map(tonic::Response::into_inner) }
        };
        self.persist(call).await?.outcome.ok_or_else(|| self.malformed("an answer says nothing".to_owned()))
    }

    /// Says what this process did and would use: what it may use. Lines are kept by the coordinator once.
    ///
    /// # Errors
    /// `Unreachable`, `Refused` or `Tls`.
    pub async fn tell(
        &self,
        job: [u8; 16],
        numbers: Numbers,
        lines: Vec<String>,
        wanted: Limits,
        leaves: bool,
    ) -> Result<Limits> {
        let request = wire::SyncTellRequest {
            job: Bytes::copy_from_slice(&job),
            member: self.member.clone(),
            serial: self.told.fetch_add(1, Ordering::Relaxed) + 1,
            numbers: Some(numbers.into()),
            lines,
            wanted: Some(amounts_to(&wanted)),
            leaves,
        };
        let call = || {
            let (mut client, request) = (self.client.clone(), self.request(request.clone()));
            async move { client.tell(request).await.map(tonic::Response::into_inner) }
        };
        Ok(amounts_from(self.persist(call).await?.granted))
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.options.token {
            token.show(&mut request);
        }
        request
    }

    /// Makes a call until it is answered, or patience is at its end.
    async fn persist<T, F>(&self, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, Status>>,
    {
        let (began, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            let late = |_| Err(Status::deadline_exceeded(format!("no answer within {CALL_WITHIN:?}")));
            let status = match tokio::time::timeout(CALL_WITHIN, call()).await.unwrap_or_else(late) {
                Ok(answer) => {
                    self.is_cut.store(false, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(status) => status,
            };
            if let Some(error) = self.lasting(&status) {
                return Err(error);
            }
            let (waited, patience) = (began.elapsed(), self.options.patience);
            if waited >= patience {
                let address = self.options.address.clone();
                return Err(CoordinatorError::Unreachable { address, waited, reason: reason_of(&status) });
            }
            if !self.is_cut.swap(true, Ordering::Relaxed) {
                let (address, reason) = (&self.options.address, reason_of(&status));
                tracing::warn!("the coordinator {address} does not answer ({reason}); trying for {patience:?}");
            }
            tokio::time::sleep(pause.mul_f64(0.5 + self.dice.roll() / 2.0).min(patience.saturating_sub(waited))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The error of an answer that another attempt would get too.
    fn lasting(&self, status: &Status) -> Option<CoordinatorError> {
        let address = self.options.address.clone();
        if is_about_tls(status) {
            return Some(CoordinatorError::Tls { address, reason: reason_of(status) });
        }
        let says_no = matches!(
            status.code(),
            Code::Unauthenticated
                | Code::PermissionDenied
                | Code::FailedPrecondition
                | Code::InvalidArgument
                | Code::OutOfRange
                | Code::Unimplemented
        );
        says_no.then(|| CoordinatorError::Refused { address, reason: status.message().to_owned() })
    }

    pub(super) fn malformed(&self, reason: String) -> CoordinatorError {
        CoordinatorError::Malformed { address: self.options.address.clone(), reason }
    }
}

/// What went wrong, in plain words: a status that comes from the line itself says less than its causes.
fn reason_of(status: &Status) -> String {
    std::error::Error::source(status).map_or_else(|| status.message().to_owned(), with_sources)
}

/// Whether a certificate or the protocol of TLS is what went wrong.
fn is_about_tls(status: &Status) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(status);
    while let Some(error) = next {
        let within = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let within = within.and_then(|within| within.downcast_ref::<rustls::Error>());
        if error.is::<rustls::Error>() || within.is_some() {
            return true;
        }
        next = error.source();
    }
    // What the other side says of a certificate comes after the handshake, through layers that keep its text alone.
    with_sources(status).contains("received fatal alert")
}

fn endpoint(options: &LinkOptions) -> Result<Endpoint> {
    let bad = |reason: String| CoordinatorError::BadAddress { address: options.address.clone(), reason };
    let url = match (options.address.contains("://"), &options.tls) {
        (true, _) => options.address.clone(),
        (false, Some(_)) => format!("https://{}", options.address),
        (false, None) => format!("http://{}", options.address),
    };
    let endpoint = Endpoint::from_shared(url).map_err(|error| bad(with_sources(&error)))?;
    let uri = endpoint.uri();
    let host = uri.host().filter(|host| !host.is_empty() && uri.port_u16().is_some());
    let host = host.ok_or_else(|| bad("it names no host and port".to_owned()))?;
    if uri.path() != "/" || uri.query().is_some() {
        return Err(bad("nothing may follow the port".to_owned()));
    }
    let secure = uri.scheme_str() == Some("https");
    if !secure && uri.scheme_str() != Some("http") {
        return Err(bad("its scheme is neither http nor https".to_owned()));
    }
    may_call(host, secure, options.insecure)?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_WITHIN)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    match (secure, &options.tls) {
        (false, _) => Ok(endpoint),
        (true, None) => Err(bad("https needs --tls-cert, --tls-key and --tls-ca".to_owned())),
        (true, Some(tls)) => endpoint
            .tls_config(tls.client())
            .map_err(|error| CoordinatorError::Tls { address: options.address.clone(), reason: with_sources(&error) }),
    }
}

fn described(parts: Vec<Part>) -> std::result::Result<Description, String> {
    let mut parts = parts.into_iter();
    let Some(Part::Description(told)) = parts.next() else { return Err("the job is not described".to_owned()) };
    let array = |what: &str| format!("the job's {what} has another length");
    let mut description = Description {
        job: told.job.as_ref().try_into().map_err(|_| array("name"))?,
        fingerprint: told.fingerprint.as_ref().try_into().map_err(|_| array("fingerprint"))?,
        source: told.source,
        target: told.target,
        args: told.args,
        moment_ns: told.moment_ns,
        files: Vec::new(),
        lease: Duration::from_millis(told.lease_ms),
        wants_lines: told.wants_lines,
        limits: amounts_from(told.limits),
    };
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for part in parts {
        let Part::File(piece) = part else { return Err("the job is described twice".to_owned()) };
        match files.last_mut().filter(|(option, _)| *option == piece.option) {
            Some((_, data)) => data.extend_from_slice(&piece.data),
            None => files.push((piece.option, piece.data.to_vec())),
        }
    }
    description.files = files.into_iter().map(|(option, data)| (option, data.into())).collect();
    Ok(description)
}
