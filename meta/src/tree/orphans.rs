//! Inodes that no name leads to, and the end of them.

use crate::attr::UnixTime;
use crate::engine::RangeRead;
use crate::error::{FsError, Result};
use crate::ino::Ino;
use crate::key;
use crate::txn::Txn;

use super::{attributes, contents, extents};

/// Orphans that one transaction takes up.
pub(super) const BATCH: usize = 64;

pub(super) async fn list(txn: &mut Txn, limit: usize) -> Result<Vec<Ino>> {
    let page = txn.peek_range(&RangeRead::prefix(key::ORPHANS).limit(limit)).await?;
    let ino = |key: &[u8]| key.last_chunk::<8>().map(|bytes| Ino(u64::from_be_bytes(*bytes)));
    let inos = page.rows.iter().map(|(key, _)| ino(key));
    inos.collect::<Option<_>>().ok_or_else(|| FsError::Corrupt("an orphan's key".into()))
}

/// Removes rows of the orphans among `inos` until the step is full; true when all are gone.
pub(super) async fn reap_step(txn: &mut Txn, inos: &[Ino], now: UnixTime) -> Result<bool> {
    let mut budget = extents::STEP_EXTENTS;
    for ino in inos {
        if txn.get(&key::orphan(*ino)).await?.is_none() {
            continue;
        }
        let attr = attributes::get(txn, *ino).await?;
        let held = (attr.allocated / 4096 + 1).min(extents::STEP_EXTENTS as u64) as usize;
        if budget < held && budget < extents::STEP_EXTENTS {
            return Ok(false);
        }
        budget -= held;
        if attr.size > 0 && !attr.inline && attr.allocated > 0 && !contents::shrink_step(txn, *ino, 0, now).await? {
            return Ok(false);
        }
        remove_rows(txn, *ino).await?;
    }
    Ok(true)
}

/// Removes what an inode without contents in extents still has.
async fn remove_rows(txn: &mut Txn, ino: Ino) -> Result<()> {
    for key in [key::contents(ino), key::symlink(ino), key::attr(ino), key::orphan(ino)] {
        txn.delete(&key).await?;
    }
    let xattrs = txn.range(&RangeRead::prefix(key::xattrs(ino))).await?;
    for (key, _) in xattrs.rows {
        txn.delete(&key).await?;
    }
    Ok(())
}
