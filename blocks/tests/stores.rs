//! The store on directories, memory and, where one is given, S3.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use farshore_blocks::*;
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use support::*;

/// What every store must do.
async fn keeps_its_contract(store: &BlockStore) {
    store.probe().await.unwrap();
    for len in [0, 1, 65_536, 200_000, 4 << 20] {
        for compression in [Compression::None, Compression::Zstd] {
            let block = pattern(len);
            let (tree, encoded) = encode(&key(), &block, compression).unwrap();
            let name = tree.name();
            assert!(!store.exists(name).await.unwrap());
            assert!(matches!(store.get(name, ALL_GROUPS).await, Err(BlockError::Missing { .. })));
            assert!(matches!(store.get(name, 5..6).await, Err(BlockError::Missing { .. })));
            store.put(name, encoded.clone()).await.unwrap();
            store.put(name, encoded).await.unwrap();
            assert!(store.exists(name).await.unwrap());
            // Twice: the second time the block's head is known.
            for groups in [0..1, 3..4, 60..64, 100..104, ALL_GROUPS, 0..1, 0..4, 3..4, 2..9, 60..64] {
                check_piece(store, &block, name, groups).await;
            }
            let other = if compression == Compression::None { Compression::Lz4 } else { Compression::None };
            store.put(name, encode(&key(), &block, other).unwrap().1).await.unwrap();
            for groups in [3..4, 60..64, 0..1] {
                check_piece(store, &block, name, groups).await;
            }
            let listed: Vec<_> = store.list().try_collect().await.unwrap();
            assert_eq!(listed.iter().map(|block| block.name).collect::<Vec<_>>(), [name]);
            store.delete(name).await.unwrap();
            store.delete(name).await.unwrap();
            assert!(!store.exists(name).await.unwrap());
        }
    }
}

async fn check_piece(store: &BlockStore, block: &Bytes, name: BlockName, groups: std::ops::Range<u32>) {
    let piece = store.get(name, groups.clone()).await.unwrap();
    assert_eq!(piece.block_len as usize, block.len());
    let tree = BlockTree::check(&key(), name, piece.block_len, piece.hashes).unwrap();
    let end = piece.first_group + group_count(piece.data.len() as u32);
    let all = group_count(piece.block_len);
    if groups.start < all {
        tree.verify_run(&key(), piece.first_group, &piece.data).unwrap();
        assert!(piece.first_group <= groups.start && groups.end.min(all) <= end);
    }
}

#[tokio::test]
async fn directories_and_memory_keep_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    keeps_its_contract(&open_store(directory.path().to_str().unwrap())).await;
    keeps_its_contract(&open_store("mem://")).await;
}

#[tokio::test]
async fn an_s3_store_keeps_the_contract() {
    let Ok(url) = std::env::var("FARSHORE_TEST_S3") else {
        eprintln!("NOT RUN: set FARSHORE_TEST_S3=s3://bucket/prefix?endpoint=... to test blocks on S3");
        return;
    };
    keeps_its_contract(&open_store(&url)).await;
}

#[tokio::test]
async fn blocks_lie_where_the_format_says() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_store(directory.path().to_str().unwrap());
    let name = store_block(&store, &pattern(10)).await;
    let digits = name.to_string();
    let place = format!("{}/blocks/{}/{digits}", volume(), &digits[..3]);
    assert!(directory.path().join(place).is_file());
    assert_eq!(open_store("mem://").label(), "mem://");
}

#[tokio::test]
async fn named_memory_is_shared_and_unnamed_is_not() {
    let (one, other) = (open_store("mem://shared-by-two"), open_store("mem://shared-by-two"));
    let name = store_block(&one, &pattern(10)).await;
    assert!(other.exists(name).await.unwrap());
    assert!(!open_store("mem://").exists(name).await.unwrap());
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_told_and_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let absent = directory.path().join("not-mounted");
    let url: StoreUrl = absent.to_str().unwrap().parse().unwrap();
    let error = BlockStore::open(&url, volume(), key(), &StoreOptions::default()).unwrap_err();
    assert_eq!(error.remedy(), Remedy::Operator);
    assert!(error.to_string().contains("is its disk mounted?") && !absent.exists(), "{error}");
}

