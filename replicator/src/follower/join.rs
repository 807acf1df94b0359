//! A mirror's rows, opened or begun: the first thing that is done with an empty engine is to
//! find out of which volume it will be a mirror.

use std::sync::Arc;

use farshore_meta::engine::Engine;
use farshore_meta::{Region, Role};
use farshore_proto::RegionId;
use rand::RngExt;

use crate::error::{ReplicatorError, Result};
use crate::upstream::Upstream;

/// Opens the mirror that `engine` holds, for which the upstream need not be reached, or makes an
/// empty engine a mirror of the upstream's volume.
///
/// # Errors
/// `NotAMirror` when the engine holds a primary; for an empty one what [`Upstream::describe`] gives.
pub async fn open_mirror(engine: Arc<dyn Engine>, upstream: &Upstream) -> Result<Region> {
    let Some(record) = Region::find(&engine).await? else {
        let described = upstream.describe().await?;
        let id = RegionId::from_random(rand::rng().random());
        return Ok(Region::create_mirror(engine, id, described.volume_id).await?);
    };
    match record.role {
        Role::Mirror { .. } => Ok(Region::open(engine).await?),
        Role::Primary { .. } => Err(ReplicatorError::NotAMirror),
    }
}
