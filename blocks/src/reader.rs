//! Reading blocks: memory, then the local disk, then the origins in their order, all verified.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farshore_proto::BlockName;
use farshore_proto::limits::MAX_BLOCK_BYTES;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::disk::DiskCache;
use crate::error::BlockError;
use crate::fetch::{Fetcher, VerifiedPiece, Wanted};
use crate::flight::{Boarding, Cargo, Flights, Landed, Landing, Ticket};
use crate::group::{ALL_GROUPS, groups_of, widen_groups};
use crate::key::BlockKey;
use crate::limiter::OriginLimiter;
use crate::memory::MemoryTier;
use crate::origin::Origin;
use crate::runs::RunSet;
use crate::source::Source;
use crate::stats::{Counters, ReaderStats, count};

/// What the caller expects to read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadHint {
    /// These bytes and perhaps some near them: only their groups are fetched.
    Demand,
    /// The bytes that follow too: the whole block is fetched.
    Sequential,
}

/// How a reader behaves. Plain settings.
#[derive(Debug, Clone)]
pub struct ReaderOptions {
    /// Bytes of the memory tier. Default 256 MiB.
    pub memory_bytes: u64,
    /// The longest one origin may take for one fetch. Default 10 s.
    pub origin_deadline: Duration,
    /// Groups of 64 KiB that a demand read is widened to once it comes near an earlier one. Default 4.
    pub demand_run_groups: u32,
    /// Prefetches that may be under way at once; demand is never held back. Default 8.
    pub max_prefetches: usize,
    /// Bytes a second that may be pulled from origins; no limit by default.
    pub origin_bytes_per_second: Option<u64>,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            origin_deadline: Duration::from_secs(10),
            demand_run_groups: 4,
            max_prefetches: 8,
            origin_bytes_per_second: None,
        }
    }
}

/// Who asked for a flight.
#[derive(Debug)]
enum Urgency {
    /// A person waits: the disk cache is filled only as far as it keeps up.
    Demand,
    /// Nobody waits, and filling the disk cache is the purpose: the turn, one of the few, is
    /// held until that has room for the block.
    Prefetch(Turn),
}

/// A prefetch's place among those under way. Whoever listens learns when it is given up.
#[derive(Debug)]
struct Turn {
    _permit: OwnedSemaphorePermit,
    _over: oneshot::Sender<()>,
}

/// Reads blocks of one volume. Cloning it is cheap and shares everything.
#[derive(Clone)]
pub struct BlockReader(Arc<Shared>);

struct Shared {
    memory: Arc<MemoryTier>,
    disk: Option<Arc<DiskCache>>,
    fetcher: Fetcher,
    flights: Arc<Flights>,
    prefetches: Arc<Semaphore>,
    counters: Counters,
    demand_run_groups: u32,
}

impl BlockReader {
    /// A reader over these tiers. `origins` are asked in their order: put the nearest first.
    pub fn new(key: BlockKey, disk: Option<DiskCache>, origins: Vec<Arc<dyn Origin>>, options: &ReaderOptions) -> Self {
        let limiter = OriginLimiter::new(options.origin_bytes_per_second);
        Self(Arc::new(Shared {
            memory: Arc::new(MemoryTier::new(options.memory_bytes)),
            disk: disk.map(Arc::new),
            fetcher: Fetcher {
                key,
                sources: origins.into_iter().map(Source::new).collect(),
                deadline: options.origin_deadline,
                limiter,
            },
            flights: Arc::default(),
            prefetches: Arc::new(Semaphore::new(options.max_prefetches.max(1))),
            counters: Counters::default(),
            demand_run_groups: options.demand_run_groups,
        }))
    }

    /// The bytes `range` of a block. It ends within the origins' deadlines taken together.
    pub async fn read(&self, name: BlockName, range: Range<u32>, hint: ReadHint) -> Result<Bytes, BlockError> {
        if let Some(bytes) = self.read_memory(&name, &range) {
            return Ok(bytes);
        }
        check_range(&range)?;
        let needed = groups_of(&range);
        let groups = match hint {
            ReadHint::Demand if self.0.holds_neighbour(&name, &needed) => {
                widen_groups(&needed, self.0.demand_run_groups)
            }
            ReadHint::Demand => needed.clone(),
            ReadHint::Sequential => ALL_GROUPS,
        };
        let cargo = self.0.obtain(name, &needed, &groups).await?;
        self.0.count_read(&cargo);
        let bytes = cargo.runs.slice(&range);
        bytes.ok_or_else(|| out_of_block(name, &cargo.runs, range))
    }

