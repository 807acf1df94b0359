//! Where what is overwritten or deleted goes first: a place of the same store as the target, and not among what the job sees.

use std::sync::Arc;

use anyhow::Result;
use farshore_sync::store::LocalOptions;
use farshore_sync::{AttributeKind, Backup, Rule};

use super::args::SyncArgs;
use super::choose;
use super::clouds::Cloud;
use super::stores::{Absent, Place, Sides, between};
use super::volume::Use;
use crate::exit::{Exit, Failure};

/// Characters that mean something in a pattern.
const SPECIAL: &[char] = &['*', '?', '[', ']', '{', '}', '\\'];

/// Opens the place for backups that was asked for.
pub(super) async fn open(args: &SyncArgs, sides: &Sides, absent: Absent) -> Result<Option<Backup>> {
    let Some(given) = &args.write.backup_dir else { return Ok(None) };
    let place = Place::of(given, "TARGET", args.sides.access.target_profile.as_deref())?;
    if args.share.coordinator.is_some() && matches!(&place, Place::Directory(path) if path.is_relative()) {
        let message = "--backup-dir is another place for workers elsewhere: give it as an absolute path";
        return Err(Failure::error(Exit::Usage, message));
    }
    let place = place.resolved(absent)?;
    check(args, sides, &place)?;
    let place = place.made(absent)?;
    let use_as = if absent == Absent::Make { Use::Write } else { Use::Look };
    // Each is on disk before what it is a backup of goes.
    let store = place.open(LocalOptions::default(), sides.volumes.target(), use_as).await?;
    let has_files = store.capabilities().holds.has(AttributeKind::Mode);
    let (target, store) = if has_files {
        (Arc::clone(&sides.target), between(&store, &sides.source, &args.sides.access))
    } else {
        (Arc::clone(&sides.bare_target), store)
    };
    Ok(Some(Backup { target, place: store, suffix: args.write.backup_suffix.clone() }))
}

/// Checks that it is of the target's store, and that the job sees nothing of it.
fn check(args: &SyncArgs, sides: &Sides, place: &Place) -> Result<()> {
    let [source, target] = &sides.places;
    if !place.is_beside(target) {
        let message = format!("--backup-dir {place} is not of the same store as DST; choose a place beside DST");
        return Err(Failure::error(Exit::Usage, message));
    }
    place.refuse_overlap(source)?;
    if place.overlaps(target) && !place.within(target).is_some_and(|within| is_left_out(args, &within)) {
        let message =
            format!("--backup-dir {place} and DST overlap; choose another place, or --exclude '/PLACE/**' in DST");
        return Err(Failure::error(Exit::Usage, message));
    }
    Ok(())
}

/// Whether a rule leaves out all that is in a directory, and no rule before it says otherwise.
fn is_left_out(args: &SyncArgs, within: &str) -> bool {
    let wanted = Rule::Exclude(format!("/{within}/**"));
    let mut decided = choose::rules(&args.choose).into_iter();
    !within.contains(SPECIAL)
        && decided.find(|rule| *rule == wanted || matches!(rule, Rule::Include(_))).is_some_and(|rule| rule == wanted)
}

impl Place {
    /// Whether both are places of one store.
    fn is_beside(&self, target: &Self) -> bool {
        match (self, target) {
            (Self::Directory(_), Self::Directory(_)) => true,
            (Self::Cloud(one), Self::Cloud(other)) => one.is_beside(other),
            (Self::Volume(one), Self::Volume(other)) => one.is_beside(other),
            _ => false,
        }
    }

    /// The way from the target to this place, without slashes around it, if it lies in there.
    fn within(&self, target: &Self) -> Option<String> {
        let within = match (self, target) {
            (Self::Directory(one), Self::Directory(other)) => one.strip_prefix(other).ok()?.to_str()?.to_owned(),
            (Self::Cloud(one), Self::Cloud(other)) => one.prefix().strip_prefix(other.prefix())?.to_owned(),
            _ => return None,
        };
        let within = within.trim_end_matches('/').to_owned();
        (!within.is_empty()).then_some(within)
    }
}

impl Cloud {
    /// Whether both are of one bucket or container.
    fn is_beside(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::S3(one), Self::S3(two)) => (&one.endpoint, &one.bucket) == (&two.endpoint, &two.bucket),
            (Self::Azure(one), Self::Azure(two)) => {
                (&one.endpoint, &one.account, &one.container) == (&two.endpoint, &two.account, &two.container)
            }
            (Self::Gcs(one), Self::Gcs(two)) => (&one.endpoint, &one.bucket) == (&two.endpoint, &two.bucket),
            _ => false,
        }
    }

    fn prefix(&self) -> &str {
        match self {
            Self::S3(options) => &options.prefix,
            Self::Azure(options) => &options.prefix,
            Self::Gcs(options) => &options.prefix,
            Self::Http(_) => "",
        }
    }
}
