//! Uploads in parts that are under way. Several of one key are possible, when a worker took over from one who lives
//! on; each stays until it is ended, because the store keeps its parts until then.

use bytes::Bytes;
use farshore_meta::engine::{Isolation, KeyValue, prefix_end};

use super::keys::{self, Table, UploadNumber};
use super::rows::{Rows, Step, Walk};
use super::shares::clear_share;
use super::{EngineJournal, records};
use crate::journal::{FinishedPart, JournalError, UploadRecord};
use crate::key::Key;
use crate::store::Upload;

impl EngineJournal {
    /// The uploads of a key, in the order in which they were begun, without their parts.
    pub(super) async fn uploads_of(&self, rows: &mut Rows, key: &Key) -> Step<Vec<(UploadNumber, UploadRecord)>> {
        self.header(rows).await?;
        let mut walk = Walk::prefix(&keys::uploads_of(key), Isolation::Serialisable);
        let mut uploads = Vec::new();
        loop {
            let page = rows.page(&mut walk).await?;
            if page.is_empty() {
                return Ok(uploads);
            }
            for row in page {
                uploads.push(upload(&row)?);
            }
        }
    }

    pub(super) async fn upload_of_in(&self, rows: &mut Rows, key: &Key) -> Step<Option<UploadRecord>> {
        let Some((number, mut record)) = self.uploads_of(rows, key).await?.pop() else { return Ok(None) };
        let mut walk = Walk::prefix(&keys::parts_of(key, number), Isolation::Snapshot);
        loop {
            let page = rows.page(&mut walk).await?;
            if page.is_empty() {
                return Ok(Some(record));
            }
            for (_, value) in page {
                record.parts.push(records::decode_part(&value)?);
            }
        }
    }

    pub(super) async fn begin_upload_in(&self, rows: &mut Rows, record: &UploadRecord) -> Step<()> {
        let key = &record.upload.key;
        let known = self.uploads_of(rows, key).await?;
        let next = known.last().map_or(0, |(number, _)| number.wrapping_add(1));
        for (number, _) in known.iter().filter(|(_, known)| known.upload == record.upload) {
            clear_upload(rows, key, *number).await?;
        }
        rows.set(&keys::upload(key, next), &records::encode_upload(record));
        for part in &record.parts {
            rows.set(&keys::part(key, next, part.stored.number), &records::encode_part(part));
        }
        Ok(())
    }

    pub(super) async fn finish_part_in(&self, rows: &mut Rows, upload: &Upload, part: &FinishedPart) -> Step<()> {
        let known = self.uploads_of(rows, &upload.key).await?;
        let found = known.iter().find(|(_, known)| known.upload == *upload).ok_or(JournalError::Lost)?;
        rows.set(&keys::part(&upload.key, found.0, part.stored.number), &records::encode_part(part));
        rows.clear(&keys::part_claim(&upload.key, found.0, part.stored.number));
        Ok(())
    }

    pub(super) async fn end_upload_in(&self, rows: &mut Rows, upload: &Upload) -> Step<()> {
        for (number, known) in self.uploads_of(rows, &upload.key).await? {
            if known.upload == *upload {
                clear_upload(rows, &upload.key, number).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn uploads_in(
        &self,
        rows: &mut Rows,
        after: Option<&Key>,
        limit: usize,
    ) -> Step<Vec<UploadRecord>> {
        self.header(rows).await?;
        let begin = after.map_or_else(|| Table::Upload.prefix(), |after| prefix_end(&keys::uploads_of(after)));
        let mut walk = Walk::between(begin, Table::Upload.end(), Isolation::Snapshot).limit(limit.max(1));
        let mut uploads: Vec<UploadRecord> = Vec::new();
        loop {
            let page = rows.page(&mut walk).await?;
            if page.is_empty() {
                return Ok(uploads);
            }
            for row in page {
                let (_, record) = upload(&row)?;
                let last = uploads.last().map(|last| &last.upload.key);
                if uploads.len() >= limit && last != Some(&record.upload.key) {
                    return Ok(uploads);
                }
                uploads.push(record);
            }
        }
    }
}

fn upload((row, value): &KeyValue) -> Step<(UploadNumber, UploadRecord)> {
    let (key, number): (Key, UploadNumber) = keys::parse_upload(row)?;
    Ok((number, records::decode_upload(key, value)?))
}

async fn clear_upload(rows: &mut Rows, key: &Key, number: UploadNumber) -> Step<()> {
    let parts: Bytes = keys::parts_of(key, number).into();
    rows.clear(&keys::upload(key, number));
    rows.clear_range(&parts, &prefix_end(&parts));
    if rows.share(key, number).await?.is_some() {
        clear_share(rows, key, number);
    }
    Ok(())
}
