//! A farshore volume as a side of a job: its region is opened, or followed from another one, and served to the job
//! alone while that lasts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use farshore_blocks::{BlockReader, BlockWriter, Origin, StoreOrigin, WriterOptions};
use farshore_meta::engine::{EngineError, EngineUrl};
use farshore_meta::{MirrorPhase, Region, Role, Settings};
use farshore_proto::Position;
use farshore_replicator::{
    Follower, FollowerHandle, FollowerOptions, FollowerPhase, Upstream, UpstreamOrigin, open_mirror, show_at_once,
};
use farshore_sync::store::volume::{Owner, VolumeOptions, VolumeStore};
use farshore_sync::store::{Scheme, StoreAddress};
use farshore_sync::{StoreError, Timestamp};
use farshore_volume::Volume;

use crate::assembly;
use crate::cli::{BlocksFrom, DurabilityArg, RegionArgs, TlsArgs};
use crate::exit::{Exit, Failure};
use crate::mirror;
use crate::tls;

/// Memory for blocks that were read: a job reads each once, in order.
const MEMORY_BYTES: u64 = 32 << 20;
/// Bytes on their way to the volume's store.
const DIRTY_BYTES: u64 = 64 << 20;
/// How long a mirror may take to reach where its upstream was when the job began, before it is said.
const CATCH_UP_TOLD: Duration = Duration::from_secs(10);
/// And how often it is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Where a volume is, before it is opened.
#[derive(Debug, Clone)]
pub(super) struct VolumePlace {
    meta: EngineUrl,
    path: Vec<u8>,
    /// The region that META is to follow as a mirror, and where its blocks come from.
    upstream: Option<String>,
    blocks_from: BlocksFrom,
    tls: TlsSettings,
}

/// The files of mutual TLS.
#[derive(Debug, Clone, Default)]
struct TlsSettings {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
}

/// What a job does with a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It only reads.
    Read,
    /// It writes, and makes the directory if it is not there.
    Write,
    /// It would write, and makes nothing.
    Look,
}

/// A volume that is served to this process alone.
pub(super) struct Served {
    pub(super) region: Arc<Region>,
    pub(super) volume: Arc<Volume>,
    pub(super) settings: Settings,
    pub(super) meta: EngineUrl,
    follower: Option<FollowerHandle>,
}

impl VolumePlace {
    /// Reads the address of a volume.
    pub(super) fn of(address: &StoreAddress) -> Result<Self> {
        let meta = address.meta().context("a volume has a META")?;
        let wrong = |name: &str| {
            let known = "a volume takes upstream, blocks_from, tls_cert, tls_key, tls_ca and, with fdb://, prefix";
            StoreError::invalid(format!("the setting {name} of {address}"), known)
        };
        let mut place = Self {
            meta: assembly::engine_url(&meta)?,
            path: address.path.clone(),
            upstream: None,
            blocks_from: BlocksFrom::Upstream,
            tls: TlsSettings::default(),
        };
        for (name, value) in &address.settings {
            match (name.as_str(), value.as_str()) {
                ("upstream", url) => place.upstream = Some(url.to_owned()),
                ("blocks_from", "upstream") => place.blocks_from = BlocksFrom::Upstream,
                ("blocks_from", "store") => place.blocks_from = BlocksFrom::Store,
                ("tls_cert", file) => place.tls.cert = Some(file.into()),
                ("tls_key", file) => place.tls.key = Some(file.into()),
                ("tls_ca", file) => place.tls.ca = Some(file.into()),
                ("prefix", _) if matches!(place.meta, EngineUrl::FoundationDb { .. }) => {}
                (name, _) => return Err(wrong(name).into()),
            }
        }
        Ok(place)
    }

