//! What is done about a pair of entries where that takes time, and how it is counted and told.

use super::Context;
use crate::attributes::AttributeKind;
use crate::copy::{Copied, Copier, Looked};
use crate::counts::Counts;
use crate::entry::Entry;
use crate::error::{Remedy, Result as StoreResult, StoreError};
use crate::frontier::Ended;
use crate::journal::Failure;
use crate::key::Key;
use crate::merge::Pair;
use crate::outcome::{Outcome, What};
use crate::plan::Decision;
use crate::policy::{Compare, CompareAttributes};
use crate::verdict::CopyReason;

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

/// How many bytes a decision may copy.
pub(super) fn bytes_of(decision: &Decision) -> u64 {
    match decision {
        Decision::Copy(entry, _) | Decision::CompareContents(entry, _) => entry.size,
        _ => 0,
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
            copier.observer.planned(entry.size);
            let copied = copier.copy(&entry, reason != CopyReason::New).await;
            (entry, Some(reason), copied.map(Some))
        }
        Decision::UpdateMetadata(source, target) => {
            let updated = copier.update(&source, &target).await;
            (source, None, updated.map(Some))
        }
        Decision::CompareContents(recorded, target) if context.options.policy.by == Compare::Recorded => {
            let planned = |counts| Ok(Some(Copied::Done { counts, server_side: false, recorded: None }));
            let (reason, done) = match copier.is_as_recorded(&recorded, &target).await {
                Ok(Some(true)) => (None, Ok(None)),
                Ok(None) => (None, planned(Counts { unproven: 1, ..Counts::default() })),
                Ok(Some(false)) => {
                    let counts = Counts { copied: 1, copied_bytes: recorded.size, ..Counts::default() };
                    (Some(CopyReason::Contents), planned(counts))
                }
                Err(error) => (None, Err(error)),
            };
            (recorded, reason, done)
        }
        Decision::CompareContents(source, target) => {
            let seen = match copier.equal_contents(&source, &target).await {
                Ok(true) => look_beside_contents(context, &source, &target).await,
                Ok(false) => Ok(Looked::Different(CopyReason::Contents)),
                Err(error) => Err(error),
            };
            act_on_look(context, source, &target, seen).await
        }
        Decision::Look(source, target) => {
            let seen = copier.look(&source, &target, (&context.options.policy, &context.can), false).await;
            act_on_look(context, source, &target, seen).await
        }
        Decision::Skip(_) | Decision::Delete(_) | Decision::Conflict(..) => {
            unreachable!("what takes no time was done at once")
        }
    }
}

/// What a look says of two whose bytes are equal.
async fn look_beside_contents(context: &Context, source: &Entry, target: &Entry) -> StoreResult<Looked> {
    let policy = &context.options.policy;
    if policy.attributes == CompareAttributes::Leave || !context.can.kept.has(AttributeKind::Mode) {
        return Ok(Looked::Same);
    }
    context.copier.look(source, target, (policy, &context.can), true).await
}

/// Does what a second look says.
async fn act_on_look(
    context: &Context,
    source: Entry,
    target: &Entry,
    seen: StoreResult<Looked>,
) -> (Entry, Option<CopyReason>, StoreResult<Option<Copied>>) {
    let (copier, dry_run) = (&context.copier, context.options.dry_run);
    let planned = |counts| Ok(Some(Copied::Done { counts, server_side: false, recorded: None }));
    let reason = match seen {
        Ok(Looked::Same) => return (source, None, Ok(None)),
        Ok(Looked::OtherAttributes) if dry_run => {
            return (source, None, planned(Counts { updated: 1, ..Counts::default() }));
        }
        Ok(Looked::OtherAttributes) => {
            let updated = copier.update(&source, target).await;
            return (source, None, updated.map(Some));
        }
        Ok(Looked::Different(reason)) if dry_run => {
            let backed_up = u64::from(copier.backups.is_some());
            if backed_up > 0 {
                tell(copier, target, What::BackedUp);
            }
            let counts = Counts { copied: 1, copied_bytes: source.size, backed_up, ..Counts::default() };
            return (source, Some(reason), planned(counts));
        }
        Ok(Looked::Different(reason)) => reason,
        // Gone or changed meanwhile: the copy looks again.
        Err(StoreError::Missing { .. } | StoreError::Changed { .. }) if !dry_run => CopyReason::Contents,
        Err(error) => return (source, Some(CopyReason::Contents), Err(error)),
    };
    let copied = copier.copy(&source, true).await;
    (source, Some(reason), copied.map(Some))
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
        Ok(Some(Copied::Done { counts, .. })) if counts.unproven > 0 => {
            ended.counts += Counts { skipped: 1, ..counts };
            return;
        }
        Ok(Some(Copied::Done { counts, server_side, .. })) => {
            ended.counts += counts;
            reason.map_or(What::Updated, |reason| What::Copied { reason, server_side })
        }
        Err(error) => return fail(context, ended, (&entry.key, entry.size), &error),
    };
    tell(&context.copier, entry, what);
}

/// Counts, notes and tells that something could not be done about a key.
pub(super) fn fail(context: &Context, ended: &mut Ended, (key, size): (&Key, u64), error: &StoreError) {
    ended.counts.failed += 1;
    if error.remedy() == Remedy::Stop {
        context.stop(error.clone());
    }
    let (word, reason) = (error.word(), error.to_string());
    ended.failure = Some(Failure { place: key.to_string(), word: word.to_owned(), reason: reason.clone() });
    let what = What::Failed { word, reason };
    context.copier.observer.outcome(&Outcome { key: key.clone(), size, what });
}

pub(super) fn tell(copier: &Copier, entry: &Entry, what: What) {
    copier.observer.outcome(&Outcome { key: entry.key.clone(), size: entry.size, what });
}
