//! Between regions: the publisher that streams a region's change log, rows and blocks, and the
//! follower that makes a mirror of them.
//!
//! The safety argument: a follower accepts an interval only if it begins where its own rows
//! stand, so that what was lost, repeated or swapped on the way cannot be applied; a checksum
//! refuses what was damaged; and the state digest, compared before an interval is committed,
//! refuses whatever else would make the rows differ from the upstream's. The log that a mirror
//! needs is kept from before its first row is copied.
//!
//! Read `message.rs` first, then `follower/core.rs`, `publisher/service.rs` and
//! `publisher/follow.rs`, and `retention.rs`.

mod checksum;
mod error;
mod follower;
mod lineage;
mod message;
mod origin;
mod publisher;
mod reason;
mod retention;
mod tls;
mod upstream;

pub use error::{ReplicatorError, Result};
pub use follower::{
    Applied, BootstrapProgress, Follower, FollowerHandle, FollowerOptions, FollowerPhase, FollowerStatus, open_mirror,
    show_at_once,
};
pub use lineage::Lineage;
pub use message::Described;
pub use origin::UpstreamOrigin;
pub use publisher::{Publisher, PublisherOptions, ServedBlocks};
pub use retention::RetentionOptions;
pub use tls::{TlsOptions, check_listen, with_sources};
pub use upstream::Upstream;
