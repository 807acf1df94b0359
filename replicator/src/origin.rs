//! The upstream region as an origin of blocks. Nothing that it sends is proven here: the reader
//! verifies every byte; this bounds what is taken and how long it is waited for.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use farshore_blocks::{BlockError, BlockPiece, GroupHashes, Origin, Remedy};
use farshore_proto::limits::{GROUP_BYTES, MAX_BLOCK_BYTES};
use farshore_proto::{BlockName, RegionId, VolumeId, wire};
use tonic::{Code, Status, Streaming};

use crate::upstream::{Client, Upstream};

/// Connections for blocks. They are apart from the one that follows, so that a large pull never
/// delays a commit, and several, because on a long path one is held back by a single loss.
const CONNECTIONS: usize = 4;
/// Longest that one fetch may take; the reader's own deadline is usually shorter.
const FETCH_WITHIN: Duration = Duration::from_secs(30);

/// Fetches blocks from the region that a mirror follows.
#[derive(Debug)]
pub struct UpstreamOrigin {
    label: String,
    volume_id: VolumeId,
    mirror_id: RegionId,
    clients: Vec<Client>,
    next: AtomicUsize,
}

impl UpstreamOrigin {
    /// The blocks of `upstream`, for the mirror `mirror_id`. It connects when it is first asked,
    /// and a connection that is gone is made anew by the next fetch. Needs a tokio runtime.
    pub fn new(upstream: &Upstream, volume_id: VolumeId, mirror_id: RegionId) -> Self {
        let clients = (0..CONNECTIONS).map(|_| upstream.lazy()).collect();
        let label = format!("the upstream {}", upstream.url());
        Self { label, volume_id, mirror_id, clients, next: AtomicUsize::new(0) }
    }

    fn client(&self) -> Client {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.clients.len();
        self.clients[turn].clone()
    }

    async fn stream(&self, name: BlockName, groups: &Range<u32>) -> Result<Streaming<wire::BlockPiece>, Status> {
        let request = wire::FetchBlockRequest {
            volume_id: Bytes::copy_from_slice(self.volume_id.as_bytes()),
            mirror_id: Bytes::copy_from_slice(self.mirror_id.as_bytes()),
            block: Bytes::copy_from_slice(name.as_bytes()),
            first_group: groups.start,
            group_count: groups.end.saturating_sub(groups.start),
        };
        Ok(self.client().fetch_block(request).await?.into_inner())
    }

    async fn gather(&self, name: BlockName, groups: &Range<u32>) -> Result<BlockPiece, BlockError> {
        let failed = |status: Status| self.failed(name, &status);
        let mut stream = self.stream(name, groups).await.map_err(failed)?;
        let first = stream.message().await.map_err(failed)?;
        let first = first.ok_or_else(|| self.misbehaved("it sent no piece of a block"))?;
        let mut gathering = Gathering::begin(&first, groups).map_err(|reason| self.misbehaved(reason))?;
        while let Some(piece) = stream.message().await.map_err(failed)? {
            gathering.add(&piece).map_err(|reason| self.misbehaved(reason))?;
        }
        Ok(gathering.finish())
    }

    fn failed(&self, name: BlockName, status: &Status) -> BlockError {
        let remedy = match status.code() {
            Code::NotFound => {
                return BlockError::Missing { name, place: self.label.clone() };
            }
            Code::DataLoss => Remedy::Repair,
            Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated => Remedy::Operator,
            Code::InvalidArgument | Code::Unimplemented => Remedy::Bug,
            _ => Remedy::Retry,
        };
        let mut reason = status.message().to_owned();
        if let Some(source) = std::error::Error::source(status) {
            reason = format!("{reason}: {}", crate::tls::with_sources(source));
        }
        BlockError::Origin { origin: self.label.clone(), reason, remedy }
    }

    fn misbehaved(&self, reason: &str) -> BlockError {
        BlockError::Origin { origin: self.label.clone(), reason: reason.to_owned(), remedy: Remedy::Retry }
    }
}

#[async_trait]
impl Origin for UpstreamOrigin {
    async fn fetch(&self, name: BlockName, groups: Range<u32>) -> Result<BlockPiece, BlockError> {
        match tokio::time::timeout(FETCH_WITHIN, self.gather(name, &groups)).await {
            Ok(piece) => piece,
            Err(_) => Err(BlockError::Deadline {
                what: format!("block {name} from {}", self.label),
                after_ms: FETCH_WITHIN.as_millis() as u64,
            }),
        }
    }

    fn label(&self) -> &str {
        &self.label
    }
}

/// The messages of one fetch as they come together.
struct Gathering {
    block_len: u32,
    hashes: GroupHashes,
    first_group: u32,
    data: BytesMut,
    limit: usize,
}

impl Gathering {
    fn begin(first: &wire::BlockPiece, groups: &Range<u32>) -> Result<Self, &'static str> {
        if first.block_len > MAX_BLOCK_BYTES {
            return Err("it sent a block over the limit");
        }
        let hashes = GroupHashes::try_from(first.group_hashes.clone()).map_err(|_| "it sent no list of hashes")?;
        let limit = groups.len().saturating_mul(GROUP_BYTES as usize).min(first.block_len as usize);
        let data = BytesMut::with_capacity(limit);
        let mut gathering = Self { block_len: first.block_len, hashes, first_group: first.first_group, data, limit };
        gathering.add(first)?;
        Ok(gathering)
    }

    fn add(&mut self, piece: &wire::BlockPiece) -> Result<(), &'static str> {
        let next = self.first_group as usize + self.data.len() / GROUP_BYTES as usize;
        if piece.first_group as usize != next || !self.data.len().is_multiple_of(GROUP_BYTES as usize) {
            return Err("it sent pieces of a block out of order");
        }
        if self.data.len() + piece.data.len() > self.limit {
            return Err("it sent more of a block than was asked for");
        }
        self.data.extend_from_slice(&piece.data);
        Ok(())
    }

    fn finish(self) -> BlockPiece {
        let Self { block_len, hashes, first_group, data, .. } = self;
        BlockPiece { block_len, hashes, first_group, data: data.freeze() }
    }
}
