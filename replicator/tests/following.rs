//! Mirrors that bootstrap, follow, are killed and resumed, and chains of them, over real
//! connections and real engines.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use farshore_meta::{Ino, MirrorPhase, Region};
use farshore_replicator::{Follower, FollowerOptions, FollowerPhase, Lineage, open_mirror};
use support::*;

/// Writes, renames and removes until told to stop; returns how many files it made.
fn keep_writing(region: &Arc<Region>, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<usize> {
    let (region, stop) = (Arc::clone(region), Arc::clone(stop));
    tokio::spawn(async move {
        let tree = tree(&region);
        let mut made = 0;
        while !stop.load(Ordering::Relaxed) {
            make_files(&region, &format!("live-{made}"), 3).await;
            tree.unlink(Ino::ROOT, &name(&format!("live-{made}-1")), NOW).await.unwrap();
            made += 1;
        }
        made
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_bootstraps_under_writes_and_follows() {
    let directory = tempfile::tempdir().unwrap();
    let region = primary(&directory.path().join("primary")).await;
    make_files(&region, "before", 3_000).await;
    let publisher = publish(&region, Lineage::primary()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = keep_writing(&region, &stop);
    let mirror = Mirror::start(&directory.path().join("mirror"), &upstream(&publisher)).await;
    mirror.ready().await;
    assert!(mirror.handle.status().bootstrap.is_none());
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    assert!(writer.await.unwrap() > 0);
    mirror.catches_up_with(&region).await;
    make_files(&region, "after", 10).await;
    mirror.catches_up_with(&region).await;

    let status = mirror.handle.status();
    assert_eq!(status.phase, FollowerPhase::Following);
    assert!(status.commits > 0 && status.last_error.is_none(), "{status:?}");
    until("staleness", async || mirror.handle.status().staleness_ms.is_some_and(|ms| ms < 1_500.0)).await;
    let known = region.mirrors().await.unwrap();
    assert_eq!((known.len(), known[0].name.as_str()), (1, "a mirror"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_killed_anywhere_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let (at, region) = (directory.path().join("mirror"), primary(&directory.path().join("primary")).await);
    make_files(&region, "before", 3_000).await;
    let publisher = publish(&region, Lineage::primary()).await;
    let upstream = upstream(&publisher);
    let mut phases = Vec::new();
    for attempt in 0..60_u64 {
        let mirror = Mirror::start(&at, &upstream).await;
        tokio::time::sleep(Duration::from_millis(4 * attempt)).await;
        make_files(&region, &format!("during-{attempt}"), 2).await;
        let phase = mirror.region.mirror_phase().await.unwrap();
        mirror.stop().await;
        phases.push(phase.clone());
        if phase == MirrorPhase::Following {
            break;
        }
    }
    assert!(phases.iter().any(|phase| matches!(phase, MirrorPhase::Bootstrapping(_))), "{phases:?}");
    let mirror = Mirror::start(&at, &upstream).await;
    mirror.ready().await;
    mirror.catches_up_with(&region).await;
    assert_eq!(region.mirrors().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_comes_and_goes_costs_nothing_but_time() {
    let directory = tempfile::tempdir().unwrap();
    let region = primary(&directory.path().join("primary")).await;
    make_files(&region, "before", 500).await;
    let mut publisher = publish(&region, Lineage::primary()).await;
    let mut options = options();
    options.listen = publisher.address();
    let mirror = Mirror::start(&directory.path().join("mirror"), &upstream(&publisher)).await;
    for round in 0..4 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        publisher.stop().await;
        make_files(&region, &format!("round-{round}"), 5).await;
        until("disconnection", async || mirror.handle.status().phase == FollowerPhase::Disconnected).await;
        assert!(mirror.handle.status().last_error.is_some());
        let blocks = Arc::new(Blocks::default());
        let again = farshore_replicator::Publisher::start(Arc::clone(&region), blocks, Lineage::primary(), &options);
        publisher = again.await.unwrap();
        mirror.ready().await;
        mirror.catches_up_with(&region).await;
    }
    assert!(mirror.handle.status().connections >= 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_can_be_followed_and_change_its_upstream() {
    let directory = tempfile::tempdir().unwrap();
    let region = primary(&directory.path().join("primary")).await;
    make_files(&region, "before", 200).await;
    let publisher = publish(&region, Lineage::primary()).await;
    let first = Mirror::start(&directory.path().join("first"), &upstream(&publisher)).await;
    let middle = publish(&first.region, first.handle.lineage()).await;
    // The second begins while the first may still bootstrap: it waits for it.
    let second = Mirror::start(&directory.path().join("second"), &upstream(&middle)).await;
    second.ready().await;
    make_files(&region, "after", 50).await;
    first.catches_up_with(&region).await;
    second.catches_up_with(&region).await;
    assert_eq!(second.handle.lineage().upstreams(), [first.region.id(), region.id()]);
    until("staleness", async || second.handle.status().staleness_ms.is_some_and(|ms| ms < 2_500.0)).await;

    let at = directory.path().join("second");
    second.stop().await;
    make_files(&region, "between", 20).await;
    let second = Mirror::start(&at, &upstream(&publisher)).await;
    second.catches_up_with(&region).await;
    assert_eq!(second.handle.lineage().upstreams(), [region.id()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_loses_its_primary_says_how_old_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let region = primary(&directory.path().join("primary")).await;
    let publisher = publish(&region, Lineage::primary()).await;
    let first = Mirror::start(&directory.path().join("first"), &upstream(&publisher)).await;
    first.ready().await;
    let middle = publish(&first.region, first.handle.lineage()).await;
    let second = Mirror::start(&directory.path().join("second"), &upstream(&middle)).await;
    second.ready().await;
    until("staleness", async || second.handle.status().staleness_ms.is_some()).await;
    publisher.stop().await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let (near, far) = (first.handle.status(), second.handle.status());
    assert_eq!(far.phase, FollowerPhase::Following, "its own upstream is there");
    assert!(near.staleness_ms.unwrap() >= 2_000.0 && far.staleness_ms.unwrap() >= 2_000.0, "{near:?} {far:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_is_told_and_a_slow_invalidator_holds_nothing_up_for_long() {
    let directory = tempfile::tempdir().unwrap();
    let region = primary(&directory.path().join("primary")).await;
    let publisher = publish(&region, Lineage::primary()).await;
    let upstream = upstream(&publisher);
    let mirror = Arc::new(open_mirror(engine(&directory.path().join("mirror")), &upstream).await.unwrap());
    let options = FollowerOptions { name: "slow".into(), seed: 1 };
    let (handle, mut applied) = Follower::start(Arc::clone(&mirror), upstream, options).unwrap();
    handle.ready().await.unwrap();
    let first = applied.recv().await.unwrap();
    assert!(first.changed.is_empty(), "nothing was mounted before");
    handle.set_visible(first.to);

    make_files(&region, "unseen", 100).await;
    let position = region.state().await.unwrap().position;
    until("applying", async || handle.status().applied >= Some(position)).await;
    assert!(handle.status().visible < Some(position), "nobody has invalidated");
    let wait = handle.wait_visible(position, Duration::from_millis(100)).await;
    assert!(wait.unwrap_err().to_string().contains("not visible"));

    let mut told = Vec::new();
    while handle.status().visible < Some(position) {
        let news = applied.recv().await.unwrap();
        told.extend(news.changed);
        handle.set_visible(news.to);
    }
    let entries = told.iter().filter(|key| matches!(key, farshore_meta::DurableKey::Entry(..)));
    assert_eq!(entries.count(), 100);
    handle.wait_visible(position, Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_pair_writes_next_to_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let region = primary(&directory.path().join("primary")).await;
    let publisher = publish(&region, Lineage::primary()).await;
    let mirror = Mirror::start(&directory.path().join("mirror"), &upstream(&publisher)).await;
    mirror.ready().await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let before = (region.engine_version().await.unwrap(), mirror.region.engine_version().await.unwrap());
    tokio::time::sleep(Duration::from_secs(4)).await;
    let after = (region.engine_version().await.unwrap(), mirror.region.engine_version().await.unwrap());
    assert!(after.0.batch() - before.0.batch() <= 1, "{before:?} {after:?}");
    assert!(after.1.batch() - before.1.batch() <= 1, "{before:?} {after:?}");
    assert!(mirror.handle.status().staleness_ms.unwrap() < 1_500.0, "and yet it is known to be fresh");
}
