//! Whole-system tests: the command itself, real mounts, real stores, `kill -9`, a cutting proxy.
//!
//! Every test has a directory, processes and ports of its own and a time within which it
//! must end; a comparison of both trees and of both state digests closes every one that has a
//! mirror. Sizes are small by default; `FARSHORE_TEST_SCALE=full` runs them at full size.
//! What needs a program that is not installed says `NOT RUN` on stderr.
//!
//! Read `shore.rs`, `region.rs` and `manifest.rs` first; then any test.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]
#![allow(clippy::print_stderr, reason = "figures and what was not run are told to whoever runs the tests")]

// The harness.
mod azurite;
mod command;
mod load;
mod manifest;
mod process;
mod proxy;
mod region;
mod scale;
mod seaweed;
mod shore;
mod watchdog;

// The tests.
mod alone;
mod corruption;
mod fresh;
mod full_disk;
mod kill;
mod latency;
mod posix;
mod posix_peers;
mod prefix;
mod quickstart;
mod remount;
mod sigterm;
mod sync;
mod tree;
mod wrong_input;
