//! Opens both sides, each with what it takes for it to be safe: a source that answers, a target that is not in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use farshore_sync::store::{
    EscapingStore, ListRequest, LocalOptions, LocalStore, MemoryStore, PosixStore, Scheme, StoreAddress,
};
use farshore_sync::{AttributeKind, KeyRange, Remedy, Store, TimeForm};

use super::args::{KeysArg, SidesArgs};
use super::clouds::Cloud;
use crate::exit::{Exit, Failure};

/// How often a store is asked whether it answers.
const ATTEMPTS: u32 = 3;
/// And after which pause again.
const PAUSE: Duration = Duration::from_millis(500);

/// Both sides of a job.
pub(super) struct Sides {
    pub(super) source: Arc<dyn Store>,
    pub(super) target: Arc<dyn Store>,
    /// The directories among them.
    pub(super) directories: Vec<PathBuf>,
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
enum Place {
    Directory(PathBuf),
    Cloud(Cloud),
}

/// Opens both, and asks those that are elsewhere whether they answer: better told at once than after many retries.
pub(super) async fn open(args: &SidesArgs, absent: Absent, local: LocalOptions) -> Result<Sides> {
    let source = Place::of(&args.source, "SOURCE", args.source_profile.as_deref())?;
    let target = Place::of(&args.target, "TARGET", args.target_profile.as_deref())?;
    let (source, target) = (source.there()?, target.prepared(absent)?);
    source.refuse_overlap(&target)?;
    let reading = LocalOptions { sweep: false, ..local };
    let directories = [&source, &target].into_iter().filter_map(Place::directory).collect();
    let (source, target) = (source.open(reading)?, target.open(local)?);
    futures::try_join!(reach(&source), reach(&target))?;
    let sides = Sides { source: between(&source, &target, args), target: between(&target, &source, args), directories };
    Ok(sides)
}

/// The store as it is used beside the other one: where one has files and the other objects, each holds what it could not
/// hold by itself.
fn between(store: &Arc<dyn Store>, other: &Arc<dyn Store>, args: &SidesArgs) -> Arc<dyn Store> {
    let has_files = |store: &Arc<dyn Store>| store.capabilities().holds.has(AttributeKind::Mode);
    match (has_files(store), has_files(other)) {
        (true, false) if args.keys == KeysArg::Escape => Arc::new(EscapingStore::over(Arc::clone(store))),
        (false, true) if !args.no_posix => with_posix(store),
        _ => Arc::clone(store),
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

/// Lists one entry of a store that lists without an effort.
async fn reach(store: &Arc<dyn Store>) -> farshore_sync::Result<()> {
    if store.capabilities().holds.has(AttributeKind::Directories) {
        return Ok(());
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
            listed => return listed.map(drop),
        }
    }
}

impl Place {
    /// Reads SRC or DST; `side` is what the variables of that side alone begin with.
    fn of(text: &str, side: &str, profile: Option<&str>) -> Result<Self> {
        let address: StoreAddress = text.parse()?;
        match address.scheme {
            Scheme::File => Ok(Self::Directory(address.directory().context("a directory has a path")?)),
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
        Err(gone(&path, "it is no directory; name the directory above it"))
    }

    fn prepared(self, absent: Absent) -> Result<Self> {
        match (&self, absent) {
            (Self::Directory(path), Absent::Make) => {
                make(path)?;
                self.there()
            }
            (Self::Directory(path), Absent::Empty) if !path.exists() => {
                Ok(Self::Directory(std::path::absolute(path).context("the working directory is gone")?))
            }
            _ => self.there(),
        }
    }

    /// A side within the other would be copied into itself, or deleted for not being in itself.
    fn refuse_overlap(&self, target: &Self) -> Result<()> {
        let (from, to, overlap) = match (self, target) {
            (Self::Directory(from), Self::Directory(to)) => {
                let overlap = from.starts_with(to) || to.starts_with(from);
                (from.display().to_string(), to.display().to_string(), overlap)
            }
            (Self::Cloud(from), Self::Cloud(to)) => (from.to_string(), to.to_string(), from.overlaps(to)),
            _ => return Ok(()),
        };
        if !overlap {
            return Ok(());
        }
        Err(Failure::error(Exit::Usage, format!("{from} and {to} overlap; choose sides that do not")))
    }

    fn directory(&self) -> Option<PathBuf> {
        if let Self::Directory(path) = self { Some(path.clone()) } else { None }
    }

    fn open(self, local: LocalOptions) -> Result<Arc<dyn Store>> {
        Ok(match self {
            Self::Directory(path) if path.exists() => Arc::new(LocalStore::open(&path, local)?),
            // What a dry run would make.
            Self::Directory(path) => Arc::new(MemoryStore::files(&format!("file://{}", path.display()))),
            Self::Cloud(cloud) => cloud.open()?,
        })
    }
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
