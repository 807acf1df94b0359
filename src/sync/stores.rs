//! Opens both sides, each with what it takes for it to be safe: a source that answers, a target that is not in it.

use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use farshore_meta::Ino;
use farshore_sync::store::volume::VolumeStore;
use farshore_sync::store::{
    EscapingStore, ListRequest, LocalOptions, LocalStore, MemoryStore, Origins, PageEnd, PosixStore, RcloneLinksStore,
    Scheme, StoreAddress,
};
use farshore_sync::{AttributeKind, AttributeSet, Backup, KeyRange, Remedy, Store, StoreError, TimeForm};

use super::args::{AccessArgs, KeysArg, LinksArg, SidesArgs};
use super::clouds::Cloud;
use super::volume::{Served, Use, VolumePlace, Volumes};
use crate::exit::{Exit, Failure};

/// How often a store is asked whether it answers.
const ATTEMPTS: u32 = 3;
/// And after which pause again.
const PAUSE: Duration = Duration::from_millis(500);

/// Both sides of a job.
pub(super) struct Sides {
    pub(super) source: Arc<dyn Store>,
    pub(super) target: Arc<dyn Store>,
    /// The directories among them, and those of volumes' metadata.
    pub(super) directories: Vec<PathBuf>,
    /// The volumes among them.
    pub(super) volumes: Volumes,
    /// The directory whose keys the source's are, if that is a volume.
    pub(super) source_root: Option<Ino>,
    /// Where what is overwritten or deleted goes first.
    pub(super) backup: Option<Backup>,
    /// Where both are, and the target without what the other side makes of it.
    pub(super) places: [Place; 2],
    pub(super) bare_target: Arc<dyn Store>,
}

impl Sides {
    /// Ends what the sides have open.
    pub(super) async fn close(self) -> Result<()> {
        self.volumes.close().await
    }

    /// What a job writes to.
    pub(super) fn written(&self) -> Written<'_> {
        Written { target: &self.target, backup: self.backup.as_ref() }
    }
}

/// The stores in which a job may leave uploads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written<'s> {
    pub(super) target: &'s Arc<dyn Store>,
    pub(super) backup: Option<&'s Backup>,
}

fn has_files(store: &Arc<dyn Store>) -> bool {
    let can = store.capabilities();
    can.holds.has(AttributeKind::Mode) && can.posix_in_metadata.is_none()
}

/// What is done about a target that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// It is made.
    Make,
    /// Nothing is made, and it is as if it were empty.
    Empty,
    /// It is an error.
    Error,
}

/// Where a side is, before it is opened.
#[derive(Debug)]
pub(super) enum Place {
    Directory(PathBuf),
    Cloud(Cloud),
    Volume(VolumePlace),
}

/// Opens both, and asks those that are elsewhere whether they answer: better told at once than after many retries.
pub(super) async fn open(args: &SidesArgs, absent: Absent, local: LocalOptions) -> Result<Sides> {
    let source_place = Place::of(&args.source, "SOURCE", args.access.source_profile.as_deref())?;
    let target_place = Place::of(&args.target, "TARGET", args.access.target_profile.as_deref())?;
    let (source_place, target_place) = (source_place.there()?, target_place.resolved(absent)?);
    source_place.refuse_overlap(&target_place)?;
    let target_place = target_place.made(absent)?;
    let use_as = match absent {
        Absent::Make => Use::Write,
        Absent::Empty => Use::Look,
        Absent::Error => Use::Read,
    };
    let volumes = Volumes::open(source_place.volume(), target_place.volume(), use_as).await?;
    let opened = async {
        source_place.refuse_within(volumes.source(), &args.target)?;
        target_place.refuse_within(volumes.target(), &args.source)?;
        let reading = LocalOptions { sweep: false, ..local };
        let local = LocalOptions { origins: origins(args, &source_place, local), ..local };
        let from = source_place.open(reading, volumes.source(), Use::Read).await?;
        let to = target_place.open(local, volumes.target(), use_as).await?;
        if use_as != Use::Read && !to.capabilities().writable {
            let message = format!("{} is only for reading; a mirror is written to by its primary", to.name());
            return Err(Failure::error(Exit::Usage, message));
        }
        let (found, _) = futures::try_join!(reach(&from), reach(&to))?;
        if found == Found::Nothing {
            source_place.refuse_object().await?;
        }
        Ok((from, to))
    };
    let (from, to) = match opened.await {
        Ok(stores) => stores,
        Err(error) => return volumes.close().await.and(Err(error)),
    };
    let directories = [&source_place, &target_place].into_iter().filter_map(Place::directory).collect();
    let source: &dyn Any = from.as_ref();
    let source_root = source.downcast_ref::<VolumeStore>().map(VolumeStore::root);
    let (from_store, to_store) = (between(&from, &to, &args.access), between(&to, &from, &args.access));
    Ok(Sides {
        source: from_store,
        target: to_store,
        directories,
        volumes,
        source_root,
        backup: None,
        places: [source_place, target_place],
        bare_target: to,
    })
}

