//! The settings of an Azure store, and how they are written in URLs and variables.

use std::fmt;

use super::credentials::Credentials;
use crate::checksum::Algorithm;
use crate::error::{Result, StoreError};
use crate::store::StoreAddress;

/// The first version of the service that lists from a key on.
const LISTS_FROM: &str = "2026-02-06";
/// The emulator's account and its key, which everybody knows.
const EMULATOR: (&str, &str) =
    ("devstoreaccount1", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==");
const EMULATOR_ENDPOINT: &str = "http://127.0.0.1:10000";

/// The settings of one Azure store.
#[derive(Debug, Clone)]
pub struct AzureOptions {
    /// The storage account.
    pub account: String,
    /// The container.
    pub container: String,
    /// What each key begins with in the container, as it is: a slash at its end is part of it. Default: nothing.
    pub prefix: String,
    /// The account's address, as `https://host`. One whose host is an IP address or `localhost` has the account's name
    /// in its path, as the emulator's. Default: `https://ACCOUNT.blob.core.windows.net`.
    pub endpoint: Option<String>,
    /// Who asks.
    pub credentials: Credentials,
    /// The version of the service that is spoken. Default: 2026-02-06.
    pub version: String,
    /// Whether listings can start at a key. Default: only with Azure's own servers, from version 2026-02-06 on; others
    /// read what is before it.
    pub lists_from: Option<bool>,
    /// What is done with keys that Azure is known to rewrite. Default: they are refused.
    pub keys: KeyRules,
    /// The checksums that the server verifies, best first. Default: CRC-64/NVME, MD5.
    pub verifies: Vec<Algorithm>,
    /// Whether the account keeps tags; those with a hierarchical namespace do not. Default: yes.
    pub tags: bool,
}

/// What is done with keys that are odd as paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyRules {
    /// Those with backslashes, control characters, segments that end with a dot, or more than 254 segments are refused:
    /// Azure would rewrite some and reject others.
    #[default]
    Azure,
    /// The server keeps each key as it is.
    Exact,
}

impl AzureOptions {
    /// A container of an account with default settings.
    pub fn new(account: impl Into<String>, container: impl Into<String>, credentials: Credentials) -> Self {
        Self {
            account: account.into(),
            container: container.into(),
            prefix: String::new(),
            endpoint: None,
            credentials,
            version: LISTS_FROM.to_owned(),
            lists_from: None,
            keys: KeyRules::Azure,
            verifies: vec![Algorithm::Crc64Nvme, Algorithm::Md5],
            tags: true,
        }
    }

    /// What an address says, and the environment where it does not; `environment` reads a variable. Without credentials
    /// in either, those that are given.
    pub fn at(
        address: &StoreAddress,
        credentials: Option<Credentials>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let get = |name: &str| environment(name).filter(|value| !value.is_empty());
        let account = get("AZURE_STORAGE_ACCOUNT_NAME").or_else(|| get("AZURE_STORAGE_ACCOUNT")).unwrap_or_default();
        let prefix = String::from_utf8(address.path.clone());
        let prefix = prefix.map_err(|_| StoreError::invalid(address.to_string(), "Azure takes keys in UTF-8 only"))?;
        let given = credentials.or_else(|| Credentials::from_environment(get));
        let nobody = given.is_none();
        let credentials = given.unwrap_or(Credentials::Anonymous);
        let mut options = Self { prefix, ..Self::new(account, &address.authority, credentials) };
        options.endpoint = get("AZURE_STORAGE_ENDPOINT");
        address.settings.iter().try_for_each(|(name, value)| options.set(name, value))?;
        let asks = ["skip_signature", "anonymous", "azure_cli", "managed_identity", "use_emulator"];
        if nobody && !asks.iter().any(|name| address.setting(name).is_some_and(|value| value != "false")) {
            return Err(StoreError::invalid(address.to_string(), NO_CREDENTIALS));
        }
        if options.account.is_empty() {
            return Err(StoreError::invalid(address.to_string(), "name the account: add account=NAME"));
        }
        Ok(options)
    }

