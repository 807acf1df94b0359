//! The invariant of ranges, checked: those that are finished and those that are not make up the job's range.

use bytes::Bytes;
use farshore_meta::engine::Isolation;

use super::attempts::transact;
use super::keys::Table;
use super::rows::{Rows, Step, Walk};
use super::{EngineJournal, records};
use crate::journal::{JournalError, Result};
use crate::key::escaped;
use crate::key_range::KeyRange;

/// How far a job is, in ranges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ranges {
    /// Those that are finished.
    pub finished: u64,
    /// Those that are not.
    pub unfinished: u64,
}

/// What lies at and after a place.
struct Tiles {
    /// The first place that no range was found for; none after the last key.
    place: Option<Bytes>,
}

impl EngineJournal {
    /// Checks that the finished and the unfinished ranges make up the job's range, each key in one of them.
    ///
    /// # Errors
    /// `Damaged` if they do not. For journals of more than some 100,000 ranges, `Failed`: one transaction reads all.
    pub async fn audit(&self) -> Result<Ranges> {
        transact!(self, "check its ranges", |rows| self.audit_in(rows))
    }

    async fn audit_in(&self, rows: &mut Rows) -> Step<Ranges> {
        let job = self.header(rows).await?.job.range;
        // Unfinished ranges are as few as claims; finished ones may be many and come in the order of their keys.
        let mut unfinished = unfinished(rows).await?;
        unfinished.sort_unstable_by(|one, other| other.start().cmp(one.start()));
        let mut found = Ranges { finished: 0, unfinished: unfinished.len() as u64 };
        let mut tiles = Tiles { place: (!job.is_empty()).then(|| job.start().clone()) };
        let mut walk = Walk::table(Table::Done, Isolation::Snapshot);
        loop {
            let page = rows.page(&mut walk).await?;
            if page.is_empty() {
                break;
            }
            for (row, value) in page {
                let span = records::decode_done(Table::Done.suffix(&row), &value)?;
                while let Some(range) = unfinished.pop_if(|range| range.start() < span.start()) {
                    tiles.lay(&range)?;
                }
                tiles.lay(&span)?;
                found.finished += 1;
            }
        }
        while let Some(range) = unfinished.pop() {
            tiles.lay(&range)?;
        }
        tiles.end_at(&job)?;
        Ok(found)
    }
}

async fn unfinished(rows: &mut Rows) -> Step<Vec<KeyRange>> {
    let (mut walk, mut ranges) = (Walk::table(Table::Range, Isolation::Snapshot), Vec::new());
    loop {
        let page = rows.ranges(&mut walk).await?;
        if page.is_empty() {
            return Ok(ranges);
        }
        ranges.extend(page.iter().map(|found| found.record.whole()));
    }
}

impl Tiles {
    fn lay(&mut self, range: &KeyRange) -> Result<()> {
        if self.place.as_ref() != Some(range.start()) || range.is_empty() {
            return Err(untiled(&format!("after {} comes a range {range}", self.shown())));
        }
        self.place = range.end().cloned();
        Ok(())
    }

    fn end_at(&self, job: &KeyRange) -> Result<()> {
        let expected = if job.is_empty() { None } else { job.end() };
        if self.place.as_ref() == expected { Ok(()) } else { Err(untiled(&format!("they end at {}", self.shown()))) }
    }

    fn shown(&self) -> String {
        self.place.as_deref().map_or_else(|| "the end".into(), |place| format!("`{}`", escaped(place)))
    }
}

fn untiled(why: &str) -> JournalError {
    JournalError::Damaged { what: "ranges", why: format!("they do not make up the job's range: {why}") }
}
