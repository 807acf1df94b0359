//! Random operations on files against plain byte vectors, on a real engine and a real store.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use farshore_blocks::{
    BlockKey, BlockReader, BlockStore, BlockWriter, ReaderOptions, StoreOptions, StoreOrigin, StoreUrl, WriterOptions,
};
use farshore_meta::engine::{EmbeddedEngine, EmbeddedOptions};
use farshore_meta::{
    AttrChange, Compression, FileKind, Ino, Name, NewInode, NewVolume, Region, RenameMode, Seek, Settings, UnixTime,
    format,
};
use farshore_proto::{RegionId, VolumeId};
use farshore_volume::{AllocateMode, Volume, VolumeOptions};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const BLOCK_BYTES: u32 = 64 << 10;

fn settings() -> Settings {
    Settings {
        volume_id: VolumeId::from_random([1; 16]),
        name: "model".into(),
        store: "mem://model".into(),
        block_key: [2; 32],
        block_bytes: BLOCK_BYTES,
        inline_bytes: 4096,
        compression: Compression::None,
    }
}

async fn volume(directory: &std::path::Path) -> Arc<Volume> {
    let engine = Arc::new(EmbeddedEngine::create(directory.join("meta"), &EmbeddedOptions::default()).unwrap());
    let now = UnixTime { seconds: 1, nanos: 0 };
    let new = NewVolume {
        settings: settings(),
        region_id: RegionId::from_random([3; 16]),
        incarnation_random: [4; 12],
        uid: 0,
        gid: 0,
        now,
    };
    let region: Arc<Region> = Arc::new(format(engine, &new).await.unwrap());
    let settings = settings();
    let url = StoreUrl::directory(&directory.join("store")).unwrap();
    let key = BlockKey::new(settings.block_key);
    let options = StoreOptions { create_directory: true, deferred_sync: true, ..StoreOptions::default() };
    let store = BlockStore::open(&url, settings.volume_id, key.clone(), &options).unwrap();
    let origin = Arc::new(StoreOrigin::new(store.clone()));
    let blocks = BlockReader::new(key, None, vec![origin], &ReaderOptions::default());
    let writer = BlockWriter::new(store, Some(blocks.memory()), &WriterOptions::default());
    Volume::start(region, &settings, blocks, Some(writer), VolumeOptions::default())
}

fn file() -> NewInode {
    NewInode { kind: FileKind::File, mode: 0o644, uid: 0, gid: 0, rdev: 0, target: Bytes::new() }
}

/// The file's bytes as the model has them: longer writes fill holes with zeros.
fn write_model(model: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if model.len() < offset + data.len() {
        model.resize(offset + data.len(), 0);
    }
    model[offset..offset + data.len()].copy_from_slice(data);
}

