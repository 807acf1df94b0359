//! The end of a job: the gate is asked, deletions are carried out, strays are removed.

use futures::future::FutureExt;
use futures::stream::{self, StreamExt};

use crate::attributes::AttributeSet;
use crate::copy::Backup;
use crate::counts::Counts;
use crate::error::{Result as StoreResult, StoreError};
use crate::gate::{Closed, ListingFacts, may_delete};
use crate::journal::{Deletion, Journal};
use crate::limits::{CONFIRMED_AT_ONCE, DELETE_BATCH, PAGE_ENTRIES};
use crate::outcome::{Outcome, What};

use super::last_pass::last_pass;
use super::{Context, JobError, Summary, Whole, record};

/// Ends the job, as far as it is at its end.
pub(super) async fn finish(context: &Context, journal: &dyn Journal) -> Result<Summary, JobError> {
    // Nothing is deleted, called finished or told as done before what was copied is durable.
    if let Err(error) = context.flush().await {
        context.stop(error);
    }
    let error = context.stopped();
    let complete = error.is_none() && journal.is_settled().await?;
    let facts = ListingFacts { complete, counts: of_whole(context, journal.counts().await?) };
    let closed = if context.options.policy.delete { delete_if_allowed(context, journal, &facts).await? } else { None };
    let mut linked = 0;
    if complete {
        linked = last_pass(context, &journal.counts().await?).await?;
    }
    if complete {
        // Before the journal calls the job finished, and what it has recorded may go.
        record::write(context, journal, &journal.counts().await?, closed.is_some()).await?;
    }
    if complete && !context.options.dry_run {
        abort_strays(context, journal).await?;
        // With deletions withheld, the same command may go on once they are allowed.
        if closed.is_none() {
            journal.finish().await?;
        }
    }
    let mut counts = journal.counts().await?;
    counts.updated += linked;
    Ok(Summary { counts, complete, closed, error })
}

/// The counts, with what is true of both sides as wholes where the job sees a part.
fn of_whole(context: &Context, counts: Counts) -> Counts {
    match context.options.part_of {
        Some(Whole { source_is_empty, target_entries }) => {
            Counts { source_entries: u64::from(!source_is_empty), target_entries, ..counts }
        }
        None => counts,
    }
}

/// Deletes what was planned, if the gate opens; why it stays closed, if it does.
async fn delete_if_allowed(
    context: &Context,
    journal: &dyn Journal,
    facts: &ListingFacts,
) -> Result<Option<Closed>, JobError> {
    if let Err(closed) = may_delete(context.options.deletion, facts) {
        // An incomplete listing without a planned deletion withholds nothing.
        return Ok((facts.counts.deletions_planned > facts.counts.deleted).then_some(closed));
    }
    let limit = context.copier.target.capabilities().delete_batch.clamp(1, DELETE_BATCH);
    let mut before = None;
    loop {
        let batch = journal.deletions(before.as_ref(), limit).await?;
        let Some(lowest) = batch.last().map(|deletion| deletion.key.clone()) else { return Ok(None) };
        if context.options.dry_run {
            for deletion in &batch {
                if context.copier.backups.is_some() && !deletion.key.is_directory_name() {
                    tell(context, deletion, What::BackedUp);
                }
                tell(context, deletion, What::Deleted);
            }
            before = Some(lowest);
            continue;
        }
        let counts = delete_batch(context, &batch).await?;
        journal.end_deletions(&lowest, counts).await?;
    }
}

async fn delete_batch(context: &Context, batch: &[Deletion]) -> Result<Counts, JobError> {
    let copier = &context.copier;
    let (gone, mut counts) = confirm_gone(context, batch).await?;
    let (gone, more) = back_up(context, gone).await;
    counts += more;
    let keys: Vec<_> = gone.iter().map(|deletion| deletion.key.clone()).collect();
    if keys.is_empty() {
        return Ok(counts);
    }
    let outcomes = copier
        .retry(|| async {
            copier.target_pace.request().await;
            copier.target.delete(&keys).await
        })
        .await?;
    if outcomes.len() != gone.len() {
        return Err(StoreError::bug("a store did not tell of each deletion what came of it").into());
    }
    for (deletion, outcome) in gone.into_iter().zip(outcomes) {
        counts += account(context, deletion, outcome);
    }
    Ok(counts)
}

