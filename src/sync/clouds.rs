//! Sides in clouds and on web servers: from an address to a store's options, each side with its own credentials.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context, Result};
use farshore_sync::store::azure::{self, AzureOptions, AzureStore};
use farshore_sync::store::gcs::{GcsOptions, GcsStore, Source};
use farshore_sync::store::http::{HttpOptions, HttpStore};
use farshore_sync::store::s3::{self, S3Options, S3Store};
use farshore_sync::store::{Scheme, StoreAddress};
use farshore_sync::{Key, Store, StoreError};

use crate::exit::{Exit, Failure};

/// Settings that are secrets: everybody on a machine sees its command lines.
const SECRETS: &[&str] = &[
    "access_key_id",
    "secret_access_key",
    "token",
    "session_token",
    "account_key",
    "access_key",
    "sas_token",
    "sas_key",
    "sig",
    "client_secret",
    "bearer_token",
];

/// What the variables of the side that is written begin with.
const TARGET: &str = "TARGET";

/// A side in a cloud or on a web server, before it is opened.
#[derive(Debug, Clone)]
pub(super) enum Cloud {
    S3(Box<S3Options>),
    Azure(Box<AzureOptions>),
    Gcs(Box<GcsOptions>),
    Http(Box<HttpOptions>),
}

impl Cloud {
    /// Reads an address; `side` is what the variables of that side alone begin with.
    pub(super) fn of(address: &StoreAddress, side: &str, profile: Option<&str>) -> Result<Self> {
        refuse_secrets(address, side)?;
        if profile.is_some() && address.scheme != Scheme::S3 {
            let message = format!("--{}-profile names a profile of S3; {address} is none", side.to_lowercase());
            return Err(Failure::error(Exit::Usage, message));
        }
        match address.scheme {
            Scheme::S3 => Ok(Self::S3(Box::new(s3_options(address, side, profile)?))),
            Scheme::Azure => Ok(Self::Azure(Box::new(azure_options(address, side)?))),
            Scheme::Gcs => Ok(Self::Gcs(Box::new(gcs_options(address, side)?))),
            Scheme::Http | Scheme::Https => Ok(Self::Http(Box::new(http_options(address, side)?))),
            other => {
                let message = format!(
                    "{}:// is not built yet; use a path, file://, s3://, gs://, az://, http(s):// or farshore://",
                    other.name()
                );
                Err(Failure::error(Exit::Usage, message))
            }
        }
    }

    /// Whether a key of one may be a key of the other.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let nested = |one: &str, other: &str| one.starts_with(other) || other.starts_with(one);
        match (self, other) {
            (Self::S3(one), Self::S3(two)) => {
                (&one.endpoint, &one.bucket) == (&two.endpoint, &two.bucket) && nested(&one.prefix, &two.prefix)
            }
            (Self::Azure(one), Self::Azure(two)) => {
                let place = |it: &AzureOptions| (it.endpoint.clone(), it.account.clone(), it.container.clone());
                place(one) == place(two) && nested(&one.prefix, &two.prefix)
            }
            (Self::Gcs(one), Self::Gcs(two)) => {
                (&one.endpoint, &one.bucket) == (&two.endpoint, &two.bucket) && nested(&one.prefix, &two.prefix)
            }
            _ => false,
        }
    }

    /// The directory above the prefix, and the key there of an object that is named like the prefix; none without one.
    pub(super) fn above(&self) -> Option<(Self, Key)> {
        let mut above = self.clone();
        let prefix = match &mut above {
            Self::S3(options) => &mut options.prefix,
            Self::Azure(options) => &mut options.prefix,
            Self::Gcs(options) => &mut options.prefix,
            Self::Http(_) => return None,
        };
        let path = prefix.strip_suffix('/')?;
        let (directory, name) = path.split_at(path.rfind('/').map_or(0, |at| at + 1));
        let key = Key::try_from(name).ok()?;
        *prefix = directory.to_owned();
        Some((above, key))
    }

    pub(super) fn open(&self) -> Result<Arc<dyn Store>> {
        Ok(match self {
            Self::S3(options) => Arc::new(S3Store::new(options)?),
            Self::Azure(options) => Arc::new(AzureStore::new(options)?),
            Self::Gcs(options) => Arc::new(GcsStore::new(options)?),
            Self::Http(options) => Arc::new(HttpStore::new(options)?),
        })
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3(options) => options.fmt(f),
            Self::Azure(options) => options.fmt(f),
            Self::Gcs(options) => options.fmt(f),
            Self::Http(options) => options.fmt(f),
        }
    }
}

