//! What a filesystem keeps, as user metadata of objects: pure translation, both ways, in the conventions of others.
//!
//! Written are rclone's names and forms (`mode` in octal with the file's type, `uid`, `gid`, `mtime`) and s3fs's
//! `xattr`. Read are these and s3fs's numbers, whose `mode` is decimal. What other user metadata there is stays.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, SecondsFormat};

use crate::attributes::{AttributeKind, AttributeSet, Posix};
use crate::entry::Kind;
use crate::key::Key;
use crate::timestamp::Timestamp;

type Metadata = BTreeMap<String, String>;

/// Names that say what is kept elsewhere or by nobody, and that are no user's own beside a mode.
const IGNORED: &[&str] = &["atime", "btime", "ctime", "rdev"];

const TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;
const PERMISSIONS: u32 = 0o7777;

/// How a store's users write times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeForm {
    /// Seconds since 1970 with nine digits after the point: rclone and s3fs on S3.
    Seconds,
    /// RFC 3339 with nanoseconds: rclone on other clouds.
    Rfc3339,
}

/// What metadata told of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// All that a filesystem keeps; only if mode and owner are told.
    pub(crate) posix: Option<Posix>,
    /// When it was last written, if that is told.
    pub(crate) modified: Option<Timestamp>,
    /// Whether the object's bytes are where a symbolic link points.
    pub(crate) is_symlink: bool,
}

/// Adds what a filesystem keeps to user metadata, which has at most `room` bytes after that; returns what had no room.
pub(crate) fn write(posix: &Posix, kind: &Kind, form: TimeForm, room: usize, user: &mut Metadata) -> AttributeSet {
    let of_type = match kind {
        Kind::Object => REGULAR,
        Kind::Directory => DIRECTORY,
        Kind::Symlink { .. } => SYMLINK,
    };
    let base = [
        ("mode", format!("{:o}", of_type | (posix.mode & PERMISSIONS))),
        ("uid", posix.uid.to_string()),
        ("gid", posix.gid.to_string()),
        ("mtime", time(posix.modified, form)),
    ];
    let base = base.map(|(name, value)| (name.to_owned(), value));
    let used: usize = user.iter().filter(|(name, _)| base.iter().all(|(own, _)| own != *name)).map(bytes).sum();
    let needed: usize = base.iter().map(|(name, value)| name.len() + value.len()).sum();
    if used + needed > room {
        return AttributeSet::of(&[
            AttributeKind::Mode,
            AttributeKind::Owner,
            AttributeKind::ModifiedTime,
            AttributeKind::ExtendedAttributes,
        ]);
    }
    user.extend(base);
    write_xattrs(&posix.xattrs, room - used - needed, user)
}

fn bytes((name, value): (&String, &String)) -> usize {
    name.len() + value.len()
}

fn time(time: Timestamp, form: TimeForm) -> String {
    let moment = DateTime::from_timestamp(time.seconds(), time.subsec_nanos());
    // Years of more than four digits are no RFC 3339.
    let moment =
        moment.filter(|moment| form == TimeForm::Rfc3339 && (0..=9999).contains(&chrono::Datelike::year(moment)));
    moment.map_or_else(|| time.to_decimal(), |moment| moment.to_rfc3339_opts(SecondsFormat::Nanos, true))
}

/// As many extended attributes as there is room for, in the order of their names.
fn write_xattrs(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>, room: usize, user: &mut Metadata) -> AttributeSet {
    let (mut kept, mut written) = (serde_json::Map::new(), String::new());
    let mut left_out = false;
    for (name, value) in xattrs {
        let Ok(name) = std::str::from_utf8(name) else {
            left_out = true;
            continue;
        };
        kept.insert(name.to_owned(), BASE64.encode(value).into());
        let longer = percent_encoded(&serde_json::Value::Object(kept.clone()).to_string());
        if "xattr".len() + longer.len() <= room {
            written = longer;
        } else {
            kept.remove(name);
            left_out = true;
        }
    }
    if !written.is_empty() {
        user.insert("xattr".to_owned(), written);
    }
    if left_out { AttributeSet::of(&[AttributeKind::ExtendedAttributes]) } else { AttributeSet::NONE }
}