/// What a target's files remember of a source's objects: their metadata tell more than is listed.
fn origins(args: &SidesArgs, source: &Place, local: LocalOptions) -> Origins {
    match source {
        Place::Cloud(_) if !args.access.no_posix && !args.access.no_origins && local.sweep => Origins::Kept,
        Place::Cloud(_) if !args.access.no_posix && !args.access.no_origins => Origins::Read,
        _ => Origins::Ignored,
    }
}

/// One side alone, to be read.
pub(super) struct Alone {
    pub(super) store: Arc<dyn Store>,
    volumes: Volumes,
}

impl Alone {
    /// Ends what it has open.
    pub(super) async fn close(self) -> Result<()> {
        self.volumes.close().await
    }
}

/// Opens one side alone. Where it has files and keys are those of objects, what a disk cannot hold is found where it is.
pub(super) async fn open_alone(place: &str, access: &AccessArgs, object_keys: bool) -> Result<Alone> {
    let place = Place::of(place, "SOURCE", access.source_profile.as_deref())?.there()?;
    let volumes = Volumes::open(place.volume(), None, Use::Read).await?;
    let local = LocalOptions { sweep: false, ..LocalOptions::default() };
    let opened = async {
        let store = place.open(local, volumes.source(), Use::Read).await?;
        reach(&store).await?;
        Ok(store)
    };
    let store = match opened.await {
        Ok(store) => store,
        Err(error) => return volumes.close().await.and(Err(error)),
    };
    let store = if object_keys && has_files(&store) { beside_objects(&store, access) } else { store };
    Ok(Alone { store, volumes })
}

/// The store as it is used beside the other one: where one has files and the other objects, each holds what it could not
/// hold by itself.
pub(super) fn between(store: &Arc<dyn Store>, other: &Arc<dyn Store>, access: &AccessArgs) -> Arc<dyn Store> {
    match (has_files(store), has_files(other)) {
        (true, false) => beside_objects(store, access),
        (false, true) if !access.no_posix => with_posix(store),
        _ => Arc::clone(store),
    }
}

/// A store of files with the keys of objects.
fn beside_objects(store: &Arc<dyn Store>, access: &AccessArgs) -> Arc<dyn Store> {
    let store = match access.links {
        LinksArg::Metadata => Arc::clone(store),
        LinksArg::Rclone => Arc::new(RcloneLinksStore::over(Arc::clone(store))),
    };
    match access.keys {
        KeysArg::Escape => Arc::new(EscapingStore::over(store)),
        KeysArg::Refuse => store,
    }
}

/// The store, which keeps what filesystems keep in the metadata of its objects, if they have any.
fn with_posix(store: &Arc<dyn Store>) -> Arc<dyn Store> {
    if !store.capabilities().holds.has(AttributeKind::UserMetadata) {
        return Arc::clone(store);
    }
    let form = if store.name().starts_with("s3://") { TimeForm::Seconds } else { TimeForm::Rfc3339 };
    Arc::new(PosixStore::over(Arc::clone(store), form))
}

/// What is at a place that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    /// Something, or it was not looked at.
    Something,
}

/// Lists one entry of a store that lists without an effort.
async fn reach(store: &Arc<dyn Store>) -> farshore_sync::Result<Found> {
    if store.capabilities().holds.has(AttributeKind::Directories) {
        return Ok(Found::Something);
    }
    let request = ListRequest { limit: 1, ..ListRequest::first(KeyRange::all()) };
    let mut tries = 1..ATTEMPTS;
    loop {
        match store.list(&request).await {
            Err(error)
                if matches!(error.remedy(), Remedy::Retry(_) | Remedy::SlowDown(_)) && tries.next().is_some() =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            listed => {
                let page = listed?;
                let is_empty = page.entries.is_empty() && page.end == PageEnd::Complete;
                return Ok(if is_empty { Found::Nothing } else { Found::Something });
            }
        }
    }
}

impl Place {
    /// Reads SRC or DST; `side` is what the variables of that side alone begin with.
    pub(super) fn of(text: &str, side: &str, profile: Option<&str>) -> Result<Self> {
        let address: StoreAddress = text.parse()?;
        match address.scheme {
            Scheme::File => Ok(Self::Directory(address.directory().context("a directory has a path")?)),
            Scheme::Farshore => Ok(Self::Volume(VolumePlace::of(&address)?)),
            _ => Cloud::of(&address, side, profile).map(Self::Cloud),
        }
    }

