//! Where a store is, as a person writes it: a path, or a URL with settings. Parses and prints, without secrets; opens
//! nothing.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::StoreError;
use crate::key::escaped;

/// The settings that are printed; every other one may be a secret.
const PRINTED_SETTINGS: &[&str] = &[
    "endpoint",
    "region",
    "account",
    "account_name",
    "skip_signature",
    "use_emulator",
    "addressing",
    "profile",
    "api_version",
    "prefix",
];

/// What a META begins with that is a URL.
const ENGINES: [&str; 2] = ["embedded://", FOUNDATIONDB];
const FOUNDATIONDB: &str = "fdb://";

/// The address of a store: `PATH`, `file:///PATH`, `s3://BUCKET/PREFIX?SETTING=VALUE&…`, `gs://`, `az://`, `http(s)://`
/// or `farshore://META//PATH`. What is printed parses again, and then takes its credentials from elsewhere.
///
/// META is a volume's metadata as the other commands take it: a path, `embedded:///path` or `fdb:///cluster-file`, whose
/// prefix is the setting `prefix`. It is a path with slashes, so two of them end it; what follows is the path within the
/// volume.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreAddress {
    /// Which kind of store.
    pub scheme: Scheme,
    /// The bucket, container, host with port, or name; META of a volume; empty for a directory.
    pub authority: String,
    /// The path of a directory; for others the prefix of all keys, byte for byte, without the slash before it.
    pub path: Vec<u8>,
    /// Settings in the order given.
    pub settings: Vec<(String, String)>,
}

/// The kinds of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// A directory of this machine.
    File,
    /// Memory of this process.
    Memory,
    /// S3 and what speaks like it.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
    /// A web server, for reading.
    Http,
    /// The same with TLS.
    Https,
    /// A farshore volume.
    Farshore,
}

impl Scheme {
    const ALL: [(&'static str, Self); 8] = [
        ("file", Self::File),
        ("mem", Self::Memory),
        ("s3", Self::S3),
        ("gs", Self::Gcs),
        ("az", Self::Azure),
        ("http", Self::Http),
        ("https", Self::Https),
        ("farshore", Self::Farshore),
    ];

    /// As it is written before `://`.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, scheme)| *scheme == self).map_or("", |(name, _)| name)
    }
}