async fn run(seed: u64, steps: usize) {
    let directory = tempfile::tempdir().unwrap();
    let volume = volume(directory.path()).await;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut models: BTreeMap<usize, (Ino, Vec<u8>)> = BTreeMap::new();
    for step in 0..steps {
        let number = rng.random_range(0..4usize);
        let name = Name::new(format!("file{number}").as_bytes()).unwrap();
        let ino = if let Some((ino, _)) = models.get(&number) {
            *ino
        } else {
            let (ino, _, opened) = volume.create_open(Ino::ROOT, &name, &file()).await.unwrap();
            volume.release(opened.handle).await;
            models.insert(number, (ino, Vec::new()));
            ino
        };
        let handle = volume.open(ino, true).await.unwrap().handle;
        let reach = if rng.random_bool(0.5) { 6_000 } else { 300_000 };
        let model = &mut models.get_mut(&number).unwrap().1;
        for _ in 0..rng.random_range(1..6) {
            let offset = rng.random_range(0..reach);
            let len = if rng.random_bool(0.7) { rng.random_range(1..5_000) } else { rng.random_range(1..200_000) };
            match rng.random_range(0..10) {
                0..5 => {
                    let fill: u8 = rng.random();
                    let data: Vec<u8> = (0..len).map(|i| fill.wrapping_add(i as u8)).collect();
                    volume.write(handle, offset as u64, data.clone().into()).await.unwrap();
                    write_model(model, offset, &data);
                }
                5 => {
                    let size = rng.random_range(0..reach);
                    let change = AttrChange { size: Some(size as u64), ..AttrChange::default() };
                    volume.set_attr(ino, change).await.unwrap();
                    model.resize(size, 0);
                }
                6 => {
                    volume.allocate(handle, AllocateMode::PunchHole, offset as u64, len as u64).await.unwrap();
                    let end = (offset + len).min(model.len());
                    if offset < end {
                        model[offset..end].fill(0);
                    }
                }
                7 => volume.flush(handle).await.unwrap(),
                _ => {}
            }
            let read = volume.read(handle, offset as u64, len as u32).await.unwrap();
            let expected = model.get(offset..(offset + len).min(model.len())).unwrap_or_default();
            assert!(
                read == expected,
                "seed {seed} step {step}: {} bytes at {offset}, {} expected",
                read.len(),
                expected.len()
            );
            let attr = volume.attr(ino).await.unwrap();
            assert_eq!(attr.size, model.len() as u64, "seed {seed} step {step}");
        }
        if rng.random_bool(0.2) {
            volume.unlink(Ino::ROOT, &name).await.unwrap();
            let read = volume.read(handle, 0, u32::MAX >> 8).await.unwrap();
            assert!(read == *model, "seed {seed} step {step}: an open file without a name");
            models.remove(&number);
        }
        volume.release(handle).await;
    }
    for (ino, model) in models.values() {
        let handle = volume.open(*ino, false).await.unwrap().handle;
        assert!(volume.read(handle, 0, 1 << 20).await.unwrap() == *model, "seed {seed}: at the end");
        if !model.is_empty() {
            let hole = volume.seek(handle, 0, Seek::Hole).await.unwrap();
            assert!(hole <= model.len() as u64);
        }
        volume.release(handle).await;
    }
    volume.shut_down().await.unwrap();
    let used = volume.statistics().await.unwrap();
    assert_eq!(used.used_inodes, 1 + models.len() as u64, "seed {seed}: removed files leave no inode");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_hold_what_a_byte_vector_holds() {
    for seed in 0..12 {
        run(seed, 60).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_in_parts_is_one_moment_of_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let volume = volume(directory.path()).await;
    let name = |name: &str| Name::new(name.as_bytes()).unwrap();
    for i in 0..10 {
        volume.create(Ino::ROOT, &name(&format!("b{i}")), &file()).await.unwrap();
    }
    let handle = volume.open_directory(Ino::ROOT).await.unwrap();
    let first = volume.read_directory(handle, 0, true).await.unwrap();
    volume.rename((Ino::ROOT, &name("b9")), (Ino::ROOT, &name("a9")), RenameMode::Replace).await.unwrap();
    let rest = volume.read_directory(handle, first[4].next_offset, false).await.unwrap();
    let names = first[..5].iter().chain(&rest).map(|listed| listed.entry.name.as_bytes().to_vec());
    let wanted = (0..10).map(|i| format!("b{i}").into_bytes());
    assert!(names.eq(wanted), "{rest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_removed_while_a_directory_is_read_shift_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let volume = volume(directory.path()).await;
    for i in 0..2_500 {
        let name = Name::new(format!("{i:05}").as_bytes()).unwrap();
        volume.create(Ino::ROOT, &name, &file()).await.unwrap();
    }
    let handle = volume.open_directory(Ino::ROOT).await.unwrap();
    let (mut offset, mut seen) = (0, 0);
    loop {
        let page = volume.read_directory(handle, offset, true).await.unwrap();
        // As a kernel does, take only some of what was offered.
        let Some(last) = page.iter().take(70).next_back() else { break };
        offset = last.next_offset;
        for listed in page.iter().take(70) {
            assert_eq!(listed.entry.name.as_bytes(), format!("{seen:05}").as_bytes());
            assert!(listed.entry.attr.is_some());
            volume.unlink(Ino::ROOT, &listed.entry.name).await.unwrap();
            seen += 1;
        }
    }
    assert_eq!(seen, 2_500);
}

#[tokio::test(flavor = "multi_thread")]
async fn flushes_beside_a_writer_neither_cut_nor_lose_what_it_writes() {
    let directory = tempfile::tempdir().unwrap();
    let volume = volume(directory.path()).await;
    for round in 0..20u8 {
        let name = Name::new(&[b'f', b'a' + round]).unwrap();
        let (ino, _, opened) = volume.create_open(Ino::ROOT, &name, &file()).await.unwrap();
        let flushing = {
            let volume = Arc::clone(&volume);
            tokio::spawn(async move {
                for _ in 0..30 {
                    volume.flush(opened.handle).await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        };
        let chunk = Bytes::from(vec![round + 1; BLOCK_BYTES as usize / 2]);
        let mut written = 0;
        for _ in 0..160 {
            volume.write(opened.handle, written, chunk.clone()).await.unwrap();
            written += chunk.len() as u64;
            assert_eq!(volume.attr(ino).await.unwrap().size, written, "round {round}");
        }
        flushing.await.unwrap();
        volume.flush(opened.handle).await.unwrap();
        assert_eq!(volume.attr(ino).await.unwrap().size, written, "round {round}");
        let read = volume.read(opened.handle, 0, written as u32).await.unwrap();
        assert!(read.len() as u64 == written && read.iter().all(|byte| *byte == round + 1), "round {round}");
        volume.release(opened.handle).await;
    }
}

/// Replaces every block that is stored by what cannot be opened.
fn ruin(dir: &std::path::Path) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            ruin(&entry.path());
        } else {
            std::fs::remove_file(entry.path()).unwrap();
            std::os::unix::fs::symlink(entry.file_name(), entry.path()).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_fsync_waits_for_the_blocks_and_tells_when_they_are_not_safe() {
    // The blocks may have been synced unasked before they are ruined: then once more.
    for attempt in 0..10u8 {
        let directory = tempfile::tempdir().unwrap();
        let volume = volume(directory.path()).await;
        let name = Name::new(b"file").unwrap();
        let (_, _, opened) = volume.create_open(Ino::ROOT, &name, &file()).await.unwrap();
        volume.write(opened.handle, 0, vec![attempt; 50_000].into()).await.unwrap();
        volume.fsync(opened.handle).await.unwrap();
        volume.write(opened.handle, 50_000, vec![attempt + 100; 50_000].into()).await.unwrap();
        volume.flush(opened.handle).await.unwrap();
        ruin(&directory.path().join("store"));
        if volume.fsync(opened.handle).await.is_err() {
            assert!(volume.fsync(opened.handle).await.is_err(), "nobody knows what the disk has");
            return;
        }
    }
    panic!("no fsync looked at the blocks");
}