    /// How messages, reports and journals name it.
    pub(super) fn name(&self) -> String {
        let meta = match &self.meta {
            EngineUrl::Embedded { path } => path.display().to_string(),
            url @ EngineUrl::FoundationDb { .. } => url.to_string(),
        };
        let (authority, settings) = match meta.split_once('?') {
            Some((authority, prefix)) => {
                let prefix = prefix.strip_prefix("prefix=").unwrap_or(prefix);
                (authority.to_owned(), vec![("prefix".to_owned(), prefix.to_owned())])
            }
            None => (meta, Vec::new()),
        };
        StoreAddress { scheme: Scheme::Farshore, authority, path: self.path.clone(), settings }.to_string()
    }

    /// The directory of an embedded engine.
    pub(super) fn directory(&self) -> Option<&Path> {
        if let EngineUrl::Embedded { path } = &self.meta { Some(path) } else { None }
    }

    /// Whether both are of one volume that is not followed.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        self.meta == other.meta && self.upstream.is_none() && other.upstream.is_none()
    }

    /// Whether one directory lies within the other.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let within = |path: &[u8]| [path.strip_suffix(b"/").unwrap_or(path), b"/"].concat();
        let (one, two) = (within(&self.path), within(&other.path));
        let root = |path: &[u8]| path == b"/";
        self.meta == other.meta && (root(&one) || root(&two) || one.starts_with(&two) || two.starts_with(&one))
    }

    /// Opens the directory of a volume that is served.
    pub(super) async fn store(&self, served: &Served, use_as: Use) -> farshore_sync::Result<VolumeStore> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let options = VolumeOptions {
            name: self.name(),
            path: self.path.clone(),
            volume_id: served.settings.volume_id,
            owner: Owner { uid, gid },
            make: use_as == Use::Write,
        };
        let store = VolumeStore::open(Arc::clone(&served.volume), &options).await?;
        if use_as == Use::Write && !served.volume.read_only() {
            store.sweep(Timestamp::from(SystemTime::now())).await?;
        }
        Ok(store)
    }
}

/// The volumes among two sides, served; both sides in one META share it.
pub(super) struct Volumes {
    source: Option<Arc<Served>>,
    target: Option<Arc<Served>>,
}

impl Volumes {
    /// Opens them.
    pub(super) async fn open(source: Option<&VolumePlace>, target: Option<&VolumePlace>, use_as: Use) -> Result<Self> {
        let source_use = match (source, target) {
            (Some(source), Some(target)) if source.meta == target.meta => use_as,
            _ => Use::Read,
        };
        let opened = match source {
            Some(place) => Some(Arc::new(Served::open(place, source_use).await?)),
            None => None,
        };
        let shared = opened.clone().filter(|served| target.is_some_and(|target| target.meta == served.meta));
        let target = match (shared, target) {
            (Some(shared), _) => Ok(Some(shared)),
            (None, Some(place)) => Served::open(place, use_as).await.map(|served| Some(Arc::new(served))),
            (None, None) => Ok(None),
        };
        let volumes = Self { source: opened, target: None };
        match target {
            Ok(target) => Ok(Self { target, ..volumes }),
            Err(error) => volumes.close().await.and(Err(error)),
        }
    }

    /// Fails if a side is a volume: it is open to this process alone, and other workers could not reach it.
    pub(super) fn refuse_workers(&self) -> Result<()> {
        if self.source.is_none() && self.target.is_none() {
            return Ok(());
        }
        let message =
            "a volume is open to one process: leave --coordinator out, or give a mount point that all workers have";
        Err(Failure::error(Exit::Usage, message))
    }

    pub(super) fn source(&self) -> Option<&Served> {
        self.source.as_deref()
    }

    pub(super) fn target(&self) -> Option<&Served> {
        self.target.as_deref()
    }

    /// Ends both.
    pub(super) async fn close(self) -> Result<()> {
        let Self { source, target } = self;
        let shared = source.as_ref().zip(target.as_ref()).is_some_and(|(one, other)| Arc::ptr_eq(one, other));
        let mut outcome = Ok(());
        for served in [source, target.filter(|_| !shared)].into_iter().flatten() {
            outcome = outcome.and(served.close().await);
        }
        outcome
    }
}

