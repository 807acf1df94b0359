//! Which transactions conflict, and that no others do.

use super::{
    Advice, Arc, Bytes, Engine, Isolation, RangeRead, Transaction, begin, begin_now, conflicted, get, must, put, rows,
    value,
};

/// What a transaction does before another one commits.
#[derive(Debug, Clone)]
enum Read {
    Key(&'static str),
    Range(RangeRead),
    PeekKey(&'static str),
    PeekRange(RangeRead),
    Declare(&'static str, &'static str),
    SetAndGet(&'static str),
    ClearAndGet(&'static str),
    Add(&'static str),
    AddAndGet(&'static str),
}

/// What the other transaction commits.
#[derive(Debug, Clone, Copy)]
enum Change {
    Set(&'static str),
    Clear(&'static str),
    ClearRange(&'static str, &'static str),
    Add(&'static str),
    Stamp(&'static str),
}

async fn read(txn: &mut dyn Transaction, read: &Read) {
    match read {
        Read::Key(key) => drop(must(txn.get(key.as_bytes(), Isolation::Serialisable).await)),
        Read::Range(range) => drop(must(txn.range(range, Isolation::Serialisable).await)),
        Read::PeekKey(key) => drop(must(txn.get(key.as_bytes(), Isolation::Snapshot).await)),
        Read::PeekRange(range) => drop(must(txn.range(range, Isolation::Snapshot).await)),
        Read::Declare(begin, end) => txn.add_read_conflict(begin.as_bytes(), end.as_bytes()),
        Read::SetAndGet(key) => {
            txn.set(key.as_bytes(), b"own");
            must(txn.get(key.as_bytes(), Isolation::Serialisable).await);
        }
        Read::ClearAndGet(key) => {
            txn.clear(key.as_bytes());
            must(txn.get(key.as_bytes(), Isolation::Serialisable).await);
        }
        Read::Add(key) => txn.add(key.as_bytes(), &[1]),
        Read::AddAndGet(key) => {
            txn.add(key.as_bytes(), &[1]);
            must(txn.get(key.as_bytes(), Isolation::Serialisable).await);
        }
    }
}

async fn change(engine: &Arc<dyn Engine>, change: Change) {
    let mut txn = begin(engine).await;
    match change {
        Change::Set(key) => txn.set(key.as_bytes(), b"changed"),
        Change::Clear(key) => txn.clear(key.as_bytes()),
        Change::ClearRange(begin, end) => txn.clear_range(begin.as_bytes(), end.as_bytes()),
        Change::Add(key) => txn.add(key.as_bytes(), &[1]),
        Change::Stamp(prefix) => txn.set_versionstamped(prefix.as_bytes(), b"", b""),
    }
    must(txn.commit().await);
}

/// Checks whether a transaction that did `reads` conflicts with a commit after its snapshot.
async fn check(engine: &Arc<dyn Engine>, reads: &[Read], changed: Change, expected: bool) {
    let mut txn = begin(engine).await;
    txn.clear_range(b"", b"z");
    txn.set(b"b", b"1");
    txn.set(b"d", b"1");
    txn.set(b"f", b"1");
    txn.set(b"h", b"1");
    must(txn.commit().await);
    let mut txn = begin_now(engine).await;
    for one in reads {
        read(txn.as_mut(), one).await;
    }
    change(engine, changed).await;
    txn.set(b"zz", b"result");
    assert_eq!(conflicted(txn.commit().await), expected, "{reads:?} beside {changed:?}");
}

pub(super) async fn what_was_read_conflicts_and_nothing_else(engine: Arc<dyn Engine>) {
    let range = |begin, end| Read::Range(RangeRead::new(begin, end));
    for (read, changed, expected) in [
        (Read::Key("b"), Change::Set("b"), true),
        (Read::Key("b"), Change::Clear("b"), true),
        (Read::Key("c"), Change::Set("c"), true),
        (Read::Key("b"), Change::Set("b\0"), false),
        (Read::Key("b"), Change::Set("a"), false),
        (range("b", "f"), Change::Set("b"), true),
        (range("b", "f"), Change::Set("c"), true),
        (range("b", "f"), Change::Clear("d"), true),
        (range("b", "f"), Change::Set("f"), false),
        (range("b", "f"), Change::Set("a\u{7f}"), false),
        (range("m", "p"), Change::Set("n"), true),
        (range("f", "b"), Change::Set("d"), false),
    ] {
        check(&engine, &[read], changed, expected).await;
    }
}

pub(super) async fn limited_ranges_conflict_as_far_as_they_were_read(engine: Arc<dyn Engine>) {
    let forward = RangeRead::new("a", "y").limit(2);
    let by_bytes = RangeRead::new("a", "y").target_bytes(4);
    for read in [forward.clone(), by_bytes.clone()] {
        for (changed, expected) in [("a", true), ("c", true), ("d", true), ("d\0", false), ("e", false), ("x", false)] {
            check(&engine, &[Read::Range(read.clone())], Change::Set(changed), expected).await;
        }
    }
    for read in [forward.reverse(), by_bytes.reverse()] {
        for (changed, expected) in [("x", true), ("g", true), ("f", true), ("e", false), ("d", false), ("a", false)] {
            check(&engine, &[Read::Range(read.clone())], Change::Set(changed), expected).await;
        }
    }
    let whole = RangeRead::new("a", "y").limit(5);
    for read in [whole.clone(), whole.reverse()] {
        check(&engine, &[Read::Range(read.clone())], Change::Set("x"), true).await;
        check(&engine, &[Read::Range(read)], Change::Set("a"), true).await;
    }
    check(&engine, &[Read::Range(RangeRead::new("a", "y").limit(0))], Change::Set("b"), false).await;
}

pub(super) async fn reads_that_do_not_count(engine: Arc<dyn Engine>) {
    for read in [
        Read::PeekKey("b"),
        Read::PeekRange(RangeRead::new("a", "y")),
        Read::SetAndGet("b"),
        Read::ClearAndGet("b"),
        Read::Add("b"),
    ] {
        check(&engine, &[read], Change::Set("b"), false).await;
    }
    check(&engine, &[], Change::ClearRange("a", "y"), false).await;
    check(&engine, &[Read::AddAndGet("b")], Change::Set("b"), true).await;
    check(&engine, &[Read::Key("b"), Read::SetAndGet("b")], Change::Set("b"), true).await;
}

pub(super) async fn a_declared_read_conflicts(engine: Arc<dyn Engine>) {
    check(&engine, &[Read::Declare("c", "e")], Change::Set("d"), true).await;
    check(&engine, &[Read::Declare("c", "e")], Change::Set("c"), true).await;
    check(&engine, &[Read::Declare("c", "e")], Change::Set("e"), false).await;
    check(&engine, &[Read::PeekKey("b"), Read::Declare("b", "b\0")], Change::Set("b"), true).await;
}

pub(super) async fn a_cleared_range_conflicts(engine: Arc<dyn Engine>) {
    for (read, expected) in [
        (Read::Key("d"), true),
        (Read::Key("f"), false),
        (Read::Range(RangeRead::new("a", "d\0")), true),
        (Read::Range(RangeRead::new("f", "y")), false),
        (Read::Range(RangeRead::new("a", "y").limit(1)), false),
    ] {
        check(&engine, &[read], Change::ClearRange("c", "f"), expected).await;
    }
}

pub(super) async fn an_added_or_stamped_row_conflicts(engine: Arc<dyn Engine>) {
    check(&engine, &[Read::Key("b")], Change::Add("b"), true).await;
    check(&engine, &[Read::Add("b")], Change::Add("b"), false).await;
    check(&engine, &[Read::Range(RangeRead::prefix("log/"))], Change::Stamp("log/"), true).await;
    check(&engine, &[Read::Range(RangeRead::prefix("lo"))], Change::Stamp("m"), false).await;
}

pub(super) async fn a_conflict_leaves_no_trace(engine: Arc<dyn Engine>) {
    put(&engine, &[("a", "1"), ("b", "1")]).await;
    let mut txn = begin(&engine).await;
    value(txn.as_mut(), "a").await;
    put(&engine, &[("a", "2")]).await;
    txn.set(b"a", b"3");
    txn.clear_range(b"b", b"c");
    txn.add(b"n", &[1]);
    txn.set_versionstamped(b"s", b"", b"");
    let outcome = txn.commit().await;
    assert!(matches!(&outcome, Err(error) if error.advice() == Advice::Retry), "{outcome:?}");
    assert_eq!(rows(&engine, "a", "z").await, "a=2 b=1");
}

pub(super) async fn write_skew_is_prevented(engine: Arc<dyn Engine>) {
    for _ in 0..10 {
        put(&engine, &[("a", "on"), ("b", "on")]).await;
        let mut txns = Vec::new();
        for (look, switch) in [("a", "b"), ("b", "a")] {
            let mut txn = begin(&engine).await;
            assert_eq!(value(txn.as_mut(), look).await.expect("a row"), "on");
            txn.set(switch.as_bytes(), b"off");
            txns.push(txn);
        }
        let commits: Vec<_> = txns.into_iter().map(|txn| tokio::spawn(txn.commit())).collect();
        let mut conflicts = 0;
        for commit in commits {
            conflicts += usize::from(conflicted(commit.await.expect("no panic")));
        }
        assert_eq!(conflicts, 1, "one of the two saw the other");
    }
}

pub(super) async fn increments_with_retries_all_count(engine: Arc<dyn Engine>) {
    const CLIENTS: u64 = 8;
    const INCREMENTS: u64 = 25;
    let clients = (0..CLIENTS).map(|_| tokio::spawn(increment(Arc::clone(&engine), INCREMENTS)));
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("no panic");
    }
    let sum = get(&engine, "counter").await.expect("a counter");
    assert_eq!(sum, &(CLIENTS * INCREMENTS).to_le_bytes()[..]);
}

async fn increment(engine: Arc<dyn Engine>, times: u64) {
    let mut done = 0;
    while done < times {
        let mut txn = begin(&engine).await;
        let before = value(txn.as_mut(), "counter").await.unwrap_or_else(|| Bytes::from_static(&[0; 8]));
        let before = u64::from_le_bytes(before[..].try_into().expect("8 bytes"));
        tokio::task::yield_now().await;
        txn.set(b"counter", &(before + 1).to_le_bytes());
        done += u64::from(!conflicted(txn.commit().await));
    }
}
