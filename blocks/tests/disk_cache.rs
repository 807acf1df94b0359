//! The local disk cache: it survives a restart, keeps its budget, and heals what is damaged.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use farshore_blocks::*;
use support::*;

/// Without a memory tier every read shows what the disk has.
fn reader_on(cache: &Path, budget_bytes: u64, origins: Vec<Arc<dyn Origin>>) -> BlockReader {
    let disk_options = DiskOptions { budget_bytes, ..DiskOptions::default() };
    let disk = DiskCache::open(cache, volume(), key(), &disk_options).unwrap();
    let options = ReaderOptions { memory_bytes: 0, ..ReaderOptions::default() };
    BlockReader::new(key(), Some(disk), origins, &options)
}

const PLENTY: u64 = 1 << 30;

fn file_of(cache: &Path, name: BlockName) -> PathBuf {
    let digits = name.to_string();
    cache.join(volume().to_string()).join(&digits[..2]).join(digits)
}

async fn read_whole(reader: &BlockReader, name: BlockName, block: &Bytes) {
    let read = reader.read(name, 0..block.len() as u32, ReadHint::Sequential).await.unwrap();
    assert!(read == *block, "the bytes differ");
    reader.disk().unwrap().flush().await;
}

#[tokio::test]
async fn a_restart_keeps_what_was_cached() {
    let cache = tempfile::tempdir().unwrap();
    let store = open_store("mem://");
    let block = pattern(700_000);
    let name = store_block(&store, &block).await;
    let origin = Arc::new(Watched::new(&store));
    let reader = reader_on(cache.path(), PLENTY, vec![origin.clone()]);
    read_whole(&reader, name, &block).await;
    read_whole(&reader, name, &block).await;
    assert_eq!((origin.fetches(), reader.stats().disk_hits), (1, 1));
    drop(reader);
    let reader = reader_on(cache.path(), PLENTY, vec![]);
    read_whole(&reader, name, &block).await;
    assert!(reader.seems_cached(&name));
    assert!(reader.stats().disk_bytes >= 700_000);
}

#[tokio::test]
async fn a_second_opener_is_told() {
    let cache = tempfile::tempdir().unwrap();
    let _first = reader_on(cache.path(), PLENTY, vec![]);
    let second = DiskCache::open(cache.path(), volume(), key(), &DiskOptions::default());
    assert!(matches!(second, Err(BlockError::CacheInUse { .. })));
}

#[tokio::test]
async fn parts_of_a_block_are_cached_apart_and_only_what_lacks_is_fetched() {
    let cache = tempfile::tempdir().unwrap();
    let store = open_store("mem://");
    let block = pattern(4 << 20);
    let name = store_block(&store, &block).await;
    let origin = Arc::new(Watched::new(&store));
    let reader = reader_on(cache.path(), PLENTY, vec![origin.clone()]);
    let read = async |at: u32| {
        let read = reader.read(name, at..at + 4096, ReadHint::Demand).await.unwrap();
        assert_eq!(read, block.slice(at as usize..at as usize + 4096));
        reader.disk().unwrap().flush().await;
    };
    for at in [10, 3_000_000, 3_000_100, 20] {
        read(at).await;
    }
    assert_eq!((origin.fetches(), origin.groups()), (2, 2));
    read(70_000).await;
    assert_eq!((origin.fetches(), origin.groups()), (3, 5), "beside an earlier one the whole run comes");
    let allocated = std::fs::metadata(file_of(cache.path(), name)).unwrap().blocks() * 512;
    assert!(allocated < 1 << 20, "the file is not sparse: {allocated}");
    read_whole(&reader, name, &block).await;
    read_whole(&reader, name, &block).await;
    assert_eq!(origin.fetches(), 4);
}

