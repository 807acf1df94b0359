//! The URL that names an engine, and opening what it names.
//!
//! `embedded:///path` and a bare path name an embedded engine; a bare path is taken as it
//! stands, a URL's path is percent-decoded. `fdb:///path/to/fdb.cluster?prefix=NAME` names
//! the rows under NAME in a FoundationDB cluster.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::{EmbeddedEngine, EmbeddedOptions, Engine, EngineError, Result};

const EMBEDDED: &str = "embedded";
const FOUNDATIONDB: &str = "fdb";
/// Longest prefix: it takes its bytes from every key's limit.
const MAX_PREFIX_BYTES: usize = 64;
const FORMS: &str = "give a path, embedded:///path or fdb:///path/to/fdb.cluster?prefix=NAME";

/// Where an engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineUrl {
    /// An embedded engine.
    Embedded {
        /// Its directory.
        path: PathBuf,
    },
    /// The rows under a prefix in a FoundationDB cluster.
    FoundationDb {
        /// The cluster file; its path is absolute.
        cluster_file: PathBuf,
        /// The name before every key; letters, digits, `-`, `_` and `.`.
        prefix: String,
    },
}

impl EngineUrl {
    /// The URL of an embedded engine in `directory`.
    pub fn embedded(directory: &Path) -> Self {
        let path = std::path::absolute(directory).unwrap_or_else(|_| directory.to_path_buf());
        Self::Embedded { path }
    }

    /// Opens the engine that is there.
    pub async fn open(&self, options: &EmbeddedOptions) -> Result<Arc<dyn Engine>> {
        match self {
            Self::Embedded { path } => {
                let (path, options) = (path.clone(), options.clone());
                blocking(move || EmbeddedEngine::open(path, &options)).await
            }
            Self::FoundationDb { .. } => self.foundationdb(options, false).await,
        }
    }

    /// Makes a new engine, and opens it; the place must be empty.
    pub async fn create(&self, options: &EmbeddedOptions) -> Result<Arc<dyn Engine>> {
        match self {
            Self::Embedded { path } => {
                let (path, options) = (path.clone(), options.clone());
                blocking(move || EmbeddedEngine::create(path, &options)).await
            }
            Self::FoundationDb { .. } => self.foundationdb(options, true).await,
        }
    }
}

impl EngineUrl {
    #[cfg(feature = "fdb")]
    async fn foundationdb(&self, _options: &EmbeddedOptions, create: bool) -> Result<Arc<dyn Engine>> {
        let Self::FoundationDb { cluster_file, prefix } = self else { return Err(bad("not an fdb:// URL")) };
        let engine = super::FoundationDbEngine::open(cluster_file, prefix)?;
        match (create, engine.is_empty().await?) {
            (true, false) => {
                let reason = format!("there are rows under {prefix} already; open them, or choose another prefix");
                Err(EngineError::Exists { path: cluster_file.clone(), reason })
            }
            (false, true) => Err(EngineError::Missing { path: PathBuf::from(self.to_string()) }),
            _ => Ok(Arc::new(engine)),
        }
    }

    #[cfg(not(feature = "fdb"))]
    #[expect(clippy::unused_async, reason = "with the feature, it waits")]
    async fn foundationdb(&self, _options: &EmbeddedOptions, _create: bool) -> Result<Arc<dyn Engine>> {
        Err(bad(format!("this build has no FoundationDB, which {self} needs; build with `--features fdb`")))
    }
}

async fn blocking(open: impl FnOnce() -> Result<EmbeddedEngine> + Send + 'static) -> Result<Arc<dyn Engine>> {
    match tokio::task::spawn_blocking(open).await {
        Ok(engine) => Ok(Arc::new(engine?)),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(EngineError::Closed),
    }
}

impl fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded { path } => write!(f, "{EMBEDDED}://{}", encode(path)),
            Self::FoundationDb { cluster_file, prefix } => {
                write!(f, "{FOUNDATIONDB}://{}?prefix={prefix}", encode(cluster_file))
            }
        }
    }
}

impl FromStr for EngineUrl {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
            return bare(text);
        };
        let rest = rest.strip_prefix("//").filter(|rest| rest.starts_with('/'));
        match (scheme, rest) {
            (EMBEDDED, Some(rest)) => parse_embedded(rest),
            (FOUNDATIONDB, Some(rest)) => parse_foundationdb(rest),
            (EMBEDDED | FOUNDATIONDB, None) => {
                Err(bad(format!("{text} needs an absolute path after {scheme}://; {FORMS}")))
            }
            _ => Err(bad(format!("{text} names no engine; {FORMS}"))),
        }
    }
}

