//! Signatures of requests, version 4, with the path and query exactly as they are sent.
//!
//! It is here because object_store's signer parses the address anew and so signs `a/../c` as `c`.
//! Source: "Signature Calculations for the Authorization Header", Amazon S3 API reference.

use std::fmt::Write;

use aws_lc_rs::{digest, hmac};
use http::{HeaderMap, HeaderValue, Method, Uri};
use object_store::aws::AwsCredential;
use parking_lot::Mutex;

use crate::error::{Result, StoreError};
use crate::store::transport::time;
use crate::timestamp::Timestamp;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SCOPE_END: &str = "s3/aws4_request";

/// What a signature says of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Payload {
    /// Its SHA-256, in hexadecimal.
    Hash(String),
    /// Nothing.
    Unsigned,
}

/// Signs requests for one region.
#[derive(Debug)]
pub(super) struct Signer {
    region: String,
    /// The key of a day, which is the same for all its requests.
    day: Mutex<Option<DayKey>>,
}

#[derive(Debug, Clone)]
struct DayKey {
    day: String,
    key_id: String,
    key: hmac::Key,
}

impl Payload {
    /// The hash of these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self::Hash(hex(digest::digest(&digest::SHA256, bytes).as_ref()))
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Hash(hash) => hash,
            Self::Unsigned => "UNSIGNED-PAYLOAD",
        }
    }
}

impl Signer {
    pub(super) fn new(region: &str) -> Self {
        Self { region: region.to_owned(), day: Mutex::new(None) }
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// Adds the headers of the signature. All headers that are there already are signed; `host` must be among them.
    pub(super) fn sign(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &mut HeaderMap,
        payload: &Payload,
        keys: &AwsCredential,
        now: Timestamp,
    ) -> Result<()> {
        let date = time::to_basic(now);
        headers.insert("x-amz-date", header(&date)?);
        headers.insert("x-amz-content-sha256", header(payload.as_str())?);
        if let Some(token) = &keys.token {
            headers.insert("x-amz-security-token", header(token)?);
        }
        let (names, lines) = canonical_headers(headers);
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        let request = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{}", payload.as_str());
        let scope = format!("{}/{}/{SCOPE_END}", &date[..8], self.region);
        let request_hash = hex(digest::digest(&digest::SHA256, request.as_bytes()).as_ref());
        let to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{request_hash}");
        let signature = hex(hmac::sign(&self.day_key(&date[..8], keys), to_sign.as_bytes()).as_ref());
        let credential = format!("{}/{scope}", keys.key_id);
        let authorization = format!("{ALGORITHM} Credential={credential},SignedHeaders={names},Signature={signature}");
        headers.insert(http::header::AUTHORIZATION, header(&authorization)?);
        Ok(())
    }

    fn day_key(&self, day: &str, keys: &AwsCredential) -> hmac::Key {
        let mut cached = self.day.lock();
        if let Some(known) = cached.as_ref().filter(|known| known.day == day && known.key_id == keys.key_id) {
            return known.key.clone();
        }
        let first = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{}", keys.secret_key).as_bytes());
        let steps = [day, &self.region, "s3", "aws4_request"];
        let key = steps
            .iter()
            .fold(first, |key, step| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, step.as_bytes()).as_ref()));
        *cached = Some(DayKey { day: day.to_owned(), key_id: keys.key_id.clone(), key: key.clone() });
        key
    }
}

/// The names, joined, and a line for each, with the values' spaces folded as the signature wants them.
fn canonical_headers(headers: &HeaderMap) -> (String, String) {
    let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    let mut lines = String::with_capacity(256);
    for name in &names {
        let values = headers.get_all(*name).iter().map(|value| folded(value.as_bytes()));
        lines.push_str(name);
        lines.push(':');
        lines.push_str(&values.collect::<Vec<_>>().join(","));
        lines.push('\n');
    }
    (names.join(";"), lines)
}

fn folded(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.split([' ', '\t']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn header(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text)
        .map_err(|_| StoreError::invalid("the credentials", "they have characters no header has"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all that is written");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys and the time of the examples in Amazon's documentation.
    fn signature(method: &Method, path: &str, more: &[(&'static str, &str)], payload: &Payload) -> String {
        let keys = AwsCredential {
            key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            token: None,
        };
        let uri: Uri = format!("https://examplebucket.s3.amazonaws.com{path}").parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("examplebucket.s3.amazonaws.com"));
        for (name, value) in more {
            headers.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let now = time::from_http("Fri, 24 May 2013 00:00:00 GMT").unwrap();
        Signer::new("us-east-1").sign(method, &uri, &mut headers, payload, &keys, now).unwrap();
        headers["authorization"].to_str().unwrap().rsplit('=').next().unwrap().to_owned()
    }

    #[test]
    fn the_documented_examples_come_out() {
        let empty = Payload::of(b"");
        assert_eq!(
            signature(&Method::GET, "/test.txt", &[("range", "bytes=0-9")], &empty),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let put = [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
        assert_eq!(
            signature(&Method::PUT, "/test%24file.text", &put, &Payload::of(b"Welcome to Amazon S3.")),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
        assert_eq!(
            signature(&Method::GET, "/?lifecycle=", &[], &empty),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        assert_eq!(
            signature(&Method::GET, "/?max-keys=2&prefix=J", &[], &empty),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    #[test]
    fn odd_paths_are_signed_as_they_are() {
        let sign = |path: &str| signature(&Method::GET, path, &[], &Payload::Unsigned);
        assert_ne!(sign("/a/../c"), sign("/c"));
        assert_ne!(sign("/a//b"), sign("/a/b"));
        assert_ne!(sign("/./d"), sign("/d"));
    }

    #[test]
    fn spaces_in_headers_are_folded() {
        let one = signature(&Method::GET, "/", &[("x-amz-meta-a", "a b")], &Payload::Unsigned);
        assert_eq!(one, signature(&Method::GET, "/", &[("x-amz-meta-a", " a   b ")], &Payload::Unsigned));
    }
}
