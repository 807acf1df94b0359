//! Uploads whose parts several workers send: each claim on a part is taken, kept and given back in one transaction.
//! Those who claim parts of one upload conflict on its share's row; whoever finishes a part conflicts with nobody.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use farshore_meta::engine::{Isolation, KeyValue, prefix_end};

use super::attempts::transact;
use super::keys::{self, Table, UploadNumber};
use super::rows::{Rows, Step, Walk};
use super::{EngineJournal, records};
use crate::journal::range::Holder;
use crate::journal::shared_uploads::{PartHolder, Share};
use crate::journal::{ClaimedPart, JournalError, PartClaim, Result, SharedUploads, UploadRecord, WorkerId};
use crate::key::Key;
use crate::limits::MAX_WORKER_BYTES;
use crate::store::Upload;

/// A claim on a part, as it was found.
struct FoundClaim {
    number: u32,
    holder: PartHolder,
    row: KeyValue,
}

#[async_trait]
impl SharedUploads for EngineJournal {
    async fn share(&self, sender: &WorkerId, upload: &Upload) -> Result<()> {
        transact!(self, "share an upload", |rows| self.share_in(rows, sender, upload))
    }

    async fn keep_shared(&self, sender: &WorkerId, upload: &Upload) -> Result<()> {
        transact!(self, "keep an upload shared", |rows| self.keep_shared_in(rows, sender, upload))
    }

    async fn withdraw(&self, sender: &WorkerId, upload: &Upload) -> Result<()> {
        transact!(self, "end the sharing of an upload", |rows| self.withdraw_in(rows, sender, upload))
    }

    async fn shared(&self, after: Option<&Key>, limit: usize) -> Result<Vec<UploadRecord>> {
        transact!(self, "read its shared uploads", |rows| self.shared_in(rows, after, limit))
    }

    async fn claim_part(&self, sender: &WorkerId, upload: &Upload) -> Result<PartClaim> {
        transact!(self, "give out a part", |rows| self.claim_part_in(rows, sender, upload))
    }

    async fn renew_part(&self, claimed: &ClaimedPart) -> Result<()> {
        transact!(self, "renew the claim on a part", |rows| self.renew_part_in(rows, claimed))
    }

    async fn release_part(&self, claimed: &ClaimedPart) -> Result<()> {
        transact!(self, "take the claim on a part back", |rows| self.release_part_in(rows, claimed))
    }
}

impl EngineJournal {
    async fn share_in(&self, rows: &mut Rows, sender: &WorkerId, upload: &Upload) -> Step<()> {
        if sender.0.is_empty() || sender.0.len() > MAX_WORKER_BYTES {
            return Err(JournalError::invalid("a sender's name is empty or too long").into());
        }
        let (number, _) = self.known_upload(rows, upload).await?;
        let share = match rows.share(&upload.key, number).await? {
            None => Share::new(sender, self.process),
            Some(share) => {
                let (share, before) = share.pass_to(sender, self.process);
                for claim in part_claims(rows, &upload.key, number).await? {
                    if claim.holder.is_some_and(|holder| holder.worker == before) {
                        rows.set(&claim.row.0, &records::encode_part_claim(&None));
                    }
                }
                share
            }
        };
        rows.put_share(&upload.key, number, &share);
        Ok(())
    }

    async fn keep_shared_in(&self, rows: &mut Rows, sender: &WorkerId, upload: &Upload) -> Step<()> {
        let (number, _, mut share) = self.shared_upload(rows, upload).await?;
        share.keep(sender)?;
        rows.put_share(&upload.key, number, &share);
        Ok(())
    }

