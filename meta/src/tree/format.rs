//! Making a new volume in an empty engine.

use std::sync::Arc;

use farshore_proto::{Incarnation, RegionId};

use crate::attr::{Attr, FileKind, UnixTime};
use crate::engine::Engine;
use crate::error::Result;
use crate::ino::Ino;
use crate::region::{Region, RegionRecord, Role};
use crate::settings::Settings;
use crate::txn::Txn;
use crate::{key, row};

use super::attributes;

/// What a new volume is made of, the random parts included.
#[derive(Debug, Clone)]
pub struct NewVolume {
    /// Its settings.
    pub settings: Settings,
    /// The identity of its primary region.
    pub region_id: RegionId,
    /// The random part of its first incarnation.
    pub incarnation_random: [u8; 12],
    /// Owner of the root directory.
    pub uid: u32,
    /// Group of the root directory.
    pub gid: u32,
    /// The time that the root directory is stamped with.
    pub now: UnixTime,
}

/// Makes a volume in an empty engine, in one transaction.
///
/// # Errors
/// `BadVolume` when the engine holds one already.
pub async fn format(engine: Arc<dyn Engine>, new: &NewVolume) -> Result<Region> {
    let incarnation = Incarnation::new(1, new.incarnation_random);
    let record = RegionRecord { id: new.region_id, role: Role::Primary { incarnation } };
    let mut txn = Region::begin_create(&engine, &record).await?;
    write_rows(&mut txn, new).await?;
    txn.commit(incarnation).await?;
    Region::open(engine).await
}

async fn write_rows(txn: &mut Txn, new: &NewVolume) -> Result<()> {
    let mut root = Attr::new(FileKind::Directory, 0o755, new.uid, new.gid, new.now);
    root.parent = Ino::ROOT;
    attributes::put(txn, Ino::ROOT, &root).await?;
    txn.put(key::NEXT_INO, row::encode_number(Ino::ROOT.0 + 1)).await?;
    txn.put(key::SETTINGS, row::encode_settings(&new.settings)).await
}
