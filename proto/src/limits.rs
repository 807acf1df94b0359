//! Every limit that more than one part of Farshore must agree on, each with its reason.

/// Largest key of a row. FoundationDB's own limit; it holds on every engine.
pub const MAX_KEY_BYTES: usize = 10_000;
/// Largest value of a row. FoundationDB's own limit; it holds on every engine.
pub const MAX_VALUE_BYTES: usize = 100_000;
/// Largest transaction, keys and values and conflict ranges together. FoundationDB's own limit.
pub const MAX_TRANSACTION_BYTES: usize = 10_000_000;
/// Oldest a transaction may grow before it is refused. FoundationDB's own limit.
pub const MAX_TRANSACTION_AGE_MS: u64 = 5_000;
/// Most durable rows' bytes a filesystem transaction may change: they are written twice, as
/// rows and into the change log, and leave room under `MAX_TRANSACTION_BYTES`.
pub const MAX_DURABLE_CHANGE_BYTES: usize = 4_000_000;

/// Block size when `format` is not told another. Large enough that a store's latency is
/// small beside the transfer, small enough that a flush has several in flight.
pub const DEFAULT_BLOCK_BYTES: u32 = 4 << 20;
/// Smallest block size: one group, the unit of a verified partial read.
pub const MIN_BLOCK_BYTES: u32 = 64 << 10;
/// Largest block size: a block and its hashes must fit one message of the wire.
pub const MAX_BLOCK_BYTES: u32 = 16 << 20;
/// The unit of a verified partial read of a block.
pub const GROUP_BYTES: u32 = 64 << 10;
/// Contents up to this size live in a row when `format` is not told otherwise.
pub const DEFAULT_INLINE_BYTES: u32 = 4 << 10;
/// Largest inline limit: a value's limit, less room for its header.
pub const MAX_INLINE_BYTES: u32 = 64 << 10;

/// Longest name in a directory, in bytes: Linux's NAME_MAX.
pub const MAX_NAME_BYTES: usize = 255;
/// Longest symlink target, in bytes: Linux's PATH_MAX less its end.
pub const MAX_SYMLINK_BYTES: usize = 4_095;
/// Longest value of an extended attribute, in bytes: Linux's XATTR_SIZE_MAX.
pub const MAX_XATTR_BYTES: usize = 65_536;
/// Largest file: 2^53 - 1 bytes, which keeps every offset exact in JSON too.
pub const MAX_FILE_BYTES: u64 = (1 << 53) - 1;

/// The replication protocol that this build speaks.
pub const PROTOCOL: u32 = 1;
/// The protocol between a sync job's coordinator and its workers that this build speaks.
pub const SYNC_PROTOCOL: u32 = 2;
/// Most bytes of commits in one interval, unless a single commit is larger.
pub const INTERVAL_TARGET_BYTES: usize = 2 << 20;
/// Most bytes of rows in one snapshot page: one page is one transaction at the mirror.
pub const SNAPSHOT_PAGE_BYTES: usize = 512 << 10;
/// Largest message either side of the wire accepts: a block of the largest size, or a
/// commit of the largest transaction, with room for its framing.
pub const MAX_MESSAGE_BYTES: usize = 32 << 20;
