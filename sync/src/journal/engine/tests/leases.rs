//! Leases: who is silent loses his claim, who gives signs of life keeps it.

use super::*;

/// Two processes at one engine, each with its own journal.
async fn two(world: &InEngine) -> (Arc<dyn Journal>, Arc<dyn Journal>) {
    let one = world.empty().await;
    one.open(&job("a", KeyRange::all())).await.unwrap();
    let two = world.after_death(Arc::clone(&one)).await;
    two.open(&job("a", KeyRange::all())).await.unwrap();
    (one, two)
}

async fn waits(journal: &dyn Journal) -> bool {
    journal.claim(&worker("waiting")).await.unwrap() == Claim::Wait
}

#[tokio::test]
async fn a_silent_claim_is_taken_over_after_its_lease_and_its_worker_is_told() {
    let world = InEngine::new(Sharing::Shared, None);
    let (one, two) = two(&world).await;
    let silent = claim(&*one, "silent").await;
    world.hands.pass(10 * LEASE);
    assert!(waits(&*two).await, "this process has just begun to watch");
    world.hands.pass(LEASE.saturating_sub(Duration::from_millis(1)));
    assert!(waits(&*two).await);
    world.hands.pass(Duration::from_millis(1));
    let taken = claim(&*two, "waiting").await;
    assert_eq!((taken.id, &taken.range), (silent.id, &silent.range));
    for result in [
        one.renew(&silent).await,
        one.release(&silent).await,
        one.split(&silent, &Bytes::from_static(b"m")).await.map(drop),
        one.settle(&silent, Settled::default()).await.map(drop),
    ] {
        assert!(matches!(result, Err(JournalError::Lost)));
    }
    two.settle(&taken, Settled::default()).await.unwrap();
}

#[tokio::test]
async fn a_late_worker_keeps_what_nobody_took() {
    let world = InEngine::new(Sharing::Shared, None);
    let (one, _two) = two(&world).await;
    let late = claim(&*one, "late").await;
    world.hands.pass(10 * LEASE);
    one.settle(&late, Settled::default()).await.unwrap();
}

#[tokio::test]
async fn signs_of_life_keep_a_claim() {
    let world = InEngine::new(Sharing::Shared, None);
    let (one, two) = two(&world).await;
    let mut claimed = claim(&*one, "alive").await;
    for round in 0_u8..12 {
        assert!(waits(&*two).await, "round {round}");
        world.hands.pass(LEASE * 9 / 10);
        match round % 3 {
            0 => one.renew(&claimed).await.unwrap(),
            1 => claimed = one.split(&claimed, &Bytes::copy_from_slice(&[0xFF, 100 - round])).await.unwrap(),
            _ => {
                let frontier = Some(Bytes::copy_from_slice(&[round]));
                let settled = Settled { frontier, ..Settled::default() };
                claimed = one.settle(&claimed, settled).await.unwrap().unwrap();
            }
        }
        // What a split gave away goes to the other one, who keeps it alive too.
        while let Claim::Range(other) = two.claim(&worker("waiting")).await.unwrap() {
            two.settle(&other, Settled::default()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn who_is_alone_takes_the_claims_of_the_dead_at_once() {
    let world = InEngine::new(Sharing::Alone, None);
    let (one, two) = two(&world).await;
    let dead = claim(&*one, "dead").await;
    claim(&*two, "heir").await;
    assert!(waits(&*two).await, "but not those of its own workers");
    assert!(matches!(one.renew(&dead).await, Err(JournalError::Lost)));
}

#[tokio::test]
async fn a_waiting_worker_that_died_wants_nothing() {
    let world = InEngine::new(Sharing::Shared, None);
    let (one, two) = two(&world).await;
    let mut claimed = claim(&*one, "alive").await;
    assert!(waits(&*two).await);
    assert!(one.wants_ranges().await.unwrap());
    for _ in 0..4 {
        world.hands.pass(LEASE / 3);
        one.renew(&claimed).await.unwrap();
        assert!(waits(&*two).await);
        assert!(one.wants_ranges().await.unwrap(), "it still asks");
    }
    world.hands.pass(LEASE);
    assert!(!one.wants_ranges().await.unwrap());
    claimed = one.split(&claimed, &Bytes::from_static(b"m")).await.unwrap();
    one.settle(&claimed, Settled::default()).await.unwrap();
}

#[tokio::test]
async fn a_silent_senders_part_is_taken_after_its_lease_and_a_silent_share_wants_no_help() {
    let world = InEngine::new(Sharing::Shared, None);
    let (one, two) = two(&world).await;
    let record = contract::upload("large", "1");
    let (owner, helper, other) = (worker("owner"), worker("helper"), worker("other"));
    one.begin_upload(&record).await.unwrap();
    one.share(&owner, &record.upload).await.unwrap();
    assert_eq!(one.claim_part(&helper, &record.upload).await.unwrap(), PartClaim::Part(1));
    assert_eq!(two.claim_part(&other, &record.upload).await.unwrap(), PartClaim::Part(2));
    let held = ClaimedPart { sender: other.clone(), upload: record.upload.clone(), number: 2 };
    for _ in 0..4 {
        world.hands.pass(LEASE * 9 / 10);
        one.keep_shared(&owner, &record.upload).await.unwrap();
        two.renew_part(&held).await.unwrap();
        assert_eq!(two.shared(None, 10).await.unwrap().len(), 1, "who shares it lives");
    }
    assert_eq!(two.claim_part(&other, &record.upload).await.unwrap(), PartClaim::Part(1), "the helper is silent");
    let late = ClaimedPart { sender: helper, upload: record.upload.clone(), number: 1 };
    assert!(matches!(one.renew_part(&late).await, Err(JournalError::Lost)));
    world.hands.pass(LEASE);
    assert_eq!(two.shared(None, 10).await.unwrap(), [], "who shares it is silent, although others claim parts of it");
    one.keep_shared(&owner, &record.upload).await.unwrap();
    assert_eq!(two.shared(None, 10).await.unwrap().len(), 1, "it was late");
}
