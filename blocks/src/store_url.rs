//! Where a volume's blocks are: `file:`, `mem:`, `s3:`, `gs:` or `az:`, and its settings.
//! Owns the parsing and the printing, which leaves secrets out; opens nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::Url;

use crate::error::BlockError;

/// The settings that are printed; every other one may be a secret.
const PRINTED_SETTINGS: &[&str] = &["endpoint", "region", "account", "account_name", "skip_signature", "use_emulator"];

/// The address of an object store. It parses, and prints without any secret: what is printed
/// parses again and then takes its credentials from the environment.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl {
    pub(crate) place: Place,
    /// `key=value` settings in the order given.
    pub(crate) settings: Vec<(String, String)>,
}

/// The kinds of store, and where in each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A directory of this machine.
    File(PathBuf),
    /// Memory of this process, shared under a name that is not empty.
    Memory(String),
    /// A bucket and a prefix in it, at S3 or what speaks like it.
    S3(Bucket),
    /// A bucket and a prefix in it, at Google.
    Gcs(Bucket),
    /// A container and a prefix in it, at Azure.
    Azure(Bucket),
}

/// A bucket or container, and the prefix in it without slashes at its ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) prefix: String,
}

impl StoreUrl {
    /// The store that is a directory of this machine; `path` must be absolute.
    pub fn directory(path: &Path) -> Result<Self, BlockError> {
        if !path.is_absolute() {
            return Err(invalid(&path.display().to_string(), "the path must be absolute"));
        }
        Ok(Self { place: Place::File(path.to_owned()), settings: Vec::new() })
    }

    /// The setting of this name, if the URL gives it.
    pub(crate) fn setting(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Everything, secrets included: for a file that only its owner may read.
    pub fn to_secret_string(&self) -> String {
        self.print(|_| true)
    }

    fn print(&self, shown: impl Fn(&str) -> bool) -> String {
        let base = match &self.place {
            Place::File(path) => Url::from_file_path(path).map_or_else(|()| path.display().to_string(), String::from),
            Place::Memory(name) => format!("mem://{name}"),
            Place::S3(bucket) => format!("s3://{bucket}"),
            Place::Gcs(bucket) => format!("gs://{bucket}"),
            Place::Azure(bucket) => format!("az://{bucket}"),
        };
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.settings.iter().filter(|(key, _)| shown(key)));
        let query = query.finish();
        if query.is_empty() { base } else { format!("{base}?{query}") }
    }
}

impl FromStr for StoreUrl {
    type Err = BlockError;

    fn from_str(text: &str) -> Result<Self, BlockError> {
        if text.starts_with('/') {
            return Self::directory(Path::new(text));
        }
        let shown = text.split(['?', '@']).next().unwrap_or_default();
        let url = Url::parse(text).map_err(|_| invalid(shown, FORMS))?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(invalid(url.scheme(), "give credentials as settings after `?`, or in the environment"));
        }
        let settings = parse_settings(&url)?;
        Ok(Self { place: parse_place(&url)?, settings })
    }
}

const FORMS: &str =
    "use /path, file:///path, mem://name, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix";

fn parse_place(url: &Url) -> Result<Place, BlockError> {
    match url.scheme() {
        "file" => {
            let path =
                url.to_file_path().map_err(|()| invalid("file:", "the path must be absolute, as in file:///path"))?;
            Ok(Place::File(path))
        }
        "mem" => Ok(Place::Memory(url.host_str().unwrap_or_default().to_owned())),
        "s3" => Bucket::parse(url).map(Place::S3),
        "gs" => Bucket::parse(url).map(Place::Gcs),
        "az" => Bucket::parse(url).map(Place::Azure),
        other => Err(invalid(other, FORMS)),
    }
}