#[tokio::test]
async fn a_damaged_object_is_an_error_at_every_byte_that_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_store(directory.path().to_str().unwrap());
    let block = pattern(300_000);
    let name = store_block(&store, &block).await;
    let digits = name.to_string();
    let path = format!("{}/blocks/{}/{digits}", volume(), &digits[..3]);
    let path = directory.path().join(path);
    let good = std::fs::read(&path).unwrap();
    for at in [0, 8, 10, 11, 12, 16, 20, 24, 32, 32 + 5 * 32 - 1, 32 + 5 * 32, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let reader = reader_of(vec![Arc::new(StoreOrigin::new(store.clone()))]);
        let error = reader.read(name, 0..300_000, ReadHint::Demand).await.unwrap_err();
        let told = matches!(error, BlockError::Corrupt { .. } | BlockError::Unsupported { .. });
        assert!(told, "byte {at}: {error}");
    }
    for len in [0, 31, 100, good.len() - 1] {
        std::fs::write(&path, &good[..len]).unwrap();
        let reader = reader_of(vec![Arc::new(StoreOrigin::new(store.clone()))]);
        let error = reader.read(name, 0..300_000, ReadHint::Demand).await.unwrap_err();
        assert!(matches!(error, BlockError::Corrupt { .. } | BlockError::Store { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_costs_the_deadline_at_most() {
    let url = "s3://bucket/prefix?endpoint=http://127.0.0.1:9&access_key_id=a&secret_access_key=hush";
    let options = StoreOptions { deadline: Duration::from_millis(800), ..StoreOptions::default() };
    let store = BlockStore::open(&url.parse().unwrap(), volume(), key(), &options).unwrap();
    let began = Instant::now();
    let error = store.probe().await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(error.remedy(), Remedy::Retry, "{error}");
    assert!(!error.to_string().contains("hush") && error.to_string().lines().count() == 1, "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_costs_the_deadline_at_most() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let url = format!("s3://bucket?endpoint=http://{address}&access_key_id=a&secret_access_key=b");
    let options = StoreOptions { deadline: Duration::from_millis(500), ..StoreOptions::default() };
    let store = BlockStore::open(&url.parse().unwrap(), volume(), key(), &options).unwrap();
    let began = Instant::now();
    let error = store.get(name_of(&key(), b"x"), 0..1).await.unwrap_err();
    assert!(matches!(error, BlockError::Deadline { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[test]
fn settings_that_cannot_work_are_told_when_opening() {
    for (url, told) in [
        ("s3://bucket?endpoint=http://127.0.0.1:9&colour=blue", "colour"),
        ("s3://bucket?endpoint=http://127.0.0.1:9&skip_signature=perhaps&access_key_id=a", "perhaps"),
    ] {
        let options = StoreOptions::default();
        let error = BlockStore::open(&url.parse().unwrap(), volume(), key(), &options).unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
    }
    if std::env::var_os("AWS_ACCESS_KEY_ID").is_none() {
        let url = "s3://bucket?endpoint=http://127.0.0.1:9";
        let opened = BlockStore::open(&url.parse().unwrap(), volume(), key(), &StoreOptions::default());
        assert!(opened.unwrap_err().to_string().contains("AWS_ACCESS_KEY_ID"));
    }
}

#[tokio::test]
async fn a_store_that_returns_other_bytes_is_refused() {
    let objects: Arc<dyn ObjectStore> = Arc::new(Forgetful(InMemory::new()));
    let store = BlockStore::over(objects, "a forgetful store", "", volume(), key(), Duration::from_secs(5));
    assert!(matches!(store.probe().await, Err(BlockError::Unfaithful { .. })));
}

/// Keeps zeros instead of what it was given.
#[derive(Debug)]
struct Forgetful(InMemory);

impl std::fmt::Display for Forgetful {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Forgetful")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Forgetful {
    async fn put_opts(
        &self,
        location: &object_store::path::Path,
        payload: object_store::PutPayload,
        opts: object_store::PutOptions,
    ) -> object_store::Result<object_store::PutResult> {
        self.0.put_opts(location, vec![0; payload.content_length()].into(), opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &object_store::path::Path,
        opts: object_store::PutMultipartOptions,
    ) -> object_store::Result<Box<dyn object_store::MultipartUpload>> {
        self.0.put_multipart_opts(location, opts).await
    }

    async fn get_opts(
        &self,
        location: &object_store::path::Path,
        options: object_store::GetOptions,
    ) -> object_store::Result<object_store::GetResult> {
        self.0.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: futures::stream::BoxStream<'static, object_store::Result<object_store::path::Path>>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<object_store::path::Path>> {
        self.0.delete_stream(locations)
    }

    fn list(
        &self,
        prefix: Option<&object_store::path::Path>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<object_store::ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(
        &self,
        prefix: Option<&object_store::path::Path>,
    ) -> object_store::Result<object_store::ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &object_store::path::Path,
        to: &object_store::path::Path,
        options: object_store::CopyOptions,
    ) -> object_store::Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

/// A small filesystem in memory, unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Nothing where this process may not mount.
    fn mount(bytes: u64) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(directory.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("NOT RUN: mounting a small tmpfs needs root; a full disk is not tested");
        }
        mounted.then_some(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[tokio::test]
async fn a_full_store_is_told_in_one_line() {
    let Some(disk) = SmallDisk::mount(1 << 20) else {
        return;
    };
    let store = open_store(disk.path().to_str().unwrap());
    let (tree, encoded) = encode(&key(), &pattern(4 << 20), Compression::None).unwrap();
    let error = store.put(tree.name(), encoded).await.unwrap_err();
    assert!(matches!(error, BlockError::Full { .. }), "{error:?}");
    assert!(error.to_string().contains("free space"), "{error}");
    assert!(!store.exists(tree.name()).await.unwrap());
    store_block(&store, &pattern(1000)).await;
}

#[tokio::test]
async fn a_full_cache_disk_costs_only_the_cache() {
    let Some(disk) = SmallDisk::mount(1 << 20) else {
        return;
    };
    let store = open_store("mem://");
    let cache = DiskCache::open(disk.path(), volume(), key(), &DiskOptions::default()).unwrap();
    let options = ReaderOptions { memory_bytes: 0, ..ReaderOptions::default() };
    let origin = Arc::new(Watched::new(&store));
    let reader = BlockReader::new(key(), Some(cache), vec![origin.clone()], &options);
    let (large, small) = (pattern(4 << 20), pattern(100_000));
    let names = [store_block(&store, &large).await, store_block(&store, &small).await];
    for _ in 0..2 {
        for (name, block) in names.iter().zip([&large, &small]) {
            let read = reader.read(*name, 0..block.len() as u32, ReadHint::Sequential).await;
            assert!(read.unwrap() == *block);
            reader.disk().unwrap().flush().await;
        }
    }
    assert_eq!(origin.fetches(), 3, "the small block fits, the large one never does");
    drop(reader);
}
