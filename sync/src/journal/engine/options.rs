//! How an engine's journal is opened. None of it is stored: each opening chooses anew.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use farshore_meta::engine::{EmbeddedOptions, EngineUrl};

use crate::limits::LEASE;

/// Time since some moment, which never goes back.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Who may have claims in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// This process alone: claims of others are those of dead ones, and are given out again at once.
    Alone,
    /// Other processes too, or workers who talk to this one and outlive it: their claims last for their lease.
    Shared,
}

/// Settings of a journal in an engine.
#[derive(Clone)]
pub struct JournalOptions {
    /// Who has claims. An embedded engine has one process; a FoundationDB cluster, or a coordinator, has many.
    pub sharing: Sharing,
    /// How long a claim lives after its worker's last sign of life. Default: [`LEASE`].
    pub lease: Duration,
    /// By which leases are told.
    pub clock: Clock,
}

impl JournalOptions {
    /// With the default lease and this machine's clock.
    pub fn new(sharing: Sharing) -> Self {
        let beginning = Instant::now();
        Self { sharing, lease: LEASE, clock: Arc::new(move || beginning.elapsed()) }
    }

    /// For a job of one command: an embedded engine is its own, a cluster is shared.
    pub fn of(url: &EngineUrl) -> Self {
        Self::new(match url {
            EngineUrl::Embedded { .. } => Sharing::Alone,
            EngineUrl::FoundationDb { .. } => Sharing::Shared,
        })
    }
}

impl fmt::Debug for JournalOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JournalOptions({:?}, {:?})", self.sharing, self.lease)
    }
}

/// An engine for a journal: its rows are few, and sync's memory is bounded, so its caches are small.
pub(super) fn embedded_options() -> EmbeddedOptions {
    EmbeddedOptions { cache_bytes: 4 << 20, write_buffer_bytes: 4 << 20, ..EmbeddedOptions::default() }
}
