//! Manifests of whole jobs, held against what they are of, and damaged.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::checksum::Checksums;
use crate::entry::Entry;
use crate::gate::DeletionPolicy;
use crate::job::{Job, JobOptions, Summary};
use crate::journal::MemoryJournal;
use crate::key::Key;
use crate::key_range::KeyRange;
use crate::outcome::Silent;
use crate::policy::{Compare, ComparePolicy, Directories};
use crate::store::{Body, ListRequest, MemoryStore, PutRequest, Store};

fn key(bytes: &[u8]) -> Key {
    Key::new(bytes.to_vec()).unwrap()
}

fn header() -> Header {
    Header {
        source: "source".into(),
        target: "target".into(),
        made: Header::time_of(crate::timestamp::Timestamp::new(0, 0)),
        range: KeyRange::all(),
        object_keys: true,
        directories: false,
    }
}

async fn put(store: &MemoryStore, name: &[u8], bytes: &[u8]) {
    let request = PutRequest::object(key(name), bytes.len() as u64);
    store.put(&request, Body::Whole(Bytes::copy_from_slice(bytes))).await.unwrap();
}

async fn run(source: &Arc<MemoryStore>, target: &Arc<MemoryStore>, reads: bool, path: &Path) -> Summary {
    let policy = ComparePolicy { by: Compare::Size, ..ComparePolicy::default() };
    let options = JobOptions { manifest: Some(ManifestOptions { reads }), policy, ..JobOptions::default() };
    let job = Job::new(source.clone(), target.clone(), options);
    let job = job.with_manifest(ManifestFile::new(path, header()).unwrap());
    job.run(Arc::new(MemoryJournal::new().unwrap()), Arc::new(Silent)).await.unwrap()
}

async fn audit(path: &Path, target: &Arc<MemoryStore>) -> Summary {
    let policy = ComparePolicy {
        by: Compare::Recorded,
        delete: true,
        directories: Directories::Leave,
        ..ComparePolicy::default()
    };
    let deletion = DeletionPolicy { confirm: false, allow_empty_source: true, ..DeletionPolicy::default() };
    let options = JobOptions { policy, deletion, dry_run: true, ..JobOptions::default() };
    let job = Job::new(Arc::new(ManifestStore::open(path).unwrap()), target.clone(), options);
    job.run(Arc::new(MemoryJournal::new().unwrap()), Arc::new(Silent)).await.unwrap()
}

fn plain(name: &str) -> Arc<MemoryStore> {
    Arc::new(MemoryStore::objects(name).with_capabilities(|can| {
        can.page_entries = 7;
        can.max_copy_bytes = 0;
        can.reports.clear();
    }))
}

#[tokio::test]
async fn a_manifest_tells_of_all_and_finds_each_change() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("manifest");
    let (source, target) = (plain("source"), plain("target"));
    for number in 0..300_usize {
        put(&source, format!("dir{}/\n{number}", number % 7).as_bytes(), &vec![number as u8; number]).await;
    }
    put(&source, b"odd\xff%\"\\", b"odd").await;
    put(&source, b"equal", b"equal").await;
    put(&target, b"equal", b"equal").await;
    put(&target, b"surplus", b"stays").await;
    let summary = run(&source, &target, false, &path).await;
    assert!(summary.is_clean(), "{summary:?}");
    let end = *ManifestStore::open(&path).unwrap().end();
    assert_eq!((end.entries, end.without_blake3, end.left_out), (303, 2, 0));
    let clean = audit(&path, &target).await.counts;
    let differences = |counts: &crate::Counts| (counts.copied, counts.deletions_planned, counts.failed);
    assert_eq!(
        (differences(&clean), clean.unproven, clean.skipped),
        ((0, 0, 0), 0, 303),
        "stores tell MD5s of the two"
    );

    assert!(run(&source, &target, true, &path).await.is_clean());
    assert_eq!(ManifestStore::open(&path).unwrap().end().without_blake3, 0);
    assert_eq!(differences(&audit(&path, &target).await.counts), (0, 0, 0));
    put(&target, b"odd\xff%\"\\", b"0dd").await;
    put(&target, b"surplus", b"longer now").await;
    put(&target, b"new", b"").await;
    target.delete(&[key(b"equal")]).await.unwrap();
    assert_eq!(differences(&audit(&path, &target).await.counts), (3, 1, 0));
}