/// Those that are in safety, if there is a place for backups.
async fn back_up<'a>(context: &Context, gone: Vec<&'a Deletion>) -> (Vec<&'a Deletion>, Counts) {
    let Some(backups) = &context.copier.backups else { return (gone, Counts::default()) };
    let keeps = gone.into_iter().map(|deletion| async move { (deletion, backups.keep(&deletion.key).await) }.boxed());
    let kept: Vec<_> = stream::iter(keeps).buffered(CONFIRMED_AT_ONCE).collect().await;
    let (mut safe, mut counts) = (Vec::new(), Counts::default());
    for (deletion, kept) in kept {
        match kept {
            Ok(Some(_)) => {
                counts.backed_up += 1;
                tell(context, deletion, What::BackedUp);
                safe.push(deletion);
            }
            Ok(None) => safe.push(deletion),
            Err(error) => counts += account(context, deletion, Err(error)),
        }
    }
    (safe, counts)
}

/// Those that the source does not have, by its own word for each key: a listing that ends early and says that it is
/// whole is found out here, before it costs an object.
async fn confirm_gone<'a>(context: &Context, batch: &'a [Deletion]) -> Result<(Vec<&'a Deletion>, Counts), JobError> {
    if !context.options.deletion.confirm {
        return Ok((batch.iter().collect(), Counts::default()));
    }
    let looks = batch.iter().map(|deletion| async move { (deletion, is_gone(context, deletion).await) }.boxed());
    let looked: Vec<_> = stream::iter(looks).buffered(CONFIRMED_AT_ONCE).collect().await;
    let (mut gone, mut counts) = (Vec::new(), Counts::default());
    for (deletion, is_gone) in looked {
        match is_gone {
            Ok(true) => gone.push(deletion),
            Ok(false) => {
                let reason = "the source has it although its listing did not; it is not deleted".to_owned();
                tell(context, deletion, What::Failed { word: "listing", reason });
                counts.failed += 1;
            }
            Err(error) => counts += account(context, deletion, Err(error)),
        }
    }
    Ok((gone, counts))
}

async fn is_gone(context: &Context, deletion: &Deletion) -> StoreResult<bool> {
    let copier = &context.copier;
    let head = copier.retry(|| async {
        copier.source_pace.request().await;
        copier.source.head(&deletion.key, AttributeSet::NONE).await
    });
    match head.await {
        Ok(_) => Ok(false),
        // What the source cannot even hold, it does not have.
        Err(StoreError::Missing { .. } | StoreError::Unholdable { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

fn account(context: &Context, deletion: &Deletion, outcome: StoreResult<()>) -> Counts {
    match outcome {
        Ok(()) => {
            tell(context, deletion, What::Deleted);
            Counts { deleted: 1, ..Counts::default() }
        }
        // A directory in which something is left, such as what filters exclude, stays.
        Err(StoreError::Changed { .. }) if deletion.key.is_directory_name() => {
            Counts { skipped: 1, ..Counts::default() }
        }
        Err(error) => {
            tell(context, deletion, What::Failed { word: error.word(), reason: error.to_string() });
            Counts { failed: 1, ..Counts::default() }
        }
    }
}

fn tell(context: &Context, deletion: &Deletion, what: What) {
    let outcome = Outcome { key: deletion.key.clone(), size: deletion.size, what };
    context.copier.observer.outcome(&outcome);
}

/// Uploads that no copy goes on with.
async fn abort_strays(context: &Context, journal: &dyn Journal) -> Result<(), JobError> {
    loop {
        let strays = journal.uploads(None, PAGE_ENTRIES).await?;
        if strays.is_empty() {
            return Ok(());
        }
        for stray in strays {
            let copier = &context.copier;
            match copier.backups.as_ref().zip(Backup::upload_at(&stray.upload)) {
                Some((backups, upload)) => copier.retry(|| async { backups.abort(&upload).await }).await?,
                None => copier.retry(|| async { copier.abort(&stray.upload).await }).await?,
            }
        }
    }
}