/// Whether a colon after `text` makes it the scheme of a URL, and not a piece of a path.
fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn bare(text: &str) -> Result<EngineUrl> {
    if text.contains('\0') {
        return Err(bad("a path cannot have a zero byte in it"));
    }
    match std::path::absolute(text) {
        Ok(path) => Ok(EngineUrl::Embedded { path }),
        Err(error) => Err(bad(format!("{text:?} is no path ({error}); {FORMS}"))),
    }
}

fn parse_embedded(rest: &str) -> Result<EngineUrl> {
    if rest.contains(['?', '#']) {
        return Err(bad(format!("{EMBEDDED}://{rest} takes no ? or #; write them as %3F and %23 in a path")));
    }
    Ok(EngineUrl::Embedded { path: decode(rest)? })
}

fn parse_foundationdb(rest: &str) -> Result<EngineUrl> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let prefix = query.strip_prefix("prefix=").filter(|prefix| is_prefix(prefix));
    let Some(prefix) = prefix.filter(|_| !path.contains('#')) else {
        return Err(bad(format!(
            "{FOUNDATIONDB}://{rest} needs ?prefix=NAME at its end, of at most {MAX_PREFIX_BYTES} letters, digits, - _ and ."
        )));
    };
    Ok(EngineUrl::FoundationDb { cluster_file: decode(path)?, prefix: prefix.to_owned() })
}

fn is_prefix(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=MAX_PREFIX_BYTES).contains(&text.len()) && text.bytes().all(plain)
}

fn bad(reason: impl Into<String>) -> EngineError {
    EngineError::BadUrl { reason: reason.into() }
}

/// The path with every byte percent-encoded that a URL's path cannot hold.
fn encode(path: &Path) -> String {
    let encode = |byte: &u8| match *byte {
        byte if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    path.as_os_str().as_bytes().iter().map(encode).collect()
}

fn decode(text: &str) -> Result<PathBuf> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let byte = hex_byte(tail).filter(|byte| *byte != 0);
            bytes.push(
                byte.ok_or_else(|| {
                    bad(format!("{text} has a % without the two hex digits of a byte; write % as %25"))
                })?,
            );
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    Ok(PathBuf::from(OsStr::from_bytes(&bytes)))
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    Some((digit(0)? * 16 + digit(1)?) as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<EngineUrl> {
        text.parse()
    }

    #[test]
    fn every_form_is_understood() {
        let embedded = |path: &str| EngineUrl::Embedded { path: PathBuf::from(path) };
        assert_eq!(parse("/var/lib/a b%20").unwrap(), embedded("/var/lib/a b%20"));
        assert_eq!(parse("embedded:///var/lib/a%20b").unwrap(), embedded("/var/lib/a b"));
        let here = std::env::current_dir().unwrap();
        assert_eq!(parse("x/y").unwrap(), EngineUrl::embedded(&here.join("x/y")));
        assert_eq!(parse("./a:b").unwrap(), EngineUrl::embedded(&here.join("a:b")));
        let url = parse("fdb:///etc/fdb.cluster?prefix=vol-1").unwrap();
        let cluster_file = PathBuf::from("/etc/fdb.cluster");
        assert_eq!(url, EngineUrl::FoundationDb { cluster_file, prefix: "vol-1".into() });
        assert_eq!(url.to_string(), "fdb:///etc/fdb.cluster?prefix=vol-1");
    }

    #[test]
    fn anything_else_is_refused_with_what_would_be_right() {
        for text in [
            "",
            "\0",
            "embedded:",
            "embedded://",
            "embedded://host/path",
            "embedded:relative",
            "embedded:///a?b",
            "embedded:///a#b",
            "embedded:///%zz",
            "embedded:///%2",
            "embedded:///%00",
            "s3://bucket",
            "redis://x",
            "fdb:///c",
            "fdb:///c?prefix=",
            "fdb:///c?prefix=a/b",
            "fdb:///c?other=1",
            "fdb://c?prefix=a",
            "fdb:///c?prefix=a&x=1",
        ] {
            assert!(matches!(parse(text), Err(EngineError::BadUrl { .. })), "{text:?}");
        }
    }

    #[cfg(not(feature = "fdb"))]
    #[tokio::test]
    async fn without_foundationdb_the_way_to_it_is_told() {
        let url = parse("fdb:///etc/fdb.cluster?prefix=a").unwrap();
        let error = url.open(&EmbeddedOptions::default()).await.unwrap_err();
        assert!(error.to_string().contains("--features fdb"));
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_back(name in prop::collection::vec(1u8.., 0..40)) {
            let path = PathBuf::from(OsStr::from_bytes(&[b"/", name.as_slice()].concat()));
            let url = EngineUrl::embedded(&path);
            prop_assert_eq!(parse(&url.to_string()).unwrap(), url);
        }

        #[test]
        fn no_text_panics(text in ".*") {
            parse(&text).ok();
        }
    }
}
