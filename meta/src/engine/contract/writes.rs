//! What a commit leaves behind.

use farshore_proto::limits::{MAX_KEY_BYTES, MAX_TRANSACTION_BYTES, MAX_VALUE_BYTES};

use super::{
    Advice, Arc, Bytes, Engine, EngineError, Isolation, RangeRead, Transaction, begin, begin_now, get, must, page, put,
    rows, words,
};

pub(super) async fn a_dropped_transaction_has_no_effect(engine: Arc<dyn Engine>) {
    put(&engine, &[("a", "1")]).await;
    let mut txn = begin_now(&engine).await;
    txn.set(b"a", b"2");
    txn.clear_range(b"", b"z");
    txn.add(b"b", &[1]);
    txn.set_versionstamped(b"s", b"", b"");
    drop(txn);
    assert_eq!(rows(&engine, "", "z").await, "a=1");
}

async fn add(engine: &Arc<dyn Engine>, key: &str, operand: &[u8]) -> Bytes {
    let mut txn = begin(engine).await;
    txn.add(key.as_bytes(), operand);
    must(txn.commit().await);
    get(engine, key).await.expect("a sum")
}

pub(super) async fn additions_wrap_at_their_length(engine: Arc<dyn Engine>) {
    assert_eq!(add(&engine, "8", &5u64.to_le_bytes()).await, &5u64.to_le_bytes()[..]);
    assert_eq!(add(&engine, "8", &(-7i64).to_le_bytes()).await, &(-2i64).to_le_bytes()[..]);
    assert_eq!(add(&engine, "8", &3i64.to_le_bytes()).await, &1i64.to_le_bytes()[..]);
    assert_eq!(add(&engine, "32", &[0xFF; 32]).await, &[0xFF; 32][..]);
    let mut two = [0; 32];
    two[0] = 2;
    let mut one = [0; 32];
    one[0] = 1;
    assert_eq!(add(&engine, "32", &two).await, &one[..]);
    assert_eq!(add(&engine, "8", &[1]).await, &[2][..], "the operand gives the length");
    assert_eq!(add(&engine, "8", &[0xFF, 0]).await, &[1, 1][..]);
}

pub(super) async fn additions_at_the_same_time_all_count(engine: Arc<dyn Engine>) {
    let mut txns = Vec::new();
    for _ in 0..50 {
        let mut txn = begin_now(&engine).await;
        txn.add(b"sum", &3u64.to_le_bytes());
        txn.add(b"sum", &1u64.to_le_bytes());
        txns.push(txn);
    }
    let commits: Vec<_> = txns.into_iter().map(|txn| tokio::spawn(txn.commit())).collect();
    for commit in commits {
        must(commit.await.expect("no panic"));
    }
    assert_eq!(get(&engine, "sum").await.expect("a sum"), &200u64.to_le_bytes()[..]);
}

pub(super) async fn a_cleared_range_is_empty_and_its_neighbours_are_not(engine: Arc<dyn Engine>) {
    put(&engine, &[("a", "1"), ("b", "1"), ("bb", "1"), ("c", "1"), ("d", "1")]).await;
    let mut txn = begin(&engine).await;
    txn.clear_range(b"b", b"c");
    must(txn.commit().await);
    assert_eq!(rows(&engine, "a", "z").await, "a=1 c=1 d=1");
    let mut txn = begin(&engine).await;
    txn.clear_range(b"", b"\xFF");
    txn.set(b"last", b"1");
    must(txn.commit().await);
    assert_eq!(rows(&engine, "", "z").await, "last=1");
}

pub(super) async fn a_cleared_range_takes_rows_that_came_after_the_snapshot(engine: Arc<dyn Engine>) {
    let mut txn = begin_now(&engine).await;
    txn.clear_range(b"a", b"c");
    txn.clear(b"x");
    put(&engine, &[("b", "1"), ("c", "1"), ("x", "1")]).await;
    must(txn.commit().await);
    assert_eq!(rows(&engine, "a", "z").await, "c=1");
}

pub(super) async fn stamped_keys_hold_the_commits_version(engine: Arc<dyn Engine>) {
    let mut txn = begin(&engine).await;
    txn.set_versionstamped(b"log/", b"/0", b"first");
    txn.set_versionstamped(b"log/", b"/1", b"second");
    assert_eq!(words(txn.as_mut(), &RangeRead::prefix("log/")).await, "", "it is not read before the commit");
    let version = must(txn.commit().await);
    let mut txn = begin(&engine).await;
    let page = page(txn.as_mut(), &RangeRead::prefix("log/")).await;
    let key = |end: &str| Bytes::from([&b"log/"[..], version.as_bytes(), end.as_bytes()].concat());
    let expected = vec![(key("/0"), Bytes::from("first")), (key("/1"), Bytes::from("second"))];
    assert_eq!(page.rows, expected);
}

