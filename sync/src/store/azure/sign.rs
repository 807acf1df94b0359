//! Signatures with the account's key, over the path exactly as it is sent.
//!
//! Source: "Authorize with Shared Key", Azure Storage REST API reference.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, Method, Uri};

use crate::store::transport::{encode, text};

/// The headers whose values are signed by their place, without their names.
const BY_PLACE: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// The value of the `Authorization` header.
pub(super) fn authorization(account: &str, key: &hmac::Key, method: &Method, uri: &Uri, headers: &HeaderMap) -> String {
    let signature = hmac::sign(key, to_sign(account, method, uri, headers).as_bytes());
    format!("SharedKey {account}:{}", BASE64.encode(signature))
}

fn to_sign(account: &str, method: &Method, uri: &Uri, headers: &HeaderMap) -> String {
    let mut signed = method.to_string();
    for name in BY_PLACE {
        signed.push('\n');
        let value = text(headers, name).unwrap_or_default();
        if (name, value) != ("content-length", "0") {
            signed.push_str(value);
        }
    }
    let mut own: Vec<_> =
        headers.keys().map(http::HeaderName::as_str).filter(|name| name.starts_with("x-ms-")).collect();
    own.sort_by_key(|name| order(name));
    for name in own {
        add(&mut signed, name, text(headers, name).unwrap_or_default().trim());
    }
    signed.extend(["\n/", account, uri.path()]);
    let mut parameters: Vec<_> = uri.query().unwrap_or_default().split('&').filter_map(parameter).collect();
    parameters.sort_unstable();
    for (name, value) in parameters {
        add(&mut signed, &name, &value);
    }
    signed
}

fn add(signed: &mut String, name: &str, value: &str) {
    signed.extend(["\n", name, ":", value]);
}

/// The service sorts headers as words, not as bytes: hyphens do not count, and an underscore comes before digits.
fn order(name: &str) -> (Vec<u8>, &str) {
    let weights = name.bytes().filter(|byte| *byte != b'-').map(|byte| if byte == b'_' { 1 } else { byte });
    (weights.collect(), name)
}

fn parameter(pair: &str) -> Option<(String, String)> {
    let (name, value) = pair.split_once('=')?;
    let decoded = |text: &str| String::from_utf8(encode::decode_path(text)?.into_owned()).ok();
    Some((decoded(name)?.to_ascii_lowercase(), decoded(value)?))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn what_is_signed_is_what_is_sent() {
        let uri: Uri = "https://a.blob.core.windows.net/c/a/../%C3%A9?restype=container&comp=list&prefix=x%2Fy%2B"
            .parse()
            .unwrap();
        let headers: HeaderMap = [
            ("x-ms-version", "2026-02-06"),
            ("x-ms-date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-ms-meta-a1", "two"),
            ("x-ms-meta-a_", " one "),
            ("x-ms-blob-type", "BlockBlob"),
            ("content-length", "0"),
            ("if-match", "\"e\""),
            ("host", "h"),
        ]
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
        let expected = "PUT\n\n\n\n\n\n\n\n\"e\"\n\n\n\nx-ms-blob-type:BlockBlob\n\
                        x-ms-date:Fri, 24 May 2013 00:00:00 GMT\nx-ms-meta-a_:one\nx-ms-meta-a1:two\n\
                        x-ms-version:2026-02-06\n/a/c/a/../%C3%A9\ncomp:list\nprefix:x/y+\nrestype:container";
        assert_eq!(to_sign("a", &Method::PUT, &uri, &headers), expected);
    }
}