impl StoreAddress {
    /// The setting of this name, if it is given.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The path of a directory.
    pub fn directory(&self) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStringExt;
        (self.scheme == Scheme::File).then(|| PathBuf::from(std::ffi::OsString::from_vec(self.path.clone())))
    }

    /// META of a volume, as the other commands take it.
    pub fn meta(&self) -> Option<String> {
        if self.scheme != Scheme::Farshore {
            return None;
        }
        let prefix = self.setting("prefix").filter(|_| self.authority.starts_with(FOUNDATIONDB));
        Some(prefix.map_or_else(|| self.authority.clone(), |prefix| format!("{}?prefix={prefix}", self.authority)))
    }

    fn parse_volume(rest: &str) -> Result<Self, StoreError> {
        let shown = "farshore://";
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let unescape = |text: &str| percent_decoded(text).ok_or_else(|| StoreError::invalid(shown, ESCAPES));
        let scheme = ENGINES.iter().find(|scheme| place.starts_with(**scheme)).map_or(0, |scheme| scheme.len());
        let end = place[scheme..].find("//").map_or(place.len(), |at| scheme + at);
        let path = place[end..].strip_prefix("//").unwrap_or_default();
        // A URL of an engine is decoded by who reads it.
        let meta = if scheme > 0 { place.as_bytes()[..end].to_vec() } else { unescape(&place[..end])? };
        let meta = String::from_utf8(meta).map_err(|_| StoreError::invalid(shown, "META is not UTF-8"))?;
        if meta.is_empty() || meta.contains('\0') {
            return Err(StoreError::invalid(shown, "write farshore://META//path, where META is a volume's metadata"));
        }
        let settings = parse_settings(query, shown, unescape)?;
        Ok(Self { scheme: Scheme::Farshore, authority: meta, path: unescape(path)?, settings })
    }

    /// META and the path within the volume.
    fn print_volume(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_url = ENGINES.iter().any(|scheme| self.authority.starts_with(scheme));
        let meta = if is_url { self.authority.clone() } else { url_escaped(self.authority.as_bytes()) };
        // Two slashes in META itself would end it.
        let meta = if is_url { meta } else { meta.replace("//", "/%2F") };
        let meta = meta.strip_suffix('/').map_or(meta.clone(), |bare| format!("{bare}%2F"));
        let separator = if self.path.is_empty() { "" } else { "//" };
        write!(f, "{}://{meta}{separator}{}", self.scheme.name(), url_escaped(&self.path))
    }

    fn parse_url(scheme: Scheme, rest: &str) -> Result<Self, StoreError> {
        if scheme == Scheme::Farshore {
            return Self::parse_volume(rest);
        }
        let shown = || format!("{}://", scheme.name());
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) =
            place.split_once('/').map_or((place, None), |(authority, path)| (authority, Some(path)));
        if authority.contains('@') {
            return Err(StoreError::invalid(shown(), "give credentials as settings after `?`, or in the environment"));
        }
        let is_local = scheme == Scheme::File;
        if is_local != authority.is_empty() && scheme != Scheme::Memory {
            let expected =
                if is_local { "write file:///path, or just the path" } else { "the bucket or host is missing" };
            return Err(StoreError::invalid(shown(), expected));
        }
        let unescape = |text: &str| percent_decoded(text).ok_or_else(|| StoreError::invalid(shown(), ESCAPES));
        let mut path = unescape(path.unwrap_or_default())?;
        if is_local {
            path.insert(0, b'/');
        }
        Ok(Self { scheme, authority: authority.to_owned(), path, settings: parse_settings(query, &shown(), unescape)? })
    }

    fn print(&self, f: &mut fmt::Formatter<'_>, shown: impl Fn(&str) -> bool) -> fmt::Result {
        if self.scheme == Scheme::Farshore {
            self.print_volume(f)?;
        } else {
            let slash = if self.scheme == Scheme::File || self.path.is_empty() { "" } else { "/" };
            write!(f, "{}://{}{slash}{}", self.scheme.name(), self.authority, url_escaped(&self.path))?;
        }
        let mut separator = '?';
        for (name, value) in self.settings.iter().filter(|(name, _)| shown(name)) {
            write!(f, "{separator}{name}={}", url_escaped(value.as_bytes()))?;
            separator = '&';
        }
        Ok(())
    }
}

const FORMS: &str = "use a path, file:///path, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, http(s)://host/path or farshore://META//path";
const ESCAPES: &str = "a `%` is followed by two hexadecimal digits; write `%` itself as %25 and `?` as %3F";

fn parse_settings(
    query: &str,
    shown: &str,
    unescape: impl Fn(&str) -> Result<Vec<u8>, StoreError>,
) -> Result<Vec<(String, String)>, StoreError> {
    let mut settings: Vec<(String, String)> = Vec::new();
    for setting in query.split('&').filter(|setting| !setting.is_empty()) {
        let (name, value) = setting.split_once('=').unwrap_or((setting, "true"));
        let name = name.to_ascii_lowercase();
        let value = String::from_utf8(unescape(value)?);
        let value = value.map_err(|_| StoreError::invalid(shown, format!("the setting {name} is not UTF-8")))?;
        if settings.iter().any(|(known, _)| *known == name) {
            return Err(StoreError::invalid(shown, format!("the setting {name} is given twice")));
        }
        settings.push((name, value));
    }
    Ok(settings)
}

impl FromStr for StoreAddress {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        if let Some((scheme, rest)) = text.split_once("://") {
            let known = Scheme::ALL.iter().find(|(name, _)| *name == scheme);
            let (_, scheme) = known.ok_or_else(|| StoreError::invalid(escaped(scheme.as_bytes()), FORMS))?;
            return Self::parse_url(*scheme, rest);
        }
        if text.is_empty() {
            return Err(StoreError::invalid("an empty address", FORMS));
        }
        let path = text.as_bytes().to_vec();
        Ok(Self { scheme: Scheme::File, authority: String::new(), path, settings: Vec::new() })
    }
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        let signless = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| signless)?);
        rest = &rest[2..];
    }
    Some(bytes)
}

