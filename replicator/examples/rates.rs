//! How fast a mirror bootstraps, how fast it follows, and how late it is, over loopback:
//! `cargo run --release -p farshore-replicator --example rates -- [FILES] [SECONDS]`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, run by hand")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use farshore_meta::engine::KeyValue;
use farshore_meta::{Bootstrap, DURABLE, Digest, Ino, Interval, Region};
use farshore_proto::{Incarnation, Position, RegionId, Version};
use farshore_replicator::{Lineage, Publisher};
use support::{LONG, Mirror, NOW, engine, file, make_files, name, primary, publish, rows, tree, upstream, volume_id};

const FILES_IN_A_DIRECTORY: u64 = 1_000;
const PAGE_ROWS: usize = 4_000;
const WRITERS: usize = 16;

/// The rows of `files` empty files in directories of a thousand, made from those of a file.
fn rows_of(template: &[KeyValue], files: u64) -> impl Iterator<Item = KeyValue> {
    let of = |tag: &[u8]| {
        let found = template.iter().rev().find(|(key, _)| key.get(10..11) == Some(tag));
        found.unwrap().1.clone()
    };
    let (attr, entry) = (of(b"a"), of(b"d"));
    (2..2 + files).flat_map(move |ino| {
        let key =
            |ino: u64, tag: &[u8], rest: &[u8]| Bytes::from([b"DI".as_slice(), &ino.to_be_bytes(), tag, rest].concat());
        let parent = 1_000_000_000 + ino / FILES_IN_A_DIRECTORY;
        let name = format!("a-file-of-some-name-{ino}");
        let (attr, entry) = (attr.clone(), entry.clone());
        [(key(ino, b"a", b""), attr), (key(parent, b"d", name.as_bytes()), entry)]
    })
}

/// A region that holds a generated volume, as if it had followed another.
async fn generated(directory: &Path, files: u64) -> Arc<Region> {
    let small = primary(&directory.join("small")).await;
    make_files(&small, "template", 1).await;
    let template = rows(&small).await;
    let own = small.page(DURABLE.0, DURABLE.1, usize::MAX).await.unwrap().rows;
    let id = RegionId::from_random([8; 16]);
    let region = Region::create_mirror(engine(&directory.join("large")), id, volume_id()).await.unwrap();
    let at = |batch| Position { incarnation: Incarnation::new(1, [4; 12]), version: Version::new(batch, 0) };
    let mut all: Vec<_> = own.into_iter().chain(rows_of(&template, files)).collect();
    all.sort();
    all.dedup_by(|a, b| a.0 == b.0);
    let digest = all.iter().fold(Digest::default(), |sum, (k, v)| sum.plus(Digest::of_row(k, v)));
    let mut bootstrap = Bootstrap::begin(at(1));
    for page in all.chunks(PAGE_ROWS) {
        region.copy_page(page, &bootstrap).await.unwrap();
    }
    bootstrap.next = None;
    region.copy_page(&[], &bootstrap).await.unwrap();
    let end = Interval { from: at(1), to: at(2), commits: Vec::new(), digest: Some(digest) };
    region.apply(&end).await.unwrap();
    Arc::new(region)
}

async fn measure_bootstrap(directory: &Path, files: u64) {
    let begun = Instant::now();
    let region = generated(directory, files).await;
    println!("generated {files} files in {:.1} s", begun.elapsed().as_secs_f64());
    let publisher = publish(&region, Lineage::primary()).await;
    let begun = Instant::now();
    let mirror = Mirror::start(&directory.join("mirror"), &upstream(&publisher)).await;
    let handle = mirror.handle.clone();
    let ready = handle.ready();
    tokio::pin!(ready);
    loop {
        tokio::select! {
            done = &mut ready => break done.unwrap(),
            () = tokio::time::sleep(Duration::from_secs(5)) => println!("  {:?}", mirror.handle.status().bootstrap),
        }
    }
    println!("bootstrapped in {:.1} s; {} kB resident", begun.elapsed().as_secs_f64(), resident_kb());
    mirror.stop().await;
}

fn resident_kb() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

async fn measure_following(directory: &Path, seconds: u64) {
    let region = primary(&directory.join("primary")).await;
    let publisher: Publisher = publish(&region, Lineage::primary()).await;
    let mirror = Mirror::start(&directory.join("follower"), &upstream(&publisher)).await;
    mirror.ready().await;
    let mut late = Vec::new();
    for number in 0..200 {
        make_files(&region, &format!("one-{number}"), 1).await;
        let (begun, position) = (Instant::now(), region.state().await.unwrap().position);
        mirror.handle.wait_visible(position, LONG).await.unwrap();
        late.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    late.sort();
    println!("commit to visible, one at a time: median {:?}, 99% {:?}", late[100], late[198]);

    let begun = Instant::now();
    let writers = (0..WRITERS).map(|writer| {
        let region = Arc::clone(&region);
        tokio::spawn(async move {
            let mut made = 0;
            let directory = tree(&region).create(Ino::ROOT, &name(&format!("w{writer}")), &dir(), NOW).await.unwrap().0;
            let tree = tree(&region);
            while begun.elapsed() < Duration::from_secs(seconds) {
                tree.create(directory, &name(&format!("{made}")), &file(), NOW).await.unwrap();
                made += 1;
            }
            made
        })
    });
    let made: u64 = futures::future::join_all(writers).await.into_iter().map(Result::unwrap).sum();
    let rate = made as f64 / begun.elapsed().as_secs_f64();
    let behind = Instant::now();
    let position = region.state().await.unwrap().position;
    mirror.handle.wait_visible(position, LONG).await.unwrap();
    println!("{WRITERS} writers: {rate:.0} creates/s; the mirror was {:?} behind at the end", behind.elapsed());
    println!("{:?}", mirror.handle.status());
}

fn dir() -> farshore_meta::NewInode {
    farshore_meta::NewInode { kind: farshore_meta::FileKind::Directory, ..file() }
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse().unwrap());
    let (files, seconds) = (arguments.next().unwrap_or(100_000), arguments.next().unwrap_or(5));
    let directory = tempfile::tempdir().unwrap();
    measure_following(directory.path(), seconds).await;
    measure_bootstrap(directory.path(), files).await;
}
