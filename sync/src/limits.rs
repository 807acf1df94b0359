//! Every limit of sync, each with its reason. Memory is constant in the number of objects because each queue, page,
//! window and cache is bounded by one of these.

use std::time::Duration;

/// The longest key: what S3, GCS and Azure (1,024 characters) take.
pub const MAX_KEY_BYTES: usize = 1024;

/// The most entries of one page: what S3 gives at most; a page of it is some 300 KiB in memory.
pub const PAGE_ENTRIES: usize = 1000;

/// Bytes of one chunk of a stream: large enough that a system call and a hash's start are nothing beside it, small
/// enough that hundreds of streams fit in memory.
pub const CHUNK_BYTES: usize = 128 * 1024;

/// Objects up to this size are sent in one request, from memory, so that a failed request is sent again at once.
pub const WHOLE_PUT_BYTES: u64 = 8 << 20;

/// The smallest part of a multipart upload that sync makes: 8 MiB is past the point where a request's cost matters.
pub const MIN_PART_BYTES: u64 = 8 << 20;

/// The most deletions in one request: what S3 takes.
pub const DELETE_BATCH: usize = 1000;

/// Longest time in which a store must give the next bytes of a body before the request counts as failed.
pub const STALL_TIMEOUT: Duration = Duration::from_mins(1);

/// The most failures that a journal in memory keeps; all are counted and in the report. Some 100 bytes each.
pub const MEMORY_JOURNAL_FAILURES: usize = 10_000;

/// The most that is settled in one step, as [`crate::journal::Settled::journal_bytes`] counts: a step is one
/// transaction, which no engine takes over 10 MB; the rest is room for rows' keys. Who has more settles earlier.
pub const MAX_SETTLED_BYTES: usize = 6_000_000;

/// How long a claim lives after its worker's last sign of life: longer than any pause that a healthy machine makes,
/// short enough that a dead worker's range is not waited for.
pub const LEASE: Duration = Duration::from_secs(30);

/// How often a worker gives a sign of life on each claim: two may be lost.
pub const RENEW_EVERY: Duration = Duration::from_secs(10);

/// The longest name of a worker: it is in the key of a row.
pub const MAX_WORKER_BYTES: usize = 256;

/// The longest reason of a failure that a journal keeps; the rest is cut off. A row takes 100,000 bytes.
pub const MAX_REASON_BYTES: usize = 8_000;
