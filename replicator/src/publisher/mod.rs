//! The publisher: what a region, primary or mirror, offers to those that follow it.
//!
//! It holds no state of its own beside connections: positions, registrations and the log are the
//! engine's. Read `service.rs` first, then `follow.rs` with the two decisions that it carries
//! out (`outlet.rs`, `recorder.rs`), `registration.rs` and `keeper.rs`.

mod checks;
mod follow;
mod keeper;
mod options;
mod outlet;
mod pieces;
mod recorder;
mod registration;
mod served;
mod service;
mod snapshot;

use std::net::SocketAddr;
use std::sync::Arc;

use farshore_blocks::Origin;
use farshore_meta::{Region, Role};
use farshore_proto::VolumeId;
use farshore_proto::wire::replication_server::ReplicationServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

pub use options::PublisherOptions;
#[cfg(test)]
pub(crate) use outlet::Outlet;
pub use served::ServedBlocks;

use crate::error::{ReplicatorError, Result};
use crate::lineage::Lineage;
use crate::tls::{check_listen, tls_error};
use options::{KEEPALIVE_EVERY, KEEPALIVE_TIMEOUT, MAX_REQUEST_BYTES, MAX_STREAMS, STOP_WITHIN};
use service::Service;

/// A publisher that runs. Dropped without `stop` it ends at once, its streams with it.
#[derive(Debug)]
pub struct Publisher {
    address: SocketAddr,
    stopping: watch::Sender<bool>,
    server: JoinHandle<()>,
    keeper: JoinHandle<()>,
}

impl Publisher {
    /// Begins to serve `region`, whose blocks come from `blocks`. The lineage is
    /// [`Lineage::primary`], or that of the region's own follower.
    ///
    /// # Errors
    /// `Insecure`, `AddressInUse` or `Listen` for the address, `Tls` for the certificates, `Fs`
    /// when the region's settings cannot be read.
    pub async fn start(
        region: Arc<Region>,
        blocks: Arc<dyn Origin>,
        lineage: Lineage,
        options: &PublisherOptions,
    ) -> Result<Self> {
        check_listen(options.listen, options.tls.is_some(), options.insecure)?;
        let volume_id = volume_of(&region).await?;
        let mut server = builder();
        if let Some(tls) = &options.tls {
            server = server.tls_config(tls.server()).map_err(|error| tls_error(&error))?;
        }
        let listener = listen(options.listen).await?;
        let address = listener.local_addr().map_err(|error| listen_error(options.listen, error))?;
        let (stopping, stop) = watch::channel(false);
        let lease_ms = options.retention.lease_ms;
        let service = Service::new(Arc::clone(&region), volume_id, blocks, lineage, lease_ms, stop.clone());
        let keeper = tokio::spawn(keeper::run(region, options.retention, stop.clone()));
        let server = tokio::spawn(serve(server, service, listener, stop));
        tracing::info!(%address, "mirrors may follow");
        Ok(Self { address, stopping, server, keeper })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it: streams are closed, and the mirrors' last reports are written.
    pub async fn stop(mut self) {
        self.stopping.send_replace(true);
        let ended = tokio::time::timeout(STOP_WITHIN, async {
            // Either task can only have panicked, which its own message has told.
            (&mut self.server).await.ok();
            (&mut self.keeper).await.ok();
        });
        if ended.await.is_err() {
            tracing::warn!("the publisher's streams did not end in time and were cut");
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stopping.send_replace(true);
        self.server.abort();
        self.keeper.abort();
    }
}

/// The volume of a region; that of a mirror is known before its settings are copied.
async fn volume_of(region: &Region) -> Result<VolumeId> {
    match region.role() {
        Role::Mirror { volume_id } => Ok(volume_id),
        Role::Primary { .. } => Ok(region.settings().await?.volume_id),
    }
}

fn builder() -> Server {
    Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS)
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| listen_error(address, error))
}

fn listen_error(address: SocketAddr, error: std::io::Error) -> ReplicatorError {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => ReplicatorError::AddressInUse { address },
        _ => ReplicatorError::Listen { address, source: Arc::new(error) },
    }
}

async fn serve(mut server: Server, service: Service, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let service = ReplicationServer::new(service).max_decoding_message_size(MAX_REQUEST_BYTES);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let stopped = async {
        // An error says that the publisher was dropped, which is a stop too.
        stop.wait_for(|stopping| *stopping).await.ok();
    };
    let served = server.add_service(service).serve_with_incoming_shutdown(incoming, stopped).await;
    if let Err(error) = served {
        tracing::error!(error = crate::tls::with_sources(&error), "the publisher ended; mirrors cannot follow");
    }
}
