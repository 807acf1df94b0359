//! Rates of tree operations on the embedded engine: `cargo run --release -p farshore-meta --example tree_rates`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example")]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use farshore_meta::engine::{Durability, EmbeddedEngine, EmbeddedOptions};
use farshore_meta::{Compression, FileKind, Ino, Name, NewInode, NewVolume, Settings, Tree, UnixTime, format};
use farshore_proto::{RegionId, VolumeId};

const FILES: usize = 5_000;

#[tokio::main]
async fn main() {
    for durability in [Durability::Commit, Durability::Os] {
        for clients in [1, 8] {
            rates(durability, clients).await;
        }
    }
}

async fn rates(durability: Durability, clients: usize) {
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { durability, ..EmbeddedOptions::default() };
    let engine = Arc::new(EmbeddedEngine::create(directory.path().join("meta"), &options).unwrap());
    let now = UnixTime { seconds: 1, nanos: 0 };
    let settings = Settings {
        volume_id: VolumeId::from_random([1; 16]),
        name: "rates".into(),
        store: "mem://".into(),
        block_key: [2; 32],
        block_bytes: 4 << 20,
        inline_bytes: 4096,
        compression: Compression::None,
    };
    let new = NewVolume {
        settings,
        region_id: RegionId::from_random([3; 16]),
        incarnation_random: [4; 12],
        uid: 0,
        gid: 0,
        now,
    };
    let region = Arc::new(format(engine, &new).await.unwrap());
    let tree = Arc::new(Tree::new(region, 4096));
    let begun = Instant::now();
    let tasks: Vec<_> = (0..clients).map(|client| tokio::spawn(create(Arc::clone(&tree), client, now))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    let created = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    for i in 0..FILES {
        tree.lookup(Ino::ROOT, &name(0, i)).await.unwrap_or_else(|_| panic!("{i}"));
    }
    let looked = begun.elapsed().as_secs_f64();
    println!(
        "{durability:?}, {clients} clients: {:.0} creates/s, {:.0} lookups/s",
        (FILES * clients) as f64 / created,
        FILES as f64 / looked
    );
}

async fn create(tree: Arc<Tree>, client: usize, now: UnixTime) {
    let directory = NewInode { kind: FileKind::Directory, mode: 0o755, uid: 0, gid: 0, rdev: 0, target: Bytes::new() };
    let file = NewInode { kind: FileKind::File, mode: 0o644, ..directory.clone() };
    let parent = if client == 0 {
        Ino::ROOT
    } else {
        tree.create(Ino::ROOT, &Name::new(format!("d{client}").as_bytes()).unwrap(), &directory, now).await.unwrap().0
    };
    for i in 0..FILES {
        tree.create(parent, &name(client, i), &file, now).await.unwrap();
    }
}

fn name(client: usize, i: usize) -> Name {
    Name::new(format!("file-{client}-{i}").as_bytes()).unwrap()
}
