//! What is done about a pair of entries where that takes time, and how it is counted and told.

use super::Context;
use crate::copy::{Copied, Copier};
use crate::counts::Counts;
use crate::entry::Entry;
use crate::error::{Remedy, Result as StoreResult, StoreError};
use crate::frontier::Ended;
use crate::journal::Failure;
use crate::key::Key;
use crate::merge::Pair;
use crate::outcome::{Outcome, What};
use crate::plan::{CopyReason, Decision};

/// What is counted of a pair for having been listed.
pub(super) fn listed(pair: &Pair) -> Counts {
    let (source, target) = sides(pair);
    Counts {
        source_entries: u64::from(source.is_some()),
        source_bytes: source.map_or(0, |entry| entry.size),
        target_entries: u64::from(target.is_some()),
        ..Counts::default()
    }
}

pub(super) fn sides(pair: &Pair) -> (Option<&Entry>, Option<&Entry>) {
    match pair {
        Pair::Source(source) => (Some(source), None),
        Pair::Target { entry, .. } => (None, Some(entry)),
        Pair::Both(source, target) => (Some(source), Some(target)),
    }
}

pub(super) fn key_of(pair: &Pair) -> &Key {
    match pair {
        Pair::Source(entry) | Pair::Target { entry, .. } | Pair::Both(entry, _) => &entry.key,
    }
}

/// What was done about a decision that takes time; no result where nothing was to be done.
pub(super) async fn act(
    context: &Context,
    decision: Decision,
) -> (Entry, Option<CopyReason>, StoreResult<Option<Copied>>) {
    let copier = &context.copier;
    match decision {
        Decision::Copy(entry, reason) => {
            let copied = copier.copy(&entry).await;
            (entry, Some(reason), copied.map(Some))
        }
        Decision::UpdateMetadata(source, target) => {
            let updated = copier.update(&source, &target).await;
            (source, None, updated.map(Some))
        }
        Decision::CompareContents(source, target) => {
            let reason = CopyReason::Contents;
            match copier.equal_contents(&source, &target).await {
                Ok(true) => (source, Some(reason), Ok(None)),
                Ok(false) if context.options.dry_run => {
                    let counts = Counts { copied: 1, copied_bytes: source.size, ..Counts::default() };
                    (source, Some(reason), Ok(Some(Copied::Done { counts, server_side: false })))
                }
                Ok(false) => {
                    let copied = copier.copy(&source).await;
                    (source, Some(reason), copied.map(Some))
                }
                // Gone or changed meanwhile: the copy looks again.
                Err(StoreError::Missing { .. } | StoreError::Changed { .. }) if !context.options.dry_run => {
                    let copied = copier.copy(&source).await;
                    (source, Some(reason), copied.map(Some))
                }
                Err(error) => (source, Some(reason), Err(error)),
            }
        }
        Decision::Skip(_) | Decision::Delete(_) | Decision::Conflict(..) => {
            unreachable!("what takes no time was done at once")
        }
    }
}

/// Counts and tells what came of a key.
pub(super) fn account(
    context: &Context,
    ended: &mut Ended,
    entry: &Entry,
    reason: Option<CopyReason>,
    done: StoreResult<Option<Copied>>,
) {
    let what = match done {
        Ok(None) => {
            ended.counts.skipped += 1;
            return;
        }
        Ok(Some(Copied::Vanished)) => {
            ended.counts.vanished += 1;
            What::Vanished
        }
        Ok(Some(Copied::Done { counts, server_side })) => {
            ended.counts += counts;
            reason.map_or(What::Updated, |reason| What::Copied { reason, server_side })
        }
        Err(error) => {
            ended.counts.failed += 1;
            if error.remedy() == Remedy::Stop {
                context.stop(error.clone());
            }
            let (word, reason) = (error.word(), error.to_string());
            let place = entry.key.to_string();
            ended.failure = Some(Failure { place, word: word.to_owned(), reason: reason.clone() });
            What::Failed { word, reason }
        }
    };
    tell(&context.copier, entry, what);
}

pub(super) fn tell(copier: &Copier, entry: &Entry, what: What) {
    copier.observer.outcome(&Outcome { key: entry.key.clone(), size: entry.size, what });
}