/// The printable form of keys, and the marks that mean something in an address.
fn url_escaped(bytes: &[u8]) -> String {
    escaped(bytes).replace('?', "%3F").replace('&', "%26").replace('#', "%23").replace(' ', "%20")
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.print(f, |name| PRINTED_SETTINGS.contains(&name))
    }
}

impl fmt::Debug for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> StoreAddress {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_what_they_say() {
        let s3 = parse("s3://bucket/a//b/?endpoint=http://127.0.0.1:1&secret_access_key=hush%26hush");
        assert_eq!((s3.scheme, s3.authority.as_str(), s3.path.as_slice()), (Scheme::S3, "bucket", &b"a//b/"[..]));
        assert_eq!(s3.setting("secret_access_key"), Some("hush&hush"));
        let shown = format!("{s3} {s3:?}");
        assert!(!shown.contains("hush") && shown.contains("endpoint"), "{shown}");
        assert_eq!(parse("relative/dir").directory(), Some("relative/dir".into()));
        assert_eq!(parse("file:///srv/100%25").directory(), Some("/srv/100%".into()));
        assert_eq!(parse("gs://b").path, b"");
        assert_eq!(parse("s3://b/%FF").path, b"\xFF");
    }

    #[test]
    fn two_slashes_end_a_volumes_metadata() {
        for (text, meta, path) in [
            ("farshore:///srv/meta//photos/2024", "/srv/meta", "photos/2024"),
            ("farshore:///srv/meta", "/srv/meta", ""),
            ("farshore://relative/meta//", "relative/meta", ""),
            ("farshore:///a%20b%3F//c%2Fd", "/a b?", "c/d"),
            ("farshore://embedded:///srv/meta//x", "embedded:///srv/meta", "x"),
            ("farshore://fdb:///etc/fdb.cluster//x?prefix=one", "fdb:///etc/fdb.cluster?prefix=one", "x"),
            ("farshore://fdb:///etc/fdb.cluster?prefix=one", "fdb:///etc/fdb.cluster?prefix=one", ""),
            ("farshore:///meta//a//b", "/meta", "a//b"),
        ] {
            let address = parse(text);
            assert_eq!((address.meta().as_deref(), address.path.as_slice()), (Some(meta), path.as_bytes()), "{text}");
            assert_eq!(parse(&address.to_string()), address, "{text}");
        }
        let upstream = parse("farshore:///m//p?upstream=http://one:7440");
        assert_eq!(upstream.setting("upstream"), Some("http://one:7440"));
        for wrong in ["farshore://", "farshore:////x", "farshore:///m?a=1&a=2", "farshore:///%zz"] {
            assert!(wrong.parse::<StoreAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_rest_is_refused_without_telling_secrets() {
        for text in [
            "",
            "ftp://hush",
            "s3://",
            "s3:///hush",
            "s3://key:hush@b/p",
            "file://host/p",
            "s3://b/%zz",
            "s3://b?a=1&a=hush",
        ] {
            let error = text.parse::<StoreAddress>().unwrap_err().to_string();
            assert!(!error.contains("hush") || text.starts_with("ftp"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_again(path in prop::collection::vec(any::<u8>(), 0..20), region in "[a-z &?%#=]{0,8}") {
            let settings = vec![("region".to_owned(), region)];
            let address = StoreAddress { scheme: Scheme::S3, authority: "bucket".to_owned(), path, settings };
            prop_assert_eq!(parse(&address.to_string()), address);
        }

        #[test]
        fn volumes_print_and_parse_again(meta in "[a-z/ ?&%#]{1,12}", path in prop::collection::vec(any::<u8>(), 0..20)) {
            let address = StoreAddress { scheme: Scheme::Farshore, authority: meta, path, settings: Vec::new() };
            prop_assert_eq!(parse(&address.to_string()), address);
        }
    }
}
