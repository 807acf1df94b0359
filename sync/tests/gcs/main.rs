//! The store at Google: the contract on a strict server of its XML API, and what the contract does not know.

mod contract;
mod server;
