//! Random transactions against a `BTreeMap`, with the engine reopened in between.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::engine::RangePage;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Clone)]
enum Op {
    Set(Vec<u8>, Vec<u8>),
    Clear(Vec<u8>),
    ClearRange(Vec<u8>, Vec<u8>),
    Add(Vec<u8>, Vec<u8>),
    Get(Vec<u8>),
    Range(RangeRead),
}

/// What ends a run of operations.
#[derive(Debug, Clone, Copy)]
enum End {
    Commit,
    Drop,
    CommitAndReopen,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(b'a'..b'e', 1..3)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..6)
}

fn range() -> impl Strategy<Value = RangeRead> {
    let limit = prop_oneof![0usize..5, Just(usize::MAX)];
    let target = prop_oneof![0usize..12, Just(usize::MAX)];
    (key(), key(), limit, target, any::<bool>()).prop_map(|(begin, end, limit, target, reverse)| {
        let read = RangeRead::new(begin, end).limit(limit).target_bytes(target);
        if reverse { read.reverse() } else { read }
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (key(), value()).prop_map(|(key, value)| Op::Set(key, value)),
        1 => key().prop_map(Op::Clear),
        1 => (key(), key()).prop_map(|(begin, end)| Op::ClearRange(begin, end)),
        2 => (key(), prop::collection::vec(any::<u8>(), 1..4)).prop_map(|(key, operand)| Op::Add(key, operand)),
        3 => key().prop_map(Op::Get),
        4 => range().prop_map(Op::Range),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![8 => Just(End::Commit), 2 => Just(End::Drop), 1 => Just(End::CommitAndReopen)]
}

fn add(model: &mut Model, key: &[u8], operand: &[u8]) {
    let mut bytes = model.get(key).cloned().unwrap_or_default();
    bytes.resize(16, 0);
    bytes[operand.len()..].fill(0);
    let mut wide = operand.to_vec();
    wide.resize(16, 0);
    let number = |bytes: &[u8]| u128::from_le_bytes(bytes.try_into().unwrap());
    let sum = number(&bytes).wrapping_add(number(&wide)).to_le_bytes();
    model.insert(key.to_vec(), sum[..operand.len()].to_vec());
}

fn expected_page(model: &Model, read: &RangeRead) -> RangePage {
    let mut inside: Vec<_> = model.iter().filter(|(key, _)| **key >= read.begin && **key < read.end).collect();
    if read.direction == Direction::Reverse {
        inside.reverse();
    }
    let mut page = RangePage { rows: Vec::new(), more: false };
    let mut bytes = 0;
    for (key, value) in inside {
        bytes += key.len() + value.len();
        page.rows.push((key.clone().into(), value.clone().into()));
        if page.rows.len() == read.limit || bytes >= read.target_bytes {
            page.more = true;
            break;
        }
    }
    if read.limit == 0 && read.begin < read.end {
        page = RangePage { rows: Vec::new(), more: true };
    }
    page
}

async fn apply(txn: &mut dyn Transaction, model: &mut Model, op: Op) {
    match op {
        Op::Set(key, value) => {
            txn.set(&key, &value);
            model.insert(key, value);
        }
        Op::Clear(key) => {
            txn.clear(&key);
            model.remove(&key);
        }
        Op::ClearRange(begin, end) => {
            txn.clear_range(&begin, &end);
            model.retain(|key, _| *key < begin || *key >= end);
        }
        Op::Add(key, operand) => {
            txn.add(&key, &operand);
            add(model, &key, &operand);
        }
        Op::Get(key) => {
            let value = txn.get(&key, Isolation::Serialisable).await.unwrap();
            assert_eq!(value.as_deref(), model.get(&key).map(Vec::as_slice), "{key:?}");
        }
        Op::Range(read) => {
            let page = txn.range(&read, Isolation::Serialisable).await.unwrap();
            assert_eq!(page, expected_page(model, &read), "{read:?}");
        }
    }
}

async fn check(transactions: Vec<(Vec<Op>, End)>) {
    let root = tempfile::tempdir().unwrap();
    let mut engine = EmbeddedEngine::create(root.path(), &relaxed()).unwrap();
    let mut committed = Model::new();
    for (ops, end) in transactions {
        let mut model = committed.clone();
        let mut txn = engine.begin().await.unwrap();
        for op in ops {
            apply(txn.as_mut(), &mut model, op).await;
        }
        if !matches!(end, End::Drop) {
            txn.commit().await.unwrap();
            committed = model;
        }
        if matches!(end, End::CommitAndReopen) {
            engine.close().await.unwrap();
            engine = EmbeddedEngine::open(root.path(), &relaxed()).unwrap();
        }
    }
    let mut txn = engine.begin().await.unwrap();
    let all = RangeRead::new([], [0xFF]);
    assert_eq!(txn.range(&all, Isolation::Snapshot).await.unwrap(), expected_page(&committed, &all));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn transactions_do_what_a_map_does(
        transactions in prop::collection::vec((prop::collection::vec(op(), 0..20), end()), 0..16),
    ) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(check(transactions));
    }
}
