//! Where a container and its keys are on the wire. Owns the way from a key to a request's address, byte for byte, and
//! the rules of names.

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

use super::options::{AzureOptions, KeyRules};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::store::transport::encode;

/// The longest name, in characters.
const MAX_NAME_CHARACTERS: usize = 1024;
/// The most segments of a name.
const MAX_SEGMENTS: usize = 254;

/// A container's place at a server, and the prefix of the store in it.
#[derive(Debug, Clone)]
pub(super) struct Address {
    scheme: Scheme,
    authority: Authority,
    /// The container's path, with a slash at its end.
    base: String,
    account: String,
    container: String,
    prefix: String,
    rules: KeyRules,
}

/// A key as the container knows it, the prefix before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BlobName(String);

impl Address {
    pub(super) fn new(options: &AzureOptions) -> Result<Self> {
        let wrong = |reason: &str| StoreError::invalid(options.to_string(), reason);
        let plain = |name: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'$' | b'_');
            !name.is_empty() && name.bytes().all(fits)
        };
        if !plain(&options.container) || !plain(&options.account) {
            return Err(wrong("names of accounts and containers have letters, digits and `-`"));
        }
        let default = || format!("https://{}.blob.core.windows.net", options.account);
        let endpoint: Uri = options.endpoint.clone().unwrap_or_else(default).parse().map_err(|_| wrong(ENDPOINT))?;
        let parts = endpoint.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else { return Err(wrong(ENDPOINT)) };
        let path = parts.path_and_query.as_ref().map_or("", PathAndQuery::as_str).trim_end_matches('/');
        if authority.as_str().contains('@') || path.contains('?') {
            return Err(wrong(ENDPOINT));
        }
        let loopback = is_loopback(authority.host());
        if scheme == Scheme::HTTP && !loopback && options.credentials.are_sent() {
            return Err(wrong("tokens and signatures are sent with TLS only; use https://"));
        }
        let named = path.is_empty() && (loopback || is_ip(authority.host()));
        let account_path = if named { format!("/{}", options.account) } else { path.to_owned() };
        let base = format!("{account_path}/{}/", options.container);
        let (account, container) = (options.account.clone(), options.container.clone());
        Ok(Self { scheme, authority, base, account, container, prefix: options.prefix.clone(), rules: options.keys })
    }

    /// Whether both containers are of one account at one server.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        (&self.scheme, &self.authority, &self.account) == (&other.scheme, &other.authority, &other.account)
    }

    /// The host, as the header has it.
    pub(super) fn host(&self) -> &str {
        let default = if self.scheme == Scheme::HTTPS { ":443" } else { ":80" };
        self.authority.as_str().strip_suffix(default).unwrap_or(self.authority.as_str())
    }

    pub(super) fn account(&self) -> &str {
        &self.account
    }

    pub(super) fn container(&self) -> &str {
        &self.container
    }

    /// What each key of the store begins with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The name in the container; the reason if Azure has no such names.
    pub(super) fn name(&self, key: &Key) -> std::result::Result<BlobName, &'static str> {
        let text = std::str::from_utf8(key.as_bytes()).map_err(|_| "Azure takes keys in UTF-8 only")?;
        let name = BlobName(format!("{}{text}", self.prefix));
        name.refused(self.rules).map_or(Ok(name), Err)
    }

    /// The store's key of a name in the container: none if it is the prefix itself, an error if it is outside.
    pub(super) fn key(&self, name: &str) -> std::result::Result<Option<Key>, String> {
        let rest = name.strip_prefix(&self.prefix);
        let rest = rest.ok_or_else(|| format!("{} is outside the prefix", crate::key::escaped(name.as_bytes())))?;
        if rest.is_empty() {
            return Ok(None);
        }
        Key::try_from(rest).map(Some).map_err(|error| error.to_string())
    }

    /// The address of a name or of the container, with a query that is encoded already.
    pub(super) fn uri(&self, name: Option<&BlobName>, query: &str) -> Result<Uri> {
        let container = || self.base.trim_end_matches('/').to_owned();
        let path = name.map_or_else(container, |name| format!("{}{}", self.base, encode::path(&name.0)));
        let path = if query.is_empty() { path } else { format!("{path}?{query}") };
        let path: PathAndQuery =
            path.parse().map_err(|error| StoreError::bug(format!("the address {path}: {error}")))?;
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(path);
        uri.build().map_err(|error| StoreError::bug(format!("an address: {error}")))
    }
}

