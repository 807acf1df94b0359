//! An origin with what its last answers tell about it: one that gave no answer is asked last for a
//! while, so that a dead one does not cost every read its deadline.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::{BlockError, Remedy};
use crate::origin::Origin;

/// How long an origin that gave no answer is asked only after the others.
const AVOIDED: Duration = Duration::from_secs(10);

pub(crate) struct Source {
    pub(crate) origin: Arc<dyn Origin>,
    avoided_until: Mutex<Option<Instant>>,
}

impl Source {
    pub(crate) fn new(origin: Arc<dyn Origin>) -> Self {
        Self { origin, avoided_until: Mutex::new(None) }
    }

    fn is_avoided(&self) -> bool {
        self.avoided_until.lock().is_some_and(|until| Instant::now() < until)
    }

    pub(crate) fn answered(&self) {
        *self.avoided_until.lock() = None;
    }

    /// Notes a failure. Silence is told aloud once while it lasts, damage always, and a block
    /// that is not there not at all: the next may have it, and else the caller is told.
    pub(crate) fn failed(&self, error: &BlockError) {
        let origin = self.origin.label();
        let quiet = match error.remedy() {
            Remedy::Retry => self.avoid(),
            Remedy::Elsewhere => true,
            _ => false,
        };
        if quiet {
            tracing::debug!(origin, %error, "an origin could not give a block");
        } else {
            tracing::warn!(origin, %error, "an origin could not give a block");
        }
    }

    /// Asks others first for a while; tells whether that was so already.
    fn avoid(&self) -> bool {
        let until = Instant::now() + AVOIDED;
        self.avoided_until.lock().replace(until).is_some()
    }
}

/// The sources in the order in which to ask them: the given order, but the avoided ones last.
pub(crate) fn in_order(sources: &[Source]) -> impl Iterator<Item = &Source> {
    let (avoided, usable): (Vec<_>, Vec<_>) = sources.iter().partition(|source| source.is_avoided());
    usable.into_iter().chain(avoided)
}