fn refuse_secrets(address: &StoreAddress, side: &str) -> Result<()> {
    let Some((name, _)) = address.settings.iter().find(|(name, _)| SECRETS.contains(&name.as_str())) else {
        return Ok(());
    };
    let kind = match address.scheme {
        Scheme::Azure => "AZURE_STORAGE",
        Scheme::Gcs => "GOOGLE",
        Scheme::Http | Scheme::Https => "HTTP",
        _ => "AWS",
    };
    let profile = format!(", or name a profile of ~/.aws/credentials with --{}-profile", side.to_lowercase());
    let profile = if address.scheme == Scheme::S3 { profile.as_str() } else { "" };
    let message = format!(
        "{name} is a secret and everybody sees a command line: set it in FARSHORE_{side}_{kind}_… or {kind}_…{profile}"
    );
    Err(Failure::error(Exit::Usage, message))
}

fn s3_options(address: &StoreAddress, side: &str, profile: Option<&str>) -> Result<S3Options> {
    let mut options = S3Options::new(&address.authority);
    options.prefix = prefix(address)?;
    options.credentials = s3_credentials(side, profile)?;
    address.settings.iter().try_for_each(|(name, value)| options.set(name, value))?;
    Ok(options)
}

fn azure_options(address: &StoreAddress, side: &str) -> Result<AzureOptions> {
    let own = |name: &str| own(side, name);
    let credentials = azure::Credentials::from_environment(own);
    let credentials = credentials.or_else(|| azure::Credentials::from_environment(variable));
    let mut options = AzureOptions::at(address, credentials, |name| own(name).or_else(|| variable(name)))?;
    options.prefix = prefix(address)?;
    Ok(options)
}

fn gcs_options(address: &StoreAddress, side: &str) -> Result<GcsOptions> {
    let source = Source::from_environment(|name| own(side, name)).or_else(|| Source::from_environment(variable));
    let mut options = GcsOptions::at(address, source)?;
    options.prefix = prefix(address)?;
    Ok(options)
}

/// A web server is only read.
fn http_options(address: &StoreAddress, side: &str) -> Result<HttpOptions> {
    if side == TARGET {
        let message = format!("{address} is a web server, which can only be read: it can be SRC and not DST");
        return Err(Failure::error(Exit::Usage, message));
    }
    Ok(HttpOptions::at(address, |name| own(side, name).or_else(|| variable(name)))?)
}

/// What all keys begin with: a directory, whether or not a slash is written after it.
fn prefix(address: &StoreAddress) -> Result<String> {
    let mut prefix = String::from_utf8(address.path.clone())
        .map_err(|_| StoreError::invalid(address.to_string(), "keys there are UTF-8, and so is their prefix"))?;
    if !prefix.is_empty() && !prefix.ends_with('/') {
        prefix.push('/');
    }
    Ok(prefix)
}