impl BlobName {
    /// Why Azure has no such name, if it has none.
    fn refused(&self, rules: KeyRules) -> Option<&'static str> {
        let name = &self.0;
        // A name is counted in units of UTF-16, as everything at Azure.
        if name.encode_utf16().count() > MAX_NAME_CHARACTERS {
            return Some("with the prefix it has more than 1,024 characters");
        }
        if rules == KeyRules::Exact {
            return name.contains('\0').then_some("servers refuse or cut keys with a zero byte");
        }
        if name.contains('\\') {
            return Some("Azure would write its backslash as a slash");
        }
        if name.chars().any(|character| character.is_control() || matches!(character, '\u{FFFE}' | '\u{FFFF}')) {
            return Some("Azure takes no control characters");
        }
        if name.split('/').any(|segment| segment.ends_with('.')) {
            return Some("Azure takes no segment that ends with a dot");
        }
        (name.split('/').count() > MAX_SEGMENTS).then_some("Azure takes no more than 254 segments")
    }
}

const ENDPOINT: &str = "the endpoint must look like http://host:port or https://host, without a user";

fn is_ip(host: &str) -> bool {
    host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>().is_ok()
}

fn is_loopback(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::azure::Credentials;

    fn address(endpoint: Option<&str>, keys: KeyRules) -> Address {
        let mut options = AzureOptions::new("acct", "c", Credentials::Anonymous);
        options.endpoint = endpoint.map(ToOwned::to_owned);
        options.keys = keys;
        "p/".clone_into(&mut options.prefix);
        Address::new(&options).unwrap()
    }

    fn uri(address: &Address, key: &str) -> String {
        let name = address.name(&Key::try_from(key).unwrap()).unwrap();
        address.uri(Some(&name), "").unwrap().to_string()
    }

    #[test]
    fn the_account_is_in_the_host_or_in_the_path() {
        assert_eq!(uri(&address(None, KeyRules::Azure), "k"), "https://acct.blob.core.windows.net/c/p/k");
        let emulator = address(Some("http://127.0.0.1:10000/"), KeyRules::Azure);
        assert_eq!(uri(&emulator, "k"), "http://127.0.0.1:10000/acct/c/p/k");
        assert_eq!(emulator.uri(None, "comp=list").unwrap(), "http://127.0.0.1:10000/acct/c?comp=list");
        let other = address(Some("https://acct.blob.core.chinacloudapi.cn"), KeyRules::Azure);
        assert_eq!(uri(&other, "k"), "https://acct.blob.core.chinacloudapi.cn/c/p/k");
        assert_eq!(uri(&address(Some("http://h:1/x"), KeyRules::Azure), "k"), "http://h:1/x/c/p/k");
    }

    #[test]
    fn credentials_are_not_sent_in_the_clear() {
        let mut options = AzureOptions::new("acct", "c", Credentials::Token("hush".into()));
        for (endpoint, fine) in [("http://h", false), ("https://h", true), ("http://127.0.0.1:1", true)] {
            options.endpoint = Some(endpoint.to_owned());
            assert_eq!(Address::new(&options).is_ok(), fine, "{endpoint}");
        }
    }

    #[test]
    fn odd_keys_are_addressed_as_they_are_or_refused() {
        let azure = address(None, KeyRules::Azure);
        for (key, path) in
            [("a//b", "a//b"), ("/lead", "/lead"), ("dir/", "dir/"), ("a +é", "a%20%2B%C3%A9"), (".a", ".a")]
        {
            assert!(uri(&azure, key).ends_with(&format!("/c/p/{path}")), "{key}");
        }
        for odd in ["..", "a/../c", "a.", "a./b", "back\\slash", "new\nline", "\u{7f}"] {
            let key = Key::try_from(odd).unwrap();
            assert!(azure.name(&key).is_err(), "{odd}");
            assert!(address(None, KeyRules::Exact).name(&key).is_ok(), "{odd}");
        }
        assert!(azure.name(&Key::try_from("a/".repeat(254).as_str()).unwrap()).is_err());
        assert!(azure.name(&Key::new(b"\xFF".to_vec()).unwrap()).is_err());
    }
}
