//! Tests of what only the embedded engine promises: one owner, rows that outlive the
//! process, damage that is noticed, failed writes that stop it. And a model test.

mod durability;
mod model;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::engine::{Isolation, RangeRead, contract};

fn relaxed() -> EmbeddedOptions {
    EmbeddedOptions { durability: Durability::Os, cache_bytes: 4 << 20, ..EmbeddedOptions::default() }
}

async fn put(engine: &EmbeddedEngine, key: &[u8], value: &[u8]) -> Result<Version> {
    let mut txn = engine.begin().await?;
    txn.set(key, value);
    txn.commit().await
}

async fn get(engine: &EmbeddedEngine, key: &[u8]) -> Option<Vec<u8>> {
    let mut txn = engine.begin().await.unwrap();
    txn.get(key, Isolation::Snapshot).await.unwrap().map(Vec::from)
}

/// The contract suite, each check on an engine of its own.
async fn run_contract(durability: Durability) {
    let root = tempfile::tempdir().unwrap();
    let count = AtomicUsize::new(0);
    let make = |options: &EmbeddedOptions| {
        let directory = root.path().join(count.fetch_add(1, Ordering::Relaxed).to_string());
        Arc::new(EmbeddedEngine::create(directory, options).unwrap()) as Arc<dyn Engine>
    };
    let options = EmbeddedOptions { durability, ..relaxed() };
    let short_lived = make(&EmbeddedOptions { max_transaction_age_ms: 300, ..options.clone() });
    contract::run_all(async || make(&options), (short_lived, Duration::from_millis(300))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_keeps_the_contract_with_synced_commits() {
    run_contract(Durability::Commit).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_keeps_the_contract_with_commits_left_to_the_system() {
    run_contract(Durability::Os).await;
}

#[tokio::test]
async fn it_is_created_once_and_only_where_nothing_is() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/b");
    let missing = EmbeddedEngine::open(&path, &relaxed()).unwrap_err();
    assert!(matches!(missing, EngineError::Missing { .. }));
    assert!(!path.exists());
    EmbeddedEngine::create(&path, &relaxed()).unwrap().close().await.unwrap();
    let exists = EmbeddedEngine::create(&path, &relaxed()).unwrap_err();
    assert!(exists.to_string().contains("already"), "{exists}");
    let full = EmbeddedEngine::create(root.path(), &relaxed()).unwrap_err();
    assert!(full.to_string().contains("not empty"), "{full}");
}

#[tokio::test]
async fn one_whose_making_was_cut_short_is_made_anew_and_nothing_else_is_touched() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("engine");
    EmbeddedEngine::create(&path, &relaxed()).unwrap().close().await.unwrap();
    // The format file is written last; without it nobody was told of the engine.
    std::fs::remove_file(path.join("format")).unwrap();
    EmbeddedEngine::create(&path, &relaxed()).unwrap().close().await.unwrap();
    EmbeddedEngine::open(&path, &relaxed()).unwrap().close().await.unwrap();

    std::fs::remove_file(path.join("format")).unwrap();
    std::fs::write(path.join("somebody's"), "kept").unwrap();
    assert!(matches!(EmbeddedEngine::create(&path, &relaxed()), Err(EngineError::Exists { .. })));
    assert!(path.join("rows").exists() && path.join("somebody's").exists());

    let rows_alone = root.path().join("alone/rows");
    std::fs::create_dir_all(&rows_alone).unwrap();
    let refused = EmbeddedEngine::create(rows_alone.parent().unwrap(), &relaxed());
    assert!(matches!(refused, Err(EngineError::Exists { .. })));
    assert!(rows_alone.exists());
    let file = root.path().join("file");
    std::fs::write(&file, "kept").unwrap();
    assert!(matches!(EmbeddedEngine::create(&file, &relaxed()), Err(EngineError::Exists { .. })));
}

#[tokio::test]
async fn a_second_opener_is_told_who_has_it() {
    let root = tempfile::tempdir().unwrap();
    let engine = EmbeddedEngine::create(root.path(), &relaxed()).unwrap();
    match EmbeddedEngine::open(root.path(), &relaxed()) {
        Err(EngineError::Owned { owner, .. }) => {
            assert!(owner.starts_with(&format!("{} (", std::process::id())), "{owner}");
        }
        other => panic!("{other:?}"),
    }
    engine.close().await.unwrap();
    EmbeddedEngine::open(root.path(), &relaxed()).unwrap();
}

#[tokio::test]
async fn after_close_everything_says_so_and_the_directory_is_free() {
    let root = tempfile::tempdir().unwrap();
    let engine = EmbeddedEngine::create(root.path(), &relaxed()).unwrap();
    let version = put(&engine, b"k", b"v").await.unwrap();
    let mut begun = engine.begin().await.unwrap();
    assert!(begun.get(b"k", Isolation::Snapshot).await.unwrap().is_some());
    engine.close().await.unwrap();

    let reopened = EmbeddedEngine::open(root.path(), &relaxed()).unwrap();
    assert_eq!(get(&reopened, b"k").await.unwrap(), b"v");
    assert!(matches!(engine.begin().await, Err(EngineError::Closed)));
    assert!(matches!(engine.sync().await, Err(EngineError::Closed)));
    assert!(matches!(engine.close().await, Err(EngineError::Closed)));
    assert!(matches!(engine.changed_since(version).await, Err(EngineError::Closed)));
    assert!(matches!(begun.get(b"k", Isolation::Snapshot).await, Err(EngineError::Closed)));
    begun.set(b"k", b"late");
    assert!(matches!(begun.commit().await, Err(EngineError::Closed)));
    assert_eq!(get(&reopened, b"k").await.unwrap(), b"v");
}

#[tokio::test]
async fn dropping_it_frees_the_directory_even_beside_a_live_transaction() {
    let root = tempfile::tempdir().unwrap();
    let engine = EmbeddedEngine::create(root.path(), &relaxed()).unwrap();
    put(&engine, b"k", b"v").await.unwrap();
    let mut begun = engine.begin().await.unwrap();
    begun.read_version().await.unwrap();
    drop(engine);
    let reopened = EmbeddedEngine::open(root.path(), &relaxed()).unwrap();
    assert_eq!(get(&reopened, b"k").await.unwrap(), b"v");
    drop(begun);
}

#[tokio::test]
async fn reopened_it_has_its_rows_and_its_versions_go_on_rising() {
    let root = tempfile::tempdir().unwrap();
    let mut last = Version::ZERO;
    EmbeddedEngine::create(root.path(), &relaxed()).unwrap().close().await.unwrap();
    for round in 0..5u8 {
        let engine = EmbeddedEngine::open(root.path(), &EmbeddedOptions::default()).unwrap();
        let mut txn = engine.begin().await.unwrap();
        let begun = txn.read_version().await.unwrap();
        assert!(begun >= last);
        let page = txn.range(&RangeRead::prefix("k"), Isolation::Serialisable).await.unwrap();
        assert_eq!(page.rows.len(), usize::from(round));
        txn.set(&[b'k', round], &[round]);
        let version = txn.commit().await.unwrap();
        assert!(version > begun, "{version} {begun}");
        last = version;
        if round % 2 == 0 {
            engine.close().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_went_to_tables_read_the_same() {
    let root = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { write_buffer_bytes: 4 << 20, ..relaxed() };
    let engine = EmbeddedEngine::create(root.path(), &options).unwrap();
    let value = vec![7; 20_000];
    let old = {
        put(&engine, b"first", b"old").await.unwrap();
        let mut txn = engine.begin().await.unwrap();
        txn.read_version().await.unwrap();
        txn
    };
    put(&engine, b"first", b"new").await.unwrap();
    for number in 0..1000u32 {
        put(&engine, &number.to_be_bytes(), &value).await.unwrap();
    }
    let mut old = old;
    assert_eq!(old.get(b"first", Isolation::Snapshot).await.unwrap().unwrap(), "old");
    assert!(old.get(&0u32.to_be_bytes(), Isolation::Snapshot).await.unwrap().is_none());
    drop(old);
    engine.close().await.unwrap();
    let engine = EmbeddedEngine::open(root.path(), &options).unwrap();
    let mut txn = engine.begin().await.unwrap();
    let read = RangeRead::new([0], [1]).reverse();
    let page = txn.range(&read, Isolation::Snapshot).await.unwrap();
    assert_eq!(page.rows.len(), 1000);
    assert!(page.rows.iter().all(|(_, row)| row == &value));
    assert_eq!(get(&engine, b"first").await.unwrap(), b"new");
}
