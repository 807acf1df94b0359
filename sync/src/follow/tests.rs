//! Random changes of a volume against what following selects: no key that changed is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use farshore_meta::engine::{Durability, EmbeddedEngine, EmbeddedOptions, Engine};
use farshore_meta::{AttrChange, FileKind, FsError, Ino, Name, NewInode, RenameMode, XattrMode};
use farshore_proto::{Incarnation, Position, Version};
use farshore_volume::Volume;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::attributes::AttributeSet;
use crate::entry::{Entry, Object};
use crate::journal::{JobIdentity, JournalError};
use crate::key::Key;
use crate::key_range::KeyRange;
use crate::store::volume::VolumeStore;
use crate::store::volume::support::{Scratch, options, scratch};
use crate::store::{CheckedListing, Selected, Store};

fn engine(directory: &std::path::Path) -> Arc<dyn Engine> {
    let options = EmbeddedOptions { durability: Durability::Os, ..EmbeddedOptions::default() };
    Arc::new(EmbeddedEngine::create(directory.join("names"), &options).unwrap())
}

async fn listed(store: &Arc<dyn Store>) -> Vec<Entry> {
    let mut listing = CheckedListing::new(Arc::clone(store), KeyRange::all(), 7);
    let mut all = Vec::new();
    while let Some(page) = listing.next_page().await.unwrap() {
        all.extend(page.entries);
    }
    all
}

/// Everything that the store tells of every key.
async fn state(store: &Arc<dyn Store>) -> BTreeMap<Key, Object> {
    let mut all = BTreeMap::new();
    for entry in listed(store).await {
        let object = store.head(&entry.key, AttributeSet::all()).await.unwrap();
        all.insert(entry.key, object);
    }
    all
}

/// Directories and names among which changes are made: a part of them below the root of the store.
async fn directories(volume: &Volume) -> Vec<Ino> {
    let (mut all, mut open) = (vec![Ino::ROOT], vec![Ino::ROOT]);
    while let Some(ino) = open.pop() {
        for entry in volume.entries_from(ino, &[], 1_000).await.unwrap() {
            if entry.kind == FileKind::Directory {
                all.push(entry.ino);
                open.push(entry.ino);
            }
        }
    }
    all
}

async fn change(volume: &Volume, root: Ino, rng: &mut StdRng) -> Result<(), FsError> {
    let directories = directories(volume).await;
    let some = |rng: &mut StdRng| directories[rng.random_range(0..directories.len())];
    let name = |rng: &mut StdRng| Name::new(["a", "b", "b-", "c.d"][rng.random_range(0..4)].as_bytes());
    let new = |kind, target: &'static [u8]| NewInode {
        kind,
        mode: 0o700,
        uid: 1,
        gid: 1,
        rdev: 0,
        target: Bytes::from_static(target),
    };
    let (parent, child) = (some(rng), name(rng)?);
    match rng.random_range(0..10) {
        0 | 1 => drop(volume.create(parent, &child, &new(FileKind::Directory, b"")).await?),
        2 | 3 => {
            let (_, _, opened) = volume.create_open(parent, &child, &new(FileKind::File, b"")).await?;
            volume.write(opened.handle, 0, Bytes::from_static(b"contents")).await?;
            volume.release(opened.handle).await;
        }
        4 => drop(volume.create(parent, &child, &new(FileKind::Symlink, b"target")).await?),
        5 => {
            let (ino, attr) = volume.lookup(parent, &child).await?;
            if attr.kind == FileKind::File {
                let opened = volume.open(ino, true).await?;
                volume.write(opened.handle, attr.size, Bytes::from_static(b"more")).await?;
                volume.release(opened.handle).await;
            }
            let mode = Some(rng.random_range(0..0o777));
            volume.set_attr(ino, AttrChange { mode, ..AttrChange::default() }).await?;
            volume.set_xattr(ino, b"user.x", b"value", XattrMode::Any).await?;
        }
        6 => drop(volume.link(volume.lookup(parent, &child).await?.0, some(rng), &name(rng)?).await?),
        7 | 8 => {
            let (to, as_name) = (some(rng), name(rng)?);
            let mode = if rng.random_bool(0.2) { RenameMode::Exchange } else { RenameMode::Replace };
            // The root of the store stays where it is; all else may move into it and out of it.
            let moves = [(parent, &child), (to, &as_name)];
            for (directory, name) in moves {
                if volume.lookup(directory, name).await.is_ok_and(|(ino, _)| ino == root) {
                    return Ok(());
                }
            }
            volume.rename((parent, &child), (to, &as_name), mode).await?;
        }
        _ => match volume.lookup(parent, &child).await? {
            (ino, _) if ino == root => {}
            (_, attr) if attr.kind == FileKind::Directory => volume.remove_directory(parent, &child).await?,
            _ => volume.unlink(parent, &child).await?,
        },
    }
    Ok(())
}

