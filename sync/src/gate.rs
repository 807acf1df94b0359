//! The gate before deletions: a pure decision over the facts of a finished listing. It opens only if every one of
//! them allows it; nothing is deleted before it was asked.

use thiserror::Error;

use crate::counts::Counts;

/// What the person allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletionPolicy {
    /// Whether an empty source may wipe the target.
    pub allow_empty_source: bool,
    /// The most that may be deleted.
    pub max: Option<MaxDelete>,
    /// Whether failed copies keep the gate closed.
    pub only_if_all_copied: bool,
    /// Whether the source is asked for each key, one by one, before it is deleted: a listing may end early and say
    /// that it is whole. Costs one small request a deletion.
    pub confirm: bool,
}

impl Default for DeletionPolicy {
    fn default() -> Self {
        Self { allow_empty_source: false, max: None, only_if_all_copied: false, confirm: true }
    }
}

/// The most that may be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxDelete {
    /// This many objects.
    Count(u64),
    /// This part of what the target has, in hundredths.
    Percent(u8),
}

/// The facts of a job: whether its listing is whole, and what it counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListingFacts {
    /// Whether every range of the job was listed to its end on both sides, without an error.
    pub complete: bool,
    /// What was counted.
    pub counts: Counts,
}

/// Why nothing is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Closed {
    /// A range was not listed to its end.
    #[error("the listing was not complete on both sides; run again to delete")]
    Incomplete,
    /// Places that may hide keys.
    #[error("{unlisted} places could not be listed; nothing is deleted while keys may be hidden there")]
    Unlisted {
        /// How many.
        unlisted: u64,
    },
    /// The source has nothing.
    #[error("the source is empty; deleting everything at the target needs an explicit permission")]
    EmptySource,
    /// More would go than is allowed.
    #[error("{planned} objects would be deleted, more than the {allowed} that are allowed; nothing is deleted")]
    TooMany {
        /// How many would be deleted.
        planned: u64,
        /// How many may be.
        allowed: u64,
    },
    /// Copies failed, and the policy wants all copied first.
    #[error("{failed} objects could not be copied; nothing is deleted before all are")]
    Failed {
        /// How many.
        failed: u64,
    },
}

/// Whether planned deletions may be carried out.
pub fn may_delete(policy: DeletionPolicy, facts: &ListingFacts) -> Result<(), Closed> {
    let counts = &facts.counts;
    if !facts.complete {
        return Err(Closed::Incomplete);
    }
    if counts.unlisted > 0 {
        return Err(Closed::Unlisted { unlisted: counts.unlisted });
    }
    if counts.source_entries == 0 && !policy.allow_empty_source {
        return Err(Closed::EmptySource);
    }
    if policy.only_if_all_copied && counts.failed > 0 {
        return Err(Closed::Failed { failed: counts.failed });
    }
    let (planned, allowed) = (counts.deletions_planned, allowed(policy.max, counts.target_entries));
    if planned > allowed { Err(Closed::TooMany { planned, allowed }) } else { Ok(()) }
}

fn allowed(max: Option<MaxDelete>, target_entries: u64) -> u64 {
    match max {
        None => u64::MAX,
        Some(MaxDelete::Count(count)) => count,
        Some(MaxDelete::Percent(percent)) => (u128::from(target_entries) * u128::from(percent) / 100) as u64,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts(source: u64, target: u64, planned: u64) -> ListingFacts {
        let counts =
            Counts { source_entries: source, target_entries: target, deletions_planned: planned, ..Counts::default() };
        ListingFacts { complete: true, counts }
    }

    #[test]
    fn each_fact_alone_closes_the_gate() {
        let policy = DeletionPolicy::default();
        let good = facts(10, 10, 3);
        assert_eq!(may_delete(policy, &good), Ok(()));
        assert_eq!(may_delete(policy, &ListingFacts { complete: false, ..good }), Err(Closed::Incomplete));
        let unlisted = Counts { unlisted: 1, ..good.counts };
        let closed = may_delete(policy, &ListingFacts { counts: unlisted, ..good });
        assert_eq!(closed, Err(Closed::Unlisted { unlisted: 1 }));
        assert_eq!(may_delete(policy, &facts(0, 10, 10)), Err(Closed::EmptySource));
        let failed = ListingFacts { counts: Counts { failed: 2, ..good.counts }, ..good };
        assert_eq!(may_delete(policy, &failed), Ok(()));
        let careful = DeletionPolicy { only_if_all_copied: true, ..policy };
        assert_eq!(may_delete(careful, &failed), Err(Closed::Failed { failed: 2 }));
    }

    #[test]
    fn an_empty_source_deletes_only_when_told_to_and_never_when_incomplete() {
        let policy = DeletionPolicy { allow_empty_source: true, ..DeletionPolicy::default() };
        assert_eq!(may_delete(policy, &facts(0, 10, 10)), Ok(()));
        let incomplete = ListingFacts { complete: false, ..facts(0, 10, 10) };
        assert_eq!(may_delete(policy, &incomplete), Err(Closed::Incomplete));
    }

    proptest! {
        #[test]
        fn no_more_is_deleted_than_allowed(target in 1_u64..10_000, planned in 0_u64..10_000, percent in 0_u8..=100) {
            let policy = DeletionPolicy { max: Some(MaxDelete::Percent(percent)), ..DeletionPolicy::default() };
            let open = may_delete(policy, &facts(1, target, planned)).is_ok();
            prop_assert_eq!(open, planned * 100 <= target * u64::from(percent));
            let policy = DeletionPolicy { max: Some(MaxDelete::Count(target)), ..DeletionPolicy::default() };
            prop_assert_eq!(may_delete(policy, &facts(1, 1, planned)).is_ok(), planned <= target);
        }
    }
}
