//! How many extents refer to each block.
//!
//! A block whose count falls to zero is condemned: its row stays, with the count, and the
//! local queue of condemned blocks gets it at the commit's version.

use std::collections::BTreeMap;

use farshore_proto::BlockName;

use crate::error::{FsError, Result};
use crate::extent::Extent;
use crate::row::BlockRefs;
use crate::txn::Txn;
use crate::{key, row};

/// The references that a transaction adds and drops, applied once a block.
#[derive(Debug, Default)]
pub(super) struct RefChanges(BTreeMap<BlockName, (i64, u32)>);

impl RefChanges {
    pub(super) fn add(&mut self, extent: &Extent) {
        self.change(extent, 1);
    }

    pub(super) fn drop(&mut self, extent: &Extent) {
        self.change(extent, -1);
    }

    fn change(&mut self, extent: &Extent, by: i64) {
        self.0.entry(extent.block).or_insert((0, extent.block_len)).0 += by;
    }

    pub(super) async fn apply(self, txn: &mut Txn) -> Result<()> {
        for (name, (by, block_len)) in self.0 {
            if by != 0 {
                apply_one(txn, &name, by, block_len).await?;
            }
        }
        Ok(())
    }
}

async fn apply_one(txn: &mut Txn, name: &BlockName, by: i64, block_len: u32) -> Result<()> {
    let key = key::block(name);
    let refs = match txn.get(&key).await? {
        Some(value) => row::decode_refs(&value)?,
        None => BlockRefs { count: 0, block_len },
    };
    let count = refs.count.checked_add_signed(by);
    let count = count.ok_or_else(|| FsError::Corrupt(format!("block {name}: fewer references than extents")))?;
    if count == 0 {
        txn.put_local_stamped(key::local::CONDEMNED, name.as_bytes(), &[]);
    }
    txn.put(&key, row::encode_refs(BlockRefs { count, ..refs })).await
}
