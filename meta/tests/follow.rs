//! A mirror's rows: bootstrap under writes, whole commits, and divergence that is not applied.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use farshore_meta::engine::{EmbeddedEngine, Engine};
use farshore_meta::{
    AttrChange, Change, DURABLE, Digest, FileKind, FsError, Ino, MirrorPhase, Region, RenameMode, Tree,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::{NOW, bootstrap, catch_up, mirror, name, new, options, primary, primary_on, tree};

/// A few changes of every kind.
async fn change(tree: &Tree, rng: &mut StdRng) {
    for _ in 0..5 {
        let names = [0; 2].map(|_| name(&format!("n{}", rng.random_range(0..40))));
        let made = tree.create(Ino::ROOT, &names[0], &new(FileKind::File), NOW).await;
        if let Ok((ino, _)) = made {
            let data = Bytes::from(vec![7; rng.random_range(0..2_000)]);
            tree.write_inline(ino, &data, &AttrChange::default()).await.unwrap();
        }
        let moved = tree.rename((Ino::ROOT, &names[0]), (Ino::ROOT, &names[1]), RenameMode::Replace, NOW).await;
        assert!(matches!(moved, Ok(_) | Err(FsError::NotFound)));
        let removed = tree.unlink(Ino::ROOT, &names[1], NOW).await;
        assert!(matches!(removed, Ok(_) | Err(FsError::NotFound)));
    }
    let orphans = tree.orphans(100).await.unwrap();
    tree.reap(&orphans, NOW).await.unwrap();
}

async fn rows(region: &Region) -> Vec<farshore_meta::engine::KeyValue> {
    let (begin, end) = farshore_meta::DURABLE;
    region.page(begin, end, usize::MAX).await.unwrap().rows
}

async fn expect_equal(a: &Region, b: &Region) {
    assert_eq!(a.state().await.unwrap().digest, b.state().await.unwrap().digest);
    let (rows_a, rows_b) = (rows(a).await, rows(b).await);
    assert!(rows_a == rows_b);
    let sum = rows_b.iter().fold(Digest::default(), |sum, (k, v)| sum.plus(Digest::of_change(k, None, Some(v))));
    assert_eq!(sum, b.state().await.unwrap().digest, "the digest is that of the rows");
    assert_eq!(a.usage().await.unwrap(), b.usage().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_under_writes_converges_and_goes_on() {
    for seed in 0..5 {
        let directory = tempfile::tempdir().unwrap();
        let upstream = primary(directory.path()).await;
        let tree = tree(&upstream);
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..20 {
            change(&tree, &mut rng).await;
        }
        let mirror = mirror(directory.path(), "mirror").await;
        bootstrap(&upstream, &mirror, async || change(&tree, &mut rng).await).await;
        assert!(matches!(mirror.mirror_phase().await.unwrap(), MirrorPhase::Bootstrapping(_)));
        catch_up(&upstream, &mirror, 3_000).await;
        assert_eq!(mirror.mirror_phase().await.unwrap(), MirrorPhase::Following);
        expect_equal(&upstream, &mirror).await;
        for _ in 0..10 {
            change(&tree, &mut rng).await;
            catch_up(&upstream, &mirror, rng.random_range(500..50_000)).await;
            expect_equal(&upstream, &mirror).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_can_be_followed_from_its_own_log() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = primary(directory.path()).await;
    let tree = tree(&upstream);
    let mut rng = StdRng::seed_from_u64(1);
    change(&tree, &mut rng).await;
    let first = mirror(directory.path(), "first").await;
    bootstrap(&upstream, &first, async || {}).await;
    catch_up(&upstream, &first, 10_000).await;
    let second = mirror(directory.path(), "second").await;
    bootstrap(&first, &second, async || {}).await;
    for _ in 0..5 {
        change(&tree, &mut rng).await;
        catch_up(&upstream, &first, 2_000).await;
        catch_up(&first, &second, 1_000).await;
    }
    expect_equal(&upstream, &second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_diverge_or_does_not_tile_is_not_applied() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = primary(directory.path()).await;
    let tree = tree(&upstream);
    let mirror = mirror(directory.path(), "mirror").await;
    bootstrap(&upstream, &mirror, async || {}).await;
    catch_up(&upstream, &mirror, 10_000).await;
    let before = mirror.state().await.unwrap();
    tree.create(Ino::ROOT, &name("new"), &new(FileKind::File), NOW).await.unwrap();
    let good = upstream.interval(before.position, usize::MAX).await.unwrap();

    let mut lost = good.clone();
    lost.commits[0].changes.pop();
    let mut flipped = good.clone();
    let change: &mut Change = &mut flipped.commits[0].changes[0];
    let mut value = change.value.clone().unwrap().to_vec();
    *value.last_mut().unwrap() ^= 1;
    change.value = Some(value.into());
    for bad in [lost, flipped] {
        assert!(matches!(mirror.apply(&bad).await, Err(FsError::Diverged(_))));
        assert_eq!(mirror.state().await.unwrap(), before, "nothing of it was applied");
    }
    let mut unknown = good.clone();
    unknown.commits[0].changes[0].key = Bytes::from_static(b"DZ");
    assert!(matches!(mirror.apply(&unknown).await, Err(FsError::Corrupt(_))));

    mirror.apply(&good).await.unwrap();
    assert!(matches!(mirror.apply(&good).await, Err(FsError::Diverged(_))), "a repeat does not tile");
    expect_equal(&upstream, &mirror).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_kept_for_registered_mirrors_and_no_longer() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = primary(directory.path()).await;
    let tree = tree(&upstream);
    let start = upstream.state().await.unwrap().position;
    let record = farshore_meta::MirrorRecord {
        id: farshore_proto::RegionId::from_random([9; 16]),
        name: "east".into(),
        applied: start,
        visible: start,
        heard_unix_ms: 0,
    };
    upstream.put_mirror(&record).await.unwrap();
    tree.create(Ino::ROOT, &name("new"), &new(FileKind::File), NOW).await.unwrap();
    let now = upstream.state().await.unwrap().position;
    assert!(upstream.trim_log(now).await.unwrap() <= start, "a mirror still needs it");
    assert_eq!(upstream.interval(start, usize::MAX).await.unwrap().commits.len(), 2);
    upstream.put_mirror(&farshore_meta::MirrorRecord { applied: now, ..record }).await.unwrap();
    assert_eq!(upstream.trim_log(now).await.unwrap(), now);
    assert!(matches!(upstream.interval(start, usize::MAX).await, Err(FsError::LogTrimmed(_))));
    assert!(upstream.interval(now, usize::MAX).await.unwrap().commits.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_the_region_survives_a_power_cut_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Arc::new(EmbeddedEngine::create(directory.path().join("primary"), &options()).unwrap());
    let upstream = primary_on(Arc::clone(&engine) as Arc<dyn Engine>).await;
    let tree = tree(&upstream);
    let mut from = upstream.state().await.unwrap().position;
    for number in 0..5 {
        tree.create(Ino::ROOT, &name(&format!("file-{number}")), &new(FileKind::File), NOW).await.unwrap();
        if number % 2 == 0 {
            from = upstream.interval(from, usize::MAX).await.unwrap().to;
            assert!(engine.durable() >= from.version);
        } else {
            let page = upstream.page(DURABLE.0, DURABLE.1, usize::MAX).await.unwrap();
            assert!(engine.durable() >= page.read_at.version);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_takes_no_writes() {
    let directory = tempfile::tempdir().unwrap();
    let mirror = Arc::new(mirror(directory.path(), "mirror").await);
    let made = tree(&mirror).create(Ino::ROOT, &name("new"), &new(FileKind::File), NOW).await;
    assert!(matches!(made, Err(FsError::ReadOnly)));
}
