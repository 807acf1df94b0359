//! The last pass over the source, once nothing is written any more: directories get their attributes, for writing into one
//! changes its time, and names of one file become names of one file. Only where the target has files.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};

use super::Context;
use super::chosen::with_directories_above;
use crate::attributes::{AttributeKind, AttributeSet};
use crate::counts::Counts;
use crate::entry::{Entry, FileId, Kind};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::{CONFIRMED_AT_ONCE, LINKS_KEPT, PAGE_ENTRIES};
use crate::outcome::{Outcome, What};
use crate::policy::{CompareAttributes, Write};
use crate::store::CheckedListing;
use crate::verdict::is_directory;

/// The first name of each file of the source that has several. A name may have been copied by an earlier run or by
/// another worker, so that only here all of them are seen.
type FirstNames = BTreeMap<FileId, Key>;

/// Does what is due: how many names were linked, or would be in a dry run.
pub(super) async fn last_pass(context: &Context, counts: &Counts) -> Result<u64> {
    let dry_run = context.options.dry_run;
    let directories = !dry_run && gives_times(context, counts);
    let links = keeps_links(context) && (!dry_run || context.options.policy.attributes == CompareAttributes::All);
    if !directories && !links {
        return Ok(0);
    }
    let copier = &context.copier;
    let (mut first_names, mut linked) = (FirstNames::new(), 0);
    let filter = &context.options.filter;
    let source = with_directories_above((&copier.source, &copier.source_pace), filter);
    let listing = CheckedListing::new(source, context.options.range.clone(), PAGE_ENTRIES);
    let listing = tokio::sync::Mutex::new(listing);
    while let Some(page) = copier.retry(|| async { listing.lock().await.next_page().await }).await? {
        if links {
            for entry in page.entries.iter().filter(|entry| entry.links > 1 && entry.kind == Kind::Object) {
                linked += u64::from(match_link(context, &mut first_names, entry).await?);
            }
        }
        let is_left_out = |entry: &Entry| filter.place_behind_left_out(&entry.key).is_some();
        let entries = page.entries.into_iter();
        let entries = entries.filter(|entry| directories && is_directory(entry) && !is_left_out(entry));
        stream::iter(entries)
            .map(|entry| match_directory(context, entry))
            .buffer_unordered(CONFIRMED_AT_ONCE)
            .collect::<()>()
            .await;
    }
    Ok(linked)
}

fn gives_times(context: &Context, counts: &Counts) -> bool {
    let (here, there) = (context.copier.source.capabilities(), context.copier.target.capabilities());
    let has = |kind| context.can.kept.has(kind);
    if there.posix_in_metadata.is_some() || !has(AttributeKind::Directories) || !has(AttributeKind::ModifiedTime) {
        return false;
    }
    // Each directory in a store of objects costs a request.
    here.posix_in_metadata.is_none() || counts.copied + counts.updated + counts.deleted > 0
}

fn keeps_links(context: &Context) -> bool {
    context.can.kept.has(AttributeKind::HardLinks) && context.options.policy.write == Write::All
}

async fn match_directory(context: &Context, entry: Entry) {
    let compared = (&context.options.policy, &context.can);
    if let Err(error) = context.copier.match_directory(&entry, compared).await {
        tracing::warn!(key = %entry.key, %error, "a directory did not get its attributes");
    }
}

/// Makes the name one of the file that has the first name, if it is a file of its own; whether it did.
async fn match_link(context: &Context, first_names: &mut FirstNames, entry: &Entry) -> Result<bool> {
    let Some(file) = entry.file.filter(|_| context.options.filter.takes(Some(entry), None)) else { return Ok(false) };
    let Some(first) = first_names.get(&file) else {
        if first_names.len() < LINKS_KEPT {
            first_names.insert(file, entry.key.clone());
        }
        return Ok(false);
    };
    let (Some(one), Some(other)) = (found(context, first).await?, found(context, &entry.key).await?) else {
        return Ok(false);
    };
    // What differs in size was not brought over, and that was told.
    if one.file == other.file || one.size != entry.size || other.size != entry.size {
        return Ok(false);
    }
    let copier = &context.copier;
    let linked = if context.options.dry_run {
        Ok(())
    } else {
        copier.retry(|| async { copier.target.link(first, &entry.key).await }).await
    };
    if let Err(error) = linked {
        tracing::warn!(key = %entry.key, %error, "a file was not linked to its other name");
        return Ok(false);
    }
    copier.observer.outcome(&Outcome { key: entry.key.clone(), size: entry.size, what: What::Updated });
    Ok(true)
}

async fn found(context: &Context, key: &Key) -> Result<Option<Entry>> {
    let copier = &context.copier;
    match copier.retry(|| async { copier.target.head(key, AttributeSet::NONE).await }).await {
        Ok(object) => Ok(Some(object.entry)),
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
