//! Between the journal's types and those of the wire. What a peer sends is checked here: it gives errors, never panics.

use bytes::Bytes;
use farshore_proto::wire;
use farshore_proto::wire::sync_refusal::Kind;
use farshore_proto::wire::sync_work_reply::Outcome;

use crate::allowance::Amounts;
use crate::budget::Limits;
use crate::counts::Counts;
use crate::journal::{
    Claim, ClaimedPart, ClaimedRange, FinishedPart, JournalError, PartClaim, Settled, UploadRecord, WorkerId,
    decode_deletions, decode_failure, decode_part, decode_recorded, decode_upload, encode_deletions, encode_failure,
    encode_part, encode_recorded, encode_upload,
};
use crate::key::Key;
use crate::key_range::KeyRange;
use crate::limits::SHARED_PAGE;
use crate::store::{Upload, UploadId};

/// What was wrong with what a peer sent.
pub(crate) type Checked<T> = Result<T, String>;

pub(crate) fn range_to(claimed: &ClaimedRange) -> wire::SyncRange {
    let keys = wire::SyncPlaces { start: claimed.range.start().clone(), end: claimed.range.end().cloned() };
    wire::SyncRange { id: claimed.id, fence: claimed.fence, keys: Some(keys) }
}

pub(crate) fn range_from(range: Option<wire::SyncRange>) -> Checked<ClaimedRange> {
    let range = range.ok_or("a range is missing")?;
    let keys = range.keys.ok_or("a range has no keys")?;
    Ok(ClaimedRange { id: range.id, fence: range.fence, range: KeyRange::new(keys.start, keys.end) })
}

pub(crate) fn settle_to(claimed: &ClaimedRange, settled: &Settled) -> wire::SyncSettle {
    let counts = settled.counts.named().filter(|(_, number)| *number > 0);
    wire::SyncSettle {
        range: Some(range_to(claimed)),
        frontier: settled.frontier.clone(),
        counts: counts.map(|(name, number)| (name.to_owned(), number)).collect(),
        failures: settled.failures.iter().map(|failure| encode_failure(failure).into()).collect(),
        deletions: encode_deletions(&settled.deletions).into(),
        recorded: encode_recorded(&settled.recorded).into(),
    }
}

pub(crate) fn settle_from(settle: wire::SyncSettle) -> Checked<(ClaimedRange, Settled)> {
    let mut counts = Counts::default();
    let mut named: Vec<(String, u64)> = settle.counts.into_iter().collect();
    named.sort_unstable();
    for (name, number) in named {
        if !counts.set(&name, number) {
            return Err(format!("`{}` is no sum that this build knows", name.escape_debug()));
        }
    }
    let failures = settle.failures.iter().map(|failure| decode_failure(failure)).collect::<Result<_, _>>();
    let settled = Settled {
        frontier: settle.frontier,
        counts,
        failures: failures.map_err(|error| error.to_string())?,
        deletions: decode_deletions(&settle.deletions).map_err(|error| error.to_string())?,
        recorded: decode_recorded(&settle.recorded).map_err(|error| error.to_string())?,
    };
    Ok((range_from(settle.range)?, settled))
}

pub(crate) fn key_from(key: Bytes) -> Checked<Key> {
    Key::new(key).map_err(|error| error.to_string())
}

pub(crate) fn name_to(upload: &Upload) -> wire::SyncUploadName {
    wire::SyncUploadName { key: upload.key.to_bytes(), id: upload.id.as_str().to_owned() }
}

pub(crate) fn name_from(name: Option<wire::SyncUploadName>) -> Checked<Upload> {
    let name = name.ok_or("an upload has no name")?;
    Ok(Upload { key: key_from(name.key)?, id: UploadId::new(name.id) })
}

pub(crate) fn upload_to(record: &UploadRecord) -> wire::SyncUpload {
    wire::SyncUpload {
        key: record.upload.key.to_bytes(),
        upload: encode_upload(record).into(),
        parts: record.parts.iter().map(|part| encode_part(part).into()).collect(),
    }
}

pub(crate) fn upload_from(upload: wire::SyncUpload) -> Checked<UploadRecord> {
    let record = decode_upload(key_from(upload.key)?, &upload.upload).map_err(|error| error.to_string())?;
    let parts = upload
        .parts
        .iter()
        .map(|part| decode_part(part))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    Ok(UploadRecord { parts, ..record })
}

pub(crate) fn part_to(upload: &Upload, part: &FinishedPart) -> wire::SyncPart {
    wire::SyncPart { upload: Some(name_to(upload)), part: encode_part(part).into() }
}

pub(crate) fn part_from(part: wire::SyncPart) -> Checked<(Upload, FinishedPart)> {
    Ok((name_from(part.upload)?, decode_part(&part.part).map_err(|error| error.to_string())?))
}

pub(crate) fn sender_to(sender: &WorkerId, upload: &Upload) -> wire::SyncSender {
    wire::SyncSender { sender: sender.0.clone(), upload: Some(name_to(upload)) }
}

pub(crate) fn sender_from(sender: Option<wire::SyncSender>) -> Checked<(WorkerId, Upload)> {
    let sender = sender.ok_or("a sender is missing")?;
    Ok((WorkerId(sender.sender), name_from(sender.upload)?))
}

pub(crate) fn claimed_part_to(claimed: &ClaimedPart) -> wire::SyncClaimedPart {
    let sender = sender_to(&claimed.sender, &claimed.upload);
    wire::SyncClaimedPart { sender: Some(sender), number: claimed.number }
}