/// Takes what a filesystem keeps out of user metadata. `stored` is the time where the metadata tell none.
pub(crate) fn read(user: &mut Metadata, key: &Key, stored: Option<Timestamp>) -> Told {
    let modified = user.get("mtime").and_then(|text| parse_time(text));
    if modified.is_some() {
        user.remove("mtime");
    }
    let mode = user.get("mode").and_then(|text| parse_mode(text, key.is_directory_name()));
    let number = |name| user.get(name).and_then(|text| text.parse::<u32>().ok());
    let (Some(mode), Some(uid), Some(gid)) = (mode, number("uid"), number("gid")) else {
        return Told { modified, ..Told::default() };
    };
    let xattrs = user.get("xattr").and_then(|text| parse_xattrs(text));
    for name in ["mode", "uid", "gid"].iter().chain(IGNORED) {
        user.remove(*name);
    }
    if xattrs.is_some() {
        user.remove("xattr");
    }
    let posix = Posix {
        mode: mode & PERMISSIONS,
        uid,
        gid,
        modified: modified.or(stored).unwrap_or(Timestamp::new(0, 0)),
        xattrs: xattrs.unwrap_or_default(),
        sparse: false,
    };
    Told { posix: Some(posix), modified, is_symlink: mode & TYPE == SYMLINK }
}

/// What of it would come back from metadata with this much room.
pub(crate) fn as_held(posix: &Posix, kind: &Kind, form: TimeForm, room: usize, key: &Key) -> Option<Posix> {
    let mut user = Metadata::new();
    write(posix, kind, form, room, &mut user);
    read(&mut user, key, None).posix
}

fn parse_time(text: &str) -> Option<Timestamp> {
    Timestamp::from_decimal(text).or_else(|| {
        let moment = DateTime::parse_from_rfc3339(text).ok()?;
        Some(Timestamp::new(moment.timestamp(), moment.timestamp_subsec_nanos()))
    })
}

/// Octal as rclone writes it, else decimal as s3fs does; whichever has a type that the key can be of. No number is
/// both, but for one without a type, which is octal.
fn parse_mode(text: &str, is_directory: bool) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let plausible = |mode: &u32| match mode & !PERMISSIONS {
        0 => true,
        DIRECTORY => is_directory,
        REGULAR | SYMLINK => !is_directory,
        _ => false,
    };
    let radix = |radix| u32::from_str_radix(text, radix).ok().filter(plausible);
    radix(8).or_else(|| radix(10))
}

