//! What a transaction sees.

use super::{Arc, Engine, RangePage, RangeRead, begin, begin_now, must, page, put, rows, value, words};
use crate::engine::Direction;

pub(super) async fn a_snapshot_sees_nothing_that_comes_later(engine: Arc<dyn Engine>) {
    put(&engine, &[("a", "old"), ("b", "old")]).await;
    let mut txn = begin_now(&engine).await;
    put(&engine, &[("a", "new"), ("c", "new")]).await;
    let mut later = begin(&engine).await;
    later.clear(b"b");
    must(later.commit().await);
    assert_eq!(words(txn.as_mut(), &RangeRead::new("a", "z")).await, "a=old b=old");
    assert_eq!(value(txn.as_mut(), "a").await.expect("a row"), "old");
    assert_eq!(value(txn.as_mut(), "c").await, None);
    assert_eq!(rows(&engine, "a", "z").await, "a=new c=new");
}

pub(super) async fn own_writes_are_read(engine: Arc<dyn Engine>) {
    put(&engine, &[("a", "1"), ("b", "2"), ("c", "3")]).await;
    let mut txn = begin(&engine).await;
    txn.set(b"a", b"own");
    txn.clear(b"b");
    txn.clear_range(b"c", b"d");
    txn.set(b"cc", b"after the clear");
    assert_eq!(value(txn.as_mut(), "a").await.expect("a row"), "own");
    assert_eq!(value(txn.as_mut(), "b").await, None);
    assert_eq!(value(txn.as_mut(), "c").await, None);
    assert_eq!(value(txn.as_mut(), "cc").await.expect("a row"), "after the clear");
    txn.clear_range(b"a", b"b");
    assert_eq!(value(txn.as_mut(), "a").await, None);
    assert_eq!(rows(&engine, "a", "z").await, "a=1 b=2 c=3");
    must(txn.commit().await);
    assert_eq!(rows(&engine, "a", "z").await, "cc=after the clear");
}

pub(super) async fn own_additions_are_read(engine: Arc<dyn Engine>) {
    put(&engine, &[("there", "\x05"), ("cleared", "\x05")]).await;
    let mut txn = begin(&engine).await;
    txn.add(b"there", &[2]);
    txn.add(b"there", &[3]);
    txn.add(b"absent", &[7]);
    txn.clear_range(b"c", b"d");
    txn.add(b"cleared", &[1]);
    txn.set(b"set", &[10]);
    txn.add(b"set", &[1]);
    let expected = r"absent=\x07 cleared=\x01 set=\x0b there=\n";
    assert_eq!(words(txn.as_mut(), &RangeRead::new("a", "z")).await, expected);
    assert_eq!(value(txn.as_mut(), "there").await.expect("a row"), &[10][..]);
    must(txn.commit().await);
    assert_eq!(rows(&engine, "a", "z").await, expected);
}

pub(super) async fn ranges_show_own_writes(engine: Arc<dyn Engine>) {
    put(&engine, &[("b", "1"), ("d", "1"), ("f", "1"), ("h", "1")]).await;
    let mut txn = begin(&engine).await;
    txn.set(b"a", b"2");
    txn.set(b"d", b"2");
    txn.clear(b"b");
    txn.clear_range(b"f", b"g");
    txn.set(b"fa", b"2");
    txn.set(b"z", b"2");
    let read = RangeRead::new("a", "z");
    assert_eq!(words(txn.as_mut(), &read).await, "a=2 d=2 fa=2 h=1");
    assert_eq!(words(txn.as_mut(), &read.clone().reverse()).await, "h=1 fa=2 d=2 a=2");
    assert_eq!(words(txn.as_mut(), &read.clone().limit(2)).await, "a=2 d=2");
    assert_eq!(words(txn.as_mut(), &read.reverse().limit(2)).await, "h=1 fa=2");
    assert_eq!(words(txn.as_mut(), &RangeRead::new("b", "d")).await, "");
    assert_eq!(words(txn.as_mut(), &RangeRead::new("b", "d\0")).await, "d=2");
}

pub(super) async fn ranges_stop_at_their_limits(engine: Arc<dyn Engine>) {
    put(&engine, &[("a", "12345"), ("b", "12345"), ("c", "12345")]).await;
    let mut txn = begin(&engine).await;
    let all = RangeRead::new("a", "z");
    for (read, count, more) in [
        (all.clone(), 3, false),
        (all.clone().limit(4), 3, false),
        (all.clone().limit(2), 2, true),
        (all.clone().limit(0), 0, true),
        (all.clone().target_bytes(0), 1, true),
        (all.clone().target_bytes(6), 1, true),
        (all.clone().target_bytes(7), 2, true),
        (all.clone().target_bytes(12).limit(1), 1, true),
        (all.clone().target_bytes(1000), 3, false),
        (RangeRead::prefix("b"), 1, false),
    ] {
        for read in [read.clone(), read.reverse()] {
            let page = page(txn.as_mut(), &read).await;
            assert_eq!((page.rows.len(), page.more), (count, more), "{read:?}");
        }
    }
}

pub(super) async fn pages_make_up_the_range(engine: Arc<dyn Engine>) {
    let mut txn = begin(&engine).await;
    for number in 0..100u8 {
        txn.set(&[1, number], &[number]);
    }
    must(txn.commit().await);
    for direction in [Direction::Forward, Direction::Reverse] {
        let mut txn = begin(&engine).await;
        let mut seen = Vec::new();
        let mut read = RangeRead { direction, ..RangeRead::new([1], [2]).limit(7) };
        loop {
            let page = page(txn.as_mut(), &read).await;
            seen.extend(page.rows.iter().map(|(_, value)| value[0]));
            let Some((last, _)) = page.rows.last().filter(|_| page.more) else { break };
            match direction {
                Direction::Forward => read.begin = [last, &[0][..]].concat(),
                Direction::Reverse => read.end = last.to_vec(),
            }
        }
        if direction == Direction::Reverse {
            seen.reverse();
        }
        assert_eq!(seen, (0..100).collect::<Vec<u8>>());
    }
}

pub(super) async fn an_empty_range_has_no_rows(engine: Arc<dyn Engine>) {
    put(&engine, &[("a", "1"), ("b", "2")]).await;
    let mut txn = begin(&engine).await;
    txn.set(b"aa", b"own");
    for (begin, end) in [("a", "a"), ("b", "a"), ("ab", "b"), ("x", "z")] {
        let page = page(txn.as_mut(), &RangeRead::new(begin, end)).await;
        assert_eq!(page, RangePage { rows: Vec::new(), more: false });
    }
    txn.clear_range(b"b", b"a");
    must(txn.commit().await);
    assert_eq!(rows(&engine, "", "z").await, "a=1 aa=own b=2");
}

pub(super) async fn a_long_range_is_not_read_for_a_few_rows(engine: Arc<dyn Engine>) {
    let mut txn = begin(&engine).await;
    for number in 0..5_000u16 {
        txn.set(&number.to_be_bytes(), b"value");
    }
    must(txn.commit().await);
    let mut txn = begin(&engine).await;
    txn.clear_range(&1u16.to_be_bytes(), &4_998u16.to_be_bytes());
    for read in [RangeRead::new([0], [0xFE]), RangeRead::new([0], [0xFE]).reverse()] {
        let page = page(txn.as_mut(), &read.limit(2)).await;
        assert_eq!(page.rows.len(), 2);
    }
    let page = page(txn.as_mut(), &RangeRead::new([0], [0xFE])).await;
    assert_eq!(page.rows.len(), 3);
}
