//! Versions, and being told of them.

use tokio::time::{sleep, timeout};

use super::{
    Arc, Duration, Engine, EngineError, Isolation, RangeRead, Version, begin, begin_now, get, must, put, value,
};

/// Long enough that an engine which would answer has answered.
const QUIET: Duration = Duration::from_millis(50);
/// Longest that an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn versions_rise(engine: Arc<dyn Engine>) {
    let mut last = Version::ZERO;
    for number in 0..20u8 {
        let before = must(begin(&engine).await.read_version().await);
        assert!(before >= last);
        let version = put(&engine, &[("k", &number.to_string())]).await;
        assert!(version > before && version > last);
        last = version;
    }
}

pub(super) async fn a_snapshot_has_what_was_committed_before_it(engine: Arc<dyn Engine>) {
    for number in 0..20 {
        let word = number.to_string();
        let version = put(&engine, &[("k", &word)]).await;
        let mut txn = begin(&engine).await;
        assert!(must(txn.read_version().await) >= version);
        assert_eq!(value(txn.as_mut(), "k").await.expect("a row"), word);
    }
}

pub(super) async fn a_transaction_without_writes_commits_nothing(engine: Arc<dyn Engine>) {
    put(&engine, &[("k", "v")]).await;
    let mut txn = begin(&engine).await;
    value(txn.as_mut(), "k").await;
    let seen = must(txn.read_version().await);
    put(&engine, &[("k", "changed")]).await;
    assert_eq!(must(txn.commit().await), seen, "what it read was true at its snapshot");
}

pub(super) async fn what_is_committed_can_be_synced(engine: Arc<dyn Engine>) {
    must(engine.sync_to(Version::ZERO).await);
    for number in 0..3u8 {
        let version = put(&engine, &[("k", &number.to_string())]).await;
        must(timeout(PATIENCE, engine.sync_to(version)).await.expect("an end"));
        must(timeout(PATIENCE, engine.sync()).await.expect("an end"));
    }
}

pub(super) async fn changes_are_told(engine: Arc<dyn Engine>) {
    let first = put(&engine, &[("k", "1")]).await;
    must(timeout(PATIENCE, engine.changed_since(Version::ZERO)).await.expect("it is there already"));
    let seen = must(begin(&engine).await.read_version().await);
    assert!(seen >= first);
    let waiting = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move { wait_past(&engine, seen).await }
    });
    sleep(QUIET).await;
    assert!(!waiting.is_finished(), "nothing was committed");
    let second = put(&engine, &[("k", "2")]).await;
    let told = timeout(PATIENCE, waiting).await.expect("it is told").expect("no panic");
    assert!(told >= second);
}

/// Waits as a reader does until the row has changed.
async fn wait_past(engine: &Arc<dyn Engine>, mut seen: Version) -> Version {
    loop {
        must(engine.changed_since(seen).await);
        let mut txn = begin(engine).await;
        seen = must(txn.read_version().await);
        if value(txn.as_mut(), "k").await.is_some_and(|value| value == "2") {
            return seen;
        }
    }
}

pub(super) async fn old_transactions_are_refused(engine: Arc<dyn Engine>, max_age: Duration) {
    put(&engine, &[("k", "v")]).await;
    let mut reader = begin_now(&engine).await;
    let mut ranger = begin_now(&engine).await;
    let mut writer = begin(&engine).await;
    value(writer.as_mut(), "k").await;
    writer.set(b"k", b"late");
    let blind = {
        let mut txn = begin(&engine).await;
        txn.set(b"blind", b"");
        txn
    };
    sleep(max_age + max_age / 2 + QUIET).await;
    put(&engine, &[("other", "")]).await;
    let outcome = reader.get(b"k", Isolation::Snapshot).await;
    assert!(matches!(outcome, Err(EngineError::TooOld)), "{outcome:?}");
    let outcome = ranger.range(&RangeRead::prefix("k"), Isolation::Snapshot).await;
    assert!(matches!(outcome, Err(EngineError::TooOld)), "{outcome:?}");
    let outcome = writer.commit().await;
    assert!(matches!(outcome, Err(EngineError::TooOld)), "{outcome:?}");
    must(blind.commit().await);
    assert_eq!(get(&engine, "k").await.expect("a row"), "v");
}