fn parse_xattrs(text: &str) -> Option<BTreeMap<Vec<u8>, Vec<u8>>> {
    let json: BTreeMap<String, String> = serde_json::from_slice(&percent_decoded(text)?).ok()?;
    let decoded = json.into_iter().map(|(name, value)| Some((name.into_bytes(), BASE64.decode(value).ok()?)));
    decoded.collect()
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + text.len() / 2);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            other => {
                let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0').to_ascii_uppercase();
                encoded.extend(['%', digit(other >> 4), digit(other & 15)]);
            }
        }
    }
    encoded
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let (mut decoded, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok().filter(|digits| !digits.starts_with('+'))?;
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> Key {
        Key::try_from(text).unwrap()
    }

    fn posix(mode: u32) -> Posix {
        let modified = Timestamp::new(1_700_000_000, 123_456_789);
        Posix { mode, uid: 1000, gid: 100, modified, xattrs: BTreeMap::new(), sparse: false }
    }

    fn told(pairs: &[(&str, &str)], name: &str) -> (Told, Metadata) {
        let mut user: Metadata = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let told = read(&mut user, &key(name), Some(Timestamp::new(7, 0)));
        (told, user)
    }

    #[test]
    fn what_is_written_is_what_rclone_writes() {
        let mut user = Metadata::new();
        write(&posix(0o4755), &Kind::Object, TimeForm::Seconds, 2048, &mut user);
        let expected = [("gid", "100"), ("mode", "104755"), ("mtime", "1700000000.123456789"), ("uid", "1000")];
        assert_eq!(user.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(), expected);
        write(&posix(0o755), &Kind::Directory, TimeForm::Rfc3339, 2048, &mut user);
        assert_eq!((user["mode"].as_str(), user["mtime"].as_str()), ("40755", "2023-11-14T22:13:20.123456789Z"));
        let far = Posix { modified: Timestamp::new(1 << 40, 1), ..posix(0o600) };
        write(&far, &Kind::Object, TimeForm::Rfc3339, 2048, &mut user);
        assert_eq!(user["mtime"], "1099511627776.000000001");
    }

    #[test]
    fn modes_of_others_are_read() {
        let cases = [
            ("100644", "f", Some(0o100_644)),
            ("0100644", "f", Some(0o100_644)),
            ("33188", "f", Some(0o100_644)),
            ("33152", "f", Some(0o100_600)),
            ("40755", "d/", Some(0o040_755)),
            ("41777", "d/", Some(0o041_777)),
            ("16877", "d/", Some(0o040_755)),
            ("17407", "d/", Some(0o041_777)),
            ("120777", "l", Some(0o120_777)),
            ("41471", "l", Some(0o120_777)),
            ("644", "f", Some(0o644)),
            ("40755", "f", None),
            ("10644", "pipe", None),
            ("rw", "f", None),
            ("", "f", None),
            ("-1", "f", None),
            ("99999999999999999999", "f", None),
        ];
        for (text, name, expected) in cases {
            assert_eq!(parse_mode(text, name.ends_with('/')), expected, "{text} of {name}");
        }
    }

    #[test]
    fn s3fs_is_read_and_other_metadata_stays() {
        let (told, left) = told(
            &[
                ("mode", "33261"),
                ("uid", "7"),
                ("gid", "8"),
                ("mtime", "1700000000"),
                ("ctime", "1700000001"),
                ("atime", "1700000002"),
                ("xattr", "%7b%22user.a%22%3a%22Yg%3D%3D%22%7d"),
                ("colour", "red"),
            ],
            "f",
        );
        let posix = told.posix.unwrap();
        assert_eq!((posix.mode, posix.uid, posix.gid), (0o755, 7, 8));
        assert_eq!(posix.modified, Timestamp::new(1_700_000_000, 0));
        assert_eq!(posix.xattrs, BTreeMap::from([(b"user.a".to_vec(), b"b".to_vec())]));
        assert_eq!(left.keys().collect::<Vec<_>>(), ["colour"]);
    }

    #[test]
    fn a_time_alone_is_a_time_and_half_a_set_is_a_users_own() {
        let (only_time, left) = told(&[("mtime", "2023-11-14T22:13:20.5Z"), ("x", "y")], "f");
        assert_eq!(only_time.modified, Some(Timestamp::new(1_700_000_000, 500_000_000)));
        assert!(only_time.posix.is_none() && left.len() == 1);
        let (half, left) = told(&[("mode", "644"), ("uid", "me"), ("gid", "1"), ("mtime", "soon")], "f");
        assert_eq!((half, left.len()), (Told::default(), 4));
        let (stored, _) = told(&[("mode", "644"), ("uid", "1"), ("gid", "1")], "f");
        assert_eq!(stored.posix.unwrap().modified, Timestamp::new(7, 0));
    }

    #[test]
    fn what_has_no_room_is_left_out_and_told() {
        let xattrs = [("user.large", 60 << 10), ("user.none", 0), ("user.small", 9)];
        let xattrs = xattrs.map(|(name, len)| (name.as_bytes().to_vec(), vec![7; len])).into_iter().collect();
        let whole = Posix { xattrs, ..posix(0o644) };
        let held = as_held(&whole, &Kind::Object, TimeForm::Seconds, 2048, &key("f")).unwrap();
        assert_eq!(held.xattrs.keys().collect::<Vec<_>>(), [&b"user.none"[..], b"user.small"]);
        let mut user = Metadata::from([("long".to_owned(), "x".repeat(2000))]);
        let left_out = write(&whole, &Kind::Object, TimeForm::Seconds, 2048, &mut user);
        assert!(left_out.has(AttributeKind::Mode) && left_out.has(AttributeKind::ExtendedAttributes));
        assert_eq!(user.len(), 1);
        let mut user = Metadata::new();
        let left_out = write(&whole, &Kind::Object, TimeForm::Seconds, 2048, &mut user);
        assert_eq!(left_out, AttributeSet::of(&[AttributeKind::ExtendedAttributes]));
        assert!(user.iter().map(bytes).sum::<usize>() <= 2048);
    }

    proptest! {
        #[test]
        fn what_is_written_comes_back(
            mode in 0_u32..=0o7777,
            (uid, gid) in (any::<u32>(), any::<u32>()),
            (seconds, nanos) in (any::<i32>(), 0_u32..1_000_000_000),
            xattrs in prop::collection::btree_map("user\\.[^\\x00]{1,8}", prop::collection::vec(any::<u8>(), 0..20), 0..4),
            kind in 0_usize..3,
            seconds_form in any::<bool>(),
        ) {
            let kinds = [Kind::Object, Kind::Directory, Kind::Symlink { target: "x".into() }];
            let form = if seconds_form { TimeForm::Seconds } else { TimeForm::Rfc3339 };
            let xattrs = xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
            let modified = Timestamp::new(i64::from(seconds) * 2, nanos);
            let whole = Posix { mode, uid, gid, modified, xattrs, sparse: false };
            let name = key(if kind == 1 { "k/" } else { "k" });
            prop_assert_eq!(as_held(&whole, &kinds[kind], form, 1 << 16, &name), Some(whole));
        }

        #[test]
        fn nothing_that_is_told_panics(mode in ".{0,8}", mtime in ".{0,24}", xattr in "[%0-9a-f{}\":,]{0,24}") {
            told(&[("mode", &mode), ("uid", "1"), ("gid", "1"), ("mtime", &mtime), ("xattr", &xattr)], "f");
        }
    }
}