pub(super) async fn stamped_keys_are_ordered_as_the_commits(engine: Arc<dyn Engine>) {
    let mut commits = Vec::new();
    for number in 0..40u8 {
        let mut txn = begin(&engine).await;
        txn.set_versionstamped(b"log/", b"", &[number]);
        commits.push((number, tokio::spawn(txn.commit())));
    }
    let mut by_version = Vec::new();
    for (number, commit) in commits {
        by_version.push((must(commit.await.expect("no panic")), number));
    }
    by_version.sort_unstable();
    assert!(by_version.windows(2).all(|pair| pair[0].0 < pair[1].0), "each commit has a version of its own");
    let page = page(begin(&engine).await.as_mut(), &RangeRead::prefix("log/")).await;
    let logged: Vec<u8> = page.rows.iter().map(|(_, value)| value[0]).collect();
    assert_eq!(logged, by_version.iter().map(|(_, number)| *number).collect::<Vec<_>>());
}

pub(super) async fn a_later_clear_takes_a_stamped_key(engine: Arc<dyn Engine>) {
    let mut txn = begin(&engine).await;
    txn.clear_range(b"a", b"z");
    txn.set_versionstamped(b"kept/", b"", b"");
    txn.set_versionstamped(b"gone/", b"", b"");
    txn.clear_range(b"gone/", b"gone0");
    must(txn.commit().await);
    let page = page(begin(&engine).await.as_mut(), &RangeRead::new("a", "z")).await;
    assert_eq!(page.rows.len(), 1);
    assert!(page.rows[0].0.starts_with(b"kept/"));
}

pub(super) async fn the_largest_row_is_kept(engine: Arc<dyn Engine>) {
    // An engine may need a little of the key for itself.
    let key = "k".repeat(MAX_KEY_BYTES - 100);
    let value = "v".repeat(MAX_VALUE_BYTES);
    put(&engine, &[(&key, &value)]).await;
    assert_eq!(get(&engine, &key).await.expect("a row"), value);
}

async fn refused(engine: &Arc<dyn Engine>, write: impl FnOnce(&mut dyn Transaction)) -> EngineError {
    let mut txn = begin(engine).await;
    txn.set(b"beside", b"");
    write(txn.as_mut());
    let error = txn.commit().await.expect_err("it must be refused");
    assert_eq!(error.advice(), Advice::GiveUp);
    assert_eq!(rows(engine, "", "z").await, "", "nothing of it happened");
    error
}

pub(super) async fn what_is_too_large_is_refused_whole(engine: Arc<dyn Engine>) {
    let (key, value) = (vec![b'k'; MAX_KEY_BYTES + 1], vec![0; MAX_VALUE_BYTES + 1]);
    let too_large = |error: EngineError, expected: &str| match error {
        EngineError::TooLarge { what, .. } => assert_eq!(what, expected),
        error => panic!("{error}"),
    };
    too_large(refused(&engine, |txn| txn.set(&key, b"")).await, "a key");
    too_large(refused(&engine, |txn| txn.clear(&key)).await, "a key");
    too_large(refused(&engine, |txn| txn.add(&key, b"1")).await, "a key");
    too_large(refused(&engine, |txn| txn.set_versionstamped(b"k", &key, b"1")).await, "a key");
    too_large(refused(&engine, |txn| txn.set(b"k", &value)).await, "a value");
    too_large(refused(&engine, |txn| txn.set_versionstamped(b"k", b"", &value)).await, "a value");
    let rows = MAX_TRANSACTION_BYTES / MAX_VALUE_BYTES + 1;
    let many = |txn: &mut dyn Transaction| {
        (0..rows).for_each(|row| txn.set(&(row as u64).to_be_bytes(), &value[1..]));
    };
    too_large(refused(&engine, many).await, "a transaction");
}

pub(super) async fn keys_that_no_engine_takes_are_refused(engine: Arc<dyn Engine>) {
    for key in [&b""[..], b"\xFF", b"\xFFx"] {
        let error = refused(&engine, |txn| txn.set(key, b"")).await;
        assert!(matches!(error, EngineError::BadKey { .. }), "{error}");
        let mut txn = begin(&engine).await;
        assert_eq!(must(txn.get(key, Isolation::Serialisable).await), None);
    }
    let page = page(begin(&engine).await.as_mut(), &RangeRead::new("", [0xFF, 0xFF])).await;
    assert_eq!(page.rows, [], "an engine's own rows are never seen");
}