    /// Sets what a URL's `name=value` says. Credentials are set as a whole, in `credentials`.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "account" | "account_name" => value.clone_into(&mut self.account),
            "endpoint" => self.endpoint = Some(value.to_owned()),
            "api_version" => value.clone_into(&mut self.version),
            "lists_from" => self.lists_from = Some(flag(name, value)?),
            "keys" => self.keys = key_rules(value)?,
            "checksum" => self.verifies = verifies(value)?,
            "tags" => self.tags = flag(name, value)?,
            "skip_signature" | "anonymous" if flag(name, value)? => self.credentials = Credentials::Anonymous,
            "azure_cli" if flag(name, value)? => self.credentials = Credentials::azure_cli(),
            "managed_identity" if flag(name, value)? => self.credentials = Credentials::managed_identity(),
            "use_emulator" if flag(name, value)? => self.use_emulator(),
            "skip_signature" | "anonymous" | "azure_cli" | "managed_identity" | "use_emulator" => {}
            _ => return Err(StoreError::invalid(format!("the setting {name}"), KNOWN)),
        }
        Ok(())
    }

    fn use_emulator(&mut self) {
        let (account, key) = EMULATOR;
        account.clone_into(&mut self.account);
        self.credentials = Credentials::Key(key.to_owned());
        self.endpoint.get_or_insert_with(|| EMULATOR_ENDPOINT.to_owned());
    }

    /// Whether listings can start at a key.
    pub(super) fn can_list_from(&self) -> bool {
        self.lists_from.unwrap_or(self.endpoint.is_none() && self.version.as_str() >= LISTS_FROM)
    }
}

const NO_CREDENTIALS: &str = "no credentials: set AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, AZURE_STORAGE_TOKEN, or \
     AZURE_TENANT_ID with AZURE_CLIENT_ID and AZURE_CLIENT_SECRET; or add azure_cli=true, managed_identity=true, or \
     skip_signature=true for a public container";
const KNOWN: &str = "Azure has account, endpoint, skip_signature, azure_cli, managed_identity, use_emulator, api_version, \
     lists_from, keys, checksum and tags; secrets are given in the environment";

fn flag(name: &str, value: &str) -> Result<bool> {
    match value {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(StoreError::invalid(format!("the setting {name}"), "it is true or false")),
    }
}

fn key_rules(value: &str) -> Result<KeyRules> {
    match value {
        "azure" => Ok(KeyRules::Azure),
        "exact" => Ok(KeyRules::Exact),
        _ => Err(StoreError::invalid("the setting keys", "it is azure or exact")),
    }
}

fn verifies(value: &str) -> Result<Vec<Algorithm>> {
    Ok(match value {
        "crc64nvme" => vec![Algorithm::Crc64Nvme, Algorithm::Md5],
        "md5" => vec![Algorithm::Md5],
        "none" => Vec::new(),
        _ => return Err(StoreError::invalid("the setting checksum", "it is crc64nvme, md5 or none")),
    })
}

/// The address without secrets, as it is given on the command line.
impl fmt::Display for AzureOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "az://{}/{}?account={}", self.container, self.prefix, self.account)?;
        self.endpoint.as_ref().map_or(Ok(()), |endpoint| write!(f, "&endpoint={endpoint}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, variables: &[(&str, &str)]) -> Result<AzureOptions> {
        let get = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        AzureOptions::at(&text.parse().unwrap(), None, get)
    }

    #[test]
    fn an_address_and_the_environment_name_the_account_and_who_asks() {
        let variables = [("AZURE_STORAGE_ACCOUNT", "acct"), ("AZURE_STORAGE_ACCOUNT_KEY", "aHVzaA==")];
        let options = at("az://c/p//q?checksum=md5", &variables).unwrap();
        assert_eq!(
            (options.account.as_str(), options.container.as_str(), options.prefix.as_str()),
            ("acct", "c", "p//q")
        );
        assert_eq!(options.verifies, [Algorithm::Md5]);
        assert_eq!(options.to_string(), "az://c/p//q?account=acct");
        assert!(options.can_list_from() && !format!("{options:?}").contains("aHVzaA"));
        assert!(!at("az://c?api_version=2025-11-05", &variables).unwrap().can_list_from());
        assert_eq!(at("az://c?account=other", &variables).unwrap().account, "other");
        for wrong in ["az://c?colour=red", "az://c?tags=perhaps", "az://c/%FF", "az://c?keys=", "az://c?checksum=crc7"]
        {
            assert!(at(wrong, &variables).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nobody_is_asked_unless_it_is_said() {
        let error = at("az://c?account=a", &[]).unwrap_err().to_string();
        assert!(error.contains("AZURE_STORAGE_ACCOUNT_KEY"), "{error}");
        assert!(at("az://c?skip_signature", &[]).unwrap_err().to_string().contains("account=NAME"));
        let anonymous = at("az://c?account=a&skip_signature", &[]).unwrap();
        assert_eq!(anonymous.credentials, Credentials::Anonymous);
        let emulator = at("az://c?use_emulator", &[]).unwrap();
        assert_eq!((emulator.account.as_str(), emulator.can_list_from()), ("devstoreaccount1", false));
    }
}
