//! Who asks: a token, or a file of credentials that tokens are made of or asked for with.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::gcp::{GcpCredentialProvider, GoogleCloudStorageBuilder, GoogleConfigKey};

use crate::error::{Result, StoreError};

/// Where tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody asks: the bucket is public.
    Anonymous,
    /// From here.
    Token(Secret),
    /// From a service account's file.
    ServiceAccount(PathBuf),
    /// From a service account's file that a variable holds as a whole.
    ServiceAccountKey(Secret),
    /// From the file that `gcloud auth application-default login` writes, or one like it.
    ApplicationDefault(PathBuf),
    /// From the machine, which is asked at the cloud's metadata address: only where a person says so.
    MetadataServer,
}

/// What is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

/// Gives the token of the moment. Two stores with the same source are the same person.
#[derive(Clone)]
pub struct Tokens {
    source: Source,
    provider: Option<GcpCredentialProvider>,
}

impl Source {
    /// What the usual variables say; none if they say nothing. `get` reads a variable.
    pub fn from_environment(get: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let first = |names: &[&str]| names.iter().find_map(|name| get(name).filter(|value| !value.is_empty()));
        let secret = |names: &[&str]| first(names).map(Secret);
        if let Some(token) = secret(&["GOOGLE_OAUTH_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN"]) {
            return Some(Self::Token(token));
        }
        if let Some(key) = secret(&["GOOGLE_SERVICE_ACCOUNT_KEY"]) {
            return Some(Self::ServiceAccountKey(key));
        }
        if let Some(file) = first(&["GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"]) {
            return Some(Self::ServiceAccount(file.into()));
        }
        if let Some(file) = first(&["GOOGLE_APPLICATION_CREDENTIALS"]) {
            return Some(Self::ApplicationDefault(file.into()));
        }
        let home =
            first(&["HOME"]).map(|home| Path::new(&home).join(".config/gcloud/application_default_credentials.json"));
        home.filter(|file| file.exists()).map(Self::ApplicationDefault)
    }
}

impl Tokens {
    /// Reads the file, if that is where they come from; contacts nobody.
    pub(super) fn open(source: &Source, bucket: &str) -> Result<Self> {
        let builder = GoogleCloudStorageBuilder::new().with_bucket_name(bucket);
        let builder = match source {
            Source::Anonymous | Source::Token(_) => return Ok(Self { source: source.clone(), provider: None }),
            Source::ServiceAccount(file) => builder.with_service_account_path(file.to_string_lossy()),
            Source::ServiceAccountKey(key) => builder.with_service_account_key(&key.0),
            Source::ApplicationDefault(file) => builder.with_application_credentials(file.to_string_lossy()),
            Source::MetadataServer => builder.with_config(GoogleConfigKey::SkipSignature, "false"),
        };
        let wrong = |error: object_store::Error| StoreError::invalid("the credentials for gs://", error.to_string());
        let provider = builder.build().map_err(wrong)?.credentials().clone();
        Ok(Self { source: source.clone(), provider: Some(provider) })
    }

    /// The token of the moment.
    pub(in crate::store) async fn get(&self, store: &str) -> Result<Arc<str>> {
        let provider = match (&self.source, &self.provider) {
            (Source::Token(token), _) => return Ok(token.0.as_str().into()),
            (_, Some(provider)) => provider,
            _ => return Err(StoreError::bug("a store without credentials asks for a token")),
        };
        let got = provider.get_credential().await;
        let got = got.map_err(|error| StoreError::unavailable(store, "get credentials", &error))?;
        Ok(got.bearer.as_str().into())
    }
}

impl PartialEq for Tokens {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Tokens {}

/// Without any secret.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("secret")
    }
}

/// Without any secret.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_where_tokens_come_from() {
        let from = |variables: &[(&str, &str)]| {
            let get =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            Source::from_environment(get)
        };
        let all = [
            ("GOOGLE_OAUTH_ACCESS_TOKEN", "hush"),
            ("GOOGLE_SERVICE_ACCOUNT", "/sa.json"),
            ("GOOGLE_APPLICATION_CREDENTIALS", "/adc.json"),
            ("HOME", "/nowhere"),
        ];
        assert_eq!(from(&all), Some(Source::Token(Secret("hush".into()))));
        assert_eq!(from(&all[1..]), Some(Source::ServiceAccount("/sa.json".into())));
        assert_eq!(from(&all[2..]), Some(Source::ApplicationDefault("/adc.json".into())));
        assert_eq!(from(&all[3..]), None, "the machine is not asked unless it is said");
        assert!(!format!("{:?}", from(&all)).contains("hush"));
        assert!(Tokens::open(&Source::ServiceAccount("/nowhere.json".into()), "b").is_err());
    }
}
