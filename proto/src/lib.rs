//! The words that every part of Farshore shares: identifiers, positions, limits and wire messages.
//!
//! This crate owns how each of them looks in bytes and in print. It depends on nothing of
//! ours and does no IO. Read `position.rs` first, then `id.rs`, `block.rs` and `limits.rs`;
//! the wire messages are in `proto/farshore/v1/`.

mod block;
pub mod codec;
mod id;
pub mod limits;
mod position;
mod wire_convert;

pub use block::BlockName;
pub use id::{Malformed, RegionId, VolumeId};
pub use position::{Incarnation, Position, Version};

/// The wire messages and services, generated from the files in `proto/farshore/v1/`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated code; its documentation is the .proto file"
)]
pub mod wire {
    tonic::include_proto!("farshore.v1");
}