fn parse_settings(url: &Url) -> Result<Vec<(String, String)>, BlockError> {
    let mut settings: Vec<(String, String)> = Vec::new();
    for (key, value) in url.query_pairs() {
        let key = match key.to_ascii_lowercase().as_str() {
            "access_key" if url.scheme() == "s3" => "access_key_id".to_owned(),
            "secret_key" | "secret" if url.scheme() == "s3" => "secret_access_key".to_owned(),
            other => other.to_owned(),
        };
        if key == "endpoint" {
            check_endpoint(url, &value)?;
        }
        if settings.iter().any(|(known, _)| *known == key) {
            return Err(invalid(url.scheme(), &format!("the setting {key} is given twice")));
        }
        settings.push((key, value.into_owned()));
    }
    if !settings.is_empty() && matches!(url.scheme(), "file" | "mem") {
        return Err(invalid(url.scheme(), "this kind of store takes no settings"));
    }
    Ok(settings)
}

fn check_endpoint(url: &Url, value: &str) -> Result<(), BlockError> {
    let refuse =
        || invalid(url.scheme(), "the endpoint must look like http://host:port or https://host, without a user");
    let endpoint = Url::parse(value).map_err(|_| refuse())?;
    let plain = endpoint.username().is_empty() && endpoint.password().is_none() && endpoint.query().is_none();
    let http = matches!(endpoint.scheme(), "http" | "https") && endpoint.has_host();
    (plain && http).then_some(()).ok_or_else(refuse)
}

impl Bucket {
    fn parse(url: &Url) -> Result<Self, BlockError> {
        let refuse = |reason: &str| invalid(url.scheme(), reason);
        let name = url.host_str().filter(|name| !name.is_empty()).ok_or_else(|| refuse("the bucket is missing"))?;
        if url.port().is_some() {
            return Err(refuse("a bucket has no port; give a server as `?endpoint=http://host:port`"));
        }
        let prefix = url.path().trim_matches('/').to_owned();
        if prefix.contains(['%', '\\'])
            || prefix.split('/').any(|part| matches!(part, "." | ".."))
            || prefix.contains("//")
        {
            return Err(refuse("the prefix may hold letters, digits, `-`, `_`, `.` and single slashes"));
        }
        Ok(Self { name: name.to_owned(), prefix })
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix.as_str() {
            "" => f.write_str(&self.name),
            prefix => write!(f, "{}/{prefix}", self.name),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.print(|key| PRINTED_SETTINGS.contains(&key)))
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub(crate) fn invalid(url: &str, reason: &str) -> BlockError {
    BlockError::Url { url: url.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> StoreUrl {
        text.parse().unwrap()
    }

    #[test]
    fn prints_what_it_parsed_without_secrets() {
        for same in ["file:///srv/blocks", "mem://", "mem://one", "s3://b/p/q?region=eu-west-1", "gs://b", "az://c/p"] {
            assert_eq!(parse(same).to_string(), same);
        }
        assert_eq!(parse("/srv/blocks"), parse("file:///srv/blocks"));
        let url = parse("s3://b/p/?endpoint=http://127.0.0.1:8333&access_key=AK&secret_key=hush%2Fhush&token=t0k");
        assert_eq!(url.setting("secret_access_key"), Some("hush/hush"));
        let shown = format!("{url} {url:?}");
        assert!(!shown.contains("hush") && !shown.contains("AK") && !shown.contains("t0k"), "{shown}");
        assert_eq!(parse(&url.to_string()).setting("endpoint"), Some("http://127.0.0.1:8333"));
        assert_eq!(parse(&url.to_secret_string()), url);
    }

    #[test]
    fn refuses_the_rest_without_telling_secrets() {
        for text in [
            "",
            "blocks",
            "ftp://x/y",
            "s3://",
            "s3://key:hush@b/p",
            "s3://b:80/p",
            "file://host/p?x=1",
            "s3://b/a%20b",
            "s3://b?endpoint=hush",
            "s3://b?endpoint=http://u:hush@h",
            "s3://b?region=a&region=hush",
            "mem://a?secret=hush",
            "s3://b/p#hush",
            "s3://b/a//b",
        ] {
            let error = text.parse::<StoreUrl>().unwrap_err().to_string();
            assert!(!error.contains("hush"), "{text}: {error}");
        }
    }
}
