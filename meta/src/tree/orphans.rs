//! Inodes that no name leads to, and the end of them.

use crate::attr::UnixTime;
use crate::engine::RangeRead;
use crate::error::Result;
use crate::ino::Ino;
use crate::txn::Txn;
use crate::{key, row};

use super::{attributes, contents, extents, unnamed};

/// Orphans that one transaction takes up.
pub(super) const BATCH: usize = 64;

pub(super) async fn list(txn: &mut Txn, limit: usize) -> Result<Vec<Ino>> {
    unnamed::marked(txn, unnamed::REMOVED, None, limit).await
}

/// Removes rows of the orphans among `inos` until the step is full; true when all are gone.
pub(super) async fn reap_step(txn: &mut Txn, inos: &[Ino], now: UnixTime) -> Result<bool> {
    let mut budget = extents::STEP_EXTENTS;
    for ino in inos {
        match txn.get(&key::orphan(*ino)).await? {
            Some(mark) if row::decode_number("an orphan", &mark)? == unnamed::REMOVED => {}
            _ => continue,
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
