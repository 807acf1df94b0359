//! What must not be followed, applied or served, and how it is told.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use farshore_blocks::{BlockError, BlockKey, BlockReader, Origin, ReaderOptions, name_of};
use farshore_meta::Region;
use farshore_proto::wire::replication_client::ReplicationClient;
use farshore_proto::wire::replication_server::{Replication, ReplicationServer};
use farshore_proto::{RegionId, VolumeId, wire};
use farshore_replicator::{
    FollowerPhase, Lineage, Publisher, ReplicatorError, ServedBlocks, Upstream, UpstreamOrigin, open_mirror,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use support::*;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};

type Client = ReplicationClient<Channel>;
/// Changes an interval on its way; the number counts them.
type Tamper = Arc<dyn Fn(usize, &mut wire::Interval) + Send + Sync>;

/// A publisher that hands on what another sends, and tampers with its intervals.
struct Proxy {
    inner: Client,
    tamper: Tamper,
    count: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl Replication for Proxy {
    async fn describe(&self, request: Request<wire::DescribeRequest>) -> Result<Response<wire::DescribeReply>, Status> {
        self.inner.clone().describe(request.into_inner()).await
    }

    async fn register(&self, request: Request<wire::RegisterRequest>) -> Result<Response<wire::RegisterReply>, Status> {
        self.inner.clone().register(request.into_inner()).await
    }

    type SnapshotStream = Streaming<wire::SnapshotPage>;

    async fn snapshot(
        &self,
        request: Request<wire::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.inner.clone().snapshot(request.into_inner()).await
    }

    type FollowStream = BoxStream<'static, Result<wire::Interval, Status>>;

    async fn follow(
        &self,
        request: Request<Streaming<wire::FollowRequest>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let requests = request.into_inner().filter_map(|request| std::future::ready(request.ok()));
        let intervals = self.inner.clone().follow(requests).await?.into_inner();
        let (tamper, count) = (Arc::clone(&self.tamper), Arc::clone(&self.count));
        let tampered = intervals.map(move |interval| {
            interval.map(|mut interval| {
                tamper(count.fetch_add(1, Ordering::Relaxed), &mut interval);
                interval
            })
        });
        Ok(Response::new(tampered.boxed()))
    }

    type FetchBlockStream = Streaming<wire::BlockPiece>;

    async fn fetch_block(
        &self,
        request: Request<wire::FetchBlockRequest>,
    ) -> Result<Response<Self::FetchBlockStream>, Status> {
        self.inner.clone().fetch_block(request.into_inner()).await
    }
}

async fn proxy(publisher: &Publisher, tamper: Tamper) -> Upstream {
    let inner = ReplicationClient::connect(format!("http://{}", publisher.address())).await.unwrap();
    let proxy = Proxy { inner, tamper, count: Arc::default() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().add_service(ReplicationServer::new(proxy));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    Upstream::new(&format!("http://{address}"), None).unwrap()
}

fn reseal(interval: &mut wire::Interval) {
    use prost::Message;
    interval.checksum = Bytes::new();
    interval.checksum = Bytes::copy_from_slice(blake3::hash(&interval.encode_to_vec()).as_bytes());
}

/// Flips a bit in the value of an interval's first change, if it has one.
fn flip(interval: &mut wire::Interval) -> bool {
    let changes = interval.commits.iter_mut().flat_map(|commit| &mut commit.changes);
    let Some(value) = changes.filter_map(|change| change.value.as_mut()).find(|value| value.len() > 20) else {
        return false;
    };
    let mut damaged = value.to_vec();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    *value = damaged.into();
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interval_damaged_on_its_way_is_never_applied_and_comes_again() {
    let directory = tempfile::tempdir().unwrap();
    let region = primary(&directory.path().join("primary")).await;
    let publisher = publish(&region, Lineage::primary()).await;
    let armed = Arc::new(AtomicBool::new(false));
    let trigger = Arc::clone(&armed);
    let tamper: Tamper = Arc::new(move |_, interval| {
        if trigger.load(Ordering::Relaxed) && flip(interval) {
            trigger.store(false, Ordering::Relaxed);
        }
    });
    let upstream = proxy(&publisher, tamper).await;
    let mirror = Mirror::start(&directory.path().join("mirror"), &upstream).await;
    mirror.ready().await;
    for round in 1..4 {
        armed.store(true, Ordering::Relaxed);
        make_files(&region, &format!("round-{round}"), 50).await;
        mirror.catches_up_with(&region).await;
        assert!(!armed.load(Ordering::Relaxed));
        assert_eq!(mirror.handle.status().malformed, round);
    }
    until("following", async || mirror.handle.status().last_error.is_none()).await;
    assert_eq!(mirror.handle.status().phase, FollowerPhase::Following);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intervals_lost_repeated_or_swapped_are_never_applied() {
    let directory = tempfile::tempdir().unwrap();
    let region = primary(&directory.path().join("primary")).await;
    let publisher = publish(&region, Lineage::primary()).await;
    let kept = parking_lot::Mutex::new(None::<wire::Interval>);
    let tamper: Tamper = Arc::new(move |count, interval| {
        // Every seventh is replaced by the one before: one is lost and one comes twice.
        let mut kept = kept.lock();
        match kept.take() {
            Some(before) if count % 7 == 6 => *interval = before,
            _ => *kept = Some(interval.clone()),
        }
    });
    let upstream = proxy(&publisher, tamper).await;
    let mirror = Mirror::start(&directory.path().join("mirror"), &upstream).await;
    mirror.ready().await;
    for round in 0..10 {
        make_files(&region, &format!("round-{round}"), 5).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    mirror.catches_up_with(&region).await;
    assert!(mirror.handle.status().malformed > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_divergence_stops_the_mirror_before_it_is_applied_and_reads_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let region = primary(&directory.path().join("primary")).await;
    let publisher = publish(&region, Lineage::primary()).await;
    let armed = Arc::new(AtomicUsize::new(0));
    let trigger = Arc::clone(&armed);
    let tamper: Tamper = Arc::new(move |_, interval| {
        if trigger.load(Ordering::Relaxed) == 1 && flip(interval) {
            reseal(interval);
        }
    });
    let upstream = proxy(&publisher, tamper).await;
    let mirror = Mirror::start(&directory.path().join("mirror"), &upstream).await;
    mirror.ready().await;
    make_files(&region, "good", 20).await;
    mirror.catches_up_with(&region).await;
    let good = rows(&mirror.region).await;
    armed.store(1, Ordering::Relaxed);
    make_files(&region, "bad", 1).await;
    until("the stop", async || mirror.handle.status().phase == FollowerPhase::Stopped).await;
    let error = mirror.handle.status().last_error.unwrap();
    assert!(
        matches!(error, ReplicatorError::Diverged { .. }) && error.to_string().contains("bootstrap anew"),
        "{error}"
    );
    let waited = mirror.handle.wait_visible(region.state().await.unwrap().position, LONG).await;
    assert!(matches!(waited, Err(ReplicatorError::Diverged { .. })), "a wait does not wait for nothing");
    let held = rows(&mirror.region).await;
    assert!(held.len() >= good.len(), "whole commits that agree may have come before the one that does not");
    let theirs = rows(&region).await;
    assert!(held.iter().all(|row| good.contains(row) || theirs.contains(row)), "and nothing that was damaged");
    assert!(mirror.handle.ready().await.is_ok(), "it was ready, and is read on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_of_another_volume_stops_and_names_both() {
    let directory = tempfile::tempdir().unwrap();
    let region = primary(&directory.path().join("primary")).await;
    let other_id = VolumeId::from_random([77; 16]);
    let other = volume(&directory.path().join("other"), other_id, "the other").await;
    let (publisher, elsewhere) =
        (publish(&region, Lineage::primary()).await, publish(&other, Lineage::primary()).await);
    let at = directory.path().join("mirror");
    let mirror = Mirror::start(&at, &upstream(&publisher)).await;
    mirror.ready().await;
    let before = rows(&mirror.region).await;
    mirror.stop().await;
    let mirror = Mirror::start(&at, &upstream(&elsewhere)).await;
    until("the stop", async || mirror.handle.status().phase == FollowerPhase::Stopped).await;
    let error = mirror.handle.status().last_error.unwrap().to_string();
    let named = ["the other".to_owned(), other_id.to_string(), volume_id().to_string()];
    assert!(named.iter().all(|part| error.contains(part)), "{error}");
    assert_eq!(rows(&mirror.region).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_would_follow_itself_stops() {
    let directory = tempfile::tempdir().unwrap();
    let region = primary(&directory.path().join("primary")).await;
    let publisher = publish(&region, Lineage::primary()).await;
    let at = directory.path().join("first");
    let first = Mirror::start(&at, &upstream(&publisher)).await;
    first.ready().await;
    let (first_region, first_handle) = (Arc::clone(&first.region), first.handle.clone());
    let middle = publish(&first_region, first_handle.lineage()).await;
    let second = Mirror::start(&directory.path().join("second"), &upstream(&middle)).await;
    second.ready().await;
    let end = publish(&second.region, second.handle.lineage()).await;

    // The first is told to follow itself, and then the one below it.
    first_handle.stop().await;
    for wrong in [&middle, &end] {
        let again = Mirror::follow(Arc::clone(&first_region), &upstream(wrong));
        until("the stop", async || again.handle.status().phase == FollowerPhase::Stopped).await;
        let error = again.handle.status().last_error.unwrap();
        assert!(matches!(error, ReplicatorError::SelfUpstream { .. }), "{error}");
        again.handle.stop().await;
    }
    let own = open_mirror(Arc::clone(region.engine()), &upstream(&publisher)).await;
    assert!(matches!(own, Err(ReplicatorError::NotAMirror)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_was_away_past_its_lease_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let region = primary(&directory.path().join("primary")).await;
    let publisher = publish(&region, Lineage::primary()).await;
    let at = directory.path().join("mirror");
    let mirror = Mirror::start(&at, &upstream(&publisher)).await;
    mirror.ready().await;
    mirror.stop().await;
    make_files(&region, "away", 20).await;
    for known in region.mirrors().await.unwrap() {
        assert!(region.evict_mirror(&known).await.unwrap());
    }
    region.trim_log(region.state().await.unwrap().position).await.unwrap();
    let mirror = Mirror::start(&at, &upstream(&publisher)).await;
    until("the stop", async || mirror.handle.status().phase == FollowerPhase::Stopped).await;
    let error = mirror.handle.status().last_error.unwrap();
    assert!(matches!(error, ReplicatorError::LogTrimmed { .. }) && error.to_string().contains("anew"), "{error}");
    assert!(region.mirrors().await.unwrap().is_empty(), "what cannot be served holds nothing back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_is_not_there_is_an_error_for_a_new_mirror_and_waited_for_by_an_old_one() {
    let directory = tempfile::tempdir().unwrap();
    let region = primary(&directory.path().join("primary")).await;
    let publisher = publish(&region, Lineage::primary()).await;
    let (at, upstream) = (directory.path().join("mirror"), upstream(&publisher));
    let mirror = Mirror::start(&at, &upstream).await;
    mirror.ready().await;
    mirror.stop().await;
    publisher.stop().await;
    let fresh = open_mirror(engine(&directory.path().join("fresh")), &upstream).await;
    assert!(matches!(fresh, Err(ReplicatorError::Unreachable { .. })));
    let mirror = Mirror::start(&at, &upstream).await;
    mirror.ready().await;
    until("an error", async || mirror.handle.status().last_error.is_some()).await;
    assert_eq!(mirror.handle.status().phase, FollowerPhase::Disconnected);
}

async fn client(publisher: &Publisher) -> Client {
    ReplicationClient::connect(format!("http://{}", publisher.address())).await.unwrap()
}

fn id_bytes(byte: u8) -> Bytes {
    Bytes::copy_from_slice(RegionId::from_random([byte; 16]).as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_no_mirror_makes_get_errors() {
    let directory = tempfile::tempdir().unwrap();
    let region = primary(&directory.path().join("primary")).await;
    let publisher = publish(&region, Lineage::primary()).await;
    let mut client = client(&publisher).await;
    let ours = Bytes::copy_from_slice(volume_id().as_bytes());
    let described = client.describe(wire::DescribeRequest { protocol: 99 }).await;
    assert!(described.unwrap_err().message().contains("protocol"));

    let register = |volume_id: Bytes, mirror_id: Bytes, name: &str| wire::RegisterRequest {
        volume_id,
        mirror_id,
        mirror_name: name.to_owned(),
        resume_from: None,
    };
    let own = Bytes::copy_from_slice(region.id().as_bytes());
    for bad in [
        register(Bytes::from_static(b"short"), id_bytes(1), "x"),
        register(id_bytes(8), id_bytes(1), "x"),
        register(ours.clone(), Bytes::new(), "x"),
        register(ours.clone(), own, "x"),
        register(ours.clone(), id_bytes(1), &"x".repeat(300)),
        register(ours.clone(), id_bytes(1), "bell\u{7}"),
    ] {
        assert!(client.register(bad).await.is_err());
    }
    assert!(region.mirrors().await.unwrap().is_empty());

    let snapshot = |begin: &'static [u8], end: &'static [u8]| wire::SnapshotRequest {
        volume_id: ours.clone(),
        mirror_id: id_bytes(1),
        begin: Bytes::from_static(begin),
        end: Bytes::from_static(end),
    };
    let unregistered = client.snapshot(snapshot(b"D", b"E")).await.unwrap_err();
    assert!(unregistered.message().contains("register"), "{unregistered}");
    client.register(register(ours.clone(), id_bytes(1), "x")).await.unwrap();
    for (begin, end) in [(b"A".as_slice(), b"E".as_slice()), (b"D", b"Z"), (b"E", b"D"), (b"D", b"D")] {
        assert!(client.snapshot(snapshot(begin, end)).await.is_err());
    }
    assert!(client.snapshot(snapshot(b"D", b"E")).await.is_ok());

    let no_start = futures::stream::iter([wire::FollowRequest { event: None }]);
    assert!(client.follow(no_start).await.is_err());
    let huge = wire::SnapshotRequest { begin: vec![b'D'; 1 << 20].into(), ..snapshot(b"D", b"E") };
    assert!(client.snapshot(huge).await.is_err());
    let fetch = wire::FetchBlockRequest { volume_id: ours, mirror_id: id_bytes(1), ..Default::default() };
    assert!(client.fetch_block(fetch).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_come_from_the_upstream_verified() {
    let directory = tempfile::tempdir().unwrap();
    let region = primary(&directory.path().join("primary")).await;
    let blocks: Vec<Bytes> = [0, 1, 65_536, 3_000_000]
        .map(|len: usize| (0..len).map(|at| (at / 11) as u8).collect::<Vec<_>>().into())
        .to_vec();
    let key = BlockKey::new(KEY);
    let store: Arc<dyn Origin> = Arc::new(Blocks::with(&blocks));
    let cached = BlockReader::new(key.clone(), None, vec![Arc::clone(&store)], &ReaderOptions::default());
    let served = Arc::new(ServedBlocks::new(cached.clone(), key.clone(), store));
    let publisher = Publisher::start(region, served, Lineage::primary(), &options()).await.unwrap();
    for warm in [false, true] {
        let origin = UpstreamOrigin::new(&upstream(&publisher), volume_id(), RegionId::from_random([9; 16]));
        let reader = BlockReader::new(key.clone(), None, vec![Arc::new(origin)], &ReaderOptions::default());
        for block in &blocks {
            let name = name_of(&key, block);
            let len = block.len() as u32;
            let part = len / 3..len / 2;
            let read = reader.read(name, part.clone(), farshore_blocks::ReadHint::Demand).await.unwrap();
            assert_eq!(read, block[part.start as usize..part.end as usize], "warm: {warm}");
            let whole = reader.read(name, 0..len, farshore_blocks::ReadHint::Sequential).await.unwrap();
            assert_eq!(whole, *block);
            cached.prefetch(name).await.unwrap();
        }
        let unknown = name_of(&key, b"never stored");
        let missing = reader.read(unknown, 0..1, farshore_blocks::ReadHint::Demand).await.unwrap_err();
        assert_eq!(missing.remedy(), farshore_blocks::Remedy::Elsewhere, "{missing}");
    }
    let origin = UpstreamOrigin::new(&upstream(&publisher), volume_id(), RegionId::from_random([9; 16]));
    publisher.stop().await;
    let begun = std::time::Instant::now();
    let gone = origin.fetch(name_of(&key, &blocks[1]), 0..1).await.unwrap_err();
    assert!(matches!(gone, BlockError::Origin { .. }) && begun.elapsed() < Duration::from_secs(6), "{gone}");
}

#[tokio::test]
async fn addresses_that_cannot_be_listened_at_say_why() {
    let directory = tempfile::tempdir().unwrap();
    let region: Arc<Region> = primary(&directory.path().join("primary")).await;
    let publisher = publish(&region, Lineage::primary()).await;
    let start = |listen: SocketAddr| {
        let (region, mut options) = (Arc::clone(&region), options());
        options.listen = listen;
        async move { Publisher::start(region, Arc::new(Blocks::default()), Lineage::primary(), &options).await }
    };
    assert!(matches!(start(publisher.address()).await, Err(ReplicatorError::AddressInUse { .. })));
    assert!(matches!(start("0.0.0.0:0".parse().unwrap()).await, Err(ReplicatorError::Insecure { .. })));
    assert!(matches!(start("192.0.2.1:0".parse().unwrap()).await, Err(ReplicatorError::Insecure { .. })));
}
