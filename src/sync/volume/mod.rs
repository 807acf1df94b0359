//! A farshore volume as a side of a job: its region is opened, or followed from another one, and served to the job
//! alone while that lasts.

mod overlap;
mod place;
mod served;
mod unopened;

use std::sync::Arc;

use anyhow::Result;
use farshore_meta::engine::EngineUrl;

pub(super) use place::VolumePlace;
pub(super) use served::Served;

use crate::exit::{Exit, Failure};

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

    /// Fails if a side is a volume that other workers cannot share.
    pub(super) fn refuse_workers(&self) -> Result<()> {
        let source = self.source.as_ref().map(|served| (&served.meta, served.follows()));
        match why_not_shared(source, self.target.as_ref().map(|served| &served.meta)) {
            Some(message) => Err(Failure::error(Exit::Usage, message)),
            None => Ok(()),
        }
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

/// Why workers cannot share a job of these volumes, and what to do; none if they can. What FoundationDB holds is read by
/// as many as want. Nobody else may write to it: whoever opens a volume to write removes the unnamed files that an
/// earlier one left, and could not tell them from those that another is writing.
fn why_not_shared(source: Option<(&EngineUrl, bool)>, target: Option<&EngineUrl>) -> Option<String> {
    let way_out = "or leave --coordinator out";
    match (source, target) {
        (_, Some(meta)) => Some(format!(
            "the volume {meta} is written by one process: mount it where all workers have it, give that path as DST, {way_out}"
        )),
        (Some((meta @ EngineUrl::Embedded { .. }, _) | (meta, true)), None) => Some(format!(
            "the volume {meta} is open to one process: mount it, or mirrors of it, at one path on all workers, give that \
             path as SRC, {way_out}"
        )),
        (Some((EngineUrl::FoundationDb { .. }, false)) | None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_a_volume_that_foundationdb_holds_as_a_source_alone() {
        let cluster: EngineUrl = "fdb:///etc/fdb.cluster?prefix=one".parse().unwrap();
        let directory = EngineUrl::embedded(std::path::Path::new("/srv/meta"));
        let why = |source: Option<(&EngineUrl, bool)>, target| why_not_shared(source, target).unwrap_or_default();
        assert_eq!(why(Some((&cluster, false)), None), "");
        assert_eq!(why(None, None), "");
        for (source, follows) in [(&directory, false), (&directory, true), (&cluster, true)] {
            let said = why(Some((source, follows)), None);
            assert!(said.contains("as SRC") && said.contains("mirrors"), "{said}");
        }
        for target in [&directory, &cluster] {
            let said = why(Some((&cluster, false)), Some(target));
            assert!(said.contains("as DST") && said.contains("--coordinator"), "{said}");
        }
    }
}
