//! Which object a file is a copy of. A listing of objects tells neither modes nor times of files, so that a pass over copies
//! would ask for each object's metadata; a file that remembers its object in this very state, and is itself as it was then,
//! need not be asked about.

use std::time::Duration;

use crate::entry::{Entry, OriginNote};
use crate::timestamp::Timestamp;

/// A store may tell its times by the second: what was stored this long before the note was made cannot have been stored
/// again in the same second after it.
const SETTLED: Duration = Duration::from_secs(2);

const ORIGIN_CONTEXT: &str = "farshore sync 2026-11-24 which object a file is a copy of";
const NOTE_CONTEXT: &str = "farshore sync 2026-11-24 what a copy was like";

/// An object in one state, told by what its listing and its headers tell alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    digest: [u8; 32],
    stored: Timestamp,
}

impl Origin {
    /// The origin of copies of an object; none if its store tells too little to know it again.
    pub fn of(object: &Entry) -> Option<Self> {
        let (etag, stored) = (object.etag.as_ref()?, object.modified?);
        let mut hasher = blake3::Hasher::new_derive_key(ORIGIN_CONTEXT);
        for part in [object.key.as_bytes(), etag.as_str().as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        hasher.update(&object.size.to_le_bytes()).update(&stored.seconds().to_le_bytes());
        Some(Self { digest: *hasher.finalize().as_bytes(), stored })
    }

    /// The note for a file of this state; none if the object might be stored again in what its store calls the same time.
    pub fn note(&self, file: &Entry) -> Option<OriginNote> {
        let is_settled = file.changed.is_some_and(|changed| changed.before(SETTLED) >= self.stored);
        if is_settled { self.note_of(file) } else { None }
    }

    /// Whether the file remembers this origin and is as it was then.
    pub fn is_noted_by(&self, file: &Entry) -> bool {
        file.origin.is_some() && file.origin == self.note_of(file)
    }

    fn note_of(&self, file: &Entry) -> Option<OriginNote> {
        let (modified, access) = (file.modified?, file.access?);
        let mut hasher = blake3::Hasher::new_derive_key(NOTE_CONTEXT);
        hasher.update(&self.digest).update(&file.size.to_le_bytes()).update(&modified.as_nanos().to_le_bytes());
        for number in [access.mode, access.uid, access.gid] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.finalize().as_bytes().first_chunk().copied().map(OriginNote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Access, ETag};
    use crate::key::Key;

    fn object(etag: &str, seconds: i64) -> Entry {
        let entry = Entry::object(Key::try_from("k").unwrap(), 3);
        Entry { etag: Some(ETag::new(etag)), modified: Some(Timestamp::new(seconds, 5)), ..entry }
    }

    fn file(changed: i64) -> Entry {
        let access = Some(Access { mode: 0o644, uid: 1, gid: 2 });
        let entry = Entry::object(Key::try_from("k").unwrap(), 3);
        Entry { modified: Some(Timestamp::new(7, 8)), changed: Some(Timestamp::new(changed, 0)), access, ..entry }
    }

    #[test]
    fn a_file_is_known_again_until_it_or_its_object_changes() {
        let origin = Origin::of(&object("e", 10)).unwrap();
        let noted = Entry { origin: origin.note(&file(100)), ..file(100) };
        assert!(origin.is_noted_by(&noted) && origin.is_noted_by(&Entry { changed: None, ..noted.clone() }));
        let second_alone = Entry { modified: Some(Timestamp::new(10, 0)), ..object("e", 10) };
        assert!(Origin::of(&second_alone).unwrap().is_noted_by(&noted), "headers tell seconds alone");
        for other in [object("f", 10), object("e", 11), Entry { size: 4, ..object("e", 10) }] {
            assert!(!Origin::of(&other).unwrap().is_noted_by(&noted));
        }
        let access = Some(Access { mode: 0o600, uid: 1, gid: 2 });
        let modified = Some(Timestamp::new(7, 9));
        for other in [Entry { access, ..noted.clone() }, Entry { modified, ..noted.clone() }] {
            assert!(!origin.is_noted_by(&other));
        }
        assert!(!origin.is_noted_by(&file(100)), "it remembers nothing");
    }

    #[test]
    fn what_is_not_known_well_is_not_noted() {
        assert_eq!(Origin::of(&Entry { etag: None, ..object("e", 10) }), None);
        let origin = Origin::of(&object("e", 10)).unwrap();
        assert_eq!(origin.note(&file(11)), None, "it may be stored again within the second");
        assert!(origin.note(&file(13)).is_some());
        assert_eq!(origin.note(&Entry { access: None, ..file(100) }), None);
    }
}
