//! Origins that fail, lie, hang and are asked by many at once.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use farshore_blocks::*;
use farshore_proto::limits::GROUP_BYTES;
use support::*;

async fn stored(len: usize) -> (BlockStore, BlockName, Bytes) {
    let store = open_store("mem://");
    let block = pattern(len);
    let name = store_block(&store, &block).await;
    (store, name, block)
}

#[tokio::test]
async fn many_readers_share_one_fetch() {
    let (store, name, block) = stored(1 << 20).await;
    let slow = Watched { delay: Duration::from_millis(100), ..Watched::new(&store) };
    let origin = Arc::new(slow);
    let reader = reader_of(vec![origin.clone()]);
    let reads = (0..32).map(|at| {
        let (reader, range) = (reader.clone(), at * 1000..at * 1000 + 4096);
        tokio::spawn(async move { (range.clone(), reader.read(name, range, ReadHint::Demand).await) })
    });
    for (range, read) in futures::future::join_all(reads).await.into_iter().map(Result::unwrap) {
        assert_eq!(read.unwrap(), block.slice(range.start as usize..range.end as usize));
    }
    assert_eq!((origin.fetches(), origin.groups()), (1, 1));
}

#[tokio::test]
async fn a_reader_that_goes_away_does_not_end_the_fetch() {
    let (store, name, block) = stored(1 << 20).await;
    let slow = Watched { delay: Duration::from_millis(200), ..Watched::new(&store) };
    let origin = Arc::new(slow);
    let reader = reader_of(vec![origin.clone()]);
    let first = tokio::spawn({
        let reader = reader.clone();
        async move { reader.read(name, 0..10, ReadHint::Demand).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let second = tokio::spawn({
        let reader = reader.clone();
        async move { reader.read(name, 10..20, ReadHint::Demand).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    first.abort();
    assert_eq!(second.await.unwrap().unwrap(), block.slice(10..20));
    assert_eq!(origin.fetches(), 1);
}

#[tokio::test]
async fn demand_fetches_a_group_then_the_run_beside_it_and_sequential_the_block() {
    let (store, name, block) = stored(4 << 20).await;
    let origin = Arc::new(Watched::new(&store));
    let reader = reader_of(vec![origin.clone()]);
    reader.read(name, 1_000_000..1_000_010, ReadHint::Demand).await.unwrap();
    assert_eq!((origin.fetches(), origin.groups()), (1, 1));
    reader.read(name, 950_000..950_010, ReadHint::Demand).await.unwrap();
    assert_eq!((origin.fetches(), origin.groups()), (2, 4));
    let read = reader.read(name, 0..131_072, ReadHint::Sequential).await.unwrap();
    assert_eq!(read, block.slice(..131_072));
    for at in (0..4 << 20).step_by(131_072) {
        let read = reader.read(name, at..at + 131_072, ReadHint::Sequential).await.unwrap();
        assert_eq!(read, block.slice(at as usize..at as usize + 131_072));
    }
    assert_eq!(origin.fetches(), 3);
    assert_eq!(reader.stats().memory_hits, 32);
}

#[tokio::test]
async fn a_lying_origin_is_passed_over() {
    type Lie = fn(BlockPiece) -> BlockPiece;
    let lies: [(&str, Lie); 8] = [
        ("flipped data", |piece| {
            let mut data = piece.data.to_vec();
            data[70_000] ^= 1;
            BlockPiece { data: data.into(), ..piece }
        }),
        ("flipped hash", |piece| {
            let mut hashes = piece.hashes.as_bytes().to_vec();
            hashes[40] ^= 1;
            BlockPiece { hashes: GroupHashes::try_from(Bytes::from(hashes)).unwrap(), ..piece }
        }),
        ("no data", |piece| BlockPiece { data: Bytes::new(), ..piece }),
        ("half the data", |piece| BlockPiece { data: piece.data.slice(..65_536), ..piece }),
        ("a torn group", |piece| BlockPiece { data: piece.data.slice(..70_000), ..piece }),
        ("other place", |piece| BlockPiece { first_group: piece.first_group + 1, ..piece }),
        ("absurd place", |piece| BlockPiece { first_group: u32::MAX, ..piece }),
        ("other length", |piece| BlockPiece { block_len: piece.block_len - 65_536, ..piece }),
    ];
    for (what, lie) in lies {
        let (store, name, block) = stored(1_000_000).await;
        let liar = Arc::new(Watched { lie: Some(lie), ..Watched::new(&store) });
        let honest = Arc::new(Watched::new(&store));
        let reader = reader_of(vec![liar.clone(), honest.clone()]);
        let read = reader.read(name, 100_000..200_000, ReadHint::Demand).await;
        assert_eq!(read.unwrap(), block.slice(100_000..200_000), "{what}");
        assert_eq!((liar.fetches(), honest.fetches()), (1, 1), "{what}");
        assert_eq!(reader.stats().corrupt_seen, 1, "{what}");
        let alone = reader_of(vec![liar]);
        let error = alone.read(name, 100_000..200_000, ReadHint::Demand).await.unwrap_err();
        assert!(matches!(error, BlockError::Corrupt { .. }), "{what}: {error}");
    }
}

/// Claims that the block ends before the needed groups, with hashes that merge to its name.
#[allow(clippy::needless_pass_by_value, reason = "a lie takes the piece and gives another")]
fn shorten(piece: BlockPiece) -> BlockPiece {
    use blake3::hazmat::{Mode, merge_subtrees_non_root};
    let key = key();
    let hash = |at: usize| piece.hashes.as_bytes()[at * 32..][..32].try_into().unwrap();
    let inner = merge_subtrees_non_root(&hash(2), &hash(3), Mode::KeyedHash(key.as_bytes()));
    let hashes = [&piece.hashes.as_bytes()[..64], &inner].concat();
    let hashes = GroupHashes::try_from(Bytes::from(hashes)).unwrap();
    BlockPiece { block_len: 3 * GROUP_BYTES, hashes, first_group: 0, data: Bytes::new() }
}

#[tokio::test]
async fn a_false_length_does_not_hide_the_end_of_a_block() {
    let (store, name, block) = stored(4 * GROUP_BYTES as usize).await;
    let liar = Arc::new(Watched { lie: Some(shorten), ..Watched::new(&store) });
    let options = ReaderOptions { demand_run_groups: 1, ..ReaderOptions::default() };
    let origins: Vec<Arc<dyn Origin>> = vec![liar, Arc::new(StoreOrigin::new(store))];
    let reader = BlockReader::new(key(), None, origins, &options);
    let last = 3 * GROUP_BYTES..4 * GROUP_BYTES;
    let read = reader.read(name, last.clone(), ReadHint::Demand).await.unwrap();
    assert_eq!(read, block.slice(last.start as usize..));
}

#[tokio::test]
async fn a_hanging_origin_costs_its_deadline_and_no_more() {
    let (store, name, block) = stored(100_000).await;
    let hanging = || Arc::new(Watched { delay: Duration::from_hours(1), ..Watched::new(&store) });
    let options = ReaderOptions { origin_deadline: Duration::from_millis(100), ..ReaderOptions::default() };
    let began = Instant::now();
    let alone = BlockReader::new(key(), None, vec![hanging()], &options);
    let error = alone.read(name, 0..10, ReadHint::Demand).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::Retry, "{error}");
    let origins: Vec<Arc<dyn Origin>> = vec![hanging(), Arc::new(StoreOrigin::new(store.clone()))];
    let reader = BlockReader::new(key(), None, origins, &options);
    assert_eq!(reader.read(name, 0..10, ReadHint::Demand).await.unwrap(), block.slice(..10));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_dead_origin_is_asked_last_after_its_first_silence() {
    let (store, _, block) = stored(100_000).await;
    let silence = Duration::from_hours(1);
    let dead = Arc::new(Watched { delay: silence, ..Watched::new(&store) });
    let origin_deadline = Duration::from_millis(200);
    let options = ReaderOptions { origin_deadline, ..ReaderOptions::default() };
    let origins: Vec<Arc<dyn Origin>> = vec![dead.clone(), Arc::new(StoreOrigin::new(store.clone()))];
    let reader = BlockReader::new(key(), None, origins, &options);
    for len in 1..20 {
        let block = block.slice(..len * 1000);
        let name = store_block(&store, &block).await;
        let read = reader.read(name, 0..10, ReadHint::Demand).await.unwrap();
        assert_eq!(read, block.slice(..10));
    }
    assert_eq!(dead.fetches(), 1);
}

#[tokio::test]
async fn an_origin_that_may_do_better_later_outweighs_one_that_lacks_the_block() {
    let (store, name, _) = stored(100_000).await;
    let hanging = Arc::new(Watched { delay: Duration::from_hours(1), ..Watched::new(&store) });
    let empty = Arc::new(StoreOrigin::new(open_store("mem://")));
    let options = ReaderOptions { origin_deadline: Duration::from_millis(50), ..ReaderOptions::default() };
    let reader = BlockReader::new(key(), None, vec![hanging, empty], &options);
    let error = reader.read(name, 0..10, ReadHint::Demand).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::Retry, "{error}");
}

#[tokio::test]
async fn demand_does_not_wait_behind_prefetches() {
    let (store, name, block) = stored(1 << 20).await;
    let slow = Arc::new(Watched { delay: Duration::from_millis(300), ..Watched::new(&store) });
    let options = ReaderOptions { max_prefetches: 1, ..ReaderOptions::default() };
    let reader = BlockReader::new(key(), None, vec![slow.clone()], &options);
    for seed in 0..20 {
        let reader = reader.clone();
        let other = name_of(&key(), &[seed]);
        tokio::spawn(async move { reader.prefetch(other).await });
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let began = Instant::now();
    assert_eq!(reader.read(name, 0..10, ReadHint::Demand).await.unwrap(), block.slice(..10));
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    assert!(slow.fetches.load(Ordering::SeqCst) <= 4);
}

#[tokio::test]
async fn fresh_blocks_are_read_from_memory() {
    let store = open_store("mem://");
    let reader = reader_of(vec![]);
    let writer = BlockWriter::new(store.clone(), Some(reader.memory()), &WriterOptions::default());
    let name = writer.write(pattern(300_000)).await.unwrap();
    assert_eq!(reader.read_memory(&name, &(0..300_000)).unwrap(), pattern(300_000));
    store.delete(name).await.unwrap();
    writer.write(pattern(300_000)).await.unwrap();
    assert!(!store.exists(name).await.unwrap(), "a recent upload is not repeated");
    writer.forget(&name);
    writer.write(pattern(300_000)).await.unwrap();
    assert!(store.exists(name).await.unwrap());
}
