//! Fetching groups from the origins in their order, each within its deadline, verified.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use farshore_proto::BlockName;
use farshore_proto::limits::GROUP_BYTES;

use crate::error::{BlockError, Fault, Remedy};
use crate::group::{clamp_groups, group_count};
use crate::hashes::BlockTree;
use crate::key::BlockKey;
use crate::limiter::OriginLimiter;
use crate::origin::{BlockPiece, Origin};
use crate::runs::RunSet;
use crate::source::{Source, in_order};
use crate::stats::{Counters, count};

/// Hashing more than this at once goes to a blocking thread: about 0.1 ms.
const INLINE_VERIFY_BYTES: usize = 4 * GROUP_BYTES as usize;

/// A run of groups that verified, with the tree it verified against.
#[derive(Debug, Clone)]
pub(crate) struct VerifiedPiece {
    pub(crate) tree: BlockTree,
    pub(crate) first_group: u32,
    pub(crate) data: Bytes,
}

impl VerifiedPiece {
    pub(crate) fn groups(&self) -> Range<u32> {
        self.first_group..self.first_group + group_count(self.data.len() as u32)
    }

    pub(crate) fn add_to(&self, runs: &mut RunSet) {
        runs.insert(self.first_group, self.data.clone(), self.ends_block());
    }

    /// Whether the block's last group is here, which proves its length.
    fn ends_block(&self) -> bool {
        self.groups().end == self.tree.hashes().count()
    }

    /// A length that is only claimed may be a lie to make needed groups seem past the end; if
    /// the block's last group is here it is proven, and the caller learns that they are.
    fn check_covers(&self, wanted: &Wanted) -> Result<(), Fault> {
        let (block_len, sent) = (self.tree.block_len(), self.groups());
        let clamped = clamp_groups(&wanted.groups, block_len);
        if !clamped.is_empty() && (sent.start > clamped.start || clamped.end > sent.end) {
            return Err(Fault::Short { wanted: clamped });
        }
        let past_end = wanted.needed.end > self.tree.hashes().count();
        if past_end && !self.ends_block() {
            return Err(Fault::PastEnd { wanted: wanted.needed.clone(), block_len });
        }
        Ok(())
    }
}

/// The origins of a volume.
pub(crate) struct Fetcher {
    pub(crate) key: BlockKey,
    pub(crate) sources: Vec<Source>,
    pub(crate) deadline: Duration,
    pub(crate) limiter: OriginLimiter,
}

/// Which groups to fetch, and without which of them the fetch is in vain.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) groups: Range<u32>,
    pub(crate) needed: Range<u32>,
}

impl Fetcher {
    /// The groups from the first origin that has them and whose bytes verify.
    pub(crate) async fn fetch(
        &self,
        name: BlockName,
        wanted: &Wanted,
        counters: &Counters,
    ) -> Result<VerifiedPiece, BlockError> {
        let place = "any cache, and there is no origin to ask".to_owned();
        let mut because = BlockError::Missing { name, place };
        for source in in_order(&self.sources) {
            count(&counters.origin_fetches, 1);
            match self.fetch_from(source.origin.as_ref(), name, wanted).await {
                Ok(piece) => {
                    source.answered();
                    count(&counters.origin_bytes, piece.data.len() as u64);
                    self.limiter.pay(piece.data.len()).await;
                    return Ok(piece);
                }
                Err(error) => {
                    source.failed(&error);
                    count_failure(&error, counters);
                    because = more_hopeful(because, error);
                }
            }
        }
        Err(self.none_gave(name, because))
    }

    fn none_gave(&self, name: BlockName, because: BlockError) -> BlockError {
        match self.sources.len() {
            0 | 1 => because,
            tried => BlockError::Unavailable { name, tried, because: Box::new(because) },
        }
    }

    async fn fetch_from(
        &self,
        origin: &dyn Origin,
        name: BlockName,
        wanted: &Wanted,
    ) -> Result<VerifiedPiece, BlockError> {
        let asked = origin.fetch(name, wanted.groups.clone());
        let fetched = tokio::time::timeout(self.deadline, asked).await;
        let piece = fetched.map_err(|_| BlockError::Deadline {
            what: format!("{} asked for block {name}", origin.label()),
            after_ms: self.deadline.as_millis() as u64,
        })??;
        let (key, wanted) = (self.key.clone(), wanted.clone());
        let inline = piece.data.len() <= INLINE_VERIFY_BYTES;
        let work = move || verify(&key, name, piece, &wanted);
        let verified = if inline { work() } else { off_thread(name, work).await? };
        verified.map_err(|fault| BlockError::from_fault(name, origin.label(), fault))
    }
}

/// Of two origins' errors, the one that tells the caller to try again, or else the later.
fn more_hopeful(old: BlockError, new: BlockError) -> BlockError {
    if old.remedy() == Remedy::Retry { old } else { new }
}

async fn off_thread<T: Send + 'static>(
    name: BlockName,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BlockError> {
    let stopped = |_| BlockError::Stopped { what: format!("the check of block {name}") };
    tokio::task::spawn_blocking(work).await.map_err(stopped)
}

/// Proves what an origin sent: its hashes, then every group of its data, then that nothing lacks.
fn verify(key: &BlockKey, name: BlockName, piece: BlockPiece, wanted: &Wanted) -> Result<VerifiedPiece, Fault> {
    let (first_group, data) = (piece.first_group, piece.data);
    let tree = BlockTree::check(key, name, piece.block_len, piece.hashes)?;
    tree.verify_run(key, first_group, &data)?;
    let verified = VerifiedPiece { tree, first_group, data };
    verified.check_covers(wanted)?;
    Ok(verified)
}

fn count_failure(error: &BlockError, counters: &Counters) {
    count(&counters.origin_failures, 1);
    if matches!(error, BlockError::Corrupt { .. }) {
        count(&counters.corrupt_seen, 1);
    }
}
