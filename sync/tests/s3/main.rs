//! The S3 store: its bytes on the wire, answers that lie or break, and the contract on real servers.

mod contract;
mod odd_keys;
#[path = "../recorder/mod.rs"]
mod recorder;
mod servers;
mod wire;