/// What changed after a position, and up to where.
async fn read(volume: &Volume, from: Position) -> (Changed, Position) {
    let interval = volume.region().interval(from, usize::MAX).await.unwrap();
    let mut changed = Changed::default();
    for commit in &interval.commits {
        changed.add(commit).unwrap();
    }
    (changed, interval.to)
}

async fn run(seed: u64) {
    let Scratch { volume, directory, .. } = scratch().await;
    let mut rng = StdRng::seed_from_u64(seed);
    let store = VolumeStore::open(Arc::clone(&volume), &options("root")).await.unwrap();
    let root = store.root();
    let store: Arc<dyn Store> = Arc::new(store);
    for _ in 0..30 {
        change(&volume, root, &mut rng).await.ok();
    }
    let names = Names::new(engine(directory.path()));
    let mut at = volume.region().state().await.unwrap().position;
    // The first pass notes the names while changes go on, and only then sees the keys.
    change(&volume, root, &mut rng).await.ok();
    names.note_below(&volume, root).await.unwrap();
    let mut before = state(&store).await;
    for round in 0..40 {
        for _ in 0..rng.random_range(0..8) {
            change(&volume, root, &mut rng).await.ok();
        }
        let (changed, to) = read(&volume, at).await;
        // What comes between the log and the look at the tree is in the next interval, and may be in this one.
        if rng.random_bool(0.3) {
            change(&volume, root, &mut rng).await.ok();
        }
        names.note(&volume, &changed).await.unwrap();
        let selection = select(&volume, root, &names, &changed).await.unwrap();
        let (rest, _) = read(&volume, to).await;
        let after = state(&store).await;
        let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let differing = keys.into_iter().filter(|key| before.get(*key) != after.get(*key));
        let missed: Vec<_> = differing.filter(|key| !selection.contains(key.as_bytes())).cloned().collect();
        if rest.is_empty() {
            assert!(missed.is_empty(), "seed {seed}, round {round}: {missed:?} changed and is not in {selection:?}");
        }
        assert!(!changed.is_empty() || selection.is_empty());
        let selected: Arc<dyn Store> = Arc::new(Selected::new(Arc::clone(&store), Arc::new(selection.clone())));
        let chosen: Vec<_> = listed(&selected).await;
        let all: Vec<_> = listed(&store).await;
        let expected: Vec<_> = all.into_iter().filter(|entry| selection.contains(entry.key.as_bytes())).collect();
        assert_eq!(chosen, expected, "seed {seed}, round {round}");
        at = to;
        // What was missed for having come later is in the next round.
        before.retain(|key, _| missed.contains(key));
        before.extend(after.into_iter().filter(|(key, _)| !missed.contains(key)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_that_changed_is_left_out() {
    for seed in 0..12 {
        run(seed).await;
    }
}

#[tokio::test]
async fn a_place_is_remembered_for_its_own_job_alone() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path());
    let job = |byte| JobIdentity { fingerprint: [byte; 32], description: "a job".into(), range: KeyRange::all() };
    let record = WatchRecord::new(Arc::clone(&engine), job(1));
    assert_eq!(record.get().await.unwrap(), None);
    let position = Position { incarnation: Incarnation::new(3, [4; 12]), version: Version::new(5, 6) };
    for place in [Place::Begun(position), Place::Reached { position, target_entries: 7 }] {
        record.put(&place).await.unwrap();
        assert_eq!(record.get().await.unwrap(), Some(place));
    }
    let other = WatchRecord::new(Arc::clone(&engine), job(2)).get().await;
    assert!(matches!(other, Err(JournalError::OtherJob { .. })), "{other:?}");
    let mut txn = engine.begin().await.unwrap();
    txn.set(b"W", b"FSSW\x02");
    txn.commit().await.unwrap();
    assert!(matches!(record.get().await, Err(JournalError::Damaged { .. })));
}
