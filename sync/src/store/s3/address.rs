//! Where a bucket and its keys are on the wire. Owns the way from a key to a request's address, byte for byte.

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

use super::options::{Addressing, S3Options};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::MAX_KEY_BYTES;
use crate::store::transport::encode;

/// A bucket's place at a server, and the prefix of the store in it.
#[derive(Debug, Clone)]
pub(super) struct Address {
    scheme: Scheme,
    /// The host that is asked, with the bucket's name where that is written there.
    authority: Authority,
    /// What precedes keys in paths: `/` or `/bucket/`.
    base: String,
    bucket: String,
    prefix: String,
    /// The server without the bucket: equal for two buckets of one server.
    server: String,
    amazon: bool,
}

/// A key as the bucket knows it, the prefix before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct FullKey(String);

/// Why a key cannot be sent.
pub(super) type Unsendable = &'static str;

impl Address {
    pub(super) fn new(options: &S3Options) -> Result<Self> {
        let wrong = |reason: &str| StoreError::invalid(options.to_string(), reason);
        check_bucket(&options.bucket).map_err(wrong)?;
        let amazon = options.endpoint.is_none();
        let endpoint =
            options.endpoint.clone().unwrap_or_else(|| format!("https://s3.{}.amazonaws.com", options.region));
        let endpoint: Uri = endpoint.parse().map_err(|_| wrong(ENDPOINT))?;
        let parts = endpoint.into_parts();
        let (Some(scheme), Some(server)) = (parts.scheme, parts.authority) else { return Err(wrong(ENDPOINT)) };
        let path = parts.path_and_query.as_ref().map_or("", PathAndQuery::as_str).trim_end_matches('/');
        if server.as_str().contains('@') || path.contains('?') {
            return Err(wrong(ENDPOINT));
        }
        let hosted = match options.addressing {
            Addressing::VirtualHosted => true,
            Addressing::Path => false,
            Addressing::Auto => amazon && !options.bucket.contains('.'),
        };
        let (host, base) = if hosted {
            (format!("{}.{server}", options.bucket), format!("{path}/"))
        } else {
            (server.to_string(), format!("{path}/{}/", options.bucket))
        };
        let authority = host.parse().map_err(|_| wrong(ENDPOINT))?;
        let server = format!("{scheme}://{server}{path}");
        let (bucket, prefix) = (options.bucket.clone(), options.prefix.clone());
        Ok(Self { scheme, authority, base, bucket, prefix, server, amazon })
    }

    /// Whether it is Amazon's own server.
    pub(super) fn is_amazon(&self) -> bool {
        self.amazon
    }

    /// Whether nobody can change what is on its way.
    pub(super) fn is_encrypted(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Whether both buckets are at one server.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        self.server == other.server
    }

    /// The host, as the header has it.
    pub(super) fn host(&self) -> &str {
        let default = if self.is_encrypted() { ":443" } else { ":80" };
        self.authority.as_str().strip_suffix(default).unwrap_or(self.authority.as_str())
    }

    /// What each key of the store begins with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The bucket's name.
    pub(super) fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The key in the bucket. S3 takes UTF-8 of at most 1,024 bytes.
    pub(super) fn full_key(&self, key: &Key) -> std::result::Result<FullKey, Unsendable> {
        let text = std::str::from_utf8(key.as_bytes()).map_err(|_| "S3 takes keys in UTF-8 only")?;
        if self.prefix.len() + text.len() > MAX_KEY_BYTES {
            return Err("with the prefix it has more than 1,024 bytes");
        }
        Ok(FullKey(format!("{}{text}", self.prefix)))
    }

    /// The store's key of a key in the bucket: none if it is the prefix itself, an error if it is outside.
    pub(super) fn key(&self, full: &[u8]) -> std::result::Result<Option<Key>, String> {
        let rest = full.strip_prefix(self.prefix.as_bytes());
        let rest = rest.ok_or_else(|| format!("{} is outside the prefix", crate::key::escaped(full)))?;
        if rest.is_empty() {
            return Ok(None);
        }
        Key::new(bytes::Bytes::copy_from_slice(rest)).map(Some).map_err(|error| error.to_string())
    }

    /// The address of a key or of the bucket, with a query that is encoded already.
    pub(super) fn uri(&self, key: Option<&FullKey>, query: &str) -> Result<Uri> {
        let mut path = key.map_or_else(|| self.base.clone(), |key| format!("{}{}", self.base, encode::path(&key.0)));
        if key.is_none() && path.len() > 1 {
            path.pop();
        }
        if !query.is_empty() {
            path = format!("{path}?{query}");
        }
        let path: PathAndQuery =
            path.parse().map_err(|error| StoreError::bug(format!("the address {path}: {error}")))?;
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(path);
        uri.build().map_err(|error| StoreError::bug(format!("an address: {error}")))
    }

