//! The contract of journals, as tests that every implementation passes.

mod shared_uploads;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Claim, ClaimedRange, Deletion, Failure, FinishedPart, JobIdentity, Journal, JournalError, Opened, Settled,
    UploadRecord, WorkerId,
};
use crate::checksum::{Checksum, Checksums};
use crate::counts::Counts;
use crate::digest::PartDigest;
use crate::entry::{ETag, Identity, Kind};
use crate::key::Key;
use crate::key_range::{KeyRange, place_after};
use crate::limits::MAX_SETTLED_BYTES;
use crate::manifest::Recorded;
use crate::store::{StoredPart, Upload, UploadId};

/// Makes journals of one kind.
#[async_trait]
pub trait Maker: Send + Sync {
    /// A journal of no job yet, with a place of its own.
    async fn empty(&self) -> Arc<dyn Journal>;

    /// The journal as it is found after its process died: claims that were made before can be given out again.
    async fn after_death(&self, journal: Arc<dyn Journal>) -> Arc<dyn Journal>;
}

/// Runs all tests of the contract.
pub async fn run_all(maker: &dyn Maker) {
    a_new_job_has_one_range(maker.empty().await).await;
    a_job_without_keys_is_finished(maker.empty().await).await;
    ranges_are_split_settled_and_finished(maker.empty().await).await;
    a_split_outside_of_the_range_gives_nothing(maker.empty().await).await;
    a_claim_that_moved_on_is_lost(maker.empty().await).await;
    a_worker_that_asks_again_gets_what_it_is_noted_to_hold(maker.empty().await).await;
    a_range_that_was_given_back_goes_on_at_its_frontier(maker.empty().await).await;
    what_cannot_be_is_refused_and_changes_nothing(maker.empty().await).await;
    waiting_workers_want_ranges(maker.empty().await).await;
    another_job_is_refused(maker.empty().await).await;
    a_job_goes_on_after_the_death_of_its_process(maker).await;
    a_finished_job_says_so(maker).await;
    failures_come_in_order_and_in_pages(maker.empty().await).await;
    deletions_come_last_and_descending(maker.empty().await).await;
    what_is_recorded_comes_once_and_in_order(maker.empty().await).await;
    uploads_keep_their_parts(maker).await;
    several_uploads_of_a_key_are_all_remembered(maker.empty().await).await;
    shared_uploads::parts_are_claimed_once_from_the_lowest_on(maker.empty().await).await;
    shared_uploads::who_shares_an_upload_again_ends_the_claims_of_who_did_before(maker.empty().await).await;
    shared_uploads::uploads_that_want_help_are_found(maker.empty().await).await;
    shared_uploads::a_shared_upload_goes_on_after_the_death_of_its_process(maker).await;
}

/// A job over `range` that `name` tells from others.
pub fn job(name: &str, range: KeyRange) -> JobIdentity {
    JobIdentity { fingerprint: *blake3::hash(name.as_bytes()).as_bytes(), description: name.to_owned(), range }
}

/// A worker's name.
pub fn worker(name: &str) -> WorkerId {
    WorkerId(name.to_owned())
}

/// Claims a range that must be free.
pub async fn claim(journal: &dyn Journal, name: &str) -> ClaimedRange {
    match journal.claim(&worker(name)).await.unwrap() {
        Claim::Range(claimed) => claimed,
        other => panic!("a range was to be free: {other:?}"),
    }
}

