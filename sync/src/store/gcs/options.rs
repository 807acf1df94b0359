//! The settings of a store at Google, and how they are written in URLs.

use std::fmt;

use super::tokens::{Source, Tokens};
use crate::error::{Result, StoreError};
use crate::store::StoreAddress;
use crate::store::s3::{Addressing, Credentials, Dialect, KeyRules, S3Options};

const ENDPOINT: &str = "https://storage.googleapis.com";

/// The settings of one store.
#[derive(Debug, Clone)]
pub struct GcsOptions {
    /// The bucket.
    pub bucket: String,
    /// What each key begins with in the bucket, as it is: a slash at its end is part of it. Default: nothing.
    pub prefix: String,
    /// The server, as `https://host`. Default: Google's.
    pub endpoint: Option<String>,
    /// Where tokens come from.
    pub source: Source,
}

impl GcsOptions {
    /// A bucket of Google's.
    pub fn new(bucket: impl Into<String>, source: Source) -> Self {
        Self { bucket: bucket.into(), prefix: String::new(), endpoint: None, source }
    }

    /// What an address says; the source of tokens is what it names, else the one that is given.
    pub fn at(address: &StoreAddress, source: Option<Source>) -> Result<Self> {
        let prefix = String::from_utf8(address.path.clone());
        let prefix = prefix.map_err(|_| StoreError::invalid(address.to_string(), "Google takes keys in UTF-8 only"))?;
        let (mut named, mut endpoint) = (None, None);
        for (name, value) in &address.settings {
            let flag = || match value.as_str() {
                "true" | "1" | "yes" => Ok(true),
                "false" | "0" | "no" => Ok(false),
                _ => Err(StoreError::invalid(format!("the setting {name}"), "it is true or false")),
            };
            match name.as_str() {
                "endpoint" => endpoint = Some(value.clone()),
                "skip_signature" | "anonymous" => named = flag()?.then_some(Source::Anonymous).or(named),
                "metadata_server" => named = flag()?.then_some(Source::MetadataServer).or(named),
                _ => return Err(StoreError::invalid(format!("the setting {name}"), KNOWN)),
            }
        }
        let nobody = || StoreError::invalid(address.to_string(), NO_CREDENTIALS);
        let source = named.or(source).ok_or_else(nobody)?;
        Ok(Self { prefix, endpoint, ..Self::new(&address.authority, source) })
    }

    /// As settings of what sends the requests.
    pub(super) fn spoken(&self) -> Result<S3Options> {
        let endpoint = self.endpoint.clone().unwrap_or_else(|| ENDPOINT.to_owned());
        let local = ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"];
        if self.source != Source::Anonymous
            && !endpoint.starts_with("https://")
            && !local.iter().any(|local| endpoint.starts_with(local))
        {
            return Err(StoreError::invalid(self.to_string(), "tokens are sent with TLS only; use https://"));
        }
        let mut options = S3Options::new(&self.bucket);
        options.prefix.clone_from(&self.prefix);
        options.endpoint = Some(endpoint);
        options.addressing = Addressing::Path;
        options.credentials = match &self.source {
            Source::Anonymous => Credentials::Anonymous,
            source => Credentials::Google(Tokens::open(source, &self.bucket)?),
        };
        options.keys = KeyRules::Exact;
        options.md5_etags = Some(false);
        options.tags = false;
        options.verifies = super::capabilities().verifies;
        options.dialect = Dialect::Google;
        Ok(options)
    }
}

const NO_CREDENTIALS: &str = "no credentials: set GOOGLE_APPLICATION_CREDENTIALS, GOOGLE_SERVICE_ACCOUNT or \
     GOOGLE_OAUTH_ACCESS_TOKEN, or run `gcloud auth application-default login`; or add metadata_server=true for the \
     machine's identity, or skip_signature=true for a public bucket";
const KNOWN: &str = "Google has endpoint, skip_signature and metadata_server; secrets are given in the environment";

/// The address without secrets, as it is given on the command line.
impl fmt::Display for GcsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gs://{}/{}", self.bucket, self.prefix)?;
        self.endpoint.as_ref().map_or(Ok(()), |endpoint| write!(f, "?endpoint={endpoint}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::gcs::tokens::Secret;

    #[test]
    fn an_address_names_the_bucket_and_perhaps_who_asks() {
        let token = Some(Source::Token(Secret("hush".into())));
        let at = |text: &str, source: &Option<Source>| GcsOptions::at(&text.parse().unwrap(), source.clone());
        let options = at("gs://b/p//q", &token).unwrap();
        assert_eq!((options.bucket.as_str(), options.prefix.as_str()), ("b", "p//q"));
        assert!(options.spoken().is_ok() && !format!("{options:?} {:?}", options.spoken()).contains("hush"));
        assert_eq!(at("gs://b?skip_signature", &token).unwrap().source, Source::Anonymous);
        assert_eq!(at("gs://b?metadata_server=true", &None).unwrap().source, Source::MetadataServer);
        assert!(at("gs://b", &None).unwrap_err().to_string().contains("GOOGLE_APPLICATION_CREDENTIALS"));
        assert!(at("gs://b?colour=red", &token).is_err() && at("gs://b/%FF", &token).is_err());
        assert!(at("gs://b?endpoint=http://h", &token).unwrap().spoken().is_err(), "a token is not sent in the clear");
        assert!(at("gs://b?endpoint=http://127.0.0.1:1", &token).unwrap().spoken().is_ok());
    }
}
