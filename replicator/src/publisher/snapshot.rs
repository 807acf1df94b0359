//! The stream of a region's durable rows, page after page, each read at a version of its own.
//! The next page is read while the last one is on its way, and no further.

use std::sync::Arc;
use std::time::Duration;

use farshore_meta::{Region, RowsPage};
use farshore_proto::limits::SNAPSHOT_PAGE_BYTES;
use farshore_proto::{RegionId, wire};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tonic::Status;

use super::options::HEARD_EVERY;
use super::registration;
use crate::message::page_to_wire;
use crate::reason::{Reason, status_of};

/// A range of rows to send.
pub(crate) struct Snapshot {
    pub(crate) region: Arc<Region>,
    pub(crate) mirror: RegionId,
    pub(crate) begin: Vec<u8>,
    pub(crate) end: Vec<u8>,
    pub(crate) out: mpsc::Sender<Result<wire::SnapshotPage, Status>>,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Sends the range until its end, an error, or the receiver's.
pub(crate) async fn serve(snapshot: Snapshot) {
    let Snapshot { region, mirror, mut begin, end, out, permit } = snapshot;
    let mut heard = Heard { region: Arc::clone(&region), mirror, at: Instant::now() };
    loop {
        let page = match heard.note().await {
            Ok(()) => next_page(&region, &begin, &end).await,
            Err(status) => Err(status),
        };
        let last = page.as_ref().map_or(true, |page| page.last);
        if let Ok(page) = &page {
            begin.clone_from(&page.next);
        }
        if out.send(page.map(page_to_wire)).await.is_err() || last {
            break;
        }
    }
    drop(permit);
}

async fn next_page(region: &Region, begin: &[u8], end: &[u8]) -> Result<RowsPage, Status> {
    let page = region.page(begin, end, SNAPSHOT_PAGE_BYTES).await;
    page.map_err(|error| status_of(&error))
}

/// A mirror that copies is heard of too: a long bootstrap must not outlast its lease.
struct Heard {
    region: Arc<Region>,
    mirror: RegionId,
    at: Instant,
}

impl Heard {
    async fn note(&mut self) -> Result<(), Status> {
        if self.at.elapsed() < HEARD_EVERY.max(Duration::from_secs(1)) {
            return Ok(());
        }
        let known = registration::heard_of(&self.region, self.mirror).await;
        if !known.map_err(|error| status_of(&error))? {
            return Err(Reason::NotRegistered.status("this mirror was evicted; it must register again"));
        }
        self.at = Instant::now();
        Ok(())
    }
}
