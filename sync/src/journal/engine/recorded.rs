//! What was recorded for a manifest: rows of some kilobytes, each under the first of its keys. What was settled never
//! overlaps, so neither do the rows, and reading them in order gives ascending keys.

use bytes::Bytes;
use farshore_meta::engine::Isolation;

use super::keys::{self, Table};
use super::rows::{Rows, Step, Walk};
use super::{EngineJournal, records};
use crate::journal::{JournalError, RECORDED_TOO_EARLY};
use crate::manifest::Recorded;

/// Bytes of one row: small beside a value's limit, large beside the cost of a row.
const CHUNK_BYTES: usize = 16 << 10;
/// Rows of one page when they are read.
const CHUNKS_READ: usize = 16;

/// Adds what was recorded: in ascending order, of a span in which nothing was before.
pub(super) fn record(rows: &mut Rows, recorded: &[Recorded]) {
    let (mut bytes, mut start) = (0, 0);
    for (at, one) in recorded.iter().enumerate() {
        bytes += one.journal_bytes();
        if bytes >= CHUNK_BYTES || at + 1 == recorded.len() {
            let chunk = &recorded[start..=at];
            rows.set(&keys::recorded(&chunk[0].key), &records::encode_recorded(chunk));
            (bytes, start) = (0, at + 1);
        }
    }
}

impl EngineJournal {
    pub(super) async fn recorded_in(&self, rows: &mut Rows, from: &Bytes) -> Step<Vec<Recorded>> {
        if !self.is_settled_in(rows).await? {
            return Err(JournalError::invalid(RECORDED_TOO_EARLY).into());
        }
        // Whoever reads goes on after the last key of a row, so that no row before has any from there on.
        let walk = Walk::between(keys::recorded_from(from), Table::Recorded.end(), Isolation::Snapshot);
        let mut found = Vec::new();
        for (_, value) in rows.page(&mut walk.limit(CHUNKS_READ)).await? {
            found.extend(records::decode_recorded(&value)?);
        }
        Ok(found)
    }
}
