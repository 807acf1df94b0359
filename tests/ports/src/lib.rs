//! Ports for servers of tests and benchmarks: free now, and taken by no outgoing connection, because they lie below the
//! range from which the kernel chooses. So a server that was killed gets its port back.

use std::net::{Ipv4Addr, TcpListener};

use rand::RngExt;

const FIRST: u16 = 11_000;
const LAST: u16 = 32_000;

/// Some servers listen so far above their port too.
const APART: u16 = 10_000;

/// A port that nobody listens at.
///
/// # Panics
/// If none of a thousand is free.
#[must_use]
pub fn free() -> u16 {
    found(LAST, is_free)
}

/// A port that is free together with the one 10,000 above it.
///
/// # Panics
/// If none of a thousand is.
#[must_use]
pub fn free_pair() -> u16 {
    found(LAST - APART, |port| is_free(port) && is_free(port + APART))
}

fn found(last: u16, is_wanted: impl Fn(u16) -> bool) -> u16 {
    let mut rng = rand::rng();
    let found = std::iter::repeat_with(|| rng.random_range(FIRST..last)).take(1_000).find(|port| is_wanted(*port));
    found.expect("some port of many is free")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
