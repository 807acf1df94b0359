//! What a region's follower knows and its publisher must tell: the regions above, and how old
//! what was applied may be. A primary has none above and is never behind.

use std::sync::Arc;
use std::time::Duration;

use farshore_proto::RegionId;
use parking_lot::Mutex;
use tokio::time::Instant;

/// A region's place below others, shared by its follower and its publisher.
#[derive(Debug, Clone)]
pub struct Lineage(Option<Arc<Mutex<Above>>>);

#[derive(Debug, Default)]
struct Above {
    upstreams: Vec<RegionId>,
    fresh: Option<(Instant, Duration)>,
}

impl Lineage {
    /// That of a primary.
    pub fn primary() -> Self {
        Self(None)
    }

    /// That of a mirror which does not know its upstream yet.
    pub fn mirror() -> Self {
        Self(Some(Arc::default()))
    }

    /// The regions above, nearest first; empty of a mirror that has not met its upstream yet.
    pub fn upstreams(&self) -> Vec<RegionId> {
        self.0.as_ref().map(|above| above.lock().upstreams.clone()).unwrap_or_default()
    }

    /// How old the rows are at most: what the primary committed longer ago is in them. `None` of a
    /// mirror that does not know.
    pub fn behind(&self) -> Option<Duration> {
        let Some(above) = &self.0 else {
            return Some(Duration::ZERO);
        };
        let (at, behind) = above.lock().fresh?;
        Some(at.elapsed() + behind)
    }

    pub(crate) fn set_upstreams(&self, upstreams: Vec<RegionId>) {
        if let Some(above) = &self.0 {
            above.lock().upstreams = upstreams;
        }
    }

    /// The rows hold all that the primary had committed `behind` before `at`.
    pub(crate) fn set_fresh(&self, at: Instant, behind: Duration) {
        if let Some(above) = &self.0 {
            above.lock().fresh = Some((at, behind));
        }
    }
}
