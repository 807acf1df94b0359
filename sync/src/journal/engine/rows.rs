//! The rows of a journal as typed values in one transaction: what is read was checked, what is written is in the
//! journal's format.

use bytes::Bytes;
use farshore_meta::engine::{EngineError, Isolation, KeyValue, RangePage, RangeRead, Transaction, prefix_end};

use super::keys::{self, Numbered, Table, UploadNumber};
use super::records::{self, Header};
use crate::counts::Counts;
use crate::journal::range::RangeRecord;
use crate::journal::shared_uploads::{PartHolder, Share};
use crate::journal::{JournalError, WorkerId};
use crate::key::Key;
use crate::key_range::KeyRange;

/// Bytes of one page of rows.
const PAGE_BYTES: usize = 256 << 10;

/// Why a step of a transaction did not succeed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The engine failed; perhaps the transaction is to be run again.
    Engine(EngineError),
    /// The journal says no.
    Journal(JournalError),
}

/// The result of a step of a transaction.
pub(super) type Step<T> = std::result::Result<T, Fault>;

/// The journal's rows as one transaction sees them.
pub(super) struct Rows {
    txn: Box<dyn Transaction>,
    written: bool,
}

/// A walk over rows, page by page.
#[derive(Debug)]
pub(super) struct Walk {
    next: Option<RangeRead>,
    isolation: Isolation,
}

/// A range that is not finished, as it was found.
#[derive(Debug)]
pub(super) struct FoundRange {
    pub(super) id: u64,
    pub(super) record: RangeRecord,
    pub(super) row: KeyValue,
}

impl Rows {
    pub(super) fn new(txn: Box<dyn Transaction>) -> Self {
        Self { txn, written: false }
    }

    /// Whether a commit would change anything.
    pub(super) fn has_written(&self) -> bool {
        self.written
    }

    pub(super) async fn commit(self) -> std::result::Result<(), EngineError> {
        self.txn.commit().await.map(drop)
    }

