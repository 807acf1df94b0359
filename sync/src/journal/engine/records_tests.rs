//! Every record comes back as it was, and whatever else is there gives an error.

use proptest::prelude::*;

use super::*;
use crate::journal::JournalError;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,12}", Just("\"\"quoted\"\"".to_owned())]
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn key() -> impl Strategy<Value = Key> {
    prop::collection::vec(any::<u8>(), 1..1024).prop_map(|bytes| Key::new(bytes).unwrap())
}

fn range() -> impl Strategy<Value = KeyRange> {
    (any_bytes(), prop::option::of(any_bytes())).prop_map(|(start, end)| KeyRange::new(start, end))
}

fn state() -> impl Strategy<Value = JobState> {
    prop_oneof![Just(JobState::Begun), Just(JobState::Finished), Just(JobState::Forgotten)]
}

prop_compose! {
    fn header()(born in any::<[u8; 16]>(), fingerprint in any::<[u8; 32]>(), description in text(), range in range(),
        state in state()) -> Header {
        Header { born, job: JobIdentity { fingerprint, description, range }, state }
    }
}

prop_compose! {
    fn holder()(worker in text(), process in any::<[u8; 16]>(), beat in any::<u64>()) -> Holder {
        Holder { worker: WorkerId(worker), process: ProcessId(process), beat }
    }
}

prop_compose! {
    fn record()(origin in any_bytes(), keys in range(), fence in any::<u64>(), holder in prop::option::of(holder()))
        -> RangeRecord {
        RangeRecord { origin, keys, fence, holder }
    }
}

prop_compose! {
    fn identity()(size in any::<u64>(), etag in prop::option::of(text()), version in prop::option::of(text()),
        file in prop::option::of(any::<(u64, u64)>()),
        modified in prop::option::of((any::<i64>(), 0_u32..1_000_000_000))) -> Identity {
        Identity {
            size,
            etag: etag.map(|etag| ETag::new(&etag)),
            version: version.map(|version| VersionId::new(&version)),
            file: file.map(|(device, inode)| FileId { device, inode }),
            modified: modified.map(|(seconds, nanos)| Timestamp::new(seconds, nanos)),
        }
    }
}

prop_compose! {
    fn upload()(key in key(), id in text(), identity in identity(), part_bytes in any::<u64>()) -> UploadRecord {
        UploadRecord { upload: Upload { key, id: UploadId::new(id) }, identity, part_bytes, parts: Vec::new() }
    }
}

fn checksum() -> impl Strategy<Value = (Scope, Checksum)> {
    let scope = prop_oneof![Just(Scope::Whole), any::<u32>().prop_map(|parts| Scope::Composite { parts })];
    let sum = prop_oneof![
        any::<u32>().prop_map(Checksum::Crc32),
        any::<u32>().prop_map(Checksum::Crc32c),
        any::<u64>().prop_map(Checksum::Crc64Nvme),
        any::<[u8; 16]>().prop_map(Checksum::Md5),
        any::<[u8; 32]>().prop_map(Checksum::Sha256),
        any::<[u8; 32]>().prop_map(Checksum::Blake3),
    ];
    (scope, sum)
}

prop_compose! {
    fn part()(number in any::<u32>(), size in any::<u64>(), etag in text(), sums in prop::collection::vec(checksum(), 0..4),
        digest in prop::option::of((any::<u64>(), any::<u32>(), any::<u64>(), prop::option::of(any::<[u8; 32]>()))))
        -> FinishedPart {
        let mut checksums = Checksums::none();
        for (scope, sum) in sums {
            checksums.add(scope, sum);
        }
        let digest = digest.map(|(len, crc32c, crc64nvme, subtree)| PartDigest { len, crc32c, crc64nvme, subtree });
        FinishedPart { stored: StoredPart { number, size, etag: ETag::new(&etag), checksums }, digest }
    }
}

prop_compose! {
    fn recorded()(key in key(), link in prop::option::of(any_bytes()), size in any::<u64>(),
        sums in prop::collection::vec(checksum(), 0..4)) -> Recorded {
        let kind = link.map_or(Kind::Object, |target| Kind::Symlink { target });
        let mut checksums = Checksums::none();
        for (scope, sum) in sums {
            checksums.add(scope, sum);
        }
        Recorded { key, kind, size, checksums }
    }
}

