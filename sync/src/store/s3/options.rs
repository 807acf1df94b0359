//! Where an S3 store is and how to speak to it: plain settings, each with its default.

use std::fmt;

use super::credentials::Credentials;
use crate::checksum::Algorithm;
use crate::error::{Result, StoreError};
use crate::store::StoreAddress;

/// The settings of one S3 store.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// The bucket.
    pub bucket: String,
    /// What each key begins with in the bucket, as it is: a slash at its end is part of it. Default: nothing.
    pub prefix: String,
    /// The server, as `http://host:port` or `https://host`. Default: Amazon's of the region.
    pub endpoint: Option<String>,
    /// The region, which is part of signatures. Default: `us-east-1`.
    pub region: String,
    /// Where the bucket's name is written. Default: in the path if there is an endpoint, else in the host.
    pub addressing: Addressing,
    /// Who asks. Default: [`Credentials::Ambient`].
    pub credentials: Credentials,
    /// Whether signatures cover bodies. Default: those in memory, where TLS does not.
    pub sign_bodies: SignBodies,
    /// What the server does with odd keys. Default: told by its `Server` header.
    pub keys: KeyRules,
    /// The checksums that the server verifies, best first. Default: CRC-64/NVME, CRC-32C, SHA-256, MD5.
    pub verifies: Vec<Algorithm>,
    /// Whether the ETags of listings are MD5s. Default: only with an endpoint, because Amazon's listings do not tell
    /// which objects are encrypted with a customer's key, and the ETags of those are no MD5s.
    pub md5_etags: Option<bool>,
    /// Whether the server knows conditional writes. Default: yes.
    pub conditional: bool,
    /// Whether the server keeps tags. Default: yes.
    pub tags: bool,
    /// Whether whoever asks pays for requests. Default: no.
    pub request_payer: bool,
    /// Whose words are spoken. Default: Amazon's.
    pub dialect: Dialect,
}

/// Whose words are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// Amazon's: S3 and what speaks like it.
    #[default]
    Amazon,
    /// Google's XML API; see `store/gcs/`.
    Google,
}

/// Where the bucket's name is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addressing {
    /// In the path if there is an endpoint or the name has a dot, else in the host.
    #[default]
    Auto,
    /// In the path.
    Path,
    /// In the host.
    VirtualHosted,
}

/// Whether signatures cover bodies. TLS covers them in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignBodies {
    /// Those in memory, over plain HTTP.
    #[default]
    Auto,
    /// Those in memory, always.
    Always,
    /// None.
    Never,
}

/// What a server does with keys that are odd as paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyRules {
    /// Its `Server` header tells: SeaweedFS keeps paths, all others keys.
    #[default]
    Auto,
    /// It keeps each key as it is.
    Exact,
    /// It keeps paths: it would silently rewrite empty segments and backslashes, so that such keys are refused here,
    /// and it lists directories where their names are in order, so that it is listed by directories.
    Paths,
}

impl S3Options {
    /// A bucket with default settings.
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: String::new(),
            endpoint: None,
            region: "us-east-1".to_owned(),
            addressing: Addressing::Auto,
            credentials: Credentials::Ambient,
            sign_bodies: SignBodies::Auto,
            keys: KeyRules::Auto,
            verifies: vec![Algorithm::Crc64Nvme, Algorithm::Crc32c, Algorithm::Sha256, Algorithm::Md5],
            md5_etags: None,
            conditional: true,
            tags: true,
            request_payer: false,
            dialect: Dialect::Amazon,
        }
    }

    /// What an address says. Where it names no credentials, the environment does; `environment` reads a variable.
    pub fn at(address: &StoreAddress, environment: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let prefix = String::from_utf8(address.path.clone());
        let prefix = prefix.map_err(|_| StoreError::invalid(address.to_string(), "S3 takes prefixes in UTF-8 only"))?;
        let mut options = Self { prefix, ..Self::new(&address.authority) };
        let region = environment("AWS_REGION").or_else(|| environment("AWS_DEFAULT_REGION"));
        options.region = region.filter(|region| !region.is_empty()).unwrap_or(options.region);
        options.credentials = Credentials::at(address, &environment)?;
        let others = address.settings.iter().filter(|(name, _)| !Credentials::is_setting(name));
        others.into_iter().try_for_each(|(name, value)| options.set(name, value))?;
        Ok(options)
    }

    /// Sets what a URL's `name=value` says. Credentials are set as a whole, in `credentials`.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "endpoint" => self.endpoint = Some(value.to_owned()),
            "region" => value.clone_into(&mut self.region),
            "addressing" => self.addressing = addressing(value)?,
            "virtual_hosted_style_request" => {
                self.addressing = if flag(name, value)? { Addressing::VirtualHosted } else { Addressing::Path };
            }
            "skip_signature" if flag(name, value)? => self.credentials = Credentials::Anonymous,
            "skip_signature" => {}
            "unsigned_payload" => {
                self.sign_bodies = if flag(name, value)? { SignBodies::Never } else { SignBodies::Always };
            }
            "keys" => self.keys = key_rules(value)?,
            "checksum" => self.verifies = verifies(value)?,
            "md5_etags" => self.md5_etags = Some(flag(name, value)?),
            "conditional" => self.conditional = flag(name, value)?,
            "tags" => self.tags = flag(name, value)?,
            "request_payer" => self.request_payer = flag(name, value)?,
            _ => return Err(unknown(name)),
        }
        Ok(())
    }
}

