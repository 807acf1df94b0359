//! The plan: what is to be done with a pair of entries, and why. A pure decision; nothing is read or asked here.

use bytes::Bytes;

use crate::attributes::AttributeKind;
use crate::entry::{Entry, Kind};
use crate::merge::Pair;
use crate::policy::{Compare, ComparePolicy, Directories, PairCapabilities, Write};
use crate::verdict::{CopyReason, Skip, Verdict, is_directory, verdict};

/// What is to be done with a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Copy the source to the target.
    Copy(Entry, CopyReason),
    /// Find checksums that both sides know, and copy if they differ.
    CompareContents(Entry, Entry),
    /// Ask both stores for all that they know of the object, and decide again.
    Look(Entry, Entry),
    /// The bytes are equal; give the target the source's attributes.
    UpdateMetadata(Entry, Entry),
    /// Nothing.
    Skip(Skip),
    /// Delete from the target, once the gate opens.
    Delete(Entry),
    /// A person has to decide.
    Conflict(Entry, Conflict),
}

/// Why a person has to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// A symbolic link, which the target does not hold.
    SymlinkNotHeld,
}

/// What is to be done with a pair.
pub fn decide(pair: Pair, policy: &ComparePolicy, can: &PairCapabilities) -> Decision {
    match pair {
        Pair::Both(recorded, target) if policy.by == Compare::Recorded => decide_recorded(recorded, target),
        Pair::Source(recorded) if policy.by == Compare::Recorded => decide_gone(recorded, policy),
        Pair::Source(source) => decide_new(source, policy, can),
        Pair::Target { entry, implied } => decide_surplus(entry, implied, policy),
        Pair::Both(source, target) => decide_both(source, target, policy, can),
    }
}

fn decide_new(source: Entry, policy: &ComparePolicy, can: &PairCapabilities) -> Decision {
    if policy.write == Write::Existing {
        return Decision::Skip(Skip::New);
    }
    match source.kind {
        Kind::Directory if policy.directories == Directories::Leave => Decision::Skip(Skip::Directory),
        Kind::Symlink { .. } if !can.target_holds.has(AttributeKind::Symlinks) => {
            Decision::Conflict(source, Conflict::SymlinkNotHeld)
        }
        _ => Decision::Copy(source, CopyReason::New),
    }
}

/// What a manifest tells of, and what is there.
fn decide_recorded(recorded: Entry, target: Entry) -> Decision {
    let link_bytes = |link: &Bytes| link.len() as u64;
    match (&recorded.kind, &target.kind) {
        _ if is_directory(&recorded) && is_directory(&target) => Decision::Skip(Skip::Equal),
        (Kind::Symlink { target: here }, Kind::Symlink { target: there }) if here == there => {
            Decision::Skip(Skip::Equal)
        }
        (Kind::Symlink { .. }, Kind::Symlink { .. }) => Decision::Copy(recorded, CopyReason::LinkTarget),
        // In a store of objects a link is the object of its text.
        (Kind::Symlink { target: link }, Kind::Object) if link_bytes(link) == target.size => {
            Decision::CompareContents(recorded, target)
        }
        (Kind::Object, Kind::Object) if recorded.size != target.size => Decision::Copy(recorded, CopyReason::Size),
        (Kind::Object, Kind::Object) if recorded.size == 0 => Decision::Skip(Skip::Equal),
        (Kind::Object, Kind::Object) => Decision::CompareContents(recorded, target),
        _ => Decision::Copy(recorded, CopyReason::Kind),
    }
}

fn decide_gone(recorded: Entry, policy: &ComparePolicy) -> Decision {
    if recorded.kind == Kind::Directory && policy.directories == Directories::Leave {
        return Decision::Skip(Skip::Directory);
    }
    Decision::Copy(recorded, CopyReason::New)
}

fn decide_surplus(target: Entry, implied: bool, policy: &ComparePolicy) -> Decision {
    match (implied, policy.delete) {
        (true, _) => Decision::Skip(Skip::Directory),
        (false, true) => Decision::Delete(target),
        (false, false) => Decision::Skip(Skip::Kept),
    }
}

