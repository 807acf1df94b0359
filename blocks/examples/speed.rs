//! Measures hashing, verified reads from the disk cache, and reads from memory:
//! `cargo run --release -p farshore-blocks --example speed [cache directory]`.
#![allow(clippy::print_stdout, clippy::wildcard_imports, clippy::unwrap_used, reason = "a measurement for a person")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use farshore_blocks::*;
use farshore_proto::VolumeId;

const BLOCK_BYTES: usize = 4 << 20;
const BLOCKS: usize = 64;

fn main() {
    let (key, volume) = (BlockKey::new([7; 32]), VolumeId::from_random([7; 16]));
    hashing(&key);
    encoding(&key);
    let directory = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let cache = directory.join(format!("farshore-speed-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(reading(&key, volume, &cache));
    std::fs::remove_dir_all(cache).unwrap();
}

fn block(seed: usize) -> Bytes {
    let mut bytes = vec![0; BLOCK_BYTES];
    let mut stream = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    stream.fill(&mut bytes);
    bytes.into()
}

fn report(what: &str, bytes: usize, took: Duration) {
    println!("{what:<48} {:>8.2} GB/s", bytes as f64 / took.as_secs_f64() / 1e9);
}

/// The best of several rounds: others share the machine.
fn best(rounds: usize, mut work: impl FnMut()) -> Duration {
    let timed = (0..rounds).map(|_| {
        let began = Instant::now();
        work();
        began.elapsed()
    });
    timed.min().unwrap()
}

fn hashing(key: &BlockKey) {
    let block = block(0);
    let took = best(50, || {
        black_box(name_of(key, &block));
    });
    report("keyed BLAKE3 of 4 MiB", BLOCK_BYTES, took);
    let took = best(50, || drop(black_box(BlockTree::of(key, &block))));
    report("the same with group hashes", BLOCK_BYTES, took);
    let tree = BlockTree::of(key, &block);
    let took = best(50, || tree.verify_run(key, 0, &block).unwrap());
    report("verifying all groups", BLOCK_BYTES, took);
    let hashes = tree.hashes().clone();
    let check = || BlockTree::check(key, tree.name(), tree.block_len(), hashes.clone()).unwrap();
    let took = best(50, || drop(black_box(check())));
    println!("{:<48} {:>8.2} us", "checking 64 group hashes against the name", took.as_secs_f64() * 1e6);
}

fn encoding(key: &BlockKey) {
    let text: Bytes = "one line of a log, much like the next one\n".bytes().cycle().take(BLOCK_BYTES).collect();
    for (what, plain) in [("noise", block(1)), ("text", text)] {
        for way in [Compression::None, Compression::Lz4, Compression::Zstd] {
            let took = best(10, || drop(black_box(encode(key, &plain, way).unwrap())));
            report(&format!("encoding {what}, compression {way}"), BLOCK_BYTES, took);
        }
    }
}

async fn reading(key: &BlockKey, volume: VolumeId, cache: &std::path::Path) {
    let url = "mem://".parse().unwrap();
    let store = BlockStore::open(&url, volume, key.clone(), &StoreOptions::default()).unwrap();
    let writer = BlockWriter::new(store.clone(), None, &WriterOptions::default());
    let mut names = Vec::new();
    for seed in 0..BLOCKS {
        names.push(writer.write(block(seed)).await.unwrap());
    }
    let reader = || {
        let disk = DiskCache::open(cache, volume, key.clone(), &DiskOptions::default()).unwrap();
        let origin = std::sync::Arc::new(StoreOrigin::new(store.clone()));
        let options = ReaderOptions { memory_bytes: 1 << 30, ..ReaderOptions::default() };
        BlockReader::new(key.clone(), Some(disk), vec![origin], &options)
    };
    let filling = reader();
    let began = Instant::now();
    for name in &names {
        filling.prefetch(*name).await.unwrap();
    }
    filling.disk().unwrap().flush().await;
    report("prefetching into the disk cache", BLOCKS * BLOCK_BYTES, began.elapsed());
    drop(filling);
    let reader = reader();
    from_disk(&reader, &names).await;
    from_memory(&reader, &names);
    println!("{:?}", reader.stats());
}

/// The page cache holds the files, so this is our own cost and not the disk's.
async fn from_disk(reader: &BlockReader, names: &[BlockName]) {
    let (whole, parts) = names.split_at(names.len() / 2);
    let began = Instant::now();
    for name in whole {
        reader.read(*name, 0..BLOCK_BYTES as u32, ReadHint::Sequential).await.unwrap();
    }
    report("disk cache, whole blocks, verified", whole.len() * BLOCK_BYTES, began.elapsed());
    let began = Instant::now();
    for name in parts {
        reader.read(*name, 2_000_000..2_004_096, ReadHint::Demand).await.unwrap();
    }
    let each = began.elapsed().as_secs_f64() * 1e6 / parts.len() as f64;
    println!("{:<48} {each:>8.2} us", "disk cache, 4 KiB of a cold block (a run of 4)");
}

fn from_memory(reader: &BlockReader, names: &[BlockName]) {
    let (reads, read_bytes) = (1_000_000u32, 128 << 10);
    let took = best(5, || {
        for at in 0..reads {
            let start = at % 31 * read_bytes;
            black_box(reader.read_memory(&names[0], &(start..start + read_bytes)).unwrap());
        }
    });
    let each = took.as_secs_f64() * 1e6 / f64::from(reads);
    println!("{:<48} {each:>8.3} us", "memory, a slice of 128 KiB");
}
