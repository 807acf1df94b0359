//! Planned deletions: rows of some kilobytes, each under the first of its keys. What was settled never overlaps, so
//! neither do the rows, and reading them from the last to the first gives descending keys.

use farshore_meta::engine::Isolation;

use super::keys::{self, Table};
use super::rows::{Rows, Step, Walk};
use super::{EngineJournal, records};
use crate::counts::Counts;
use crate::journal::{DELETIONS_TOO_EARLY, Deletion, JournalError};
use crate::key::Key;

/// Bytes of one row: small beside a value's limit, large beside the cost of a row.
const CHUNK_BYTES: usize = 16 << 10;
/// Rows of one page when they are read: as many as may be read in vain.
const CHUNKS_READ: usize = 4;

/// Adds deletions that were settled: in ascending order, of a span in which none was before.
pub(super) fn spool(rows: &mut Rows, deletions: &[Deletion]) {
    let (mut bytes, mut start) = (0, 0);
    for (at, deletion) in deletions.iter().enumerate() {
        bytes += deletion.journal_bytes();
        if bytes >= CHUNK_BYTES || at + 1 == deletions.len() {
            let chunk = &deletions[start..=at];
            rows.set(&keys::deletions(&chunk[0].key), &records::encode_deletions(chunk));
            (bytes, start) = (0, at + 1);
        }
    }
}

/// Removes the deletions from this key on.
async fn forget(rows: &mut Rows, from: &Key) -> Step<()> {
    let row = keys::deletions(from);
    rows.clear_range(&row, &Table::Deletions.end());
    let walk = Walk::between(Table::Deletions.prefix(), row, Isolation::Serialisable);
    let Some((row, value)) = rows.page(&mut walk.reverse().limit(1)).await?.pop() else { return Ok(()) };
    let mut chunk = records::decode_deletions(&value)?;
    let before = chunk.len();
    chunk.retain(|deletion| deletion.key < *from);
    if chunk.len() < before {
        rows.set(&row, &records::encode_deletions(&chunk));
    }
    Ok(())
}

impl EngineJournal {
    pub(super) async fn deletions_in(
        &self,
        rows: &mut Rows,
        before: Option<&Key>,
        limit: usize,
    ) -> Step<Vec<Deletion>> {
        if !self.is_settled_in(rows).await? {
            return Err(JournalError::invalid(DELETIONS_TOO_EARLY).into());
        }
        let end = before.map_or_else(|| Table::Deletions.end(), keys::deletions);
        let walk = Walk::between(Table::Deletions.prefix(), end, Isolation::Snapshot);
        let mut walk = walk.reverse().limit(CHUNKS_READ);
        let mut last = Vec::new();
        while last.len() < limit {
            let page = rows.page(&mut walk).await?;
            if page.is_empty() {
                break;
            }
            for (_, value) in page {
                let chunk = records::decode_deletions(&value)?.into_iter().rev();
                last.extend(chunk.filter(|found| before.is_none_or(|before| found.key < *before)));
            }
        }
        last.truncate(limit);
        Ok(last)
    }

    pub(super) async fn end_deletions_in(&self, rows: &mut Rows, from: &Key, counts: &Counts) -> Step<()> {
        self.header(rows).await?;
        // Those who forget the same deletions conflict in this row, so one of them counts.
        let walk = Walk::table(Table::Deletions, Isolation::Serialisable);
        let Some((_, value)) = rows.page(&mut walk.reverse().limit(1)).await?.pop() else { return Ok(()) };
        if records::decode_deletions(&value)?.last().is_none_or(|last| last.key < *from) {
            return Ok(());
        }
        rows.add_counts(counts);
        forget(rows, from).await
    }
}
