//! The mirror's rows in a simulation: a model that says what a region does, and a real region.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use farshore_meta::engine::{Durability, EmbeddedEngine, EmbeddedOptions, KeyValue};
use farshore_meta::{Bootstrap, DURABLE, Digest, Interval, MirrorPhase, Region};
use farshore_proto::Position;
use tokio::runtime::Runtime;

use super::{Standing, mirror_id, volume_id};

/// What a follower's core knows of its rows. Each write is one that either happened or did not.
pub(super) trait Replica {
    fn stands(&self) -> Standing;
    fn copy(&mut self, rows: &[KeyValue], bootstrap: &Bootstrap);
    fn apply(&mut self, interval: &Interval) -> Result<(), String>;
    fn digest(&self) -> Digest;
    fn rows(&self) -> Vec<KeyValue>;
}

pub(super) fn digest_of(rows: &BTreeMap<Bytes, Bytes>) -> Digest {
    rows.iter().fold(Digest::default(), |sum, (key, value)| sum.plus(Digest::of_row(key, value)))
}

/// A region as a map.
#[derive(Default)]
pub(super) struct Model {
    rows: BTreeMap<Bytes, Bytes>,
    bootstrap: Option<Bootstrap>,
    applied: Option<Position>,
}

impl Replica for Model {
    fn stands(&self) -> Standing {
        match (&self.bootstrap, self.applied) {
            (Some(bootstrap), _) if bootstrap.next.is_some() => Standing::Copying(bootstrap.clone()),
            (Some(_), Some(applied)) => Standing::Replaying(applied),
            (None, Some(applied)) => Standing::Following(applied),
            _ => Standing::New,
        }
    }

    fn copy(&mut self, rows: &[KeyValue], bootstrap: &Bootstrap) {
        self.rows.extend(rows.iter().cloned());
        self.bootstrap = Some(bootstrap.clone());
        if bootstrap.next.is_none() {
            self.applied = Some(bootstrap.pinned);
        }
    }

    fn apply(&mut self, interval: &Interval) -> Result<(), String> {
        if self.applied != Some(interval.from) {
            return Err("it does not tile".into());
        }
        for change in interval.commits.iter().flat_map(|commit| &commit.changes) {
            match &change.value {
                Some(value) => self.rows.insert(change.key.clone(), value.clone()),
                None => self.rows.remove(&change.key),
            };
        }
        let settled = self.bootstrap.as_ref().is_none_or(|bootstrap| interval.to >= bootstrap.settled_at);
        if let Some(digest) = interval.digest.filter(|_| settled) {
            if digest != digest_of(&self.rows) {
                return Err("the digest differs".into());
            }
            self.bootstrap = None;
        }
        self.applied = Some(interval.to);
        Ok(())
    }

    fn digest(&self) -> Digest {
        digest_of(&self.rows)
    }

    fn rows(&self) -> Vec<KeyValue> {
        self.rows.clone().into_iter().collect()
    }
}

/// A region on an embedded engine.
pub(super) struct Real {
    runtime: Runtime,
    region: Region,
    _directory: tempfile::TempDir,
}

impl Real {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let options = EmbeddedOptions { durability: Durability::Os, ..EmbeddedOptions::default() };
        let engine = Arc::new(EmbeddedEngine::create(directory.path().join("mirror"), &options).unwrap());
        let region = runtime.block_on(Region::create_mirror(engine, mirror_id(), volume_id())).unwrap();
        Self { runtime, region, _directory: directory }
    }
}

impl Replica for Real {
    fn stands(&self) -> Standing {
        let position = self.runtime.block_on(self.region.state()).unwrap().position;
        match self.runtime.block_on(self.region.mirror_phase()).unwrap() {
            MirrorPhase::New => Standing::New,
            MirrorPhase::Bootstrapping(bootstrap) if bootstrap.next.is_some() => Standing::Copying(bootstrap),
            MirrorPhase::Bootstrapping(_) => Standing::Replaying(position),
            MirrorPhase::Following => Standing::Following(position),
        }
    }

    fn copy(&mut self, rows: &[KeyValue], bootstrap: &Bootstrap) {
        self.runtime.block_on(self.region.copy_page(rows, bootstrap)).unwrap();
    }

    fn apply(&mut self, interval: &Interval) -> Result<(), String> {
        let applied = self.runtime.block_on(self.region.apply(interval));
        applied.map(drop).map_err(|error| error.to_string())
    }

    fn digest(&self) -> Digest {
        self.runtime.block_on(self.region.state()).unwrap().digest
    }

    fn rows(&self) -> Vec<KeyValue> {
        self.runtime.block_on(self.region.page(DURABLE.0, DURABLE.1, usize::MAX)).unwrap().rows
    }
}
