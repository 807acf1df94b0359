//! Who asks: fixed keys, a profile, or what the machine gives; and the keys of the moment.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AwsCredential, AwsCredentialProvider};

use super::options::S3Options;
use crate::error::{Result, StoreError};
use crate::store::StoreAddress;
use crate::store::gcs::Tokens;

/// The names of the settings, as they are spelt here and there.
const ID: &[&str] = &["access_key_id", "access_key", "aws_access_key_id"];
const SECRET: &[&str] = &["secret_access_key", "secret_key", "secret", "aws_secret_access_key"];
const TOKEN: &[&str] = &["token", "session_token", "aws_session_token"];

/// Who asks.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody: requests are not signed.
    Anonymous,
    /// These keys.
    Keys {
        /// The access key's id.
        id: String,
        /// The secret.
        secret: String,
        /// The token of a session.
        token: Option<String>,
    },
    /// A profile of a file as `~/.aws/credentials` is.
    Profile {
        /// Its name.
        name: String,
        /// The file.
        file: PathBuf,
    },
    /// Bearer tokens of Google's.
    Google(Tokens),
    /// What the machine gives: a web identity, a container's or an instance's role. Only for Amazon's own servers.
    Ambient,
}

impl Credentials {
    /// What an address says, else what the environment does.
    pub(super) fn at(address: &StoreAddress, environment: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let setting = |names: &[&str]| names.iter().find_map(|name| address.setting(name)).map(ToOwned::to_owned);
        let (id, secret) = (setting(ID), setting(SECRET));
        if let (Some(id), Some(secret)) = (&id, &secret) {
            return Ok(Self::Keys { id: id.clone(), secret: secret.clone(), token: setting(TOKEN) });
        }
        if id.is_some() || secret.is_some() {
            let way_out = "give both access_key_id and secret_access_key, or neither";
            return Err(StoreError::invalid(address.to_string(), way_out));
        }
        let profile = setting(&["profile"]);
        let fixed = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"];
        Ok(Self::from_environment(|name| match &profile {
            // A profile that the address names comes before the environment's keys.
            Some(profile) if fixed.contains(&name) => (name == "AWS_PROFILE").then(|| profile.clone()),
            _ => environment(name),
        }))
    }

    /// Whether a setting of an address is about credentials.
    pub(super) fn is_setting(name: &str) -> bool {
        [ID, SECRET, TOKEN, &["profile"]].iter().any(|names| names.contains(&name))
    }

    /// What the usual variables say: keys, then a profile that is named or whose file exists, else the machine's.
    /// `get` reads a variable.
    pub fn from_environment(get: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        if let (Some(id), Some(secret)) = (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")) {
            return Self::Keys { id, secret, token: get("AWS_SESSION_TOKEN") };
        }
        let file = get("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
        let file = file.or_else(|| get("HOME").map(|home| Path::new(&home).join(".aws/credentials")));
        match (get("AWS_PROFILE"), file) {
            (Some(name), Some(file)) => Self::Profile { name, file },
            (None, Some(file)) if file.exists() => Self::Profile { name: "default".to_owned(), file },
            _ => Self::Ambient,
        }
    }
}

/// What a request is proven with.
pub(super) enum Proof {
    None,
    /// Keys, which sign.
    Keys(Arc<AwsCredential>),
    /// A bearer token.
    Token(Arc<str>),
}

/// Gives the keys of the moment. Two stores with equal ones may copy from each other.
#[derive(Clone)]
pub(super) enum Keys {
    None,
    Fixed(Arc<AwsCredential>),
    Changing(AwsCredentialProvider),
    Bearer(Tokens),
}

impl Keys {
    /// Reads a profile's file, if that is where they are; contacts nobody.
    pub(super) fn open(options: &S3Options) -> Result<Self> {
        match &options.credentials {
            Credentials::Anonymous => Ok(Self::None),
            Credentials::Keys { id, secret, token } => Ok(Self::fixed(id, secret, token.as_deref())),
            Credentials::Profile { name, file } => read_profile(name, file),
            Credentials::Ambient => ambient(options),
            Credentials::Google(tokens) => Ok(Self::Bearer(tokens.clone())),
        }
    }

    fn fixed(id: &str, secret: &str, token: Option<&str>) -> Self {
        let (key_id, secret_key, token) = (id.to_owned(), secret.to_owned(), token.map(ToOwned::to_owned));
        Self::Fixed(Arc::new(AwsCredential { key_id, secret_key, token }))
    }

