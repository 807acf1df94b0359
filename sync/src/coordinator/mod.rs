//! A job that many processes share. The coordinator has the job: its journal, its limits and its one view. Workers
//! claim ranges from it, copy between the stores by themselves, and tell what came of it.
//!
//! Safety: what protects a job is in its journal. A coordinator adds no state that must survive it; started again, it
//! goes on with the journal. Calls come over lines that break: each act is done once however often its call comes,
//! and a worker that is not heard for a lease drops its copies before another may have its range.
//!
//! Read `proto/farshore/v1/coordinator.proto`, `service.rs`, `link.rs`, then `../budget.rs`.

mod access;
mod convert;
mod error;
mod link;
mod members;
mod remote;
mod service;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farshore_proto::limits::MAX_MESSAGE_BYTES;
use farshore_proto::wire::coordinator_server::CoordinatorServer;
use farshore_replicator::{TlsOptions, with_sources};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

pub use access::Token;
pub use error::{CoordinatorError, Result};
pub use link::{Link, LinkOptions};
pub use members::Numbers;
pub use remote::RemoteJournal;

use access::{admit, may_listen};
use service::{Service, Shared};

use crate::allowance::Allowance;
pub use crate::budget::{ASK_EVERY, Limits};
use crate::journal::WorkerJournal;
use crate::rates::Rates;

/// How often a connection is pinged, and how long an answer may take before it is cut.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(4);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Calls of one connection at once: each worker has one, and each part of an object.
const MAX_CALLS: u32 = 4_096;
/// The longest time in which workers are told that the job has ended.
const FAREWELL: Duration = Duration::from_secs(5);
/// The coordinator's own share of the limits.
const OWN_NAME: &str = "coordinator";

/// What a job is, as workers are told it. No secret is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// The random name of its journal.
    pub job: [u8; 16],
    /// What tells it from others.
    pub fingerprint: [u8; 32],
    /// The source's address, absolute.
    pub source: String,
    /// The target's address, absolute.
    pub target: String,
    /// The command that began it.
    pub args: Vec<Bytes>,
    /// The moment from which ages are counted, in nanoseconds since 1970.
    pub moment_ns: i64,
    /// The files that the command names, by the option that names each.
    pub files: Vec<(String, Bytes)>,
    /// How long a claim lives after its worker's last sign of life.
    pub lease: Duration,
    /// Whether the job's report wants a line for each object.
    pub wants_lines: bool,
    /// Which limits it has; how large each is follows from what is given.
    pub limits: Limits,
}

/// How a coordinator listens.
#[derive(Debug, Clone)]
pub struct CoordinatorOptions {
    /// Where; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Mutual TLS; without it only loopback may be listened at, unless `insecure`.
    pub tls: Option<TlsOptions>,
    /// What workers must show.
    pub token: Option<Token>,
    /// Listen beyond loopback without TLS.
    pub insecure: bool,
}

/// Hears what the workers of all other processes do.
pub trait Watcher: Send + Sync + Debug {
    /// All that they did so far, and what one of them tells of objects, as lines of a report.
    fn told(&self, sum: &Numbers, lines: &[String]);
}

/// A coordinator that serves workers. Dropped without `stop` it ends at once.
#[derive(Debug)]
pub struct Coordinator {
    address: SocketAddr,
    service: Arc<Service>,
    stopping: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Coordinator {
    /// Begins to serve a job, whose limits are those of `rates` at each time.
    ///
    /// # Errors
    /// `Insecure` or `Listen` for the address, `Tls` for the certificates.
    pub async fn start(
        journal: Arc<dyn WorkerJournal>,
        description: Description,
        rates: Rates,
        options: &CoordinatorOptions,
        watcher: Arc<dyn Watcher>,
    ) -> Result<Self> {
        may_listen(options.listen, options.tls.is_some(), options.insecure)?;
        let mut server = Server::builder()
            .tcp_nodelay(true)
            .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .max_concurrent_streams(MAX_CALLS);
        if let Some(tls) = &options.tls {
            let wrong = |error: &tonic::transport::Error| CoordinatorError::Tls {
                address: "workers".to_owned(),
                reason: with_sources(error),
            };
            server = server.tls_config(tls.server()).map_err(|error| wrong(&error))?;
        }
        let failed =
            |error: std::io::Error| CoordinatorError::Listen { address: options.listen, reason: error.to_string() };
        let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let service = Arc::new(Service::new(journal, description, rates, watcher));
        let (stopping, stop) = watch::channel(false);
        let serving = serve(server, Arc::clone(&service), options.token.clone(), listener, stop);
        Ok(Self { address, service, stopping, server: tokio::spawn(serving) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many other processes work.
    pub fn working(&self) -> usize {
        self.service.members.working(self.service.now())
    }

    /// Gives the workers of this very process their share of the limits, for as long as it is waited for.
    pub async fn share_with(&self, allowance: &Allowance) {
        loop {
            allowance.give(self.service.grant(OWN_NAME, allowance.wanted()));
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Ends it, once the workers that are there have heard that the job is done, or why it was given up.
    pub async fn stop(mut self, given_up: Option<String>) {
        *self.service.ended.write() = given_up;
        let told = async {
            while self.working() > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        // One that does not answer any more finds out by itself.
        tokio::time::timeout(FAREWELL, told).await.ok();
        self.stopping.send_replace(true);
        tokio::time::timeout(FAREWELL, &mut self.server).await.ok();
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.stopping.send_replace(true);
        self.server.abort();
    }
}

async fn serve(
    mut server: Server,
    service: Arc<Service>,
    token: Option<Token>,
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
) {
    let service = CoordinatorServer::new(Shared(service))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let guarded = InterceptedService::new(service, move |request| admit(token.as_ref(), request));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let stopped = async {
        // An error says that the coordinator was dropped, which is a stop too.
        stop.wait_for(|stopping| *stopping).await.ok();
    };
    if let Err(error) = server.add_service(guarded).serve_with_incoming_shutdown(incoming, stopped).await {
        tracing::error!(error = with_sources(&error), "the coordinator's port was closed; no worker can reach it");
    }
}
