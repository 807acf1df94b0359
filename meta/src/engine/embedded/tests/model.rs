//! Random transactions against a `BTreeMap`, with the engine reopened in between.

use proptest::prelude::*;

use super::*;
use crate::engine::contract::model::{Model, Op};

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

async fn check(transactions: Vec<(Vec<Op>, End)>) {
    let root = tempfile::tempdir().unwrap();
    let mut engine = EmbeddedEngine::create(root.path(), &relaxed()).unwrap();
    let mut committed = Model::new();
    for (ops, end) in transactions {
        let mut model = committed.clone();
        let mut txn = engine.begin().await.unwrap();
        for op in ops {
            assert_eq!(op.run(txn.as_mut()).await, op.run_in(&mut model), "{op:?}");
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
    let all = Op::Range(RangeRead::new([], [0xFF]));
    assert_eq!(all.run(txn.as_mut()).await, all.run_in(&mut committed));
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
