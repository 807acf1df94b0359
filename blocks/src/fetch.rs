//! Fetching groups from the origins in their order, each within its deadline, verified.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farshore_proto::BlockName;
use farshore_proto::limits::GROUP_BYTES;

use crate::error::{BlockError, Fault};
use crate::group::{clamp_groups, group_count};
use crate::hashes::BlockTree;
use crate::key::BlockKey;
use crate::limiter::OriginLimiter;
use crate::origin::{BlockPiece, Origin};
use crate::runs::RunSet;
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
        let ends_block = self.groups().end == self.tree.hashes().count();
        runs.insert(self.first_group, self.data.clone(), ends_block);
    }
}

/// The origins of a volume.
pub(crate) struct Fetcher {
    pub(crate) key: BlockKey,
    pub(crate) origins: Vec<Arc<dyn Origin>>,
    pub(crate) deadline: Duration,
    pub(crate) limiter: OriginLimiter,
}

impl Fetcher {
    /// The groups from the first origin that has them and whose bytes verify.
    pub(crate) async fn fetch(
        &self,
        name: BlockName,
        groups: &Range<u32>,
        counters: &Counters,
    ) -> Result<VerifiedPiece, BlockError> {
        let mut last = BlockError::Missing {
            name,
            place: "any cache, and there is no origin to ask".to_owned(),
        };
        for origin in &self.origins {
            count(&counters.origin_fetches, 1);
            match self.fetch_from(origin.as_ref(), name, groups).await {
                Ok(piece) => {
                    count(&counters.origin_bytes, piece.data.len() as u64);
                    self.limiter.pay(piece.data.len()).await;
                    return Ok(piece);
                }
                Err(error) => {
                    note_failure(&error, origin.label(), counters);
                    last = error;
                }
            }
        }
        Err(self.none_gave(name, last))
    }

    fn none_gave(&self, name: BlockName, last: BlockError) -> BlockError {
        match self.origins.len() {
            0 | 1 => last,
            tried => BlockError::Unavailable {
                name,
                tried,
                last: Box::new(last),
            },
        }
    }

    async fn fetch_from(
        &self,
        origin: &dyn Origin,
        name: BlockName,
        groups: &Range<u32>,
    ) -> Result<VerifiedPiece, BlockError> {
        let fetched = tokio::time::timeout(self.deadline, origin.fetch(name, groups.clone())).await;
        let piece = fetched.map_err(|_| BlockError::Deadline {
            what: format!("{} asked for block {name}", origin.label()),
            after_ms: self.deadline.as_millis() as u64,
        })??;
        let (key, wanted) = (self.key.clone(), groups.clone());
        let inline = piece.data.len() <= INLINE_VERIFY_BYTES;
        let work = move || verify(&key, name, piece, &wanted);
        let verified = if inline {
            work()
        } else {
            off_thread(name, work).await?
        };
        verified.map_err(|fault| BlockError::from_fault(name, origin.label(), fault))
    }
}

async fn off_thread<T: Send + 'static>(
    name: BlockName,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BlockError> {
    let stopped = |_| BlockError::Stopped {
        what: format!("the check of block {name}"),
    };
    tokio::task::spawn_blocking(work).await.map_err(stopped)
}

/// Proves what an origin sent: its hashes, then every group of its data, then that nothing lacks.
fn verify(
    key: &BlockKey,
    name: BlockName,
    piece: BlockPiece,
    wanted: &Range<u32>,
) -> Result<VerifiedPiece, Fault> {
    let tree = BlockTree::check(key, name, piece.block_len, piece.hashes)?;
    tree.verify_run(key, piece.first_group, &piece.data)?;
    let verified = VerifiedPiece {
        tree,
        first_group: piece.first_group,
        data: piece.data,
    };
    let wanted = clamp_groups(wanted, piece.block_len);
    let sent = verified.groups();
    let complete = wanted.is_empty() || (sent.start <= wanted.start && wanted.end <= sent.end);
    complete.then_some(verified).ok_or(Fault::Short { wanted })
}

fn note_failure(error: &BlockError, origin: &str, counters: &Counters) {
    count(&counters.origin_failures, 1);
    if matches!(error, BlockError::Corrupt { .. }) {
        count(&counters.corrupt_seen, 1);
    }
    tracing::warn!(origin, %error, "an origin could not give a block");
}