proptest! {
    #[test]
    fn headers_come_back(header in header()) {
        prop_assert_eq!(Header::decode(&header.encode()).unwrap(), header);
    }

    #[test]
    fn ranges_come_back(record in record(), span in range()) {
        prop_assert_eq!(decode_range(&encode_range(&record)).unwrap(), record);
        prop_assert_eq!(decode_done(span.start().clone(), &encode_done(&span)).unwrap(), span);
    }

    #[test]
    fn shares_and_claims_on_parts_come_back(next in any::<u32>(), holder in holder(), claim in prop::option::of(holder())) {
        let share = Share { holder, next };
        prop_assert_eq!(decode_share(&encode_share(&share)).unwrap(), share);
        prop_assert_eq!(decode_part_claim(&encode_part_claim(&claim)).unwrap(), claim);
    }

    #[test]
    fn small_records_come_back(process in any::<[u8; 16]>(), number in any::<u64>()) {
        let waiting = (ProcessId(process), number);
        prop_assert_eq!(decode_waiting(&encode_waiting(waiting.0, waiting.1)).unwrap(), waiting);
        prop_assert_eq!(decode_next(&encode_next(number)).unwrap(), number);
        prop_assert_eq!(decode_count(&number.to_le_bytes()).unwrap(), number);
    }

    #[test]
    fn failures_and_deletions_come_back(place in text(), word in text(), reason in text(),
        deletions in prop::collection::vec((key(), any::<u64>()), 0..5)) {
        let failure = Failure { place, word, reason };
        prop_assert_eq!(decode_failure(&encode_failure(&failure)).unwrap(), failure);
        let deletions: Vec<Deletion> = deletions.into_iter().map(|(key, size)| Deletion { key, size }).collect();
        prop_assert_eq!(decode_deletions(&encode_deletions(&deletions)).unwrap(), deletions);
    }

    #[test]
    fn what_is_recorded_comes_back(recorded in prop::collection::vec(recorded(), 0..5)) {
        prop_assert_eq!(decode_recorded(&encode_recorded(&recorded)).unwrap(), recorded);
    }

    #[test]
    fn uploads_and_parts_come_back(record in upload(), part in part()) {
        prop_assert_eq!(decode_upload(record.upload.key.clone(), &encode_upload(&record)).unwrap(), record);
        prop_assert_eq!(decode_part(&encode_part(&part)).unwrap(), part);
    }

    #[test]
    fn what_is_cut_or_changed_gives_an_error_or_another_record(record in record(), part in part(), upload in upload(),
        header in header(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for value in [encode_range(&record), encode_part(&part), encode_upload(&upload), header.encode()] {
            let mut changed = value.clone();
            *at.get_mut(&mut changed) = byte;
            decode_all(&changed);
            decode_all(&value[..at.index(value.len())]);
        }
        let value = encode_range(&record);
        let cut = decode_range(&value[..at.index(value.len())]);
        let damaged = matches!(cut, Err(JournalError::Damaged { .. }));
        prop_assert!(damaged);
        let longer = decode_range(&[&value[..], &[byte]].concat());
        let damaged = matches!(longer, Err(JournalError::Damaged { .. }));
        prop_assert!(damaged);
    }

    #[test]
    fn no_value_panics(value in prop::collection::vec(any::<u8>(), 0..100)) {
        decode_all(&value);
        decode_all(&[&[VERSION], &value[..]].concat());
        decode_all(&[&MAGIC[..], &[VERSION], &value].concat());
    }
}

fn decode_all(value: &[u8]) {
    Header::decode(value).ok();
    decode_range(value).ok();
    decode_done(Bytes::new(), value).ok();
    decode_waiting(value).ok();
    decode_next(value).ok();
    decode_count(value).ok();
    decode_failure(value).ok();
    decode_deletions(value).ok();
    decode_recorded(value).ok();
    decode_upload(Key::try_from("key").unwrap(), value).ok();
    decode_part(value).ok();
    decode_share(value).ok();
    decode_part_claim(value).ok();
}

#[test]
fn another_version_stops() {
    let mut value = encode_next(7);
    value[0] = VERSION + 1;
    let error = decode_next(&value).unwrap_err();
    assert!(matches!(error, JournalError::OtherFormat { found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("begin again"), "the way out is told: {error}");
}

#[test]
fn a_long_reason_loses_its_end() {
    let reason = "ä".repeat(MAX_REASON_BYTES);
    let failure = Failure { place: "key".into(), word: "refused".into(), reason: reason.clone() };
    let kept = decode_failure(&encode_failure(&failure)).unwrap().reason;
    assert_eq!(kept.len(), MAX_REASON_BYTES);
    assert!(reason.starts_with(&kept));
}