pub(crate) fn claimed_part_from(claimed: wire::SyncClaimedPart) -> Checked<ClaimedPart> {
    let (sender, upload) = sender_from(claimed.sender)?;
    Ok(ClaimedPart { sender, upload, number: claimed.number })
}

pub(crate) fn after_to(after: Option<&Key>, limit: usize) -> wire::SyncAfter {
    let after = after.map(Key::to_bytes).unwrap_or_default();
    wire::SyncAfter { after, limit: u32::try_from(limit).unwrap_or(u32::MAX) }
}

/// Where a page of shared uploads begins, and how many it may have at most.
pub(crate) fn after_from(after: wire::SyncAfter) -> Checked<(Option<Key>, usize)> {
    let key = if after.after.is_empty() { None } else { Some(key_from(after.after)?) };
    Ok((key, (after.limit as usize).min(SHARED_PAGE)))
}

pub(crate) fn uploads_to(records: &[UploadRecord]) -> Outcome {
    Outcome::Uploads(wire::SyncUploads { uploads: records.iter().map(upload_to).collect() })
}

pub(crate) fn uploads_from(uploads: wire::SyncUploads) -> Checked<Vec<UploadRecord>> {
    uploads.uploads.into_iter().map(upload_from).collect()
}

pub(crate) fn part_claim_to(claim: PartClaim) -> Outcome {
    match claim {
        PartClaim::Part(number) => Outcome::Part(number),
        PartClaim::Wait => Outcome::Wait(wire::SyncNothing {}),
        PartClaim::Finished => Outcome::Finished(wire::SyncNothing {}),
    }
}

pub(crate) fn claim_to(claim: &Claim) -> Outcome {
    match claim {
        Claim::Range(claimed) => Outcome::Range(range_to(claimed)),
        Claim::Wait => Outcome::Wait(wire::SyncNothing {}),
        Claim::Finished => Outcome::Finished(wire::SyncNothing {}),
    }
}

pub(crate) fn refusal_to(error: &JournalError) -> Outcome {
    let (kind, reason) = match error {
        JournalError::Lost => (Kind::Lost, String::new()),
        JournalError::OtherJob { there } => (Kind::OtherJob, there.clone()),
        JournalError::Invalid { reason } => (Kind::Invalid, reason.clone()),
        other => (Kind::Failed, other.to_string()),
    };
    Outcome::Refusal(wire::SyncRefusal { kind: kind.into(), reason })
}

pub(crate) fn refusal_from(refusal: &wire::SyncRefusal) -> JournalError {
    let reason = refusal.reason.clone();
    match refusal.kind() {
        Kind::Lost => JournalError::Lost,
        Kind::OtherJob => JournalError::OtherJob { there: reason },
        Kind::Invalid => JournalError::Invalid { reason },
        Kind::Failed | Kind::Unspecified => JournalError::Remote(format!("the coordinator says: {reason}")),
    }
}

pub(crate) fn amounts_to(limits: &Limits) -> wire::SyncAmounts {
    let Amounts { source_bytes, target_bytes, source_requests, target_requests } = *limits;
    wire::SyncAmounts { source_bytes, target_bytes, source_requests, target_requests }
}

pub(crate) fn amounts_from(amounts: Option<wire::SyncAmounts>) -> Limits {
    let wire::SyncAmounts { source_bytes, target_bytes, source_requests, target_requests } =
        amounts.unwrap_or_default();
    Amounts { source_bytes, target_bytes, source_requests, target_requests }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checksum::{Checksum, Checksums};
    use crate::entry::Entry;
    use crate::journal::{Deletion, Failure};
    use crate::manifest::Recorded;

    #[test]
    fn a_settlement_comes_over_as_it_was() {
        let claimed = ClaimedRange { id: 7, fence: 9, range: KeyRange::new("a", Some(Bytes::from_static(b"m"))) };
        let deletion = |key: &str| Deletion { key: Key::try_from(key).unwrap(), size: 3 };
        let entry = Entry::object(Key::try_from("b").unwrap(), 3);
        let recorded = Recorded::of(&entry, &Checksums::none().with(Checksum::Blake3([7; 32])));
        let settled = Settled {
            frontier: Some(Bytes::from_static(b"c\xff\0")),
            counts: Counts { copied: 3, deletions_planned: 2, ..Counts::default() },
            failures: vec![Failure { place: "b".into(), word: "refused".into(), reason: "no".into() }],
            deletions: vec![deletion("a"), deletion("b")],
            recorded: vec![recorded],
        };
        let (again, same) = settle_from(settle_to(&claimed, &settled)).unwrap();
        assert_eq!((again, same), (claimed.clone(), settled.clone()));
        let mut unknown = settle_to(&claimed, &settled);
        unknown.counts.insert("of another version".into(), 1);
        assert!(settle_from(unknown).unwrap_err().contains("of another version"));
    }

    proptest! {
        #[test]
        fn what_is_sent_gives_errors_and_no_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            let name = wire::SyncUploadName { key: bytes.clone(), id: String::new() };
            let part = wire::SyncPart { upload: Some(name), part: bytes.clone() };
            let upload = wire::SyncUpload { key: bytes.clone(), upload: bytes.clone(), parts: vec![bytes.clone()] };
            let settle = wire::SyncSettle {
                failures: vec![bytes.clone()],
                deletions: bytes.clone(),
                recorded: bytes,
                ..Default::default()
            };
            prop_assert!(settle_from(settle).is_err());
            let sender = wire::SyncSender { sender: String::new(), upload: part.upload.clone() };
            let claimed = wire::SyncClaimedPart { sender: Some(sender), number: 0 };
            prop_assert!(sender_from(None).is_err());
            drop((part_from(part), upload_from(upload), claimed_part_from(claimed)));
        }
    }
}
