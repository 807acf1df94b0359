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

/// Objects from a network up to this size are written to a disk at once, from memory; larger ones as they come.
pub const SMALL_DISK_PUT_BYTES: u64 = 1 << 20;

/// What a stream from a store to another holds at most: chunks that wait for the disk or the network.
pub const STREAM_MEMORY_BYTES: u64 = 2 << 20;

/// The smallest part of a multipart upload that sync makes: 8 MiB is past the point where a request's cost matters.
pub const MIN_PART_BYTES: u64 = 8 << 20;

/// What goes to a disk is cut into so many parts before these grow, so that all connections have some to the end.
pub const STREAMED_PARTS: u64 = 32;

/// And they grow to this: eight under way are what a kill costs.
pub const MAX_STREAMED_PART_BYTES: u64 = 32 << 20;

/// The most deletions in one request: what S3 takes.
pub const DELETE_BATCH: usize = 1000;

/// Names that a walk over a web server's directories keeps in memory: a directory of more is asked for again.
pub const INDEX_NAMES: usize = 32_768;

/// Files of a web server that are looked at at once for a page of its listing: simple servers let few connections wait,
/// and a further one then waits a second or more to be tried again.
pub const HEADS_AT_ONCE: usize = 6;

/// Names of one index that are reported as such that none can have; further ones are as hidden as these.
pub const ODD_NAMES: usize = 100;

/// Deletions that are under way at once where each is a request of its own.
pub const SINGLE_DELETES: usize = 16;

/// Longest time in which a store must give the next bytes of a body before the request counts as failed.
pub const STALL_TIMEOUT: Duration = Duration::from_mins(1);

/// Longest time in which a server must accept a connection; one that is not there is found out soon.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection is kept for the next request: less than what servers and balancers keep (60 s and more),
/// so that few requests meet one that is just closed.
pub const IDLE_CONNECTION: Duration = Duration::from_secs(50);

/// Longest wait for the answer to what a server does on its own, such as copying 5 GiB or joining 10,000 parts.
pub const SERVER_WORK_TIMEOUT: Duration = Duration::from_mins(10);

/// The largest page of a listing that is read: 1,000 keys of 1,024 bytes, each byte as `%XX`, and what is around them.
pub const MAX_PAGE_BYTES: usize = 8 << 20;

/// The largest other answer that is read, errors among them: 10,000 parts with their checksums are below it.
pub const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Pages without a single key that a listing may give in a row before it counts as failed.
pub const MAX_EMPTY_PAGES: usize = 1000;

/// The most failures that a journal in memory keeps; all are counted and in the report. Some 100 bytes each.
pub const MEMORY_JOURNAL_FAILURES: usize = 10_000;

/// The most that is settled in one step, as [`crate::journal::Settled::journal_bytes`] counts: a step is one
/// transaction, which no engine takes over 10 MB; the rest is room for rows' keys. Who has more settles earlier.
pub const MAX_SETTLED_BYTES: usize = 6_000_000;

/// The journal hears of the frontier once what was settled takes this much of it: half of what it takes at most.
pub const SETTLE_BYTES: usize = MAX_SETTLED_BYTES / 2;

/// How long a claim lives after its worker's last sign of life: longer than any pause that a healthy machine makes,
/// short enough that a dead worker's range is not waited for.
pub const LEASE: Duration = Duration::from_secs(30);

/// How often a worker gives a sign of life on each claim: two may be lost.
pub const RENEW_EVERY: Duration = Duration::from_secs(10);

/// The longest name of a worker: it is in the key of a row.
pub const MAX_WORKER_BYTES: usize = 256;

/// The longest reason of a failure that a journal keeps; the rest is cut off. A row takes 100,000 bytes.
pub const MAX_REASON_BYTES: usize = 8_000;

/// The most names that a walk over a local tree keeps in memory: a directory of a million is read eight times, each
/// time for the next names, and twice as many as these take some 8 MiB while they are picked.
pub const WALK_NAMES: usize = 131_072;

/// The directories that a walk keeps open, innermost first: few trees are deeper, and descriptors are scarce.
pub const OPEN_DIRECTORIES: usize = 8;

/// What one system call reads of a directory.
pub const DIRECTORY_BUFFER_BYTES: usize = 64 * 1024;

/// The walks over a local tree that wait for their next page; one that is pushed out costs its directories' names again.
pub const OPEN_WALKS: usize = 16;

/// Chunks of a body that wait for a disk, or for a reader: enough that neither waits for the other in turn.
pub const QUEUED_CHUNKS: usize = 4;

/// Bytes that are handed to a thread that writes them at once: waking it costs as much as writing some of them.
pub const HANDED_BYTES: usize = 256 * 1024;

/// How long an upload in parts on a disk stays without anybody writing to it, for a job to go on with: a week.
pub const ABANDONED_UPLOAD: Duration = Duration::from_hours(7 * 24);

/// Runs of bytes from this length on are written past the page cache, where a local filesystem is good at that.
pub const DIRECT_FROM_BYTES: u64 = 1 << 20;