fn flag(name: &str, value: &str) -> Result<bool> {
    match value {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(StoreError::invalid(format!("the setting {name}"), "it is true or false")),
    }
}

fn addressing(value: &str) -> Result<Addressing> {
    match value {
        "path" => Ok(Addressing::Path),
        "virtual" => Ok(Addressing::VirtualHosted),
        _ => Err(StoreError::invalid("the setting addressing", "it is path or virtual")),
    }
}

fn key_rules(value: &str) -> Result<KeyRules> {
    match value {
        "exact" => Ok(KeyRules::Exact),
        "paths" => Ok(KeyRules::Paths),
        _ => Err(StoreError::invalid("the setting keys", "it is exact or paths")),
    }
}

fn verifies(value: &str) -> Result<Vec<Algorithm>> {
    Ok(match value {
        "crc64nvme" => vec![Algorithm::Crc64Nvme, Algorithm::Md5],
        "crc32c" => vec![Algorithm::Crc32c, Algorithm::Md5],
        "md5" => vec![Algorithm::Md5],
        "none" => Vec::new(),
        _ => return Err(StoreError::invalid("the setting checksum", "it is crc64nvme, crc32c, md5 or none")),
    })
}

fn unknown(name: &str) -> StoreError {
    let known = "S3 has endpoint, region, access_key_id, secret_access_key, token, profile, skip_signature, addressing, unsigned_payload, keys, checksum, md5_etags, conditional, tags and \
                 request_payer";
    StoreError::invalid(format!("the setting {name}"), known)
}

/// The address without secrets, as it is given on the command line.
impl fmt::Display for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.dialect == Dialect::Google { "gs" } else { "s3" };
        write!(f, "{scheme}://{}/{}", self.bucket, self.prefix)?;
        self.endpoint.as_ref().map_or(Ok(()), |endpoint| write!(f, "?endpoint={endpoint}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_the_bucket_its_prefix_and_who_asks() {
        let options = |text: &str| S3Options::at(&text.parse().unwrap(), |_| None);
        let given =
            options("s3://b/p%2F/q?endpoint=http://h:1&addressing=path&access_key=i&secret=hush&tags=false").unwrap();
        assert_eq!((given.bucket.as_str(), given.prefix.as_str()), ("b", "p//q"));
        assert_eq!(given.credentials, Credentials::Keys { id: "i".into(), secret: "hush".into(), token: None });
        assert!(!given.tags && !format!("{given:?}").contains("hush"));
        assert_eq!(options("s3://b?skip_signature").unwrap().credentials, Credentials::Anonymous);
        assert_eq!(options("s3://b").unwrap().credentials, Credentials::Ambient);
        for wrong in ["s3://b?access_key_id=i", "s3://b/%FF", "s3://b?colour=red"] {
            assert!(options(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn settings_are_read_and_wrong_ones_refused() {
        let mut options = S3Options::new("b");
        for (name, value) in [("endpoint", "http://h:1"), ("unsigned_payload", "true"), ("checksum", "md5")] {
            options.set(name, value).unwrap();
        }
        assert_eq!(options.sign_bodies, SignBodies::Never);
        assert_eq!(options.verifies, [Algorithm::Md5]);
        assert_eq!(options.to_string(), "s3://b/?endpoint=http://h:1");
        for (name, value) in [("tags", "perhaps"), ("checksum", "crc7"), ("keys", ""), ("colour", "red")] {
            assert!(options.set(name, value).is_err(), "{name}");
        }
    }
}
