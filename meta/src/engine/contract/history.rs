//! Serialisability: many clients run random transactions at once, and afterwards their
//! history must be one that transactions run one by one, in the order of their versions, give.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::model::{Model, Op, Seen};
use super::{Arc, Engine, EngineError, RangeRead, Version, begin, must};

const CLIENTS: u64 = 6;
const TRANSACTIONS: usize = 60;

/// What one transaction did and saw.
struct Record {
    snapshot: Version,
    ops: Vec<(Op, Seen)>,
    /// Its version; none if it conflicted or wrote nothing.
    committed: Option<Version>,
}

pub(super) async fn concurrent_transactions_are_serialisable(engine: Arc<dyn Engine>) {
    let clients = (0..CLIENTS).map(|seed| tokio::spawn(client(Arc::clone(&engine), seed)));
    let mut history = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        history.extend(client.await.expect("no panic"));
    }
    let states = replay(&history);
    check_snapshots(&history, &states);
    let (_, last) = states.last().expect("the beginning at least");
    let mut txn = begin(&engine).await;
    let all = Op::Range(RangeRead::new("", [0xFF]));
    assert_eq!(all.run(txn.as_mut()).await, all.run_in(&mut last.clone()));
}

async fn client(engine: Arc<dyn Engine>, seed: u64) -> Vec<Record> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut records = Vec::new();
    for _ in 0..TRANSACTIONS {
        let mut txn = begin(&engine).await;
        let snapshot = must(txn.read_version().await);
        let mut ops = Vec::new();
        for _ in 0..random.random_range(1..8) {
            let op = random_op(&mut random);
            let seen = op.run(txn.as_mut()).await;
            ops.push((op, seen));
            if random.random_bool(0.3) {
                tokio::task::yield_now().await;
            }
        }
        let committed = match txn.commit().await {
            Ok(version) => (version != snapshot).then_some(version),
            Err(EngineError::Conflict) => None,
            Err(error) => panic!("{error}"),
        };
        records.push(Record { snapshot, ops, committed });
    }
    records
}

fn random_op(random: &mut StdRng) -> Op {
    let mut key = || vec![b'a' + random.random_range(0..8)];
    let (first, second) = (key(), key());
    let value = vec![random.random()];
    match random.random_range(0..12) {
        0..3 => Op::Set(first, value),
        3 => Op::Clear(first),
        4 => Op::ClearRange(first, second),
        5..7 => Op::Add(first, value),
        7..9 => Op::Get(first),
        _ => {
            let read = RangeRead::new(first, second).limit(random.random_range(1..4));
            Op::Range(if random.random_bool(0.5) { read.reverse() } else { read })
        }
    }
}

/// Runs the commits one by one; gives the rows after each. What each saw must be what it sees now.
fn replay(history: &[Record]) -> Vec<(Version, Model)> {
    let mut commits: Vec<(Version, &Record)> =
        history.iter().filter_map(|record| Some((record.committed?, record))).collect();
    commits.sort_unstable_by_key(|(version, _)| *version);
    let mut states = vec![(Version::ZERO, Model::new())];
    for (version, record) in commits {
        let (last, mut model) = states.last().cloned().expect("the beginning at least");
        assert!(version > last && version > record.snapshot, "versions are distinct and rise");
        for (op, seen) in &record.ops {
            assert_eq!(op.run_in(&mut model), *seen, "{op:?} at {version} is not serialisable");
        }
        states.push((version, model));
    }
    states
}

/// Every transaction, committed or not, must have seen exactly the commits up to its snapshot.
fn check_snapshots(history: &[Record], states: &[(Version, Model)]) {
    for record in history {
        let after = states.partition_point(|(version, _)| *version <= record.snapshot);
        let mut model = states[after - 1].1.clone();
        for (op, seen) in &record.ops {
            assert_eq!(op.run_in(&mut model), *seen, "{op:?} does not fit its snapshot {}", record.snapshot);
        }
    }
}