impl Served {
    /// Fails if a side that is no volume holds this one's blocks or metadata, or lies in them: it would be copied while
    /// it changes, or deleted.
    pub(super) fn refuse_within(&self, place: &VolumePlace, other: &StoreAddress) -> Result<()> {
        let blocks: StoreAddress = self.settings.store.parse()?;
        let meta = place.directory().and_then(|path| path.to_str()).and_then(|path| path.parse().ok());
        for own in [Some(blocks), meta].into_iter().flatten() {
            if overlap(&own, other) {
                let message = format!("{} keeps its data in {own}, which overlaps {other}", place.name());
                return Err(Failure::error(Exit::Usage, message));
            }
        }
        Ok(())
    }

    /// Opens a volume; with an upstream it becomes or goes on as a mirror of that.
    pub(super) async fn open(place: &VolumePlace, use_as: Use) -> Result<Self> {
        match &place.upstream {
            Some(upstream) => Self::follow(place, upstream).await,
            None => Self::alone(place, use_as).await,
        }
    }

    /// Serves a region that no other process has open.
    async fn alone(place: &VolumePlace, use_as: Use) -> Result<Self> {
        let durability = DurabilityArg::Fsync;
        let options = assembly::engine_options(durability);
        let engine = place.meta.open(&options).await.map_err(|error| unopened(error, place, use_as))?;
        let region = Arc::new(Region::open(engine).await?);
        if matches!(region.role(), Role::Mirror { .. }) && region.mirror_phase().await? != MirrorPhase::Following {
            let message = format!("the mirror {} was not copied whole yet; give ?upstream=URL to go on", place.name());
            return Err(Failure::error(Exit::NoVolume, message));
        }
        let settings = region.settings().await?;
        let store = assembly::open_store(&settings, durability)?;
        let origin: Arc<dyn Origin> = Arc::new(StoreOrigin::new(store.clone()));
        let primary = matches!(region.role(), Role::Primary { .. });
        let writer = if primary && use_as != Use::Read {
            if use_as == Use::Write {
                store.probe().await?;
            }
            let compression = assembly::compression(settings.compression);
            Some(BlockWriter::new(store, None, &WriterOptions { compression, ..WriterOptions::default() }))
        } else {
            None
        };
        let blocks = assembly::block_reader(&settings, &region_args(), vec![origin])?;
        Ok(Self::start(place, region, settings, blocks, writer))
    }

    fn start(
        place: &VolumePlace,
        region: Arc<Region>,
        settings: Settings,
        blocks: BlockReader,
        writer: Option<BlockWriter>,
    ) -> Self {
        let options = farshore_volume::VolumeOptions { dirty_bytes: DIRTY_BYTES, ..Default::default() };
        let volume = Volume::start(Arc::clone(&region), &settings, blocks, writer, options);
        Self { region, volume, settings, meta: place.meta.clone(), follower: None }
    }

    /// Serves a mirror that this process makes follow, as `farshore mirror` does, and that has all that its upstream
    /// had when it was asked.
    async fn follow(place: &VolumePlace, url: &str) -> Result<Self> {
        let TlsSettings { cert, key, ca } = place.tls.clone();
        let tls = TlsArgs { tls_cert: cert, tls_key: key, tls_ca: ca, insecure: false };
        let upstream = Upstream::new(url, tls::read(&tls)?.as_ref())?;
        let described = upstream.describe().await?;
        let options = assembly::engine_options(DurabilityArg::Commit);
        let engine = match place.meta.open(&options).await {
            Err(EngineError::Missing { .. }) => place.meta.create(&options).await?,
            opened => opened.map_err(|error| unopened(error, place, Use::Read))?,
        };
        let opened = open_mirror(engine, &upstream).await;
        let region = Arc::new(opened.with_context(|| format!("cannot make a mirror of {}", place.name()))?);
        mirror::refuse_wrong_upstream(&region, &upstream).await?;
        let options = FollowerOptions::named(format!("sync on {}", mirror::host_name()));
        let (follower, applied) = Follower::start(Arc::clone(&region), upstream.clone(), options)?;
        tokio::spawn(show_at_once(follower.clone(), applied));
        follower.ready().await?;
        let settings = region.settings().await?;
        let from_upstream: Arc<dyn Origin> = Arc::new(UpstreamOrigin::new(&upstream, settings.volume_id, region.id()));
        let origins = match place.blocks_from {
            BlocksFrom::Upstream => vec![from_upstream],
            BlocksFrom::Store => {
                let store = assembly::open_store(&settings, DurabilityArg::Commit)?;
                vec![Arc::new(StoreOrigin::new(store)) as Arc<dyn Origin>, from_upstream]
            }
        };
        let blocks = assembly::block_reader(&settings, &region_args(), origins)?;
        let served = Self::start(place, region, settings, blocks, None);
        let served = Self { follower: Some(follower), ..served };
        served.reach(described.position).await?;
        Ok(served)
    }