fn place(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn key(text: &str) -> Key {
    Key::try_from(text).unwrap()
}

fn range(start: &'static str, end: &'static str) -> KeyRange {
    KeyRange::new(start, Some(place(end)))
}

fn up_to(frontier: &'static str, copied: u64) -> Settled {
    let counts = Counts { copied, ..Counts::default() };
    Settled { frontier: Some(place(frontier)), counts, ..Settled::default() }
}

fn assert_lost<T: std::fmt::Debug>(result: &super::Result<T>) {
    assert!(matches!(result, Err(JournalError::Lost)), "{result:?}");
}

fn assert_invalid<T: std::fmt::Debug>(result: &super::Result<T>) {
    assert!(matches!(result, Err(JournalError::Invalid { .. })), "{result:?}");
}

async fn assert_finished(journal: &dyn Journal) {
    assert_eq!(journal.claim(&worker("last")).await.unwrap(), Claim::Finished);
}

async fn a_new_job_has_one_range(journal: Arc<dyn Journal>) {
    assert_eq!(journal.open(&job("a", range("b", "y"))).await.unwrap(), Opened::New);
    let claimed = claim(&*journal, "one").await;
    assert_eq!(claimed.range, range("b", "y"));
    assert_eq!(journal.claim(&worker("two")).await.unwrap(), Claim::Wait);
    assert_eq!(journal.settle(&claimed, Settled::default()).await.unwrap(), None);
    assert_finished(&*journal).await;
}

async fn a_job_without_keys_is_finished(journal: Arc<dyn Journal>) {
    assert_eq!(journal.open(&job("a", range("y", "b"))).await.unwrap(), Opened::New);
    assert_finished(&*journal).await;
    assert_eq!(journal.deletions(None, 10).await.unwrap(), []);
    journal.finish().await.unwrap();
}

async fn ranges_are_split_settled_and_finished(journal: Arc<dyn Journal>) {
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    let first = claim(&*journal, "one").await;
    let low = journal.split(&first, &place("m")).await.unwrap();
    assert_eq!(low.range, KeyRange::new("", Some(place("m"))));
    let high = claim(&*journal, "two").await;
    assert_eq!(high.range, KeyRange::new("m", None));
    let low = journal.settle(&low, up_to("c", 2)).await.unwrap().unwrap();
    assert_eq!(low.range, range("c", "m"));
    journal.renew(&low).await.unwrap();
    assert_eq!(journal.settle(&low, up_to("m", 3)).await.unwrap(), None, "a frontier at the end finishes");
    assert_eq!(journal.claim(&worker("one")).await.unwrap(), Claim::Wait);
    assert_eq!(journal.settle(&high, Settled::default()).await.unwrap(), None);
    assert_finished(&*journal).await;
    assert_eq!(journal.counts().await.unwrap(), Counts { copied: 5, ..Counts::default() });
}

async fn a_split_outside_of_the_range_gives_nothing(journal: Arc<dyn Journal>) {
    journal.open(&job("a", range("c", "x"))).await.unwrap();
    let claimed = claim(&*journal, "one").await;
    for outside in ["", "b", "c", "x", "z"] {
        assert_eq!(journal.split(&claimed, &place(outside)).await.unwrap(), claimed, "{outside}");
    }
    assert_eq!(journal.claim(&worker("two")).await.unwrap(), Claim::Wait);
    journal.settle(&claimed, Settled::default()).await.unwrap();
    assert_finished(&*journal).await;
}

async fn a_claim_that_moved_on_is_lost(journal: Arc<dyn Journal>) {
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    let first = claim(&*journal, "one").await;
    let split = journal.split(&first, &place("m")).await.unwrap();
    assert_lost(&journal.split(&first, &place("c")).await);
    let settled = journal.settle(&split, up_to("c", 1)).await.unwrap().unwrap();
    assert_lost(&journal.settle(&split, up_to("c", 1)).await);
    assert_lost(&journal.renew(&split).await);
    journal.release(&settled).await.unwrap();
    assert_lost(&journal.settle(&settled, up_to("d", 1)).await);
    let high = claim(&*journal, "two").await;
    journal.settle(&high, Settled::default()).await.unwrap();
    assert_lost(&journal.settle(&high, Settled::default()).await);
    assert_lost(&journal.release(&high).await);
    let unknown = ClaimedRange { id: 1_000_000, ..high };
    assert_lost(&journal.settle(&unknown, Settled::default()).await);
    assert_eq!(journal.counts().await.unwrap().copied, 1);
}

async fn a_worker_that_asks_again_gets_what_it_is_noted_to_hold(journal: Arc<dyn Journal>) {
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    let unheard = claim(&*journal, "one").await;
    let again = claim(&*journal, "one").await;
    assert_eq!((again.id, &again.range), (unheard.id, &unheard.range));
    assert_lost(&journal.settle(&unheard, up_to("c", 1)).await);
    assert!(!journal.is_settled().await.unwrap());
    journal.settle(&again, Settled::default()).await.unwrap();
    assert!(journal.is_settled().await.unwrap());
}

async fn a_range_that_was_given_back_goes_on_at_its_frontier(journal: Arc<dyn Journal>) {
    journal.open(&job("a", range("b", "y"))).await.unwrap();
    let first = claim(&*journal, "one").await;
    let first = journal.settle(&first, up_to("k", 1)).await.unwrap().unwrap();
    journal.release(&first).await.unwrap();
    let second = claim(&*journal, "two").await;
    assert_eq!((second.id, &second.range), (first.id, &range("k", "y")));
    assert!(second.fence > first.fence);
}

async fn what_cannot_be_is_refused_and_changes_nothing(journal: Arc<dyn Journal>) {
    journal.open(&job("a", range("c", "x"))).await.unwrap();
    let claimed = claim(&*journal, "one").await;
    assert_invalid(&journal.settle(&claimed, up_to("b", 1)).await);
    let deletion = |text: &str| Deletion { key: key(text), size: 1 };
    for keys in [["e", "d"], ["d", "d"], ["d", "k"], ["b", "d"]] {
        let deletions = keys.map(deletion).to_vec();
        assert_invalid(&journal.settle(&claimed, Settled { deletions, ..up_to("k", 1) }).await);
    }
    let failure = Failure { place: "d".into(), word: "corrupt".into(), reason: "long".repeat(1_000) };
    let failures = vec![failure; MAX_SETTLED_BYTES / 4_000];
    assert_invalid(&journal.settle(&claimed, Settled { failures, ..up_to("k", 1) }).await);
    assert_invalid(&journal.deletions(None, 1).await);
    assert_invalid(&journal.finish().await);
    assert_eq!(journal.counts().await.unwrap(), Counts::default());
    journal.settle(&claimed, up_to("k", 1)).await.unwrap().unwrap();
}

async fn waiting_workers_want_ranges(journal: Arc<dyn Journal>) {
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    let first = claim(&*journal, "one").await;
    assert!(!journal.wants_ranges().await.unwrap());
    assert_eq!(journal.claim(&worker("two")).await.unwrap(), Claim::Wait);
    assert!(journal.wants_ranges().await.unwrap());
    journal.split(&first, &place("m")).await.unwrap();
    assert!(!journal.wants_ranges().await.unwrap(), "there is a free one");
    claim(&*journal, "two").await;
    assert!(!journal.wants_ranges().await.unwrap(), "nobody waits");
}

async fn another_job_is_refused(journal: Arc<dyn Journal>) {
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    let error = journal.open(&job("b", KeyRange::all())).await.unwrap_err();
    assert!(matches!(&error, JournalError::OtherJob { there } if there == "a"), "{error}");
    assert!(matches!(journal.open(&job("a", KeyRange::all())).await.unwrap(), Opened::Resumed(_)));
}

async fn a_job_goes_on_after_the_death_of_its_process(maker: &dyn Maker) {
    let journal = maker.empty().await;
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    let first = claim(&*journal, "one").await;
    let left = journal.settle(&first, up_to("k", 4)).await.unwrap().unwrap();
    let journal = maker.after_death(journal).await;
    let counts = Counts { copied: 4, ..Counts::default() };
    assert_eq!(journal.open(&job("a", KeyRange::all())).await.unwrap(), Opened::Resumed(counts));
    let again = claim(&*journal, "one").await;
    assert_eq!(again.range, left.range);
    assert_lost(&journal.settle(&left, Settled::default()).await);
    assert_eq!(journal.settle(&again, Settled::default()).await.unwrap(), None);
    assert_finished(&*journal).await;
}

async fn a_finished_job_says_so(maker: &dyn Maker) {
    let journal = maker.empty().await;
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    let first = claim(&*journal, "one").await;
    let counts = Counts { copied: 4, ..Counts::default() };
    journal.settle(&first, Settled { counts, ..Settled::default() }).await.unwrap();
    assert_eq!(journal.open(&job("a", KeyRange::all())).await.unwrap(), Opened::Resumed(counts));
    journal.finish().await.unwrap();
    journal.finish().await.unwrap();
    let journal = maker.after_death(journal).await;
    assert_eq!(journal.open(&job("a", KeyRange::all())).await.unwrap(), Opened::Finished(counts));
    assert_finished(&*journal).await;
}

async fn failures_come_in_order_and_in_pages(journal: Arc<dyn Journal>) {
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    let mut claimed = claim(&*journal, "one").await;
    let failure = |number: usize| Failure {
        place: format!("key {number}"),
        word: "refused".into(),
        reason: format!("not allowed, and a line feed\n{number}"),
    };
    let all: Vec<Failure> = (0..600).map(failure).collect();
    for (page, failures) in all.chunks(100).enumerate() {
        let frontier = Some(Bytes::from(format!("key {page}")));
        let settled = Settled { frontier, failures: failures.to_vec(), ..Settled::default() };
        claimed = journal.settle(&claimed, settled).await.unwrap().unwrap();
    }
    let mut found = Vec::new();
    loop {
        let page = journal.failures(found.len() as u64, 70).await.unwrap();
        assert!(page.len() <= 70);
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found, all);
    assert_eq!(journal.failures(598, 10).await.unwrap(), all[598..]);
    assert_eq!(journal.failures(10_000, 10).await.unwrap(), []);
}

/// Three ranges that settle in an order that is not theirs, with long keys and short ones.
async fn plan_deletions(journal: &dyn Journal) -> Vec<Deletion> {
    let deletion = |number: u32| {
        let long = [&number.to_be_bytes()[..], &vec![b'x'; (number as usize * 37) % 900]].concat();
        Deletion { key: Key::new(long).unwrap(), size: u64::from(number) }
    };
    let all: Vec<Deletion> = (0..900).map(deletion).collect();
    let first = claim(journal, "one").await;
    let middle = Bytes::copy_from_slice(&300_u32.to_be_bytes());
    let high = Bytes::copy_from_slice(&600_u32.to_be_bytes());
    let low = journal.split(&first, &middle).await.unwrap();
    let second = claim(journal, "two").await;
    let second = journal.split(&second, &high).await.unwrap();
    let third = claim(journal, "three").await;
    let of = |claimed: &ClaimedRange| -> Vec<Deletion> {
        all.iter().filter(|deletion| claimed.range.contains(deletion.key.as_bytes())).cloned().collect()
    };
    for claimed in [&second, &low, &third] {
        let settled = Settled { deletions: of(claimed), ..Settled::default() };
        journal.settle(claimed, settled).await.unwrap();
    }
    all
}

async fn deletions_come_last_and_descending(journal: Arc<dyn Journal>) {
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    let mut all = plan_deletions(&*journal).await;
    assert_eq!(journal.deletions(None, 0).await.unwrap(), []);
    all.reverse();
    let (mut found, mut before): (Vec<Deletion>, Option<Key>) = (Vec::new(), None);
    loop {
        let page = journal.deletions(before.as_ref(), 70).await.unwrap();
        assert!(page.len() <= 70);
        let Some(last) = page.last() else { break };
        before = Some(last.key.clone());
        found.extend(page);
    }
    assert_eq!(found, all, "reading them forgets none");
    for forgotten in [1, 2, 69, 250, 640, 900] {
        // Told twice, as after a kill, they are counted once.
        for _ in 0..2 {
            let counts = Counts { deleted: 1, ..Counts::default() };
            journal.end_deletions(&all[forgotten - 1].key, counts).await.unwrap();
        }
        let next = journal.deletions(None, 3).await.unwrap();
        assert_eq!(next, all[forgotten..].iter().take(3).cloned().collect::<Vec<_>>());
    }
    assert_eq!(journal.counts().await.unwrap().deleted, 6);
}

async fn what_is_recorded_comes_once_and_in_order(journal: Arc<dyn Journal>) {
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    let recorded = |number: u32| {
        let long = [&number.to_be_bytes()[..], &vec![b'x'; (number as usize * 37) % 900]].concat();
        let (kind, checksums) = (Kind::Object, Checksums::none().with(Checksum::Blake3([number as u8; 32])));
        Recorded { key: Key::new(long).unwrap(), kind, size: u64::from(number), checksums }
    };
    let all: Vec<Recorded> = (0..900).map(recorded).collect();
    let first = claim(&*journal, "one").await;
    let low = journal.split(&first, &Bytes::copy_from_slice(&450_u32.to_be_bytes())).await.unwrap();
    let high = claim(&*journal, "two").await;
    assert_invalid(&journal.recorded(&Bytes::new()).await);
    let outside = Settled { recorded: all[449..451].to_vec(), ..Settled::default() };
    assert_invalid(&journal.settle(&low, outside).await);
    let turned = Settled { recorded: vec![all[2].clone(), all[1].clone()], ..Settled::default() };
    assert_invalid(&journal.settle(&low, turned).await);
    // The upper range first; each is told again by one who lost the claim meanwhile.
    for (claimed, recorded) in [(&high, &all[450..]), (&low, &all[..450])] {
        let settled = Settled { recorded: recorded.to_vec(), ..Settled::default() };
        journal.settle(claimed, settled.clone()).await.unwrap();
        assert!(matches!(journal.settle(claimed, settled).await, Err(JournalError::Lost)));
    }
    for _ in 0..2 {
        let (mut found, mut from): (Vec<Recorded>, Bytes) = (Vec::new(), Bytes::new());
        loop {
            let page = journal.recorded(&from).await.unwrap();
            let Some(last) = page.last() else { break };
            from = place_after(&last.key);
            found.extend(page);
        }
        assert_eq!(found, all);
    }
}

/// An upload of many parts.
pub fn upload(name: &str, id: &str) -> UploadRecord {
    UploadRecord {
        upload: Upload { key: key(name), id: UploadId::new(id) },
        identity: Identity {
            size: 1 << 40,
            etag: Some(ETag::new("\"tag\"")),
            version: None,
            file: None,
            modified: None,
        },
        part_bytes: 8 << 20,
        parts: Vec::new(),
    }
}

/// A part of such an upload.
pub fn part(number: u32) -> FinishedPart {
    let checksums = Checksums::none().with(Checksum::Crc64Nvme(u64::from(number)));
    let stored = StoredPart { number, size: 8 << 20, etag: ETag::new(&format!("part {number}")), checksums };
    let subtree = (number.is_multiple_of(2)).then_some([number as u8; 32]);
    let digest = PartDigest { len: 8 << 20, crc32c: number, crc64nvme: u64::from(number), subtree };
    FinishedPart { stored, digest: (!number.is_multiple_of(3)).then_some(digest) }
}

async fn uploads_keep_their_parts(maker: &dyn Maker) {
    let journal = maker.empty().await;
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    let begun = upload("large", "1");
    assert_lost(&journal.finish_part(&begun.upload, &part(1)).await);
    journal.begin_upload(&begun).await.unwrap();
    for number in [3, 1, 2_000, 2, 1] {
        journal.finish_part(&begun.upload, &part(number)).await.unwrap();
    }
    let journal = maker.after_death(journal).await;
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    let parts = vec![part(1), part(2), part(3), part(2_000)];
    assert_eq!(journal.upload_of(&key("large")).await.unwrap(), Some(UploadRecord { parts, ..begun.clone() }));
    assert_eq!(journal.upload_of(&key("larg")).await.unwrap(), None);
    assert_eq!(journal.upload_of(&key("large\0")).await.unwrap(), None);
    assert_eq!(journal.uploads(None, 10).await.unwrap(), std::slice::from_ref(&begun));
    journal.end_upload(&begun.upload).await.unwrap();
    journal.end_upload(&begun.upload).await.unwrap();
    assert_eq!(journal.upload_of(&key("large")).await.unwrap(), None);
    assert_lost(&journal.finish_part(&begun.upload, &part(4)).await);
    journal.begin_upload(&begun).await.unwrap();
    assert_eq!(journal.upload_of(&key("large")).await.unwrap(), Some(begun), "no part of the earlier one is left");
}

async fn several_uploads_of_a_key_are_all_remembered(journal: Arc<dyn Journal>) {
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    let begun = [("a", "1"), ("a", "2"), ("a\0", "3"), ("b", "4"), ("a", "5")].map(|(key, id)| upload(key, id));
    for record in &begun {
        journal.begin_upload(record).await.unwrap();
    }
    let [first, second, zero, other, third] = begun;
    journal.finish_part(&first.upload, &part(1)).await.unwrap();
    assert_eq!(journal.upload_of(&key("a")).await.unwrap().as_ref(), Some(&third));
    let of_a = [first.clone(), second.clone(), third.clone()];
    assert_eq!(journal.uploads(None, 1).await.unwrap(), of_a);
    assert_eq!(journal.uploads(Some(&key("a")), 1).await.unwrap(), std::slice::from_ref(&zero));
    assert_eq!(journal.uploads(None, 10).await.unwrap(), [&of_a[..], &[zero.clone(), other.clone()]].concat());
    assert_eq!(journal.uploads(Some(&key("a\0")), 10).await.unwrap(), std::slice::from_ref(&other));
    journal.end_upload(&third.upload).await.unwrap();
    assert_eq!(journal.upload_of(&key("a")).await.unwrap().as_ref(), Some(&second));
    journal.end_upload(&second.upload).await.unwrap();
    let parts = vec![part(1)];
    assert_eq!(journal.upload_of(&key("a")).await.unwrap(), Some(UploadRecord { parts, ..first }));
}
