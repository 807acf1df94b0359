//! Checks of uploads whose parts several workers send.

use std::sync::Arc;

use super::{Maker, assert_lost, job, key, part, upload, worker};
use crate::journal::{ClaimedPart, Journal, PartClaim, UploadRecord};
use crate::key_range::KeyRange;

/// An upload of so many parts.
pub(super) fn of_parts(name: &str, id: &str, count: u64) -> UploadRecord {
    let mut record = upload(name, id);
    record.identity.size = (count - 1) * record.part_bytes + 1;
    record
}

async fn shared(journal: &dyn Journal, record: &UploadRecord, sender: &str) {
    journal.begin_upload(record).await.unwrap();
    journal.share(&worker(sender), &record.upload).await.unwrap();
}

async fn claim(journal: &dyn Journal, sender: &str, record: &UploadRecord) -> PartClaim {
    journal.claim_part(&worker(sender), &record.upload).await.unwrap()
}

fn claimed(sender: &str, record: &UploadRecord, number: u32) -> ClaimedPart {
    ClaimedPart { sender: worker(sender), upload: record.upload.clone(), number }
}

pub(super) async fn parts_are_claimed_once_from_the_lowest_on(journal: Arc<dyn Journal>) {
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    let record = of_parts("large", "1", 5);
    assert_lost(&journal.share(&worker("one"), &record.upload).await);
    journal.begin_upload(&record).await.unwrap();
    assert_lost(&journal.claim_part(&worker("two"), &record.upload).await);
    // What the store has is not claimed.
    journal.finish_part(&record.upload, &part(2)).await.unwrap();
    journal.share(&worker("one"), &record.upload).await.unwrap();
    assert_eq!(claim(&*journal, "one", &record).await, PartClaim::Part(1));
    assert_eq!(claim(&*journal, "two", &record).await, PartClaim::Part(3));
    assert_eq!(claim(&*journal, "one", &record).await, PartClaim::Part(4));
    assert_eq!(claim(&*journal, "two", &record).await, PartClaim::Part(5));
    assert_eq!(claim(&*journal, "one", &record).await, PartClaim::Wait);
    journal.renew_part(&claimed("two", &record, 3)).await.unwrap();
    assert_lost(&journal.renew_part(&claimed("one", &record, 3)).await);
    for number in [3, 1, 5] {
        journal.finish_part(&record.upload, &part(number)).await.unwrap();
    }
    assert_lost(&journal.renew_part(&claimed("two", &record, 3)).await);
    assert_eq!(claim(&*journal, "two", &record).await, PartClaim::Wait, "one is under way");
    journal.release_part(&claimed("two", &record, 4)).await.unwrap();
    assert_eq!(claim(&*journal, "two", &record).await, PartClaim::Wait, "it was another's to give back");
    journal.release_part(&claimed("one", &record, 4)).await.unwrap();
    assert_eq!(claim(&*journal, "two", &record).await, PartClaim::Part(4));
    journal.finish_part(&record.upload, &part(4)).await.unwrap();
    assert_eq!(claim(&*journal, "one", &record).await, PartClaim::Finished);
    let known = journal.upload_of(&key("large")).await.unwrap().unwrap();
    assert_eq!(known.parts, (1..=5).map(part).collect::<Vec<_>>());
    journal.end_upload(&record.upload).await.unwrap();
    assert_lost(&journal.claim_part(&worker("two"), &record.upload).await);
}

pub(super) async fn who_shares_an_upload_again_ends_the_claims_of_who_did_before(journal: Arc<dyn Journal>) {
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    let record = of_parts("large", "1", 4);
    shared(&*journal, &record, "one").await;
    assert_eq!(claim(&*journal, "one", &record).await, PartClaim::Part(1));
    assert_eq!(claim(&*journal, "helper", &record).await, PartClaim::Part(2));
    journal.keep_shared(&worker("one"), &record.upload).await.unwrap();
    assert_lost(&journal.keep_shared(&worker("helper"), &record.upload).await);
    journal.share(&worker("two"), &record.upload).await.unwrap();
    assert_lost(&journal.keep_shared(&worker("one"), &record.upload).await);
    assert_lost(&journal.renew_part(&claimed("one", &record, 1)).await);
    journal.renew_part(&claimed("helper", &record, 2)).await.unwrap();
    assert_eq!(claim(&*journal, "two", &record).await, PartClaim::Part(1));
    assert_eq!(claim(&*journal, "two", &record).await, PartClaim::Part(3));
    journal.withdraw(&worker("one"), &record.upload).await.unwrap();
    journal.renew_part(&claimed("two", &record, 3)).await.unwrap();
    journal.withdraw(&worker("two"), &record.upload).await.unwrap();
    assert_lost(&journal.renew_part(&claimed("helper", &record, 2)).await);
    assert_lost(&journal.claim_part(&worker("helper"), &record.upload).await);
    // A part that was on its way counts all the same, and the upload can be shared again.
    journal.finish_part(&record.upload, &part(2)).await.unwrap();
    journal.share(&worker("three"), &record.upload).await.unwrap();
    for number in [1, 3, 4] {
        assert_eq!(claim(&*journal, "three", &record).await, PartClaim::Part(number));
    }
}

pub(super) async fn uploads_that_want_help_are_found(journal: Arc<dyn Journal>) {
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    let [first, second, third, alone] =
        [("a", "1"), ("a\0", "2"), ("b", "3"), ("c", "4")].map(|(name, id)| of_parts(name, id, 2));
    for record in [&first, &second, &third] {
        shared(&*journal, record, "one").await;
    }
    journal.begin_upload(&alone).await.unwrap();
    assert_eq!(journal.shared(None, 10).await.unwrap(), [first.clone(), second.clone(), third.clone()]);
    assert_eq!(journal.shared(Some(&key("a")), 1).await.unwrap(), std::slice::from_ref(&second));
    assert_eq!(journal.shared(Some(&key("b")), 10).await.unwrap(), []);
    for _ in 0..2 {
        claim(&*journal, "one", &first).await;
    }
    assert_eq!(journal.shared(None, 10).await.unwrap(), [second.clone(), third.clone()], "nothing of it is free");
    journal.release_part(&claimed("one", &first, 2)).await.unwrap();
    assert_eq!(journal.shared(None, 1).await.unwrap(), std::slice::from_ref(&first));
    journal.withdraw(&worker("one"), &first.upload).await.unwrap();
    journal.end_upload(&second.upload).await.unwrap();
    assert_eq!(journal.shared(None, 10).await.unwrap(), std::slice::from_ref(&third));
    // An upload that begins anew under the same name is not shared before it is said so.
    journal.begin_upload(&third).await.unwrap();
    assert_eq!(journal.shared(None, 10).await.unwrap(), []);
}

pub(super) async fn a_shared_upload_goes_on_after_the_death_of_its_process(maker: &dyn Maker) {
    let journal = maker.empty().await;
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    let record = of_parts("large", "1", 3);
    shared(&*journal, &record, "one").await;
    for number in 1..=2 {
        assert_eq!(claim(&*journal, "one", &record).await, PartClaim::Part(number));
    }
    journal.finish_part(&record.upload, &part(1)).await.unwrap();
    let journal = maker.after_death(journal).await;
    journal.open(&job("a", KeyRange::all())).await.unwrap();
    journal.share(&worker("two"), &record.upload).await.unwrap();
    for number in 2..=3 {
        assert_eq!(claim(&*journal, "two", &record).await, PartClaim::Part(number));
    }
}