    /// Waits until a mirror has everything up to a position of its upstream's.
    async fn reach(&self, position: Position) -> Result<()> {
        let begun = Instant::now();
        let mut told = false;
        while self.region.state().await?.position < position {
            self.expect_following()?;
            if !told && begun.elapsed() > CATCH_UP_TOLD {
                tracing::info!("waiting until the mirror has all that its upstream has");
                told = true;
            }
            self.changed(position, LOOK_AGAIN).await?;
        }
        Ok(())
    }

    /// Returns once the region may have moved on from where it was read to stand, or after some time.
    pub(super) async fn changed(&self, unless_at: Position, within: Duration) -> Result<()> {
        let seen = self.region.engine_version().await?;
        if self.region.state().await?.position > unless_at {
            return Ok(());
        }
        let changed = tokio::time::timeout(within, self.region.changed_since(seen)).await;
        Ok(changed.unwrap_or(Ok(()))?)
    }

    /// Why a mirror has stopped to follow, if it has.
    ///
    /// # Errors
    /// What stopped it.
    pub(super) fn expect_following(&self) -> Result<()> {
        let Some(status) = self.follower.as_ref().map(FollowerHandle::status) else { return Ok(()) };
        match status.last_error {
            Some(error) if status.phase == FollowerPhase::Stopped => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Fails if nothing can change in the volume while this process has it.
    pub(super) fn expect_changes(&self) -> Result<()> {
        if self.follower.is_some() || !matches!(self.meta, EngineUrl::Embedded { .. }) {
            return Ok(());
        }
        let message = "nobody else can write to a volume that this command has open: to watch one in use, follow it with \
                       farshore://OTHER_META?upstream=http://HOST:PORT";
        Err(Failure::error(Exit::Usage, message))
    }

    /// Whether this process alone decides how long the log is kept.
    pub(super) fn follows(&self) -> bool {
        self.follower.is_some()
    }

    /// Ends what is under way, makes it durable and gives META free.
    async fn close(&self) -> Result<()> {
        let Self { region, volume, follower, .. } = self;
        if let Some(follower) = follower {
            follower.stop().await;
        }
        let outcome = volume.shut_down().await.context("not everything that was written could be stored");
        outcome.and(assembly::close(region).await)
    }
}

/// Whether one of two stores that are no volumes lies within the other, as far as their addresses tell.
fn overlap(one: &StoreAddress, other: &StoreAddress) -> bool {
    if (one.scheme, &one.authority) != (other.scheme, &other.authority) {
        return false;
    }
    let endpoints = (one.setting("endpoint"), other.setting("endpoint"));
    if matches!(endpoints, (Some(one), Some(other)) if one.trim_end_matches('/') != other.trim_end_matches('/')) {
        return false;
    }
    let real = |address: &StoreAddress| {
        let path = address.directory().and_then(|path| std::path::absolute(path).ok());
        let path = path.map(|path| path.canonicalize().unwrap_or(path).into_os_string().into_encoded_bytes());
        let mut bytes = path.unwrap_or_else(|| address.path.clone());
        if !bytes.is_empty() && !bytes.ends_with(b"/") {
            bytes.push(b'/');
        }
        bytes
    };
    let (one, other) = (real(one), real(other));
    one.starts_with(&other) || other.starts_with(&one)
}

fn region_args() -> RegionArgs {
    RegionArgs { durability: None, cache_dir: None, cache_size: 0, memory: MEMORY_BYTES }
}

/// What to do about a META that another process has, or that is none.
fn unopened(error: EngineError, place: &VolumePlace, use_as: Use) -> anyhow::Error {
    match (&error, use_as) {
        (EngineError::Owned { path, owner }, Use::Read) => Failure::error(
            Exit::EngineInUse,
            format!(
                "{} is in use by process {owner}: give its mount point as SRC, or, if it listens at HOST:PORT, follow \
                 it with farshore://OTHER_META?upstream=http://HOST:PORT, or stop it",
                path.display()
            ),
        ),
        (EngineError::Owned { path, owner }, Use::Write | Use::Look) => Failure::error(
            Exit::EngineInUse,
            format!("{} is in use by process {owner}: give its mount point as DST, or stop it", path.display()),
        ),
        (EngineError::Missing { path }, _) => match path.ancestors().skip(1).find(|above| is_engine(above)) {
            Some(meta) => Failure::error(
                Exit::NoVolume,
                format!(
                    "there is no engine at {}; two slashes end META: write farshore://{}//{}",
                    path.display(),
                    meta.display(),
                    path.strip_prefix(meta).unwrap_or(path).display()
                ),
            ),
            None => error.into(),
        },
        _ => anyhow::Error::from(error).context(format!("cannot open {}", place.name())),
    }
}

fn is_engine(path: &Path) -> bool {
    path.join("format").is_file() && path.join("rows").is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Result<VolumePlace> {
        VolumePlace::of(&text.parse::<StoreAddress>()?)
    }

    #[test]
    fn a_place_has_one_name_however_it_is_written() {
        let names: Vec<_> = ["farshore:///srv/meta//a/b", "farshore://embedded:///srv/meta//a/b"]
            .iter()
            .map(|text| place(text).unwrap().name())
            .collect();
        assert_eq!(names, ["farshore:///srv/meta//a/b"; 2]);
        let named = place("farshore://fdb:///etc/fdb.cluster//x?prefix=one").unwrap().name();
        assert_eq!(named, "farshore://fdb:///etc/fdb.cluster//x?prefix=one");
        for wrong in [
            "farshore:///m?colour=red",
            "farshore:///m?blocks_from=moon",
            "farshore://fdb:///x",
            "farshore:///m?prefix=x",
        ] {
            assert_eq!(crate::exit::code_of(&place(wrong).unwrap_err()), Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn places_within_each_other_overlap() {
        let overlaps = |one: &str, other: &str| place(one).unwrap().overlaps(&place(other).unwrap());
        assert!(overlaps("farshore:///m", "farshore:///m//a") && overlaps("farshore:///m//a/b/", "farshore:///m//a"));
        assert!(
            !overlaps("farshore:///m//a", "farshore:///m//ab") && !overlaps("farshore:///m//a", "farshore:///n//a")
        );
    }

    #[test]
    fn a_bucket_of_blocks_overlaps_what_is_in_it() {
        let overlap = |one: &str, other: &str| overlap(&one.parse().unwrap(), &other.parse().unwrap());
        assert!(overlap("s3://b/p?endpoint=http://one:1", "s3://b/p/q?endpoint=http://one:1/"));
        assert!(overlap("s3://b/p", "s3://b") && overlap("/srv/blocks", "file:///srv"));
        assert!(
            !overlap("s3://b/p", "s3://b/pq")
                && !overlap("s3://b?endpoint=http://one:1", "s3://b?endpoint=http://two:1")
        );
        assert!(!overlap("/srv/a", "/srv/ab") && !overlap("s3://b/p", "gs://b/p"));
    }
}