fn decide_both(source: Entry, target: Entry, policy: &ComparePolicy, can: &PairCapabilities) -> Decision {
    if policy.write == Write::New {
        return Decision::Skip(Skip::Exists);
    }
    if let Kind::Symlink { .. } = source.kind
        && !can.target_holds.has(AttributeKind::Symlinks)
    {
        return Decision::Conflict(source, Conflict::SymlinkNotHeld);
    }
    if policy.by == Compare::Never && source.kind != Kind::Directory {
        return Decision::Copy(source, CopyReason::Forced);
    }
    match verdict(&source, &target, policy, can) {
        Verdict::Skip(skip) => Decision::Skip(skip),
        Verdict::Copy(reason) => Decision::Copy(source, reason),
        Verdict::Contents => Decision::CompareContents(source, target),
        Verdict::Attributes => Decision::UpdateMetadata(source, target),
        Verdict::Look => Decision::Look(source, target),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::attributes::AttributeSet;
    use crate::checksum::{Algorithm, Checksum, Checksums};
    use crate::digest::checksum_of;
    use crate::entry::Access;
    use crate::key::Key;
    use crate::policy::{CompareAttributes, Metadata};
    use crate::posix_metadata::TimeForm;
    use crate::timestamp::Timestamp;

    fn entry(size: u64, seconds: i64) -> Entry {
        Entry { modified: Some(Timestamp::new(seconds, 0)), ..Entry::object(Key::try_from("k").unwrap(), size) }
    }

    fn pair(metadata: Metadata) -> PairCapabilities {
        PairCapabilities {
            target_holds: AttributeSet::of(&[AttributeKind::Symlinks]),
            same_times: metadata == Metadata::Nowhere,
            time_precision: Duration::from_nanos(1),
            kept: AttributeSet::all(),
            metadata,
        }
    }

    fn both(source: &Entry, target: &Entry, policy: &ComparePolicy, same_times: bool) -> Decision {
        let can = PairCapabilities { same_times, ..pair(Metadata::Nowhere) };
        decide(Pair::Both(source.clone(), target.clone()), policy, &can)
    }

    fn with_crc(entry: Entry, crc: u32) -> Entry {
        Entry { checksums: Checksums::none().with(Checksum::Crc32c(crc)), ..entry }
    }

    #[test]
    fn size_and_time_decide_by_default() {
        let policy = ComparePolicy::default();
        let source = entry(1, 10);
        assert_eq!(both(&source, &entry(1, 10), &policy, true), Decision::Skip(Skip::Equal));
        assert_eq!(both(&source, &entry(2, 10), &policy, true), Decision::Copy(source.clone(), CopyReason::Size));
        assert_eq!(both(&source, &entry(1, 11), &policy, true), Decision::Copy(source.clone(), CopyReason::Time));
        // An object store's time is when it was copied.
        assert_eq!(both(&source, &entry(1, 11), &policy, false), Decision::Skip(Skip::Equal));
        assert_eq!(both(&source, &entry(1, 9), &policy, false), Decision::Copy(source.clone(), CopyReason::Time));
        let unknown = Entry { modified: None, ..entry(1, 0) };
        assert_eq!(both(&source, &unknown, &policy, true), Decision::Copy(source.clone(), CopyReason::Time));
        let tolerant = ComparePolicy { time_tolerance: Duration::from_secs(1), ..policy };
        assert_eq!(both(&source, &entry(1, 11), &tolerant, true), Decision::Skip(Skip::Equal));
    }

    #[test]
    fn known_checksums_outrank_times() {
        let policy = ComparePolicy::default();
        let (one, same, other) = (with_crc(entry(1, 10), 1), with_crc(entry(1, 20), 1), with_crc(entry(1, 10), 2));
        assert!(matches!(both(&one, &other, &policy, true), Decision::Copy(_, CopyReason::Checksum(_))));
        assert!(matches!(both(&one, &same, &policy, true), Decision::UpdateMetadata(..)));
        let checksum = ComparePolicy { by: Compare::Checksum, ..policy };
        assert!(matches!(both(&one, &same, &checksum, true), Decision::UpdateMetadata(..)));
        assert_eq!(both(&one, &one, &checksum, true), Decision::Skip(Skip::Equal));
        assert!(matches!(both(&one, &entry(1, 10), &checksum, true), Decision::CompareContents(..)));
    }

    #[test]
    fn policies_leave_alone_what_they_say() {
        let (source, target) = (entry(1, 10), entry(2, 20));
        let policy = |change: fn(&mut ComparePolicy)| {
            let mut policy = ComparePolicy::default();
            change(&mut policy);
            policy
        };
        let update = policy(|policy| policy.keep_newer = true);
        assert_eq!(both(&source, &target, &update, true), Decision::Skip(Skip::TargetIsNewer));
        let new = policy(|policy| policy.write = Write::New);
        assert_eq!(both(&source, &target, &new, true), Decision::Skip(Skip::Exists));
        let forced = policy(|policy| policy.by = Compare::Never);
        assert!(matches!(both(&source, &source, &forced, true), Decision::Copy(_, CopyReason::Forced)));
        let size = policy(|policy| policy.by = Compare::Size);
        assert_eq!(both(&source, &entry(1, 99), &size, true), Decision::Skip(Skip::Equal));
    }

    #[test]
    fn deletions_are_only_planned_when_asked_for() {
        let can = PairCapabilities { target_holds: AttributeSet::NONE, ..pair(Metadata::Nowhere) };
        let surplus = |implied| Pair::Target { entry: entry(1, 1), implied };
        let keep = ComparePolicy::default();
        let delete = ComparePolicy { delete: true, ..keep.clone() };
        assert_eq!(decide(surplus(false), &keep, &can), Decision::Skip(Skip::Kept));
        assert_eq!(decide(surplus(false), &delete, &can), Decision::Delete(entry(1, 1)));
        assert_eq!(decide(surplus(true), &delete, &can), Decision::Skip(Skip::Directory));
        let link = Entry { kind: Kind::Symlink { target: "x".into() }, ..entry(0, 1) };
        assert!(matches!(decide(Pair::Source(link), &keep, &can), Decision::Conflict(_, Conflict::SymlinkNotHeld)));
    }

    fn file(seconds: i64, changed: i64) -> Entry {
        let access = Some(Access { mode: 0o644, uid: 1, gid: 1 });
        Entry { changed: Some(Timestamp::new(changed, 0)), access, ..entry(1, seconds) }
    }

    #[test]
    fn attributes_alone_are_brought_over_where_listings_tell_them() {
        let policy = ComparePolicy::default();
        let (source, target) = (file(10, 20), file(10, 30));
        assert_eq!(both(&source, &target, &policy, true), Decision::Skip(Skip::Equal));
        let other_mode = Entry { access: Some(Access { mode: 0o600, uid: 1, gid: 1 }), ..source.clone() };
        assert!(matches!(both(&other_mode, &target, &policy, true), Decision::UpdateMetadata(..)));
        let since = Entry { changed: Some(Timestamp::new(31, 0)), ..source.clone() };
        assert!(matches!(both(&since, &target, &policy, true), Decision::Look(..)), "extended attributes may differ");
        let leave = ComparePolicy { attributes: CompareAttributes::Leave, ..policy.clone() };
        assert_eq!(both(&other_mode, &target, &leave, true), Decision::Skip(Skip::Equal));
        let all = ComparePolicy { attributes: CompareAttributes::All, ..policy };
        assert!(matches!(both(&source, &target, &all, true), Decision::Look(..)));
    }

    #[test]
    fn a_second_look_is_taken_only_where_listings_do_not_suffice() {
        let policy = ComparePolicy::default();
        let decided = |source: &Entry, target: &Entry, metadata| {
            decide(Pair::Both(source.clone(), target.clone()), &policy, &pair(metadata))
        };
        let to = Metadata::AtTarget { form: TimeForm::Seconds, room: 2048 };
        assert_eq!(decided(&file(10, 20), &entry(1, 20), to), Decision::Skip(Skip::Equal));
        assert!(matches!(decided(&file(10, 21), &entry(1, 20), to), Decision::Look(..)));
        assert!(matches!(decided(&file(99, 10), &entry(1, 20), to), Decision::Look(..)), "a time in the future");
        assert_eq!(decided(&entry(1, 20), &file(20, 99), Metadata::AtSource), Decision::Skip(Skip::Equal));
        assert!(matches!(decided(&entry(1, 20), &file(10, 99), Metadata::AtSource), Decision::Look(..)));
        let link = Entry { kind: Kind::Symlink { target: "x".into() }, size: 0, ..file(10, 20) };
        assert_eq!(decided(&link, &entry(1, 20), to), Decision::Skip(Skip::Equal));
        assert!(matches!(decided(&link, &entry(2, 20), to), Decision::Copy(_, CopyReason::Size)));
        let md5 = |text: &[u8]| checksum_of(Algorithm::Md5, text).into_iter().collect();
        let stored = |text| Entry { checksums: md5(text), ..entry(1, 20) };
        assert_eq!(decided(&link, &stored(b"x"), to), Decision::Skip(Skip::Equal));
        assert!(matches!(decided(&link, &stored(b"y"), to), Decision::Copy(_, CopyReason::Checksum(_))));
    }
}