    /// The key as the source of a copy.
    pub(super) fn copy_source(&self, key: &FullKey) -> String {
        format!("/{}/{}", self.bucket, encode::path(&key.0))
    }
}

impl FullKey {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a store of paths would keep it as another one, or not at all: an empty segment but for one slash at
    /// the end, a `.` or `..` segment, a backslash, a zero byte.
    pub(super) fn is_no_path(&self) -> bool {
        let segments = self.0.strip_suffix('/').unwrap_or(&self.0);
        segments.split('/').any(|segment| matches!(segment, "" | "." | "..")) || self.0.contains(['\\', '\0'])
    }

    /// Whether XML 1.0 carries it safely: no control characters, which parsers change or refuse.
    pub(super) fn fits_xml(&self) -> bool {
        !self.0.chars().any(|character| character.is_control() || matches!(character, '\u{FFFE}' | '\u{FFFF}'))
    }
}

const ENDPOINT: &str = "the endpoint must look like http://host:port or https://host, without a user";

fn check_bucket(bucket: &str) -> std::result::Result<(), &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if bucket.is_empty() || matches!(bucket, "." | "..") || !bucket.bytes().all(plain) {
        return Err("a bucket's name has letters, digits, `-`, `.` and `_`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(endpoint: Option<&str>, prefix: &str) -> Address {
        let mut options = S3Options::new("bucket");
        options.endpoint = endpoint.map(ToOwned::to_owned);
        prefix.clone_into(&mut options.prefix);
        Address::new(&options).unwrap()
    }

    fn uri(address: &Address, key: &str) -> String {
        let key = address.full_key(&Key::try_from(key).unwrap()).unwrap();
        address.uri(Some(&key), "").unwrap().to_string()
    }

    #[test]
    fn the_bucket_is_in_the_path_or_in_the_host() {
        assert_eq!(uri(&address(None, ""), "k"), "https://bucket.s3.us-east-1.amazonaws.com/k");
        let own = address(Some("http://127.0.0.1:8333/s3/"), "p/");
        assert_eq!(uri(&own, "k"), "http://127.0.0.1:8333/s3/bucket/p/k");
        assert_eq!(own.uri(None, "delete=").unwrap(), "http://127.0.0.1:8333/s3/bucket?delete=");
        assert_eq!(address(Some("http://h:80"), "").host(), "h");
        let mut options = S3Options::new("bu.cket");
        assert!(Address::new(&options).unwrap().uri(None, "").unwrap().to_string().ends_with("com/bu.cket"));
        options.endpoint = Some("http://user@h".into());
        assert!(Address::new(&options).is_err());
    }

    #[test]
    fn odd_keys_are_addressed_as_they_are() {
        let own = address(Some("http://h"), "");
        for (key, path) in
            [("a/../c", "a/../c"), ("/lead", "/lead"), ("a//b", "a//b"), (".", "."), ("\u{1}\n", "%01%0A")]
        {
            assert_eq!(uri(&own, key), format!("http://h/bucket/{path}"));
        }
        assert_eq!(uri(&address(None, ""), "/lead").split("com").last(), Some("//lead"));
    }

    #[test]
    fn keys_that_are_no_paths_are_told() {
        let no_path = |key: &str| FullKey(key.to_owned()).is_no_path();
        for odd in ["a//b", "/a", "a//", "./a", "a/..", "..", "back\\slash", "nul\0"] {
            assert!(no_path(odd), "{odd}");
        }
        for fine in ["a", "a/", "a/b.c", "...", "a/.b/", "sp ace"] {
            assert!(!no_path(fine), "{fine}");
        }
    }

    proptest! {
        #[test]
        fn every_key_comes_back_from_its_address(text in "[\\PC\\x00-\\x20./\\\\%+]{1,40}", prefix in "[a./]{0,4}") {
            let address = address(Some("http://h"), &prefix);
            let key = Key::try_from(text.as_str()).unwrap();
            let uri = address.uri(Some(&address.full_key(&key).unwrap()), "").unwrap();
            let path = uri.path().strip_prefix("/bucket/").unwrap();
            // A plus is encoded, so that decoding as a form is exact.
            let full = encode::decode(path).unwrap();
            prop_assert_eq!(address.key(&full).unwrap(), Some(key));
        }

        #[test]
        fn bytes_that_are_no_text_are_refused(bytes in prop::collection::vec(any::<u8>(), 1..40)) {
            let key = Key::new(bytes.clone()).unwrap();
            let sendable = address(None, "").full_key(&key).is_ok();
            prop_assert_eq!(sendable, std::str::from_utf8(&bytes).is_ok());
        }
    }
}
