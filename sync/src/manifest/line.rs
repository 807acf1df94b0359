//! The lines of a manifest: a header, a line for each object in the order of keys, and an end, which says what is in it and has
//! the checksum of all lines before. Whatever a file holds gives an error or what was written, never a panic.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::Recorded;
use crate::checksum::{Algorithm, Checksum, Checksums};
use crate::counts::Counts;
use crate::entry::Kind;
use crate::key::{Key, KeyError, escaped, parse_escaped};
use crate::key_range::KeyRange;
use crate::timestamp::Timestamp;

/// The format.
const VERSION: u64 = 1;
/// What a header is known by.
const MARK: &str = "farshore_manifest";
/// The checksums that may be in a line.
const ALGORITHMS: [(&str, Algorithm); 6] = [
    ("blake3", Algorithm::Blake3),
    ("sha256", Algorithm::Sha256),
    ("md5", Algorithm::Md5),
    ("crc64nvme", Algorithm::Crc64Nvme),
    ("crc32c", Algorithm::Crc32c),
    ("crc32", Algorithm::Crc32),
];

/// Why a manifest cannot be used.
#[derive(Debug, Clone, Error)]
pub enum ManifestError {
    /// It could not be read or written.
    #[error("the manifest {file} cannot be {action}: {reason}")]
    Io {
        /// The file.
        file: String,
        /// What was tried.
        action: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// It is something else, or not whole, or not as it was written.
    #[error("{file} is no whole manifest: {reason}; get a good copy of it")]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// Another version wrote it.
    #[error(
        "the manifest {file} has format {found} and this build knows {VERSION}; use the version of farshore that wrote it"
    )]
    OtherFormat {
        /// The file.
        file: String,
        /// Its version.
        found: u64,
    },
}

/// The first line: what the manifest is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The job's source, by name.
    pub source: String,
    /// What it is a manifest of, by name.
    pub target: String,
    /// When the file was made, in RFC 3339.
    pub made: String,
    /// The keys that the job was about.
    pub range: KeyRange,
    /// Whether the keys are those of objects: where a side has files, those that a disk cannot hold are in
    /// `.farshore-keys`.
    pub object_keys: bool,
    /// Whether directories are things of their own on both sides, and not only what keys make of them.
    pub directories: bool,
}

/// The last line: what is in the manifest, and what is not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct End {
    /// How many lines are between it and the header.
    pub entries: u64,
    /// The bytes of all their objects.
    pub bytes: u64,
    /// Of the objects, those whose BLAKE3 is not known.
    pub without_blake3: u64,
    /// Objects that failed, were left to a person or differ, and are not in the manifest.
    pub left_out: u64,
    /// Places that could not be listed.
    pub unlisted: u64,
    /// Objects that were not chosen.
    pub filtered: u64,
    /// Deletions that were planned and not carried out.
    pub withheld: u64,
}

/// What is wrong with a line.
pub(super) type Parsed<T> = Result<T, String>;

impl Header {
    /// A moment as `made` tells it.
    pub fn time_of(moment: Timestamp) -> String {
        let time = DateTime::from_timestamp(moment.seconds(), 0).unwrap_or_default();
        time.to_rfc3339_opts(SecondsFormat::Secs, true)
    }

    pub(super) fn to_line(&self) -> String {
        let mut line = json!({
            MARK: VERSION,
            "source": self.source,
            "target": self.target,
            "made": self.made,
            "object_keys": self.object_keys,
            "directories": self.directories,
        });
        if !self.range.start().is_empty() {
            line["start"] = escaped(self.range.start()).into();
        }
        if let Some(end) = self.range.end() {
            line["end"] = escaped(end).into();
        }
        line.to_string()
    }

    /// The header; its format's number if that is another.
    pub(super) fn parse(line: &[u8]) -> Parsed<Result<Self, u64>> {
        let line = object(line)?;
        let version = line.get(MARK).and_then(Value::as_u64).ok_or("it does not begin as a manifest does")?;
        if version != VERSION {
            return Ok(Err(version));
        }
        let place = |name: &str| {
            let place = line.get(name).map(|place| place.as_str().and_then(parse_escaped));
            place.map(|place| place.ok_or(format!("its {name} is no key"))).transpose()
        };
        Ok(Ok(Self {
            source: text(&line, "source")?,
            target: text(&line, "target")?,
            made: text(&line, "made")?,
            range: KeyRange::new(place("start")?.unwrap_or_default(), place("end")?.map(Into::into)),
            object_keys: flag(&line, "object_keys")?,
            directories: flag(&line, "directories")?,
        }))
    }
}