    /// The bytes `range` of a block if memory has them: it never waits.
    pub fn read_memory(&self, name: &BlockName, range: &Range<u32>) -> Option<Bytes> {
        let bytes = self.0.memory.slice(name, range)?;
        count(&self.0.counters.memory_hits, 1);
        Some(bytes)
    }

    /// Brings a whole block into the disk cache, or into memory where there is none, unless it
    /// is there. Returns when it has come; waits its turn behind other prefetches, and
    /// never holds up a read.
    pub async fn prefetch(&self, name: BlockName) -> Result<(), BlockError> {
        while !self.0.has_whole(&name) {
            let (turn, ended) = self.0.take_turn(name).await?;
            let urgency = Urgency::Prefetch(turn);
            let landing = self.0.board(name, &ALL_GROUPS, ALL_GROUPS, urgency);
            let cargo = landed(name, landing).await?;
            // Nothing is ever sent: it ends when the turn does, so the block is with the disk.
            drop(ended.await);
            if cargo.runs.covers(&ALL_GROUPS) {
                break;
            }
        }
        Ok(())
    }

    /// Whether a read of any of the block would probably need no origin.
    pub fn seems_cached(&self, name: &BlockName) -> bool {
        self.0.has_whole(name)
    }

    /// The memory tier, for a writer to leave fresh blocks in.
    pub fn memory(&self) -> Arc<MemoryTier> {
        Arc::clone(&self.0.memory)
    }

    /// The disk cache, if there is one.
    pub fn disk(&self) -> Option<Arc<DiskCache>> {
        self.0.disk.clone()
    }

    /// The counters now.
    pub fn stats(&self) -> ReaderStats {
        ReaderStats {
            memory_bytes: self.0.memory.held_bytes(),
            disk_bytes: self.0.disk.as_ref().map_or(0, |disk| disk.allocated_bytes()),
            ..self.0.counters.snapshot()
        }
    }
}

async fn landed(name: BlockName, landing: Landing) -> Landed {
    let stopped = |_| Err(BlockError::Stopped { what: format!("the fetch of block {name}") });
    landing.await.unwrap_or_else(stopped)
}

/// Keeps group numbers within what a block can have.
fn check_range(range: &Range<u32>) -> Result<(), BlockError> {
    let (len, limit) = (range.end as usize, MAX_BLOCK_BYTES as usize);
    if len > limit { Err(BlockError::TooLarge { len, limit }) } else { Ok(()) }
}

fn out_of_block(name: BlockName, runs: &RunSet, wanted: Range<u32>) -> BlockError {
    BlockError::OutOfBlock { name, block_len: runs.block_len().unwrap_or(0), wanted }
}

impl Shared {
    /// Whether a group beside these is at hand: then more of those near them will be wanted. Of reads
    /// that lie apart each would pay for groups that nobody reads.
    fn holds_neighbour(&self, name: &BlockName, groups: &Range<u32>) -> bool {
        let held = self.memory.get(name);
        let holds = |group: u32| {
            let group = group..group + 1;
            let on_disk = || self.disk.as_ref().is_some_and(|disk| !disk.likely(name, &group).is_empty());
            held.as_ref().is_some_and(|held| held.covers(&group)) || on_disk()
        };
        groups.start.checked_sub(1).is_some_and(holds) || holds(groups.end)
    }

    fn has_whole(&self, name: &BlockName) -> bool {
        let in_memory = || self.memory.get(name).is_some_and(|runs| runs.covers(&ALL_GROUPS));
        match &self.disk {
            Some(disk) => disk.may_have_whole(name),
            None => in_memory(),
        }
    }

    /// Brings at least the needed groups, or as many of them as the block has. A flight that was
    /// joined may land without them: it brings what its own reader needed, and all of its
    /// groups only if it had to ask an origin.
    async fn obtain(self: &Arc<Self>, name: BlockName, needed: &Range<u32>, groups: &Range<u32>) -> Landed {
        loop {
            let landing = self.board(name, needed, groups.clone(), Urgency::Demand);
            let cargo = landed(name, landing).await?;
            if cargo.runs.covers(needed) {
                return Ok(cargo);
            }
        }
    }