#[tokio::test]
async fn lines_are_listed_from_any_place_on_in_pages_of_any_size() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("manifest");
    let keys: Vec<Vec<u8>> = (0..700_u32).map(|number| format!("{:05}", number * 3).into_bytes()).collect();
    let left = directory.path().join(".manifest.killed.partial");
    fs::write(&left, "half").unwrap();
    let file = ManifestFile::new(&path, header()).unwrap();
    assert!(!left.exists(), "what a killed job left is removed");
    let mut writing = file.begin(&crate::Counts::default(), false, false).unwrap();
    for name in &keys {
        writing.add(&Recorded::of(&Entry::object(key(name), 1), &Checksums::none())).unwrap();
    }
    assert!(!path.exists(), "it has no name before it is whole");
    ManifestFile::new(&path, header()).unwrap();
    writing.finish().unwrap();
    let store = ManifestStore::open(&path).unwrap();
    for (start, end, limit) in
        [("", None, 1_000), ("", None, 1), ("00001", Some("01500"), 7), ("01500", None, 100), ("9", None, 5)]
    {
        let range = KeyRange::new(start, end.map(|end: &str| Bytes::copy_from_slice(end.as_bytes())));
        let wanted: Vec<&Vec<u8>> = keys.iter().filter(|key| range.contains(key)).collect();
        let (mut found, mut next) = (Vec::new(), Some(ListRequest { limit, ..ListRequest::first(range.clone()) }));
        while let Some(request) = next {
            let page = store.list(&request).await.unwrap();
            assert!(page.entries.len() <= limit);
            next = request.following(&page);
            found.extend(page.entries.into_iter().map(|entry| entry.key.as_bytes().to_vec()));
        }
        assert_eq!(found.iter().collect::<Vec<_>>(), wanted, "from {start:?} to {end:?} by {limit}");
    }
    assert!(store.head(&key(b"00003"), crate::AttributeSet::NONE).await.is_ok());
    let gone = store.head(&key(b"00004"), crate::AttributeSet::NONE).await;
    assert!(matches!(gone, Err(crate::StoreError::Missing { .. })));
}

#[tokio::test]
async fn a_manifest_that_is_not_whole_is_refused_wherever_it_was_damaged() {
    let directory = TempDir::new().unwrap();
    let (path, damaged) = (directory.path().join("manifest"), directory.path().join("damaged"));
    let (source, target) = (plain("source"), plain("target"));
    for name in [&b"a"[..], b"b", b"c/\xff"] {
        put(&source, name, name).await;
    }
    run(&source, &target, false, &path).await;
    let whole = fs::read(&path).unwrap();
    let end = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
    for at in 0..whole.len() {
        fs::write(&damaged, &whole[..at]).unwrap();
        assert!(ManifestStore::open(&damaged).is_err(), "cut at {at}");
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        fs::write(&damaged, &flipped).unwrap();
        // Its end is not in its checksum; a change there that can be read is of what the end says beside.
        assert!(at > end || ManifestStore::open(&damaged).is_err(), "flipped at {at}");
    }
    fs::write(&damaged, [&whole[..], b"{}\n"].concat()).unwrap();
    assert!(ManifestStore::open(&damaged).unwrap_err().to_string().contains("follows"));
    fs::write(&damaged, [&whole[..=end], &whole[..]].concat()).unwrap();
    assert!(ManifestStore::open(&damaged).is_err());
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "nothing temporary is left: {left:?}");
}