/// A named profile, else the variables of this side alone, else the usual ones.
fn s3_credentials(side: &str, profile: Option<&str>) -> Result<s3::Credentials> {
    if let Some(name) = profile {
        let home = || variable("HOME").map(|home| format!("{home}/.aws/credentials"));
        let file = variable("AWS_SHARED_CREDENTIALS_FILE").or_else(home);
        let file = file.context("there is no HOME; name the file of profiles in AWS_SHARED_CREDENTIALS_FILE")?;
        return Ok(s3::Credentials::Profile { name: name.to_owned(), file: file.into() });
    }
    if own(side, "AWS_ACCESS_KEY_ID").is_some() {
        return Ok(s3::Credentials::from_environment(|name| own(side, name)));
    }
    Ok(s3::Credentials::from_environment(variable))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The variable of this side alone.
fn own(side: &str, name: &str) -> Option<String> {
    variable(&format!("FARSHORE_{side}_{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cloud(text: &str) -> Result<Cloud> {
        let profile = text.starts_with("s3").then_some("profile");
        Cloud::of(&text.parse()?, "SOURCE", profile)
    }

    fn overlap(one: &str, other: &str) -> bool {
        cloud(one).unwrap().overlaps(&cloud(other).unwrap())
    }

    #[test]
    fn a_prefix_is_a_directory_and_secrets_are_refused() {
        for text in ["s3://b/p", "s3://b/p/"] {
            let Cloud::S3(options) = cloud(text).unwrap() else { panic!("{text} is in S3") };
            assert_eq!((options.bucket.as_str(), options.prefix.as_str()), ("b", "p/"));
        }
        let error = cloud("s3://b/p?secret_access_key=hush").unwrap_err();
        assert!(!error.to_string().contains("hush") && error.to_string().contains("--source-profile"), "{error}");
        let error = cloud("az://c/p?account=a&account_key=hush").unwrap_err();
        assert!(!error.to_string().contains("hush") && error.to_string().contains("AZURE_STORAGE_"), "{error}");
        for wrong in ["s3://b?colour=red", "az://c?colour=red", "az://c", "mem://x", "gopher://x", ""] {
            assert_eq!(crate::exit::code_of(&cloud(wrong).unwrap_err()), Exit::Usage, "{wrong:?}");
        }
        let web: StoreAddress = "http://h/x/".parse().unwrap();
        assert!(Cloud::of(&web, "SOURCE", None).is_ok());
        assert!(Cloud::of(&web, TARGET, None).unwrap_err().to_string().contains("can only be read"));
        let profile = Cloud::of(&"az://c?account=a&anonymous".parse().unwrap(), "TARGET", Some("p"));
        assert!(profile.unwrap_err().to_string().contains("--target-profile"));
    }

    #[test]
    fn an_object_that_is_named_like_a_prefix_is_in_the_directory_above() {
        let above = |text: &str| cloud(text).unwrap().above().map(|(above, key)| (above.to_string(), key.to_string()));
        let found = |above: &str, key: &str| Some((above.to_owned(), key.to_owned()));
        assert_eq!(above("s3://b/d/e/file"), found("s3://b/d/e/", "file"));
        assert_eq!(above("s3://b/file/"), found("s3://b/", "file"));
        assert_eq!(above("az://c/d/file?account=a&anonymous").unwrap().1, "file");
        assert_eq!(above("gs://b/d/file?anonymous").unwrap().1, "file");
        assert_eq!(above("s3://b"), None);
        assert_eq!(above("http://h/file"), None);
    }

    #[test]
    fn sides_within_each_other_overlap() {
        assert!(overlap("s3://b/p", "s3://b/p/q") && overlap("s3://b", "s3://b/p") && overlap("s3://b", "s3://b"));
        assert!(!overlap("s3://b/p", "s3://b/pq") && !overlap("s3://a", "s3://b"));
        assert!(!overlap("s3://b?endpoint=http://one:1", "s3://b?endpoint=http://two:1"));
        let google = |place: &str| format!("gs://{place}?anonymous");
        assert!(overlap(&google("b/p"), &google("b")) && !overlap(&google("b/p"), &google("b/q")));
        let azure = |place: &str| format!("az://{place}&anonymous");
        assert!(overlap(&azure("c/p?account=a"), &azure("c?account=a")));
        assert!(!overlap(&azure("c?account=a"), &azure("c?account=b")) && !overlap("s3://c", &azure("c?account=a")));
    }
}