    async fn take_turn(&self, name: BlockName) -> Result<(Turn, oneshot::Receiver<()>), BlockError> {
        let what = format!("the prefetch of block {name}");
        let permit = Arc::clone(&self.prefetches).acquire_owned().await;
        let permit = permit.map_err(|_| BlockError::Stopped { what })?;
        let (over, ended) = oneshot::channel();
        Ok((Turn { _permit: permit, _over: over }, ended))
    }

    fn count_read(&self, cargo: &Cargo) {
        let counters = &self.counters;
        let hits = if cargo.from_origin { &counters.origin_reads } else { &counters.disk_hits };
        count(hits, 1);
    }

    /// Waits for the flight that brings `needed`, or starts one for `groups`.
    fn board(self: &Arc<Self>, name: BlockName, needed: &Range<u32>, groups: Range<u32>, urgency: Urgency) -> Landing {
        match self.flights.board(name, needed, groups.clone()) {
            Boarding::Wait(landing) => landing,
            Boarding::Fly(landing, ticket) => {
                let flown = Arc::clone(self).fly(name, needed.clone(), groups, urgency, ticket);
                tokio::spawn(flown);
                landing
            }
        }
    }

    async fn fly(
        self: Arc<Self>,
        name: BlockName,
        needed: Range<u32>,
        groups: Range<u32>,
        urgency: Urgency,
        ticket: Ticket,
    ) {
        let (landed, fetched) = match self.gather(name, &needed, &groups).await {
            Ok((cargo, fetched)) => (Ok(cargo), fetched),
            Err(error) => (Err(error), None),
        };
        let queued = fetched.as_ref().is_none_or(|piece| self.offer_to_disk(piece));
        ticket.land(landed);
        match (urgency, fetched, &self.disk) {
            (Urgency::Prefetch(_turn), Some(piece), Some(disk)) if !queued => {
                disk.push(piece).await;
            }
            (Urgency::Demand, ..) if !queued => count(&self.counters.disk_writes_dropped, 1),
            _ => {}
        }
    }

    /// Queues a piece to be written to the disk cache, if there is one and it keeps up.
    fn offer_to_disk(&self, piece: &VerifiedPiece) -> bool {
        self.disk.as_ref().is_none_or(|disk| disk.offer(piece.clone()))
    }

    /// What memory and disk have, and from an origin whatever of `groups` they lack, unless they
    /// have all that is needed.
    async fn gather(
        &self,
        name: BlockName,
        needed: &Range<u32>,
        groups: &Range<u32>,
    ) -> Result<(Cargo, Option<VerifiedPiece>), BlockError> {
        let mut runs = self.memory.get(&name).map(|held| (*held).clone()).unwrap_or_default();
        if !runs.covers(needed) {
            self.add_from_disk(name, &mut runs, groups).await;
        }
        if runs.covers(needed) {
            return Ok((Cargo { runs: self.keep(name, runs), from_origin: false }, None));
        }
        let wanted = Wanted { groups: runs.missing(groups), needed: runs.missing(needed) };
        let piece = self.fetcher.fetch(name, &wanted, &self.counters).await?;
        piece.add_to(&mut runs);
        Ok((Cargo { runs: self.keep(name, runs), from_origin: true }, Some(piece)))
    }

    async fn add_from_disk(&self, name: BlockName, runs: &mut RunSet, groups: &Range<u32>) {
        let Some(disk) = &self.disk else { return };
        let likely = disk.likely(&name, &runs.missing(groups));
        if likely.is_empty() {
            return;
        }
        let disk = Arc::clone(disk);
        // A panic or a shutdown there leaves nothing found.
        let found = tokio::task::spawn_blocking(move || disk.read(name, &likely)).await.unwrap_or_default();
        if found.corrupt > 0 {
            count(&self.counters.corrupt_seen, u64::from(found.corrupt));
            tracing::warn!(block = %name, groups = found.corrupt, "damage in the block cache: fetching again");
        }
        runs.absorb(&found.runs);
    }

    fn keep(&self, name: BlockName, runs: RunSet) -> Arc<RunSet> {
        let runs = Arc::new(runs);
        self.memory.insert(name, &runs);
        runs
    }
}
