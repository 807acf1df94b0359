//! Manifests: where a job's is to be, and one side held against what an earlier job left.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use farshore_sync::manifest::{Header, ManifestFile, ManifestStore};
use farshore_sync::{Directories, Job, KeyRange, Store, Timestamp};

use super::args::CheckArgs;
use super::options;
use super::run::{compare, has_directories, until};
use super::stores::{self, Sides};
use crate::exit::{Exit, Failure};
use crate::serving::EndSignals;

/// The manifest of what the target has when a job is done. It lies in neither side: there it would be copied, or be an object
/// that it does not tell of.
pub(super) fn file(path: &Path, sides: &Sides, range: KeyRange) -> Result<ManifestFile> {
    let place = real(path)?;
    if let Some(side) = sides.directories.iter().find(|side| place.starts_with(side)) {
        let (path, side) = (path.display(), side.display());
        return Err(Failure::error(Exit::Usage, format!("the manifest {path} lies in {side}; choose another place")));
    }
    let are_files = has_directories(&sides.source) && has_directories(&sides.target);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let header = Header {
        source: sides.source.name().to_owned(),
        target: sides.target.name().to_owned(),
        made: Header::time_of(Timestamp::from_nanos(since.as_nanos() as i128)),
        range,
        object_keys: !are_files,
        directories: are_files,
    };
    Ok(ManifestFile::new(&place, header)?)
}

/// A file's path without links above it; it need not be there.
fn real(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).context("the working directory is gone")?;
    let Some((above, name)) = path.parent().zip(path.file_name()) else {
        return Err(Failure::error(Exit::Usage, format!("{} is no file", path.display())));
    };
    let above = above.canonicalize().with_context(|| format!("cannot write the manifest {}", path.display()))?;
    Ok(above.join(name))
}

/// Runs `farshore check --manifest`.
pub(super) async fn audit(args: &CheckArgs, file: &Path, signals: &mut EndSignals) -> Result<()> {
    let path = file.to_owned();
    let opened = async { Ok(tokio::task::spawn_blocking(move || ManifestStore::open(&path)).await??) };
    let manifest = until(opened, signals).await?;
    tell(&manifest, file);
    let header = manifest.header().clone();
    let alone = until(stores::open_alone(&args.source, &args.access, header.object_keys), signals).await?;
    let mut options = options::of_audit(args, &header)?;
    if header.directories && has_directories(&alone.store) {
        options.policy.directories = Directories::Keep;
    }
    let manifest: Arc<dyn Store> = Arc::new(manifest);
    let job = Job::new(Arc::clone(&manifest), Arc::clone(&alone.store), options);
    let outcome = compare(args, job, [&manifest, &alone.store], signals).await;
    let closed = alone.close().await;
    outcome.and(closed)
}

/// What the manifest does not tell, so that nobody takes it for all there was.
fn tell(manifest: &ManifestStore, file: &Path) {
    let (header, end, file) = (manifest.header(), manifest.end(), file.display());
    tracing::info!(
        "{file}: {} objects of {}, copied from {} by {}",
        end.entries,
        header.target,
        header.source,
        header.made
    );
    let missing = end.left_out + end.unlisted;
    if missing > 0 {
        tracing::warn!(
            "{file} lacks {missing} objects or places that had failed when it was made; they count as extra"
        );
    }
    if end.filtered > 0 {
        let filtered = end.filtered;
        tracing::warn!(
            "{file} lacks {filtered} objects that were not chosen when it was made; choose alike, or --one-way"
        );
    }
}
