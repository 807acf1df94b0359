//! The second look: what is to be done with a pair that listings could not tell all about, from everything that both
//! stores know of it. A pure decision.

use crate::attributes::{AttributeKind, AttributeSet, Posix};
use crate::checksum::Agreement;
use crate::entry::{Kind, Object};
use crate::policy::{ComparePolicy, Metadata, PairCapabilities};
use crate::posix_metadata::as_held;
use crate::timestamp::Timestamp;
use crate::verdict::CopyReason;
use crate::verdict::is_directory;

/// How alike two objects are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Likeness {
    /// Nothing that is kept differs.
    Same,
    /// The contents are the same and something beside them is not.
    OtherAttributes,
    /// They were written at different times; whether they are the same their bytes tell.
    OtherTime,
    /// The target's was written later, and such are to stay.
    TargetIsNewer,
    /// They are not the same.
    Different(CopyReason),
}

/// How alike the source's object and the target's are.
pub(crate) fn likeness(source: &Object, target: &Object, policy: &ComparePolicy, can: &PairCapabilities) -> Likeness {
    let (here, there) = (&source.entry, &target.entry);
    let is_object = match (&here.kind, &there.kind) {
        (Kind::Symlink { target: one }, Kind::Symlink { target: other }) if one == other => false,
        (Kind::Symlink { .. }, Kind::Symlink { .. }) => return Likeness::Different(CopyReason::LinkTarget),
        _ if is_directory(here) && is_directory(there) => false,
        (Kind::Object, Kind::Object) => true,
        _ => return Likeness::Different(CopyReason::Kind),
    };
    let agreement = here.checksums.agreement(&there.checksums);
    match agreement {
        _ if !is_object => {}
        _ if here.size != there.size => return Likeness::Different(CopyReason::Size),
        Agreement::Different(algorithm) => return Likeness::Different(CopyReason::Checksum(algorithm)),
        Agreement::Equal | Agreement::Unknown => {}
    }
    let (from, to) = origins(source, target, can);
    let near = from.zip(to).map(|(from, to)| from.distance(to) <= policy.time_tolerance);
    match near {
        Some(true) => {}
        Some(false) if is_object && policy.keep_newer && to > from => return Likeness::TargetIsNewer,
        // Its times are those of storing: any that is not before the source's will do.
        None if !is_object || is_later(source, target, policy, can) => {}
        _ if !is_object || agreement == Agreement::Equal => return Likeness::OtherAttributes,
        Some(false) => return Likeness::OtherTime,
        None => return Likeness::Different(CopyReason::Time),
    }
    if same_attributes(source, target, can) { Likeness::Same } else { Likeness::OtherAttributes }
}

/// When each was written, as far as that is told: the time of an object is only that of storing it.
fn origins(source: &Object, target: &Object, can: &PairCapabilities) -> (Option<Timestamp>, Option<Timestamp>) {
    let of = |object: &Object, is_in_metadata: bool| {
        let listed = object.entry.modified.filter(|_| !is_in_metadata);
        object.attributes.written().or(listed)
    };
    let at_target = matches!(can.metadata, Metadata::AtTarget { .. });
    (of(source, can.metadata == Metadata::AtSource), of(target, at_target))
}

fn is_later(source: &Object, target: &Object, policy: &ComparePolicy, can: &PairCapabilities) -> bool {
    let tolerance = policy.time_tolerance.max(can.time_precision);
    let both = source.entry.modified.zip(target.entry.modified);
    both.is_some_and(|(source, target)| target >= source.before(tolerance))
}

/// Whether what the source's store knows of attributes, and the target's can hold, is at the target too.
fn same_attributes(source: &Object, target: &Object, can: &PairCapabilities) -> bool {
    let compared = can.kept.and(source.known).and(target.known);
    let Some(wanted) = &source.attributes.posix else { return true };
    let has = |kind| compared.has(kind);
    if !AttributeSet::of(&[AttributeKind::Mode, AttributeKind::Owner]).without(compared).is_empty() {
        return true;
    }
    let Some(found) = &target.attributes.posix else { return false };
    let is_link = matches!(source.entry.kind, Kind::Symlink { .. });
    let same_owner = !has(AttributeKind::Owner) || (wanted.uid, wanted.gid) == (found.uid, found.gid);
    // No filesystem of Linux lets a link's mode be set.
    let same_mode = is_link || !has(AttributeKind::Mode) || wanted.mode == found.mode;
    let same_xattrs = is_link || !has(AttributeKind::ExtendedAttributes) || same_xattrs(source, wanted, found, can);
    same_owner && same_mode && same_xattrs
}

fn same_xattrs(source: &Object, wanted: &Posix, found: &Posix, can: &PairCapabilities) -> bool {
    let users = |posix: &Posix| -> Vec<_> {
        let pairs = posix.xattrs.iter().filter(|(name, _)| name.starts_with(b"user."));
        pairs.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    match can.metadata {
        // Metadata may have had no room for all, so that what they lack says nothing.
        Metadata::AtSource => wanted.xattrs.iter().all(|(name, value)| found.xattrs.get(name) == Some(value)),
        Metadata::AtTarget { form, room } => {
            let entry = &source.entry;
            let held = as_held(wanted, &entry.kind, form, room, &entry.key);
            held.is_none_or(|held| held.xattrs == found.xattrs)
        }
        Metadata::Nowhere => users(wanted) == users(found),
    }
}
