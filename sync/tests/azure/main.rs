//! The Azure store: the contract on a real Azurite, its bytes on the wire, and answers that lie or break.

mod contract;
#[path = "../recorder/mod.rs"]
mod recorder;
mod servers;
mod wire;
