//! The processes that work for a job: what each did so far, when it was last heard, and the answers that it may not
//! have got.

use std::collections::{BTreeMap, VecDeque};
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;

use farshore_proto::wire;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

/// Answers that are kept of each process: more than it has calls under way at once.
const ANSWERS_KEPT: usize = 1_024;
/// A process that was not heard for this long is not counted as one that works.
pub(crate) const SILENT_AFTER: Duration = Duration::from_secs(5);

/// What a process did so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Entries listed at the source.
    pub listed_source: u64,
    /// Entries listed at the target.
    pub listed_target: u64,
    /// Bytes of the objects that are to be copied, as far as they were listed.
    pub planned_bytes: u64,
    /// Bytes read for copies.
    pub moved_bytes: u64,
    /// Objects copied and verified.
    pub copied: u64,
    /// Objects that failed.
    pub failed: u64,
    /// The object that was copied last, for a person.
    pub latest: String,
}

/// An answer, once there is one.
pub(crate) type Answer = Arc<OnceCell<wire::SyncWorkReply>>;

/// All processes that were heard.
#[derive(Debug, Default)]
pub(crate) struct Members(Mutex<BTreeMap<String, Member>>);

#[derive(Debug, Default)]
struct Member {
    heard: Duration,
    left: bool,
    told: u64,
    numbers: Numbers,
    answers: BTreeMap<u64, Answer>,
    order: VecDeque<u64>,
}

impl AddAssign<&Numbers> for Numbers {
    fn add_assign(&mut self, other: &Numbers) {
        self.listed_source += other.listed_source;
        self.listed_target += other.listed_target;
        self.planned_bytes += other.planned_bytes;
        self.moved_bytes += other.moved_bytes;
        self.copied += other.copied;
        self.failed += other.failed;
        if !other.latest.is_empty() {
            self.latest.clone_from(&other.latest);
        }
    }
}

impl Members {
    /// The place for the answer to a call; a call that comes again finds that of the first.
    pub(crate) fn answer(&self, name: &str, serial: u64, now: Duration) -> Answer {
        let mut members = self.0.lock();
        let member = heard(&mut members, name, now);
        if let Some(answer) = member.answers.get(&serial) {
            return Arc::clone(answer);
        }
        if member.order.len() >= ANSWERS_KEPT
            && let Some(oldest) = member.order.pop_front()
        {
            member.answers.remove(&oldest);
        }
        member.order.push_back(serial);
        Arc::clone(member.answers.entry(serial).or_default())
    }

    /// Notes what a process did; whether the message is new.
    pub(crate) fn tell(&self, name: &str, serial: u64, numbers: Numbers, leaves: bool, now: Duration) -> bool {
        let mut members = self.0.lock();
        let member = heard(&mut members, name, now);
        let is_new = serial > member.told;
        if is_new {
            member.told = serial;
            member.numbers = numbers;
            member.left = leaves;
        }
        is_new
    }

    /// What all of them did.
    pub(crate) fn sum(&self) -> Numbers {
        self.0.lock().values().fold(Numbers::default(), |mut sum, member| {
            sum += &member.numbers;
            sum
        })
    }

    /// How many work.
    pub(crate) fn working(&self, now: Duration) -> usize {
        let members = self.0.lock();
        members.values().filter(|member| !member.left && now.saturating_sub(member.heard) < SILENT_AFTER).count()
    }
}

fn heard<'m>(members: &'m mut BTreeMap<String, Member>, name: &str, now: Duration) -> &'m mut Member {
    let member = members.entry(name.to_owned()).or_default();
    member.heard = now;
    member
}

impl From<wire::SyncNumbers> for Numbers {
    fn from(numbers: wire::SyncNumbers) -> Self {
        let wire::SyncNumbers { listed_source, listed_target, planned_bytes, moved_bytes, copied, failed, latest } =
            numbers;
        Self { listed_source, listed_target, planned_bytes, moved_bytes, copied, failed, latest }
    }
}

impl From<Numbers> for wire::SyncNumbers {
    fn from(numbers: Numbers) -> Self {
        let Numbers { listed_source, listed_target, planned_bytes, moved_bytes, copied, failed, latest } = numbers;
        Self { listed_source, listed_target, planned_bytes, moved_bytes, copied, failed, latest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_comes_again_is_not_new_and_who_left_still_counts() {
        let members = Members::default();
        let numbers = |copied| Numbers { copied, ..Numbers::default() };
        let second = Duration::from_secs;
        assert!(members.tell("one", 1, numbers(1), false, second(1)));
        assert!(!members.tell("one", 1, numbers(1), false, second(2)));
        assert!(members.tell("two", 7, numbers(5), false, second(2)));
        assert_eq!(members.working(second(3)), 2);
        assert!(members.tell("one", 2, numbers(4), true, second(3)));
        assert_eq!((members.sum().copied, members.working(second(3))), (9, 1));
        assert_eq!(members.working(second(60)), 0);
    }

    #[tokio::test]
    async fn a_call_that_comes_again_finds_the_answer_of_the_first() {
        let members = Members::default();
        let done = wire::SyncWorkReply::default();
        members.answer("one", 3, Duration::ZERO).set(done.clone()).unwrap();
        assert_eq!(members.answer("one", 3, Duration::ZERO).get(), Some(&done));
        assert_eq!(members.answer("two", 3, Duration::ZERO).get(), None);
        for serial in 4..2_000 {
            members.answer("one", serial, Duration::ZERO);
        }
        assert_eq!(members.answer("one", 3, Duration::ZERO).get(), None, "old answers are forgotten");
    }
}