/// What is written at once then: each file that is being written has as much in memory.
pub const DIRECT_BLOCK_BYTES: usize = 512 << 10;

/// Local files above this size are written in parts, side by side.
pub const LOCAL_PART_ABOVE_BYTES: u64 = 32 << 20;

/// Calls to a local filesystem at once: what keeps disks busy without the threads standing in each other's way.
pub const DISK_CALLS: usize = 16;

/// The same where each file is synced.
pub const SYNCED_DISK_CALLS: usize = 64;

/// Local files up to this size are read and written by turns on one thread where that may wait; larger ones are read
/// and written side by side.
pub const READ_HERE_BYTES: u64 = 8 << 20;

/// Local files up to this size are read at once, in memory, instead of by a task of their own.
pub const INLINE_READ_BYTES: u64 = 256 * 1024;

/// The most probes for one split: ten find the prefix that all keys have, and each further one halves what is left.
pub const SPLIT_PROBES: u32 = 32;

/// Bytes of objects and parts that are in memory at once, for all copies of a process.
pub const COPY_MEMORY_BYTES: usize = 64 << 20;

/// How often an object that changes while it is copied is looked at again before it is reported.
pub const LOOKS_AGAIN: usize = 4;

/// The parts of one object that are under way at once: eight of 8 MiB fill the memory for copies.
pub const PARTS_AT_ONCE: usize = 8;

/// Shared uploads that a worker without a range looks at together.
pub const SHARED_PAGE: usize = 32;

/// Uploads that a process found that it cannot help with, because its own reads or writes of them fail; the first of
/// more is tried again.
pub const UNHELPED_UPLOADS: usize = 1_024;

/// The inodes with several names that are remembered: some 100 bytes each. Further ones are copied for each name.
pub const LINKS_KEPT: usize = 262_144;

/// The locks among which inodes with several names are spread.
pub const LINK_LOCKS: usize = 64;

/// Pages that a listing is ahead of its merge: one comes while the one before is merged.
pub const PAGES_AHEAD: usize = 1;

/// Copies of one worker that have begun and not ended; how many of them run is found by trying (`pace.rs`).
pub const COPIES_AT_ONCE: usize = 128;

/// Objects of this size and more count as large: how many of a process's have begun and not ended is bounded, so that
/// those that have not can be given to another. Smaller ones end before another could have begun them.
pub const LARGE_COPY_BYTES: u64 = 128 << 10;

/// Large copies of a process that have begun and not ended, for each that can run: what ends has a successor waiting.
pub const LARGE_COPIES_AHEAD: usize = 2;

/// Large copies that a worker has begun before it leaves the rest to others.
pub const LARGE_COPIES_OF_ONE: usize = 2;

/// Keys of one worker above its frontier: what is done again at most after a kill, and some 100 bytes each.
pub const FRONTIER_KEYS: usize = 16_384;

/// The journal hears of the frontier after this many keys: a transaction for each thousand costs little.
pub const SETTLE_KEYS: usize = 10_000;

/// And after this time, so that little is done again where keys are few and large.
pub const SETTLE_INTERVAL: Duration = Duration::from_secs(5);

/// Who has a job without workers of its own looks this often whether the others are done.
pub const SETTLED_PAUSE: Duration = Duration::from_millis(200);

/// Bytes of a worker's copies that have begun and not ended, beyond which it begins no more: what has not begun can be
/// given to another, and what is done again when this one dies is bounded.
pub const COPY_AHEAD_BYTES: u64 = 1 << 30;

/// A worker that finds no range asks again after this pause, and each time after a longer one.
pub const CLAIM_PAUSE: Duration = Duration::from_millis(50);

/// The longest of these pauses: a few hundred waiting workers are no load then.
pub const LONGEST_CLAIM_PAUSE: Duration = Duration::from_millis(500);

/// A worker whose range nobody wants a part of looks again after this pause, and each time after a longer one.
pub const SPLIT_PAUSE: Duration = Duration::from_millis(25);

/// The longest of these pauses.
pub const SPLIT_INTERVAL: Duration = Duration::from_millis(500);

/// A range is not split at the next ones of a store's directories: pages that are ahead of the merge may have them.
pub const NAMES_UNDER_WAY: usize = 2;

/// Once it has given a part, it looks again after this many times what that took, if that is sooner.
pub const SPLIT_SHARE: u32 = 4;

/// Where no store knows a place to split at, it is searched for in ranges of so many pages, or after the longest pause:
/// that costs some ten requests, more than what has few pages.
pub const SPLIT_PAGES: u32 = 16;

/// Keys that were listed and have not begun are not shared when there are no more than these: listing them again would
/// cost more than it helps.
pub const FEW_KEYS: usize = 3;

/// Keys that the source is asked for at once before they are deleted.
pub const CONFIRMED_AT_ONCE: usize = 32;

/// User metadata of an object, names and values together, where its store has no limit of its own: that of S3.
pub const USER_METADATA_BYTES: usize = 2048;

/// The longest symbolic link that is kept as an object; Linux holds none that is longer.
pub const MAX_LINK_BYTES: u64 = 4096;