    async fn withdraw_in(&self, rows: &mut Rows, sender: &WorkerId, upload: &Upload) -> Step<()> {
        match self.shared_upload(rows, upload).await {
            Ok((number, _, share)) if share.holder.worker == *sender => {
                clear_share(rows, &upload.key, number);
                Ok(())
            }
            Err(super::rows::Fault::Journal(JournalError::Lost)) | Ok(_) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    async fn shared_in(&self, rows: &mut Rows, after: Option<&Key>, limit: usize) -> Step<Vec<UploadRecord>> {
        self.header(rows).await?;
        let now = (self.options.clock)();
        let begin = after.map_or_else(|| Table::Share.prefix(), |after| prefix_end(&keys::shares_of(after)));
        let mut walk = Walk::between(begin, Table::Share.end(), Isolation::Snapshot).limit(limit.max(1));
        let mut found = Vec::new();
        loop {
            let page = rows.page(&mut walk).await?;
            if page.is_empty() || found.len() >= limit {
                return Ok(found);
            }
            for (row, value) in page {
                let (key, number) = keys::parse_share(&row)?;
                let share = records::decode_share(&value)?;
                if found.len() < limit && !self.has_died(&row, &share.holder, now) {
                    found.extend(self.with_free_parts(rows, &key, number, &share, now).await?);
                }
            }
        }
    }

    /// The upload of a share, if a part of it can be claimed.
    async fn with_free_parts(
        &self,
        rows: &mut Rows,
        key: &Key,
        number: UploadNumber,
        share: &Share,
        now: Duration,
    ) -> Step<Option<UploadRecord>> {
        let known = self.uploads_of(rows, key).await?;
        let record = known.into_iter().find(|(known, _)| *known == number).map(|(_, record)| record);
        let Some(record) = record else { return Ok(None) };
        let is_free = if share.next <= record.count() {
            true
        } else {
            part_claims(rows, key, number).await?.iter().any(|claim| self.is_free_part(claim, now))
        };
        Ok(is_free.then_some(record))
    }

    async fn claim_part_in(&self, rows: &mut Rows, sender: &WorkerId, upload: &Upload) -> Step<PartClaim> {
        let (number, record, mut share) = self.shared_upload(rows, upload).await?;
        let now = (self.options.clock)();
        let claims = part_claims(rows, &upload.key, number).await?;
        let freed = claims.iter().find(|claim| self.is_free_part(claim, now)).map(|claim| claim.number);
        let fresh = match freed {
            Some(_) => None,
            None => first_missing(rows, &upload.key, number, share.next..=record.count()).await?,
        };
        let choice = Share::choose(freed, fresh, !claims.is_empty());
        let PartClaim::Part(part) = choice else { return Ok(choice) };
        let row = keys::part_claim(&upload.key, number, part);
        // Read to be committed only if nobody else takes or finishes it meanwhile.
        rows.part_claim(&row).await?;
        rows.set(&row, &records::encode_part_claim(&Some(Holder::new(sender, self.process))));
        if fresh.is_some() {
            share.next = part + 1;
            rows.put_share(&upload.key, number, &share);
        }
        Ok(choice)
    }

    async fn renew_part_in(&self, rows: &mut Rows, claimed: &ClaimedPart) -> Step<()> {
        let (row, mut holder) = self.held_part(rows, claimed).await?;
        holder.beat += 1;
        rows.set(&row, &records::encode_part_claim(&Some(holder)));
        Ok(())
    }

    async fn release_part_in(&self, rows: &mut Rows, claimed: &ClaimedPart) -> Step<()> {
        match self.held_part(rows, claimed).await {
            Ok((row, _)) => {
                rows.set(&row, &records::encode_part_claim(&None));
                Ok(())
            }
            Err(super::rows::Fault::Journal(JournalError::Lost)) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// The row of a claim that holds, and who holds it.
    async fn held_part(&self, rows: &mut Rows, claimed: &ClaimedPart) -> Step<(Vec<u8>, Holder)> {
        let (number, _) = self.known_upload(rows, &claimed.upload).await?;
        let row = keys::part_claim(&claimed.upload.key, number, claimed.number);
        let holder = rows.part_claim(&row).await?.flatten().filter(|holder| holder.worker == claimed.sender);
        Ok((row, holder.ok_or(JournalError::Lost)?))
    }

    async fn known_upload(&self, rows: &mut Rows, upload: &Upload) -> Step<(UploadNumber, UploadRecord)> {
        let known = self.uploads_of(rows, &upload.key).await?;
        Ok(known.into_iter().find(|(_, known)| known.upload == *upload).ok_or(JournalError::Lost)?)
    }

    async fn shared_upload(&self, rows: &mut Rows, upload: &Upload) -> Step<(UploadNumber, UploadRecord, Share)> {
        let (number, record) = self.known_upload(rows, upload).await?;
        let share = rows.share(&upload.key, number).await?.ok_or(JournalError::Lost)?;
        Ok((number, record, share))
    }

    fn is_free_part(&self, claim: &FoundClaim, now: Duration) -> bool {
        claim.holder.as_ref().is_none_or(|holder| self.has_died(&claim.row.0, holder, now))
    }

    /// Whether whoever holds this row gave no sign of life for a lease.
    fn has_died(&self, row: &Bytes, holder: &Holder, now: Duration) -> bool {
        // Not the whole value: that of a share changes with claims of others.
        let life = records::encode_part_claim(&Some(holder.clone())).into();
        self.is_of_the_dead(holder.process) || self.watch.has_lapsed(row, &life, now)
    }
}

/// The claims on parts of an upload, by the parts' numbers: as many as parts are under way.
async fn part_claims(rows: &mut Rows, key: &Key, number: UploadNumber) -> Step<Vec<FoundClaim>> {
    let mut walk = Walk::prefix(&keys::part_claims_of(key, number), Isolation::Snapshot);
    let mut claims = Vec::new();
    loop {
        let page = rows.page(&mut walk).await?;
        if page.is_empty() {
            return Ok(claims);
        }
        for row in page {
            let holder = records::decode_part_claim(&row.1)?;
            claims.push(FoundClaim { number: keys::part_number(&row.0)?, holder, row });
        }
    }
}

/// The lowest of these parts that the store does not have.
async fn first_missing(
    rows: &mut Rows,
    key: &Key,
    number: UploadNumber,
    parts: std::ops::RangeInclusive<u32>,
) -> Step<Option<u32>> {
    let (mut next, last) = parts.into_inner();
    let (begin, end) = (keys::part(key, number, next), prefix_end(&keys::parts_of(key, number)));
    // Few pages are read but where an upload goes on that had many parts.
    let mut walk = Walk::between(begin, end, Isolation::Snapshot).limit(64);
    while next <= last {
        let page = rows.page(&mut walk).await?;
        if page.is_empty() {
            return Ok(Some(next));
        }
        for (row, _) in page {
            if keys::part_number(&row)? != next {
                return Ok(Some(next));
            }
            next += 1;
        }
    }
    Ok(None)
}

/// Removes a share and all claims on its parts.
pub(super) fn clear_share(rows: &mut Rows, key: &Key, number: UploadNumber) {
    let claims: Bytes = keys::part_claims_of(key, number).into();
    rows.clear(&keys::share(key, number));
    rows.clear_range(&claims, &prefix_end(&claims));
}
