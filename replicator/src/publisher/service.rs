//! The calls that mirrors make. Each checks what it was sent, takes its share of a bounded
//! number of places, and hands over to the file that does the work.

use std::sync::Arc;
use std::time::Duration;

use farshore_blocks::Origin;
use farshore_meta::{MirrorPhase, Region, Role};
use farshore_proto::limits::PROTOCOL;
use farshore_proto::{VolumeId, wire};
use futures::stream::{self, Iter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::options::{MAX_FETCHES, MAX_FOLLOWERS, MAX_SNAPSHOTS, START_WITHIN};
use super::{checks, follow, pieces, registration, snapshot};
use crate::lineage::Lineage;
use crate::message::{self, Described, MAX_LABEL_BYTES};
use crate::reason::{Reason, status_of};

type Served<T> = Result<Response<T>, Status>;

/// Longest that a block's bytes are waited for here; the caller has a deadline of its own.
const FETCH_WITHIN: Duration = Duration::from_secs(30);

/// The service over one region.
pub(crate) struct Service {
    region: Arc<Region>,
    volume_id: VolumeId,
    blocks: Arc<dyn Origin>,
    lineage: Lineage,
    lease_ms: u64,
    stopping: watch::Receiver<bool>,
    followers: Arc<Semaphore>,
    snapshots: Arc<Semaphore>,
    fetches: Arc<Semaphore>,
}

impl Service {
    pub(crate) fn new(
        region: Arc<Region>,
        volume_id: VolumeId,
        blocks: Arc<dyn Origin>,
        lineage: Lineage,
        lease_ms: u64,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let places = |most| Arc::new(Semaphore::new(most));
        let (followers, snapshots, fetches) = (places(MAX_FOLLOWERS), places(MAX_SNAPSHOTS), places(MAX_FETCHES));
        Self { region, volume_id, blocks, lineage, lease_ms, stopping, followers, snapshots, fetches }
    }

    async fn is_ready(&self) -> Result<bool, Status> {
        if matches!(self.region.role(), Role::Primary { .. }) {
            return Ok(true);
        }
        let phase = self.region.mirror_phase().await.map_err(|error| status_of(&error))?;
        Ok(phase == MirrorPhase::Following)
    }

    async fn expect_ready(&self) -> Result<(), Status> {
        if self.is_ready().await? {
            return Ok(());
        }
        Err(Reason::NotReady.status("this mirror still bootstraps and cannot be followed yet"))
    }

    async fn describe(&self) -> Result<Described, Status> {
        let status = |error| status_of(&error);
        let state = self.region.state().await.map_err(status)?;
        let ready = self.is_ready().await?;
        let name = self.region.settings().await.map(|settings| settings.name).unwrap_or_default();
        Ok(Described {
            protocol: PROTOCOL,
            volume_id: self.volume_id,
            volume_name: shortened(&name),
            region_id: self.region.id(),
            primary: matches!(self.region.role(), Role::Primary { .. }),
            position: state.position,
            digest: state.digest,
            upstreams: self.lineage.upstreams(),
            ready,
            used_inodes: self.region.usage().await.map_err(status)?.inodes,
        })
    }

    fn check_mirror(&self, volume_id: &[u8], mirror_id: &[u8]) -> Result<farshore_proto::RegionId, Status> {
        checks::volume(volume_id, self.volume_id)?;
        let mirror = checks::mirror(mirror_id)?;
        checks::no_loop(mirror, self.region.id(), &self.lineage.upstreams())?;
        Ok(mirror)
    }
}

/// A name as it may be sent: of bounded length, without control characters.
fn shortened(name: &str) -> String {
    let clean = name.chars().filter(|character| !character.is_control());
    let mut short = String::new();
    clean.for_each(|character| {
        if short.len() + character.len_utf8() <= MAX_LABEL_BYTES {
            short.push(character);
        }
    });
    short
}

/// One of a bounded number of places.
fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Status> {
    let busy = |_| Status::resource_exhausted("this region serves as many mirrors as it can; try again later");
    Arc::clone(places).try_acquire_owned().map_err(busy)
}

/// The first message of a follower.
async fn start_of(inbound: &mut Streaming<wire::FollowRequest>) -> Result<wire::FollowStart, Status> {
    let first = timeout(START_WITHIN, inbound.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("the follower did not say from where"))??;
    match first.and_then(|first| first.event) {
        Some(wire::follow_request::Event::Start(start)) => Ok(start),
        _ => Err(Status::invalid_argument("a follower begins with its start")),
    }
}

#[async_trait]
impl wire::replication_server::Replication for Service {
    async fn describe(&self, request: Request<wire::DescribeRequest>) -> Served<wire::DescribeReply> {
        checks::protocol(request.get_ref().protocol)?;
        Ok(Response::new(Self::describe(self).await?.to_wire()))
    }

    async fn register(&self, request: Request<wire::RegisterRequest>) -> Served<wire::RegisterReply> {
        let request = request.get_ref();
        let mirror = self.check_mirror(&request.volume_id, &request.mirror_id)?;
        let name = message::label(&request.mirror_name)?;
        let from = checks::resume_from(request)?;
        self.expect_ready().await?;
        let pinned = registration::register(&self.region, mirror, &name, from).await?;
        tracing::info!(%mirror, name, position = ?pinned, new = from.is_none(), "a mirror is registered");
        Ok(Response::new(wire::RegisterReply { pinned: Some(pinned.into()), lease_ms: self.lease_ms }))
    }

    type SnapshotStream = ReceiverStream<Result<wire::SnapshotPage, Status>>;

    async fn snapshot(&self, request: Request<wire::SnapshotRequest>) -> Served<Self::SnapshotStream> {
        let request = request.get_ref();
        let mirror = self.check_mirror(&request.volume_id, &request.mirror_id)?;
        message::key_range(&request.begin, &request.end)?;
        self.expect_ready().await?;
        let known = registration::heard_of(&self.region, mirror).await.map_err(|error| status_of(&error))?;
        if !known {
            return Err(Reason::NotRegistered.status("a mirror must register before it copies"));
        }
        let (out, pages) = mpsc::channel(1);
        tokio::spawn(snapshot::serve(snapshot::Snapshot {
            region: Arc::clone(&self.region),
            mirror,
            begin: request.begin.to_vec(),
            end: request.end.to_vec(),
            out,
            permit: place(&self.snapshots)?,
        }));
        Ok(Response::new(ReceiverStream::new(pages)))
    }

    type FollowStream = ReceiverStream<follow::Sent>;

    async fn follow(&self, request: Request<Streaming<wire::FollowRequest>>) -> Served<Self::FollowStream> {
        let permit = place(&self.followers)?;
        let mut inbound = request.into_inner();
        let start = start_of(&mut inbound).await?;
        let mirror = self.check_mirror(&start.volume_id, &start.mirror_id)?;
        let from = message::position(start.from.as_ref())?;
        self.expect_ready().await?;
        let (out, intervals) = mpsc::channel(1);
        tokio::spawn(follow::serve(follow::Follower {
            region: Arc::clone(&self.region),
            lineage: self.lineage.clone(),
            mirror,
            from,
            inbound,
            out,
            stopping: self.stopping.clone(),
            permit,
        }));
        Ok(Response::new(ReceiverStream::new(intervals)))
    }

    type FetchBlockStream = Iter<std::vec::IntoIter<Result<wire::BlockPiece, Status>>>;

    async fn fetch_block(&self, request: Request<wire::FetchBlockRequest>) -> Served<Self::FetchBlockStream> {
        let request = request.get_ref();
        self.check_mirror(&request.volume_id, &request.mirror_id)?;
        let (name, groups) = checks::groups(request)?;
        let place = Arc::clone(&self.fetches).acquire_owned();
        let fetched = timeout(FETCH_WITHIN, async {
            let _place = place.await;
            self.blocks.fetch(name, groups.clone()).await
        });
        let fetched = fetched.await.map_err(|_| Status::deadline_exceeded("the block did not come in time"))?;
        let piece = fetched.map_err(|error| pieces::status_of_block(&error))?;
        let messages: Vec<_> = pieces::pieces(&piece, &groups).into_iter().map(Ok).collect();
        Ok(Response::new(stream::iter(messages)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_to_what_a_peer_accepts() {
        let long = shortened(&"é".repeat(300));
        assert_eq!(long.len(), 254);
        assert_eq!(shortened("a\u{7}b"), "ab");
        assert!(message::label(&long).is_ok());
    }
}