/// Damages the cached file by `damage`, and checks that a read heals it from the origin.
async fn heals(damage: impl Fn(&std::fs::File)) {
    let cache = tempfile::tempdir().unwrap();
    let store = open_store("mem://");
    let block = pattern(400_000);
    let name = store_block(&store, &block).await;
    let origin = Arc::new(Watched::new(&store));
    for restart in [false, true] {
        let mut reader = reader_on(cache.path(), PLENTY, vec![origin.clone()]);
        read_whole(&reader, name, &block).await;
        if restart {
            drop(reader);
            reader = reader_on(cache.path(), PLENTY, vec![origin.clone()]);
        }
        let mut file = std::fs::OpenOptions::new();
        damage(&file.read(true).write(true).open(file_of(cache.path(), name)).unwrap());
        let before = origin.fetches();
        read_whole(&reader, name, &block).await;
        assert_eq!(origin.fetches(), before + 1, "the damage was not noticed");
        read_whole(&reader, name, &block).await;
        assert_eq!(origin.fetches(), before + 1, "the damage was not healed");
    }
}

#[tokio::test]
async fn a_flipped_byte_anywhere_is_fetched_again() {
    // Magic, version, length, first and last hash, first and last byte of the data.
    for at in [0, 9, 13, 32, 32 + 7 * 32 - 1, 12 << 10, (12 << 10) + 399_999] {
        heals(move |file| {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn a_cut_file_is_fetched_again() {
    for len in [0, 20, 100, 12 << 10, 200_000] {
        heals(move |file| file.set_len(len).unwrap()).await;
    }
}

#[tokio::test]
async fn another_block_in_its_place_is_fetched_again() {
    heals(|file| {
        let mut head = [0; 32];
        file.read_exact_at(&mut head, 0).unwrap();
        file.set_len(0).unwrap();
        file.write_all_at(&head, 0).unwrap();
        file.write_all_at(&[7; 7 * 32], 32).unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_budget_is_kept_and_what_is_used_stays() {
    let cache = tempfile::tempdir().unwrap();
    let store = open_store("mem://");
    let origin = Arc::new(Watched::new(&store));
    let reader = reader_on(cache.path(), 3 << 20, vec![origin.clone()]);
    let mut names = Vec::new();
    for seed in 0..24u8 {
        let block: Bytes = vec![seed; 512 << 10].into();
        let name = store_block(&store, &block).await;
        names.push((name, block.clone()));
        read_whole(&reader, name, &block).await;
        read_whole(&reader, names[0].0, &names[0].1).await;
        let on_disk = disk_bytes(cache.path());
        assert!(on_disk <= 3 << 20, "{on_disk} bytes on disk");
        assert!(reader.stats().disk_bytes <= 3 << 20);
    }
    assert!(disk_bytes(cache.path()) >= 1 << 20, "the cache keeps too little");
    assert!(origin.fetches() < 30, "the block in use was evicted: {} fetches", origin.fetches());
    drop(reader);
    let reader = reader_on(cache.path(), 1 << 20, vec![origin]);
    assert!(disk_bytes(cache.path()) <= 1 << 20 && reader.stats().disk_bytes <= 1 << 20);
}

fn disk_bytes(cache: &Path) -> u64 {
    let fans = std::fs::read_dir(cache.join(volume().to_string())).unwrap();
    let fans = fans.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let files = fans.flat_map(|fan| std::fs::read_dir(fan).unwrap());
    files.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum()
}

#[tokio::test]
async fn foreign_files_are_left_alone() {
    let cache = tempfile::tempdir().unwrap();
    let root = cache.path().join(volume().to_string());
    std::fs::create_dir_all(root.join("ab")).unwrap();
    let foreign = ["README", "ab/notes.txt", "ab/cdcd", "zz"];
    for path in foreign {
        std::fs::write(root.join(path), "mine").unwrap();
    }
    let store = open_store("mem://");
    let block = pattern(100_000);
    let name = store_block(&store, &block).await;
    let reader = reader_on(cache.path(), 1 << 20, vec![Arc::new(StoreOrigin::new(store))]);
    read_whole(&reader, name, &block).await;
    for path in foreign {
        assert_eq!(std::fs::read_to_string(root.join(path)).unwrap(), "mine");
    }
}

#[tokio::test]
async fn a_link_in_a_files_place_is_not_followed() {
    let cache = tempfile::tempdir().unwrap();
    let store = open_store("mem://");
    let block = pattern(100_000);
    let name = store_block(&store, &block).await;
    let target = cache.path().join("precious");
    std::fs::write(&target, "mine").unwrap();
    let file = file_of(cache.path(), name);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&target, file).unwrap();
    let reader = reader_on(cache.path(), PLENTY, vec![Arc::new(StoreOrigin::new(store))]);
    read_whole(&reader, name, &block).await;
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "mine");
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_costs_only_its_use() {
    let cache = tempfile::tempdir().unwrap();
    let store = open_store("mem://");
    let block = pattern(100_000);
    let name = store_block(&store, &block).await;
    let origin = Arc::new(Watched::new(&store));
    let reader = reader_on(cache.path(), PLENTY, vec![origin.clone()]);
    let root = cache.path().join(volume().to_string());
    std::fs::remove_dir_all(&root).unwrap();
    std::fs::write(&root, "no directory any more").unwrap();
    for _ in 0..3 {
        read_whole(&reader, name, &block).await;
    }
    assert_eq!((origin.fetches(), reader.stats().disk_bytes), (3, 0));
    std::fs::remove_file(&root).unwrap();
    read_whole(&reader, name, &block).await;
    read_whole(&reader, name, &block).await;
    assert_eq!(origin.fetches(), 4, "the cache did not come back");
}

#[tokio::test]
async fn a_prefetched_block_is_on_disk() {
    let cache = tempfile::tempdir().unwrap();
    let store = open_store("mem://");
    let block = pattern(3 << 20);
    let name = store_block(&store, &block).await;
    let origin = Arc::new(Watched::new(&store));
    let reader = reader_on(cache.path(), PLENTY, vec![origin.clone()]);
    assert!(!reader.seems_cached(&name));
    reader.prefetch(name).await.unwrap();
    reader.disk().unwrap().flush().await;
    assert!(reader.seems_cached(&name));
    reader.prefetch(name).await.unwrap();
    read_whole(&reader, name, &block).await;
    assert_eq!(origin.fetches(), 1);
}

#[tokio::test]
async fn a_reader_that_joined_a_read_of_fewer_groups_still_gets_its_own() {
    let cache = tempfile::tempdir().unwrap();
    let store = open_store("mem://");
    let block = pattern(1 << 20);
    let name = store_block(&store, &block).await;
    let reader = |demand_run_groups| {
        let disk = DiskCache::open(cache.path(), volume(), key(), &DiskOptions::default()).unwrap();
        let options = ReaderOptions { demand_run_groups, ..ReaderOptions::default() };
        let origin: Arc<dyn Origin> = Arc::new(StoreOrigin::new(store.clone()));
        BlockReader::new(key(), Some(disk), vec![origin], &options)
    };
    let first = reader(1);
    first.read(name, 0..10, ReadHint::Demand).await.unwrap();
    first.disk().unwrap().flush().await;
    drop(first);
    let reader = reader(4);
    let cached = reader.read(name, 0..10, ReadHint::Demand);
    let joined = reader.read(name, 150_000..150_010, ReadHint::Demand);
    let warmed = reader.prefetch(name);
    let (cached, joined, warmed) = tokio::join!(cached, joined, warmed);
    assert_eq!(cached.unwrap(), block.slice(..10));
    assert_eq!(joined.unwrap(), block.slice(150_000..150_010));
    warmed.unwrap();
    let huge = reader.read(name, 0..u32::MAX, ReadHint::Demand).await.unwrap_err();
    assert_eq!(huge.remedy(), Remedy::Bug, "{huge}");
}
