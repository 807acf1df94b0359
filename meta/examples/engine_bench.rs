//! How fast the embedded engine is: point reads, ranges, and commits of 3 reads and 4 writes
//! from 1, 16 and 64 clients. `cargo run --release -p farshore-meta --example engine_bench -- [ROWS] [SECONDS] [DIR]`

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints and may stop")]

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use farshore_meta::engine::{Durability, EmbeddedEngine, EmbeddedOptions, Engine, EngineError, Isolation, RangeRead};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const VALUE_BYTES: usize = 100;
const ROWS_A_COMMIT: u64 = 500;

fn key(row: u64) -> Vec<u8> {
    format!("rows/{:020}", row.wrapping_mul(0x9E37_79B9_7F4A_7C15)).into_bytes()
}

async fn load(engine: &Arc<dyn Engine>, rows: u64) {
    let start = Instant::now();
    for first in (0..rows).step_by(ROWS_A_COMMIT as usize) {
        let mut txn = engine.begin().await.unwrap();
        for row in first..(first + ROWS_A_COMMIT).min(rows) {
            txn.set(&key(row), &[row as u8; VALUE_BYTES]);
        }
        txn.commit().await.unwrap();
    }
    println!("load: {rows} rows in {:.1} s", start.elapsed().as_secs_f64());
}

async fn point_reads(engine: &Arc<dyn Engine>, rows: u64, time: Duration) {
    let mut random = SmallRng::seed_from_u64(1);
    let (start, before, mut count) = (Instant::now(), cpu(), 0u64);
    while start.elapsed() < time {
        let mut txn = engine.begin().await.unwrap();
        for _ in 0..100 {
            let key = key(random.random_range(0..rows));
            assert!(txn.get(&key, Isolation::Snapshot).await.unwrap().is_some());
        }
        count += 100;
    }
    let cpu = cpu().saturating_sub(before).as_nanos() / u128::from(count);
    println!("get: {} ns, cpu {cpu} ns", start.elapsed().as_nanos() / u128::from(count));
}

async fn ranges(engine: &Arc<dyn Engine>, rows: u64, time: Duration) {
    let mut random = SmallRng::seed_from_u64(2);
    let (start, mut count) = (Instant::now(), 0u64);
    while start.elapsed() < time {
        let mut txn = engine.begin().await.unwrap();
        let read = RangeRead::new(key(random.random_range(0..rows)), "rows0").limit(10);
        txn.range(&read, Isolation::Snapshot).await.unwrap();
        count += 1;
    }
    println!("range of 10 rows: {} ns", start.elapsed().as_nanos() / u128::from(count));
}

/// One transaction: reads 3 random rows, writes 2 of them, one new row and one counter.
async fn transact(engine: &Arc<dyn Engine>, rows: u64, random: &mut SmallRng, client: u64) -> bool {
    let mut txn = engine.begin().await.unwrap();
    let keys: Vec<_> = (0..3).map(|_| key(random.random_range(0..rows))).collect();
    for key in &keys {
        txn.get(key, Isolation::Serialisable).await.unwrap();
    }
    txn.set(&keys[0], &[1; VALUE_BYTES]);
    txn.set(&keys[1], &[2; VALUE_BYTES]);
    txn.set_versionstamped(b"log/", &client.to_be_bytes(), &[3; VALUE_BYTES]);
    txn.add(b"counter", &1u64.to_le_bytes());
    match txn.commit().await {
        Ok(_) => true,
        Err(EngineError::Conflict) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn client(engine: Arc<dyn Engine>, rows: u64, number: u64, until: Instant) -> Vec<Duration> {
    let mut random = SmallRng::seed_from_u64(number);
    let mut latencies = Vec::new();
    while Instant::now() < until {
        let start = Instant::now();
        if transact(&engine, rows, &mut random, number).await {
            latencies.push(start.elapsed());
        }
    }
    latencies
}

async fn commits(engine: &Arc<dyn Engine>, rows: u64, clients: u64, time: Duration) {
    let (until, before) = (Instant::now() + time, cpu());
    let tasks: Vec<_> =
        (0..clients).map(|number| tokio::spawn(client(Arc::clone(engine), rows, number, until))).collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    let rate = latencies.len() as f64 / time.as_secs_f64();
    let cpu = cpu().saturating_sub(before).as_micros() / latencies.len() as u128;
    println!("{clients:3} clients: {rate:.0} tx/s, cpu {cpu} us, {}", spread(latencies));
}

/// One client's commits, each beside what the disk itself takes for an append and fdatasync,
/// so that the two meet the same neighbours.
async fn latency(engine: &Arc<dyn Engine>, directory: &Path, rows: u64, time: Duration) {
    let mut file = std::fs::File::create(directory.join("syncs")).unwrap();
    let mut random = SmallRng::seed_from_u64(3);
    let (mut commits, mut syncs) = (Vec::new(), Vec::new());
    let until = Instant::now() + time;
    while Instant::now() < until {
        let start = Instant::now();
        file.write_all(&[1; 600]).unwrap();
        file.sync_data().unwrap();
        syncs.push(start.elapsed());
        let start = Instant::now();
        transact(engine, rows, &mut random, 0).await;
        commits.push(start.elapsed());
    }
    println!("one client: {}; fdatasync alone: {}", spread(commits), spread(syncs));
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_micros();
    format!("p10 {} us, p50 {} us, p99 {} us", at(0.1), at(0.5), at(0.99))
}

/// Processor time that this process has used; it is steadier than the clock on a busy machine.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

async fn run(directory: &Path, durability: Durability, rows: u64, time: Duration) {
    println!("{durability:?}");
    let options = EmbeddedOptions { durability, ..EmbeddedOptions::default() };
    let path = directory.join(format!("{durability:?}"));
    let engine = Arc::new(EmbeddedEngine::create(&path, &options).unwrap()) as Arc<dyn Engine>;
    load(&engine, rows).await;
    latency(&engine, directory, rows, time).await;
    for clients in [1, 16, 64] {
        commits(&engine, rows, clients, time).await;
    }
    point_reads(&engine, rows, time).await;
    ranges(&engine, rows, time).await;
    engine.close().await.unwrap();
    let start = Instant::now();
    let engine = EmbeddedEngine::open(&path, &options).unwrap();
    println!("open: {} ms", start.elapsed().as_millis());
    drop(engine);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| arguments.get(at).map_or(default, |text| text.parse().unwrap());
    let (rows, time) = (number(0, 1_000_000), Duration::from_secs(number(1, 3)));
    let directory = match arguments.get(2) {
        Some(path) => tempfile::tempdir_in(path).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // In a task, as a server's callers are: `block_on` would wake a thread of its own each time.
    let path = directory.path().to_owned();
    let task = runtime.spawn(async move {
        run(&path, Durability::Commit, rows, time).await;
        run(&path, Durability::Os, rows, time).await;
    });
    runtime.block_on(task).unwrap();
}