    /// The place, which must be there as far as that is known here.
    fn there(self) -> Result<Self> {
        let Self::Directory(path) = self else { return Ok(self) };
        let found = path.canonicalize().map_err(|error| gone(&path, &error.to_string()))?;
        if found.is_dir() {
            return Ok(Self::Directory(found));
        }
        let message =
            format!("{} is no directory; name the one above it (--include chooses a file of SRC)", path.display());
        Err(Failure::error(Exit::Usage, message))
    }

    /// The place where it is, or would be made.
    pub(super) fn resolved(self, absent: Absent) -> Result<Self> {
        match self {
            Self::Directory(path) if absent != Absent::Error && !path.exists() => Ok(Self::Directory(would_be(&path)?)),
            there => there.there(),
        }
    }

    /// The place, made if it is a directory that is not there.
    pub(super) fn made(self, absent: Absent) -> Result<Self> {
        match &self {
            Self::Directory(path) if absent == Absent::Make => {
                make(path)?;
                self.there()
            }
            _ => Ok(self),
        }
    }

    /// An object that is named as if it were a directory has nothing below it, which would be taken for a job with
    /// nothing to do. An empty one may be what a server keeps for a directory.
    async fn refuse_object(&self) -> Result<()> {
        let Self::Cloud(cloud) = self else { return Ok(()) };
        let Some((above, key)) = cloud.above() else { return Ok(()) };
        match above.open()?.head(&key, AttributeSet::NONE).await {
            Ok(object) if object.entry.size > 0 => {
                let message = format!("{cloud} is an object; name {above} and choose it with --include /{key}");
                Err(Failure::error(Exit::Usage, message))
            }
            // Who may not look is not told.
            _ => Ok(()),
        }
    }

    /// A side within the other would be copied into itself, or deleted for not being in itself.
    pub(super) fn refuse_overlap(&self, target: &Self) -> Result<()> {
        if !self.overlaps(target) {
            return Ok(());
        }
        Err(Failure::error(Exit::Usage, format!("{self} and {target} overlap; choose sides that do not")))
    }

    /// Whether what is in one may be in the other.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Directory(one), Self::Directory(other)) => one.starts_with(other) || other.starts_with(one),
            (Self::Cloud(one), Self::Cloud(other)) => one.overlaps(other),
            (Self::Volume(one), Self::Volume(other)) => one.overlaps(other),
            _ => false,
        }
    }

    /// A volume must not keep its data in the other side.
    fn refuse_within(&self, served: Option<&Served>, other: &str) -> Result<()> {
        match (self, served) {
            (Self::Volume(place), Some(served)) => served.refuse_within(place, &other.parse()?),
            _ => Ok(()),
        }
    }

    fn directory(&self) -> Option<PathBuf> {
        match self {
            Self::Directory(path) => Some(path.clone()),
            Self::Volume(place) => place.directory().map(Path::to_path_buf),
            Self::Cloud(_) => None,
        }
    }

    fn volume(&self) -> Option<&VolumePlace> {
        if let Self::Volume(place) = self { Some(place) } else { None }
    }

    pub(super) async fn open(
        &self,
        local: LocalOptions,
        served: Option<&Served>,
        use_as: Use,
    ) -> Result<Arc<dyn Store>> {
        Ok(match (self, served) {
            (Self::Directory(path), _) if path.exists() => Arc::new(LocalStore::open(path, local)?),
            // What a dry run would make.
            (Self::Directory(path), _) => Arc::new(MemoryStore::files(&format!("file://{}", path.display()))),
            (Self::Cloud(cloud), _) => cloud.open()?,
            (Self::Volume(place), Some(served)) => match place.store(served, use_as).await {
                Err(StoreError::Missing { .. }) if use_as == Use::Look => Arc::new(MemoryStore::files(&place.name())),
                store => Arc::new(store?),
            },
            (Self::Volume(place), None) => anyhow::bail!("{} was not opened", place.name()),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::Cloud(cloud) => cloud.fmt(f),
            Self::Volume(place) => f.write_str(&place.name()),
        }
    }
}

/// Where a directory that is not there would be, whatever links lead to it.
fn would_be(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).context("the working directory is gone")?;
    let found = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    Ok(match found {
        Some((above, real)) => real.join(path.strip_prefix(above).unwrap_or(&path)),
        None => path,
    })
}

/// Makes a directory if the one above it is there: a path of which more is missing is mistyped, or on a disk that is
/// not mounted.
fn make(path: &Path) -> Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(gone(path, "nor is the directory above it; make that, or mount its disk"))
        }
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot make {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn gone(path: &Path, reason: &str) -> anyhow::Error {
    Failure::error(Exit::Store, format!("{} is not there: {reason}", path.display()))
}
