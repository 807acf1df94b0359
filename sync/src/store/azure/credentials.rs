//! Who asks: the account's key, a shared access signature, a token, or an identity that gives tokens.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use object_store::azure::{AzureConfigKey, AzureCredential, AzureCredentialProvider, MicrosoftAzureBuilder};

use super::options::AzureOptions;
use crate::error::{Result, StoreError};

/// Who asks.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody: the container is public.
    Anonymous,
    /// The account's key, in base64.
    Key(String),
    /// A shared access signature: the query that it is written as.
    Sas(String),
    /// A bearer token.
    Token(String),
    /// An identity of Entra, which object_store asks for tokens, by its settings.
    Entra(Vec<(AzureConfigKey, String)>),
}

impl Credentials {
    /// What the usual variables say: the account's key, a signature, a token, a service principal, a workload's
    /// identity; none if they say nothing. `get` reads a variable.
    pub fn from_environment(get: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let first = |names: &[&str]| names.iter().find_map(|name| get(name).filter(|value| !value.is_empty()));
        if let Some(key) = first(&["AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_KEY"]) {
            return Some(Self::Key(key));
        }
        if let Some(signature) = first(&["AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"]) {
            return Some(Self::Sas(signature.trim_start_matches('?').to_owned()));
        }
        if let Some(token) = first(&["AZURE_STORAGE_TOKEN"]) {
            return Some(Self::Token(token));
        }
        let (tenant, client) = (first(&["AZURE_TENANT_ID"])?, first(&["AZURE_CLIENT_ID"])?);
        let proof = first(&["AZURE_CLIENT_SECRET"]).map(|secret| (AzureConfigKey::ClientSecret, secret));
        let file = || first(&["AZURE_FEDERATED_TOKEN_FILE"]).map(|file| (AzureConfigKey::FederatedTokenFile, file));
        let mut settings = vec![(AzureConfigKey::AuthorityId, tenant), (AzureConfigKey::ClientId, client)];
        settings.push(proof.or_else(file)?);
        settings.extend(first(&["AZURE_AUTHORITY_HOST"]).map(|host| (AzureConfigKey::AuthorityHost, host)));
        Some(Self::Entra(settings))
    }

    /// Whom the `az` command of this machine is.
    pub fn azure_cli() -> Self {
        Self::Entra(vec![(AzureConfigKey::UseAzureCli, "true".to_owned())])
    }

    /// The machine's own identity, which is asked for at the cloud's metadata address: only where a person says so.
    pub fn managed_identity() -> Self {
        Self::Entra(vec![(AzureConfigKey::CredentialType, "managed_identity".to_owned())])
    }

    /// Whether the credentials themselves are on the wire.
    pub(super) fn are_sent(&self) -> bool {
        !matches!(self, Self::Anonymous | Self::Key(_))
    }
}

/// What a request is proven with.
#[derive(Clone)]
pub(super) enum Proof {
    None,
    /// The account's key, which signs.
    Key(Arc<aws_lc_rs::hmac::Key>),
    /// A query that is added.
    Sas(Arc<str>),
    Token(Arc<str>),
}

/// Gives the proof of the moment.
#[derive(Debug, Clone)]
pub(super) enum Keys {
    Fixed(Proof),
    Changing(AzureCredentialProvider),
}

impl Keys {
    /// Checks them; contacts nobody.
    pub(super) fn open(options: &AzureOptions) -> Result<Self> {
        let wrong = |reason: &str| StoreError::invalid(options.to_string(), reason);
        Ok(match &options.credentials {
            Credentials::Anonymous => Self::Fixed(Proof::None),
            Credentials::Key(key) => {
                let key = BASE64.decode(key.trim()).map_err(|_| wrong("the account's key is not base64"))?;
                Self::Fixed(Proof::Key(Arc::new(aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key))))
            }
            Credentials::Sas(query) if query.split('&').any(|pair| pair.starts_with("sig=")) => {
                Self::Fixed(Proof::Sas(query.as_str().into()))
            }
            Credentials::Sas(_) => return Err(wrong("the shared access signature has no sig=")),
            Credentials::Token(token) => Self::Fixed(Proof::Token(token.as_str().into())),
            Credentials::Entra(settings) => {
                let builder = MicrosoftAzureBuilder::new().with_account(&options.account);
                let builder = builder.with_container_name(&options.container);
                let builder = settings.iter().fold(builder, |builder, (key, value)| builder.with_config(*key, value));
                let store = builder.build().map_err(|error| wrong(&error.to_string()))?;
                Self::Changing(store.credentials().clone())
            }
        })
    }

    /// The proof of the moment.
    pub(super) async fn get(&self, store: &str) -> Result<Proof> {
        let provider = match self {
            Self::Fixed(proof) => return Ok(proof.clone()),
            Self::Changing(provider) => provider,
        };
        let got = provider.get_credential().await;
        let got = got.map_err(|error| StoreError::unavailable(store, "get credentials", &error))?;
        match got.as_ref() {
            AzureCredential::BearerToken(token) => Ok(Proof::Token(token.as_str().into())),
            _ => Err(StoreError::bug("an identity gave something else than a token")),
        }
    }
}

/// Without any secret.
impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Key(_) => "a key",
            Self::Sas(_) => "a signature",
            Self::Token(_) => "a token",
        })
    }
}

/// Without any secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "anonymous",
            Self::Key(_) => "the account's key",
            Self::Sas(_) => "a shared access signature",
            Self::Token(_) => "a token",
            Self::Entra(_) => "an identity",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Option<Credentials> {
        let get = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Credentials::from_environment(get)
    }

    #[test]
    fn the_environment_names_who_asks() {
        let sas = ("AZURE_STORAGE_SAS_TOKEN", "?sv=1&sig=hush");
        assert_eq!(from(&[sas]), Some(Credentials::Sas("sv=1&sig=hush".into())));
        assert_eq!(from(&[sas, ("AZURE_STORAGE_KEY", "k")]), Some(Credentials::Key("k".into())));
        let principal = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "hush")];
        let found = from(&principal).unwrap();
        assert!(matches!(&found, Credentials::Entra(settings) if settings.len() == 3));
        assert!(!format!("{found:?}").contains("hush"));
        assert_eq!(from(&principal[..2]), None);
        assert_eq!(from(&[]), None);
    }

    #[test]
    fn keys_that_are_none_are_refused_before_anything_is_asked() {
        let open = |credentials| Keys::open(&AzureOptions::new("a", "c", credentials));
        assert!(open(Credentials::Key("not base64!".into())).is_err());
        assert!(open(Credentials::Sas("sv=1".into())).is_err());
        assert!(matches!(open(Credentials::Key("aGk=".into())), Ok(Keys::Fixed(Proof::Key(_)))));
        let principal = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "hush")];
        assert!(matches!(open(from(&principal).unwrap()), Ok(Keys::Changing(_))));
    }
}
