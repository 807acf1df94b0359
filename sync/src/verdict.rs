//! The verdict on a pair of entries of one key, by what both listings tell: nothing, a copy, other attributes, or that
//! listings do not suffice. Pure.

use crate::attributes::AttributeKind;
use crate::checksum::{Agreement, Algorithm};
use crate::digest::checksum_of;
use crate::entry::{Access, Entry, Kind};
use crate::origin::Origin;
use crate::policy::{Compare, CompareAttributes, ComparePolicy, Directories, Metadata, PairCapabilities};

/// Why an object is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyReason {
    /// The target does not have it.
    New,
    /// Its size differs.
    Size,
    /// It was written at another time.
    Time,
    /// A checksum differs.
    Checksum(Algorithm),
    /// The bytes differ, or what is known of them after a second look.
    Contents,
    /// It is a file there and a link here, or the like.
    Kind,
    /// Where a symbolic link points.
    LinkTarget,
    /// All is copied.
    Forced,
}

/// Why nothing is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// Both are equal.
    Equal,
    /// The target's is newer.
    TargetIsNewer,
    /// The target has it, and only new objects are written.
    Exists,
    /// The target does not have it, and only existing objects are written.
    New,
    /// The source does not have it, and nothing is deleted.
    Kept,
    /// A directory that comes from what is in it.
    Directory,
}

/// What is to be done, without the entries with which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Skip(Skip),
    Copy(CopyReason),
    Contents,
    Attributes,
    Look,
}

/// What is to be done with two of one key.
pub(crate) fn verdict(source: &Entry, target: &Entry, policy: &ComparePolicy, can: &PairCapabilities) -> Verdict {
    let link_as_object = |verdict| if verdict == Verdict::Contents { Verdict::Look } else { verdict };
    match (&source.kind, &target.kind) {
        (Kind::Object, Kind::Object) if !(is_directory(source) && is_directory(target)) => {
            decide_objects(source, target, policy, can)
        }
        // A directory is the same as the empty object whose key ends with a slash.
        _ if is_directory(source) && is_directory(target) => decide_directories(source, target, policy, can),
        (Kind::Symlink { target: here }, Kind::Symlink { target: there }) if here == there => {
            decide_attributes(source, target, policy, can)
        }
        (Kind::Symlink { .. }, Kind::Symlink { .. }) => Verdict::Copy(CopyReason::LinkTarget),
        (Kind::Symlink { target: link }, Kind::Object) if matches!(can.metadata, Metadata::AtTarget { .. }) => {
            link_as_object(decide_objects(&as_object(source, link), target, policy, can))
        }
        (Kind::Object, Kind::Symlink { target: link }) if can.metadata == Metadata::AtSource => {
            link_as_object(decide_objects(source, &as_object(target, link), policy, can))
        }
        _ => Verdict::Copy(CopyReason::Kind),
    }
}

/// A symbolic link as the object that it is in a store of objects.
fn as_object(entry: &Entry, link: &[u8]) -> Entry {
    let checksums = checksum_of(Algorithm::Md5, link).into_iter().collect();
    Entry { kind: Kind::Object, size: link.len() as u64, checksums, ..entry.clone() }
}

/// Whether it is a directory, or the object that stands for one.
pub(crate) fn is_directory(entry: &Entry) -> bool {
    entry.kind == Kind::Directory || (entry.kind == Kind::Object && entry.size == 0 && entry.key.is_directory_name())
}

fn decide_objects(source: &Entry, target: &Entry, policy: &ComparePolicy, can: &PairCapabilities) -> Verdict {
    let newer = target.modified.zip(source.modified).is_some_and(|(target, source)| target > source);
    if policy.keep_newer && newer && !same_time(source, target, policy, can) {
        return Verdict::Skip(Skip::TargetIsNewer);
    }
    if source.size != target.size {
        return Verdict::Copy(CopyReason::Size);
    }
    // What both listings tell of the bytes counts, whatever the policy: a difference is one.
    let agreement = source.checksums.agreement(&target.checksums);
    match (policy.by, agreement) {
        (_, Agreement::Different(algorithm)) => Verdict::Copy(CopyReason::Checksum(algorithm)),
        (Compare::Checksum, Agreement::Unknown) => Verdict::Contents,
        (Compare::SizeAndTime, agreement) => match (times(source, target, policy, can), agreement) {
            (Times::Same, _) => decide_attributes(source, target, policy, can),
            (Times::Unsure, _) => Verdict::Look,
            (Times::Other, Agreement::Equal) if can.same_times => Verdict::Attributes,
            (Times::Other, Agreement::Equal) => Verdict::Skip(Skip::Equal),
            (Times::Other, _) => Verdict::Copy(CopyReason::Time),
        },
        _ => decide_attributes(source, target, policy, can),
    }
}

