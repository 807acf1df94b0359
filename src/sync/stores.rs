//! Opens both sides, each with what it takes for it to be safe: a source that answers, a target that is not in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use farshore_sync::store::s3::{Credentials, S3Options, S3Store};
use farshore_sync::store::{ListRequest, LocalOptions, LocalStore, MemoryStore, Scheme, StoreAddress};
use farshore_sync::{AttributeKind, KeyRange, Remedy, Store, StoreError};

use super::args::SidesArgs;
use crate::exit::{Exit, Failure};

/// Settings that are secrets: everybody on a machine sees its command lines.
const SECRETS: &[&str] = &["access_key_id", "secret_access_key", "token", "session_token"];

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
    S3(Box<S3Options>),
}

/// Opens both, and asks those that are elsewhere whether they answer: better told at once than after many retries.
pub(super) async fn open(args: &SidesArgs, absent: Absent, local: LocalOptions) -> Result<Sides> {
    let source = Place::of(&args.source, "SOURCE", args.source_profile.as_deref())?;
    let target = Place::of(&args.target, "TARGET", args.target_profile.as_deref())?;
    let (source, target) = (source.there()?, target.prepared(absent)?);
    source.refuse_overlap(&target)?;
    let reading = LocalOptions { sweep: false, ..local };
    let sides = Sides {
        directories: [&source, &target].into_iter().filter_map(Place::directory).collect(),
        source: source.open(reading)?,
        target: target.open(local)?,
    };
    futures::try_join!(reach(&sides.source), reach(&sides.target))?;
    Ok(sides)
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
            Scheme::S3 => Ok(Self::S3(Box::new(s3(&address, side, profile)?))),
            other => {
                let message = format!("{}:// is not built yet; use a path, file:// or s3://", other.name());
                Err(Failure::error(Exit::Usage, message))
            }
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
            (Self::S3(from), Self::S3(to)) => {
                let same = (&from.endpoint, &from.bucket) == (&to.endpoint, &to.bucket);
                let nested = from.prefix.starts_with(&to.prefix) || to.prefix.starts_with(&from.prefix);
                (from.to_string(), to.to_string(), same && nested)
            }
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
            Self::S3(options) => Arc::new(S3Store::new(&options)?),
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

fn s3(address: &StoreAddress, side: &str, profile: Option<&str>) -> Result<S3Options> {
    let mut options = S3Options::new(&address.authority);
    options.prefix = prefix(address)?;
    options.credentials = credentials(side, profile)?;
    for (name, value) in &address.settings {
        if SECRETS.contains(&name.as_str()) {
            let message = format!(
                "{name} is a secret and everybody sees a command line: set it in FARSHORE_{side}_AWS_… or AWS_…, or \
                 name a profile of ~/.aws/credentials with --{}-profile",
                side.to_lowercase()
            );
            return Err(Failure::error(Exit::Usage, message));
        }
        options.set(name, value)?;
    }
    Ok(options)
}

/// What all keys begin with: a directory, whether or not a slash is written after it.
fn prefix(address: &StoreAddress) -> Result<String> {
    let mut prefix = String::from_utf8(address.path.clone())
        .map_err(|_| StoreError::invalid(address.to_string(), "keys of S3 are UTF-8, and so is their prefix"))?;
    if !prefix.is_empty() && !prefix.ends_with('/') {
        prefix.push('/');
    }
    Ok(prefix)
}

/// A named profile, else the variables of this side alone, else the usual ones.
fn credentials(side: &str, profile: Option<&str>) -> Result<Credentials> {
    let variable = |name: &str| std::env::var(name).ok();
    let own = |name: &str| variable(&format!("FARSHORE_{side}_{name}"));
    if let Some(name) = profile {
        let home = || variable("HOME").map(|home| format!("{home}/.aws/credentials"));
        let file = variable("AWS_SHARED_CREDENTIALS_FILE").or_else(home);
        let file = file.context("there is no HOME; name the file of profiles in AWS_SHARED_CREDENTIALS_FILE")?;
        return Ok(Credentials::Profile { name: name.to_owned(), file: file.into() });
    }
    if own("AWS_ACCESS_KEY_ID").is_some() {
        return Ok(Credentials::from_environment(own));
    }
    Ok(Credentials::from_environment(variable))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Result<Place> {
        Place::of(text, "SOURCE", Some("profile"))
    }

    fn s3(text: &str) -> Place {
        place(text).unwrap()
    }

    #[test]
    fn a_prefix_is_a_directory_and_secrets_are_refused() {
        for text in ["s3://b/p", "s3://b/p/"] {
            let Place::S3(options) = s3(text) else { panic!("{text} is in S3") };
            assert_eq!((options.bucket.as_str(), options.prefix.as_str()), ("b", "p/"));
        }
        let error = place("s3://b/p?secret_access_key=hush").unwrap_err();
        assert!(!error.to_string().contains("hush") && error.to_string().contains("--source-profile"), "{error}");
        for wrong in ["s3://b?colour=red", "mem://x", "gopher://x", ""] {
            assert_eq!(crate::exit::code_of(&place(wrong).unwrap_err()), Exit::Usage, "{wrong:?}");
        }
    }

    #[test]
    fn sides_within_each_other_are_refused() {
        let refused = |from: &str, to: &str| s3(from).refuse_overlap(&s3(to)).is_err();
        assert!(refused("s3://b/p", "s3://b/p/q") && refused("s3://b", "s3://b/p") && refused("s3://b", "s3://b"));
        assert!(!refused("s3://b/p", "s3://b/pq") && !refused("s3://a", "s3://b"));
        assert!(!refused("s3://b?endpoint=http://one:1", "s3://b?endpoint=http://two:1"));
    }
}
