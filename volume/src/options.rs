//! How a volume is served.

use std::time::SystemTime;

use farshore_meta::UnixTime;

/// How a volume is served; read once, by the command.
#[derive(Debug, Clone)]
pub struct VolumeOptions {
    /// Most bytes written and not stored yet, of all files together.
    pub dirty_bytes: u64,
    /// Most bytes read ahead of a sequential reader.
    pub read_ahead_bytes: u64,
    /// Age in milliseconds at which written bytes are stored and committed unasked.
    pub flush_age_ms: u64,
    /// The time that changes are stamped with.
    pub clock: fn() -> UnixTime,
}

impl Default for VolumeOptions {
    fn default() -> Self {
        Self { dirty_bytes: 256 << 20, read_ahead_bytes: 32 << 20, flush_age_ms: 5_000, clock: system_time }
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place where a volume's default clock is read")]
fn system_time() -> UnixTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixTime { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() }
}
