//! Registering a mirror: from then on the log that it needs is kept.
//!
//! The record is written first and the log looked at afterwards. A trim that runs beside it
//! either sees the record, or has conflicted with it, or is seen here.

use farshore_meta::{FsError, MirrorRecord, Region};
use farshore_proto::{Position, RegionId};
use tonic::Status;

use super::follow::{before_all, unix_ms};
use super::options::MAX_MIRRORS;
use crate::reason::status_of;

/// Times that a new mirror's pin may lose against a trim; each is a race of milliseconds.
const PIN_ATTEMPTS: usize = 8;

/// Registers a mirror that stands at `resume_from`, or a new one; returns after which position
/// the log is kept for it.
pub(crate) async fn register(
    region: &Region,
    id: RegionId,
    name: &str,
    resume_from: Option<Position>,
) -> Result<Position, Status> {
    let mirrors = region.mirrors().await.map_err(|error| status_of(&error))?;
    let known = mirrors.iter().find(|mirror| mirror.id == id);
    if known.is_none() && mirrors.len() >= MAX_MIRRORS {
        let text = format!("{MAX_MIRRORS} mirrors are registered already; follow one of them instead");
        return Err(Status::resource_exhausted(text));
    }
    let pinned = match resume_from {
        Some(from) => pin(region, id, name, from, known).await,
        None => pin_now(region, id, name).await,
    };
    pinned.map_err(|error| status_of(&error))
}

/// Pins the log where the region stands.
async fn pin_now(region: &Region, id: RegionId, name: &str) -> Result<Position, FsError> {
    let mut outcome = Err(FsError::LogTrimmed("this region's own position".into()));
    for _ in 0..PIN_ATTEMPTS {
        let position = region.state().await?.position;
        outcome = pin(region, id, name, position, None).await;
        if !matches!(outcome, Err(FsError::LogTrimmed(_))) {
            break;
        }
    }
    outcome
}

async fn pin(
    region: &Region,
    id: RegionId,
    name: &str,
    from: Position,
    known: Option<&MirrorRecord>,
) -> Result<Position, FsError> {
    let visible = known.map_or_else(before_all, |known| known.visible);
    let record =
        MirrorRecord { id, name: name.to_owned(), applied: from, visible: visible.min(from), heard_unix_ms: unix_ms() };
    region.put_mirror(&record).await?;
    match check_kept(region, from).await {
        Ok(()) => Ok(from),
        Err(error) => {
            // Where the log it needs is gone the mirror must not hold back the rest of it.
            region.remove_mirror(id).await?;
            Err(error)
        }
    }
}

/// Whether the log after `from` is there. A region that is itself behind `from` has lost nothing.
async fn check_kept(region: &Region, from: Position) -> Result<(), FsError> {
    match region.interval(from, 1).await {
        Err(FsError::Diverged(_)) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Notes that a mirror was heard of; false when it is not registered.
pub(crate) async fn heard_of(region: &Region, id: RegionId) -> Result<bool, FsError> {
    let (applied, visible) = (before_all(), before_all());
    let record = MirrorRecord { id, name: String::new(), applied, visible, heard_unix_ms: unix_ms() };
    region.advance_mirror(&record).await
}
