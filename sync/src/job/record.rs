//! What the manifest says of a key, once something came of it, and the manifest itself at the job's end.

use super::act::fail;
use super::{Context, JobError};
use crate::copy::Copied;
use crate::counts::Counts;
use crate::entry::Entry;
use crate::error::StoreError;
use crate::frontier::Ended;
use crate::journal::Journal;
use crate::key_range::{KeyRange, place_after};
use crate::manifest::{ManifestError, Recorded};

/// What a target's object that stays as it is has in the manifest; none if there is no manifest.
pub(super) fn standing(context: &Context, target: Option<&Entry>) -> Option<Recorded> {
    context.options.manifest?;
    target.map(|entry| Recorded::of(entry, &entry.checksums))
}

/// What the target has now, where this `standing` object was there before.
pub(super) fn recorded(
    context: &Context,
    done: &Result<Option<Copied>, StoreError>,
    standing: Option<Recorded>,
) -> Option<Recorded> {
    match done {
        Ok(Some(Copied::Done { recorded: Some(recorded), .. })) => Some(Recorded::clone(recorded)),
        // Only attributes were changed, unless it was only planned to copy.
        Ok(Some(Copied::Done { counts, recorded: None, .. })) => standing.filter(|_| counts.copied == 0),
        Ok(None | Some(Copied::Vanished)) => standing,
        Err(_) => None,
    }
    .filter(|_| context.options.manifest.is_some())
}

/// Whether the target's object is to be read for what is recorded.
pub(super) fn is_to_be_read(context: &Context, recorded: Option<&Recorded>) -> bool {
    context.options.manifest.is_some_and(|manifest| manifest.reads) && recorded.is_some_and(Recorded::lacks_blake3)
}

/// Notes what is recorded, read first if that is wanted. What cannot be read has failed.
pub(super) async fn record(context: &Context, ended: &mut Ended, recorded: Option<Recorded>) {
    if !is_to_be_read(context, recorded.as_ref()) {
        ended.recorded = recorded;
        return;
    }
    let Some(recorded) = recorded else { return };
    let (key, size) = (recorded.key.clone(), recorded.size);
    match context.copier.read_recorded(recorded).await {
        Ok(recorded) => ended.recorded = Some(recorded),
        Err(error) => fail(context, ended, (&key, size), &error),
    }
}

/// Writes the manifest of a job whose ranges are all finished, if there is to be one.
pub(super) async fn write(
    context: &Context,
    journal: &dyn Journal,
    counts: &Counts,
    withheld: bool,
) -> Result<(), JobError> {
    let Some(file) = &context.manifest else { return Ok(()) };
    let mut writing = file.begin(counts, withheld, context.options.dry_run)?;
    let mut from = KeyRange::all().start().clone();
    loop {
        let page = journal.recorded(&from).await?;
        let Some(last) = page.last() else { break };
        from = place_after(&last.key);
        page.iter().try_for_each(|recorded| writing.add(recorded))?;
    }
    writing.finish().map_err(|error: ManifestError| error.into())
}