impl Recorded {
    pub(super) fn to_line(&self) -> String {
        let mut line = Map::new();
        line.insert("key".into(), self.key.to_string().into());
        match &self.kind {
            Kind::Directory => {
                line.insert("kind".into(), "directory".into());
            }
            Kind::Symlink { target } => {
                line.insert("kind".into(), "symlink".into());
                line.insert("target".into(), escaped(target).into());
            }
            Kind::Object => {
                line.insert("size".into(), self.size.into());
                // Said, not left out: an object that was not read is not taken for one that was.
                line.insert("blake3".into(), Value::Null);
            }
        }
        for (name, algorithm) in ALGORITHMS {
            if let Some(checksum) = self.checksums.whole(algorithm) {
                line.insert(name.into(), hex(&checksum.to_bytes()).into());
            }
        }
        Value::Object(line).to_string()
    }

    pub(super) fn parse(line: &[u8]) -> Parsed<Self> {
        let line = object(line)?;
        let key: Key = text(&line, "key")?.parse().map_err(|error: KeyError| error.to_string())?;
        let kind = match line.get("kind").map(|kind| kind.as_str()) {
            None => Kind::Object,
            Some(Some("directory")) => Kind::Directory,
            Some(Some("symlink")) => {
                let target = parse_escaped(&text(&line, "target")?).ok_or("where a link points is not readable")?;
                Kind::Symlink { target: target.into() }
            }
            Some(_) => return Err("it has a kind that is not known".to_owned()),
        };
        let size = if kind == Kind::Object { number(&line, "size")? } else { 0 };
        let mut checksums = Checksums::none();
        for (name, algorithm) in ALGORITHMS {
            match line.get(name) {
                None | Some(Value::Null) => {}
                Some(value) => {
                    let bytes = value.as_str().and_then(unhex);
                    let checksum = bytes.and_then(|bytes| Checksum::from_bytes(algorithm, &bytes));
                    checksums = checksums.with(checksum.ok_or(format!("its {name} is none"))?);
                }
            }
        }
        Ok(Self { key, kind, size, checksums })
    }
}

impl End {
    /// The end of a job that counted so much, before its lines are.
    pub(super) fn of(counts: &Counts, withheld: bool, dry_run: bool) -> Self {
        let differ = if dry_run { counts.copied + counts.updated } else { 0 };
        Self {
            left_out: counts.failed + counts.conflicts + differ,
            unlisted: counts.unlisted,
            filtered: counts.filtered,
            withheld: if withheld { counts.deletions_planned.saturating_sub(counts.deleted) } else { 0 },
            ..Self::default()
        }
    }

    /// Counts a line.
    pub(super) fn add(&mut self, recorded: &Recorded) {
        self.entries += 1;
        self.bytes += recorded.size;
        self.without_blake3 += u64::from(recorded.lacks_blake3());
    }

    pub(super) fn to_line(self, before: &blake3::Hash) -> String {
        json!({
            "end": true,
            "entries": self.entries,
            "bytes": self.bytes,
            "without_blake3": self.without_blake3,
            "left_out": self.left_out,
            "unlisted": self.unlisted,
            "filtered": self.filtered,
            "withheld": self.withheld,
            "lines_blake3": before.to_hex().as_str(),
        })
        .to_string()
    }

    /// The end, and the checksum of all lines before it.
    pub(super) fn parse(line: &[u8]) -> Parsed<(Self, [u8; 32])> {
        let line = object(line).map_err(|_| "it is cut short")?;
        if line.get("end") != Some(&Value::Bool(true)) {
            return Err("it is cut short".to_owned());
        }
        let number = |name| number(&line, name);
        let end = Self {
            entries: number("entries")?,
            bytes: number("bytes")?,
            without_blake3: number("without_blake3")?,
            left_out: number("left_out")?,
            unlisted: number("unlisted")?,
            filtered: number("filtered")?,
            withheld: number("withheld")?,
        };
        let before = unhex(&text(&line, "lines_blake3")?).and_then(|bytes| bytes.try_into().ok());
        Ok((end, before.ok_or("it has no checksum at its end")?))
    }
}

fn object(line: &[u8]) -> Parsed<Map<String, Value>> {
    match serde_json::from_slice(line) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err("a line is no object of JSON".to_owned()),
        Err(error) => Err(format!("a line is no JSON: {error}")),
    }
}