    /// The keys of the moment.
    pub(super) async fn get(&self, store: &str) -> Result<Proof> {
        match self {
            Self::None => Ok(Proof::None),
            Self::Fixed(keys) => Ok(Proof::Keys(keys.clone())),
            Self::Bearer(tokens) => tokens.get(store).await.map(Proof::Token),
            Self::Changing(provider) => {
                let keys = provider.get_credential().await;
                keys.map(Proof::Keys).map_err(|error| StoreError::unavailable(store, "get credentials", &error))
            }
        }
    }

    /// Whether both are surely the same person.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fixed(one), Self::Fixed(other)) => one == other,
            // Changing ones are all of this machine, which has only one identity.
            (Self::None, Self::None) | (Self::Changing(_), Self::Changing(_)) => true,
            (Self::Bearer(one), Self::Bearer(other)) => one == other,
            _ => false,
        }
    }
}

/// The machine's, which object_store knows how to ask for. A server of one's own has nobody who would give them:
/// asking the cloud's address would only hang.
fn ambient(options: &S3Options) -> Result<Keys> {
    if options.endpoint.is_some() {
        let way_out = "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or add skip_signature=true for a public one";
        return Err(StoreError::invalid(options.to_string(), way_out));
    }
    let wrong = |error: object_store::Error| StoreError::invalid(options.to_string(), error.to_string());
    let builder = AmazonS3Builder::from_env().with_bucket_name(&options.bucket).with_region(&options.region);
    Ok(Keys::Changing(builder.build().map_err(wrong)?.credentials().clone()))
}

fn read_profile(name: &str, file: &Path) -> Result<Keys> {
    let what = || format!("the profile {name} in {}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| StoreError::invalid(what(), error.to_string()))?;
    let value = |setting: &str| find_setting(&text, name, setting);
    match (value("aws_access_key_id"), value("aws_secret_access_key")) {
        (Some(id), Some(secret)) => Ok(Keys::fixed(id, secret, value("aws_session_token"))),
        _ => Err(StoreError::invalid(what(), "it has no aws_access_key_id or no aws_secret_access_key")),
    }
}

/// The value of a setting in a section of an INI file.
fn find_setting<'a>(text: &'a str, section: &str, setting: &str) -> Option<&'a str> {
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = name.trim() == section;
        } else if let Some((name, value)) = line.split_once('=').filter(|_| inside && !line.starts_with(['#', ';']))
            && name.trim().eq_ignore_ascii_case(setting)
        {
            return Some(value.trim());
        }
    }
    None
}

/// Without any secret.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Fixed(_) => "fixed keys",
            Self::Changing(_) => "the machine's",
            Self::Bearer(_) => "tokens",
        })
    }
}

/// Without any secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::Keys { .. } => f.write_str("fixed keys"),
            Self::Profile { name, file } => write!(f, "profile {name} of {}", file.display()),
            Self::Google(_) => f.write_str("tokens"),
            Self::Ambient => f.write_str("the machine's"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Credentials {
        let get = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Credentials::from_environment(get)
    }

    #[test]
    fn the_environment_names_keys_before_profiles() {
        let keys =
            [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hush"), ("AWS_PROFILE", "p"), ("HOME", "/h")];
        assert_eq!(from(&keys), Credentials::Keys { id: "id".into(), secret: "hush".into(), token: None });
        let profile = Credentials::Profile { name: "p".into(), file: "/h/.aws/credentials".into() };
        assert_eq!(from(&keys[2..]), profile);
        assert_eq!(from(&[("HOME", "/nowhere")]), Credentials::Ambient);
        assert!(!format!("{:?}", from(&keys)).contains("hush"));
    }

    #[test]
    fn a_profile_is_found_in_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "[default]\naws_access_key_id = d\n# [other]\n[ other ]\naws_access_key_id=o\n;aws_secret_access_key=no\n\
                    aws_secret_access_key = s=1\n";
        std::fs::write(file.path(), text).unwrap();
        let Keys::Fixed(keys) = read_profile("other", file.path()).unwrap() else { panic!("they are fixed") };
        assert_eq!((keys.key_id.as_str(), keys.secret_key.as_str()), ("o", "s=1"));
        assert!(read_profile("default", file.path()).is_err(), "it has no secret");
        assert!(read_profile("absent", file.path()).is_err());
    }

    #[test]
    fn a_server_of_ones_own_is_never_asked_with_the_machines_identity() {
        let mut options = S3Options::new("b");
        options.endpoint = Some("http://127.0.0.1:1".to_owned());
        assert!(Keys::open(&options).is_err());
    }
}
