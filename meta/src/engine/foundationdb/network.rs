//! The client library's network thread, which a process starts once and stops at its exit.

use std::ffi::c_int;
use std::sync::{Mutex, OnceLock, PoisonError};

use foundationdb::FdbError;
use foundationdb::api::{FdbApiBuilder, NetworkAutoStop};

static BOOTED: OnceLock<Result<(), FdbError>> = OnceLock::new();
static NETWORK: Mutex<Option<NetworkAutoStop>> = Mutex::new(None);

#[allow(unsafe_code, reason = "the C library's own function, as POSIX declares it")]
unsafe extern "C" {
    safe fn atexit(callback: extern "C" fn()) -> c_int;
}

/// Starts the network, unless that was done already.
pub(super) fn boot() -> Result<(), FdbError> {
    *BOOTED.get_or_init(start)
}

fn start() -> Result<(), FdbError> {
    let builder = FdbApiBuilder::default().build()?;
    #[allow(unsafe_code, reason = "the network must stop before the process ends; `stop` is registered for that")]
    let network = unsafe { builder.boot() }?;
    *NETWORK.lock().unwrap_or_else(PoisonError::into_inner) = Some(network);
    if atexit(stop) != 0 {
        tracing::warn!("the FoundationDB client may crash when the process ends");
    }
    Ok(())
}

/// Runs at the process's exit, before the library's own destructors, which were registered earlier.
extern "C" fn stop() {
    drop(NETWORK.lock().unwrap_or_else(PoisonError::into_inner).take());
}