fn decide_directories(source: &Entry, target: &Entry, policy: &ComparePolicy, can: &PairCapabilities) -> Verdict {
    if policy.directories == Directories::Leave {
        return Verdict::Skip(Skip::Equal);
    }
    decide_attributes(source, target, policy, can)
}

/// What is to be done with two whose contents are the same.
fn decide_attributes(source: &Entry, target: &Entry, policy: &ComparePolicy, can: &PairCapabilities) -> Verdict {
    let compares_all = policy.attributes == CompareAttributes::All;
    if policy.attributes == CompareAttributes::Leave || policy.by == Compare::Size || !can.kept.has(AttributeKind::Mode)
    {
        return Verdict::Skip(Skip::Equal);
    }
    let is_link = source.kind != Kind::Object && !is_directory(source);
    if can.metadata != Metadata::Nowhere {
        let certain = times(source, target, policy, can) == Times::Same;
        return if compares_all || !certain { Verdict::Look } else { Verdict::Skip(Skip::Equal) };
    }
    let owner = |access: Access| can.kept.has(AttributeKind::Owner).then_some((access.uid, access.gid));
    let mode = |access: Access| (!is_link).then_some(access.mode);
    let differs = source
        .access
        .zip(target.access)
        .is_some_and(|(source, target)| (owner(source), mode(source)) != (owner(target), mode(target)));
    // The times of files decide on their contents, and those of directories are given last, unless all is compared.
    let by_time = compares_all || (policy.by == Compare::Checksum && !is_directory(source)) || is_link;
    let other_time = by_time && can.kept.has(AttributeKind::ModifiedTime) && !same_time(source, target, policy, can);
    let may_have_changed =
        !is_link && can.kept.has(AttributeKind::ExtendedAttributes) && source.changed > target.changed;
    match (differs || other_time, compares_all || may_have_changed) {
        (true, _) => Verdict::Attributes,
        (_, true) => Verdict::Look,
        _ => Verdict::Skip(Skip::Equal),
    }
}

/// What the listed times say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Times {
    Same,
    Other,
    /// Only a second look can tell.
    Unsure,
}

fn times(source: &Entry, target: &Entry, policy: &ComparePolicy, can: &PairCapabilities) -> Times {
    let certain = match can.metadata {
        Metadata::Nowhere if same_time(source, target, policy, can) => true,
        Metadata::Nowhere => return Times::Other,
        // Nothing of the file was changed since the object was stored.
        Metadata::AtTarget { .. } => {
            let state = source.modified.max(source.changed);
            state.zip(target.modified).is_some_and(|(state, stored)| state <= stored)
        }
        // The file has the object's own time, which it gets where metadata tell none, or remembers the object.
        Metadata::AtSource => {
            let own_time = source.modified.is_some() && source.modified == target.modified;
            own_time || Origin::of(source).is_some_and(|origin| origin.is_noted_by(target))
        }
    };
    if certain { Times::Same } else { Times::Unsure }
}

/// Whether the times say that the target is a copy of this source. Where a store's times are those of copying, any
/// time that is not before the source's will do.
fn same_time(source: &Entry, target: &Entry, policy: &ComparePolicy, can: &PairCapabilities) -> bool {
    let Some((source, target)) = source.modified.zip(target.modified) else { return false };
    let tolerance = policy.time_tolerance.max(can.time_precision);
    if can.same_times {
        // Precision is a step: times that are less than one step apart are the same.
        return source.distance(target) <= policy.time_tolerance || source.distance(target) < tolerance;
    }
    target >= source.before(tolerance)
}