    async fn get(&mut self, key: &[u8]) -> std::result::Result<Option<Bytes>, EngineError> {
        self.txn.get(key, Isolation::Serialisable).await
    }

    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) {
        self.written = true;
        self.txn.set(key, value);
    }

    pub(super) fn clear(&mut self, key: &[u8]) {
        self.written = true;
        self.txn.clear(key);
    }

    pub(super) fn clear_range(&mut self, begin: &[u8], end: &[u8]) {
        self.written = true;
        self.txn.clear_range(begin, end);
    }

    /// Leaves an operation's mark; see `attempts.rs`.
    pub(super) fn put_mark(&mut self, row: &[u8], serial: u64) {
        self.txn.add_read_conflict(row, &[row, &[0]].concat());
        self.set(row, &records::encode_next(serial));
    }

    /// Whether an operation's mark is there. If it is not, its row is written, so that an attempt that is still on its
    /// way conflicts; a mark that is there is left, because this answer may be lost too.
    pub(super) async fn find_mark(&mut self, row: &[u8], serial: u64) -> std::result::Result<bool, EngineError> {
        let found = self.get(row).await?.is_some_and(|found| *found == records::encode_next(serial));
        if !found {
            self.set(row, &records::encode_next(0));
        }
        Ok(found)
    }

    pub(super) async fn header(&mut self) -> Step<Option<Header>> {
        let value = self.get(&keys::header()).await?;
        Ok(value.map(|value| Header::decode(&value)).transpose()?)
    }

    pub(super) fn put_header(&mut self, header: &Header) {
        self.set(&keys::header(), &header.encode());
    }

    /// Whether there is any row at all but for marks, which a journal leaves before it begins.
    pub(super) async fn is_any(&mut self) -> Step<bool> {
        for (begin, end) in [(vec![0], Table::Once.prefix()), (Table::Once.end(), vec![0xFF])] {
            let read = RangeRead::new(begin, end).limit(1);
            if !self.txn.range(&read, Isolation::Serialisable).await?.rows.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes the next `count` numbers: the first of them.
    pub(super) async fn take_numbers(&mut self, numbered: Numbered, count: u64) -> Step<u64> {
        let first = self.next_number(numbered).await?;
        self.set(&keys::next(numbered), &records::encode_next(first + count));
        Ok(first)
    }

    /// The number that would be taken next.
    pub(super) async fn next_number(&mut self, numbered: Numbered) -> Step<u64> {
        let value = self.get(&keys::next(numbered)).await?;
        Ok(value.map_or(Ok(0), |value| records::decode_next(&value))?)
    }

    pub(super) async fn range(&mut self, id: u64) -> Step<Option<RangeRecord>> {
        let value = self.get(&keys::range(id)).await?;
        Ok(value.map(|value| records::decode_range(&value)).transpose()?)
    }

    pub(super) fn put_range(&mut self, id: u64, record: &RangeRecord) {
        self.set(&keys::range(id), &records::encode_range(record));
    }

    /// Puts a finished span in the place of its range.
    pub(super) fn finish_range(&mut self, id: u64, span: &KeyRange) {
        self.clear(&keys::range(id));
        self.set(&keys::done(span.start()), &records::encode_done(span));
    }

    /// The next page of unfinished ranges.
    pub(super) async fn ranges(&mut self, walk: &mut Walk) -> Step<Vec<FoundRange>> {
        let found = |row: KeyValue| -> Step<FoundRange> {
            let (id, record) = (keys::parse_range(&row.0)?, records::decode_range(&row.1)?);
            Ok(FoundRange { id, record, row })
        };
        self.page(walk).await?.into_iter().map(found).collect()
    }

    /// Adds to the sums. No two transactions conflict because of it.
    pub(super) fn add_counts(&mut self, counts: &Counts) {
        for (name, number) in counts.named().filter(|(_, number)| *number > 0) {
            self.written = true;
            self.txn.add(&keys::count(name), &number.to_le_bytes());
        }
    }

    pub(super) async fn counts(&mut self) -> Step<Counts> {
        let mut counts = Counts::default();
        let mut walk = Walk::table(Table::Count, Isolation::Snapshot);
        loop {
            let page = self.page(&mut walk).await?;
            if page.is_empty() {
                return Ok(counts);
            }
            for (key, value) in page {
                let name = Table::Count.suffix(&key);
                let known = std::str::from_utf8(&name).map(|name| (name, records::decode_count(&value)));
                let Ok((name, number)) = known else { return Err(unknown_sum(&name)) };
                if !counts.set(name, number?) {
                    return Err(unknown_sum(&name.to_owned().into()));
                }
            }
        }
    }

    /// A worker's row, if it waits.
    pub(super) async fn waiting(&mut self, worker: &WorkerId) -> Step<Option<Bytes>> {
        Ok(self.get(&keys::waiting(worker)).await?)
    }

    /// How an upload is shared, if it is.
    pub(super) async fn share(&mut self, key: &Key, number: UploadNumber) -> Step<Option<Share>> {
        let value = self.get(&keys::share(key, number)).await?;
        Ok(value.map(|value| records::decode_share(&value)).transpose()?)
    }

    pub(super) fn put_share(&mut self, key: &Key, number: UploadNumber, share: &Share) {
        self.set(&keys::share(key, number), &records::encode_share(share));
    }

    /// The claim on a part in this row, if there is one.
    pub(super) async fn part_claim(&mut self, row: &[u8]) -> Step<Option<PartHolder>> {
        let value = self.get(row).await?;
        Ok(value.map(|value| records::decode_part_claim(&value)).transpose()?)
    }

    /// The next page of a walk; empty after the last.
    pub(super) async fn page(&mut self, walk: &mut Walk) -> Step<Vec<KeyValue>> {
        let Some(read) = walk.next.take() else { return Ok(Vec::new()) };
        let page = self.txn.range(&read, walk.isolation).await?;
        walk.next = rest_of(read, &page);
        Ok(page.rows)
    }
}

/// What is left of a read after one of its pages.
fn rest_of(read: RangeRead, page: &RangePage) -> Option<RangeRead> {
    let (last, _) = page.rows.last().filter(|_| page.more)?;
    Some(match read.direction {
        farshore_meta::engine::Direction::Forward => RangeRead { begin: [last, &[0][..]].concat(), ..read },
        farshore_meta::engine::Direction::Reverse => RangeRead { end: last.to_vec(), ..read },
    })
}

fn unknown_sum(name: &Bytes) -> Fault {
    let why = format!("`{}` is no sum that this build knows", crate::key::escaped(name));
    Fault::Journal(JournalError::Damaged { what: "sum", why })
}

impl Walk {
    /// Over all rows of a table.
    pub(super) fn table(table: Table, isolation: Isolation) -> Self {
        Self::prefix(&table.prefix(), isolation)
    }

    /// Over all rows whose keys begin with `prefix`.
    pub(super) fn prefix(prefix: &[u8], isolation: Isolation) -> Self {
        Self::between(prefix.to_vec(), prefix_end(prefix), isolation)
    }

    /// Over the rows from `begin` to `end`.
    pub(super) fn between(begin: Vec<u8>, end: Vec<u8>, isolation: Isolation) -> Self {
        let read = RangeRead::new(begin, end).target_bytes(PAGE_BYTES);
        Self { next: Some(read), isolation }
    }

    /// With at most so many rows a page.
    pub(super) fn limit(self, limit: usize) -> Self {
        Self { next: self.next.map(|read| read.limit(limit)), ..self }
    }

    /// From the last row back.
    pub(super) fn reverse(self) -> Self {
        Self { next: self.next.map(RangeRead::reverse), ..self }
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<JournalError> for Fault {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}