fn text(line: &Map<String, Value>, name: &str) -> Parsed<String> {
    line.get(name).and_then(Value::as_str).map(ToOwned::to_owned).ok_or(format!("a line has no {name}"))
}

fn number(line: &Map<String, Value>, name: &str) -> Parsed<u64> {
    line.get(name).and_then(Value::as_u64).ok_or(format!("a line has no {name}"))
}

fn flag(line: &Map<String, Value>, name: &str) -> Parsed<bool> {
    line.get(name).and_then(Value::as_bool).ok_or(format!("a line has no {name}"))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some((digit(pair.first()?)? << 4 | digit(pair.get(1)?)?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::digest::checksum_of;
    use crate::entry::Entry;

    #[test]
    fn a_line_says_whether_the_bytes_were_read() {
        let entry = |key: &[u8], size| Entry::object(Key::new(key.to_vec()).unwrap(), size);
        let md5 = Checksums::none().with(checksum_of(Algorithm::Md5, b"abc").unwrap());
        let both = md5.clone().with(checksum_of(Algorithm::Blake3, b"abc").unwrap());
        let read = Recorded::of(&entry(b"odd\n\xff%\"", 3), &both).to_line();
        let hash = blake3::hash(b"abc").to_hex();
        assert_eq!(read, format!("{{\"blake3\":\"{hash}\",\"key\":\"odd%0A%FF%25\\\"\",\"size\":3}}"));
        let told = Recorded::of(&entry(b"told", 3), &md5).to_line();
        let told_md5 = "900150983cd24fb0d6963f7d28e17f72";
        assert_eq!(told, format!("{{\"blake3\":null,\"key\":\"told\",\"md5\":\"{told_md5}\",\"size\":3}}"));
        let empty = Recorded::of(&entry(b"empty", 0), &Checksums::none());
        assert!(!empty.lacks_blake3(), "the bytes of an empty object are known");
        let link = Entry { kind: Kind::Symlink { target: Bytes::from_static(b"to\xff") }, ..entry(b"l", 0) };
        let line = Recorded::of(&link, &both).to_line();
        assert_eq!(line, "{\"key\":\"l\",\"kind\":\"symlink\",\"target\":\"to%FF\"}");
    }

    fn any_recorded() -> impl Strategy<Value = Recorded> {
        let bytes = || prop::collection::vec(any::<u8>(), 1..40);
        let kind = prop_oneof![
            4 => Just(Kind::Object),
            1 => Just(Kind::Directory),
            1 => bytes().prop_map(|target| Kind::Symlink { target: target.into() }),
        ];
        let known = prop::collection::vec(any::<bool>(), 3);
        (bytes(), kind, any::<u64>(), known).prop_map(|(key, kind, size, known)| {
            let algorithms = [Algorithm::Blake3, Algorithm::Md5, Algorithm::Crc64Nvme];
            let sums = algorithms.into_iter().zip(known).filter(|(_, known)| *known);
            let sums = sums.filter_map(|(algorithm, _)| checksum_of(algorithm, &key)).collect();
            let entry = Entry { kind, ..Entry::object(Key::new(key).unwrap(), size) };
            Recorded::of(&entry, &sums)
        })
    }

    proptest! {
        #[test]
        fn what_is_recorded_comes_back(recorded in any_recorded()) {
            let line = recorded.to_line();
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(Recorded::parse(line.as_bytes()).unwrap(), recorded);
        }

        #[test]
        fn no_line_panics(line in prop::collection::vec(any::<u8>(), 0..80), cut in 0_usize..60) {
            Recorded::parse(&line).ok();
            End::parse(&line).ok();
            Header::parse(&line).ok();
            let whole = End::default().to_line(&blake3::hash(b""));
            prop_assert!(End::parse(&whole.as_bytes()[..whole.len().min(cut)]).is_err());
        }
    }

    #[test]
    fn a_header_comes_back_and_a_later_format_is_told() {
        let header = Header {
            source: "file:///a".into(),
            target: "s3://b/c".into(),
            made: "2026-11-24T00:00:00Z".into(),
            range: KeyRange::new(&b"a\xff"[..], Some(Bytes::from_static(b"b"))),
            object_keys: true,
            directories: false,
        };
        assert_eq!(Header::parse(header.to_line().as_bytes()), Ok(Ok(header)));
        assert_eq!(Header::parse(b"{\"farshore_manifest\":2}"), Ok(Err(2)));
        assert!(Header::parse(b"{\"key\":\"a\"}").is_err());
    }
}
