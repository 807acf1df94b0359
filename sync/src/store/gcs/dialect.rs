//! All in which Google's XML API differs from S3: names of headers, conditions, keys, and what it can do.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::attributes::{AttributeKind, AttributeSet};
use crate::checksum::Algorithm;
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::SINGLE_DELETES;
use crate::store::s3::Call;
use crate::store::{Capabilities, Condition, PartLimits, Seek};

const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Google's limits of objects in parts.
const PARTS: PartLimits =
    PartLimits { min_bytes: 5 << 20, max_bytes: 5 * GIB, max_count: 10_000, max_object_bytes: 5 * TIB, equal: false };

/// What the service can do.
pub(in crate::store) fn capabilities() -> Capabilities {
    use AttributeKind::{ContentHeaders, StorageClass, UserMetadata};
    Capabilities {
        writable: true,
        seek: Seek::Anywhere,
        max_put_bytes: 5 * TIB,
        parts: Some(PARTS),
        verifies: vec![Algorithm::Crc32c, Algorithm::Md5],
        reports: vec![Algorithm::Crc32c, Algorithm::Md5],
        holds: AttributeSet::of(&[ContentHeaders, UserMetadata, StorageClass]),
        user_metadata_bytes: 8 << 10,
        conditional: true,
        // There are no copies into parts, so that the service copies every size as a whole.
        max_copy_bytes: 5 * TIB,
        // Each is a request of its own.
        delete_batch: 8 * SINGLE_DELETES,
        ..Capabilities::read_only()
    }
}

/// Headers with other names, and those that are left out because Google has none for them.
const RENAMED: [(&str, &str); 5] = [
    ("x-amz-storage-class", "x-goog-storage-class"),
    ("x-amz-copy-source", "x-goog-copy-source"),
    ("x-amz-copy-source-if-match", "x-goog-copy-source-if-match"),
    ("x-amz-metadata-directive", "x-goog-metadata-directive"),
    ("x-amz-version-id", "x-goog-generation"),
];
const META: (&str, &str) = ("x-amz-meta-", "x-goog-meta-");
const CRC32C: &str = "x-amz-checksum-crc32c";
/// The MD5 of an answer, under a name that no server uses.
const MD5: &str = "x-goog-hash-md5";

/// Gives a request Google's headers.
pub(in crate::store) fn to_wire(headers: &mut HeaderMap) {
    let own: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("x-amz-")).cloned().collect();
    for name in own {
        let Some(value) = headers.remove(&name) else { continue };
        if let Some(name) = translated(name.as_str(), |(amazon, google)| (amazon, google)) {
            headers.insert(name, value);
        } else if name.as_str() == CRC32C
            && let Ok(hash) = HeaderValue::from_bytes(&[b"crc32c=", value.as_bytes()].concat())
        {
            headers.insert("x-goog-hash", hash);
        }
    }
}

/// Gives an answer S3's headers. An `ETag` is then no MD5: the hash beside it says what the MD5 is.
pub(in crate::store) fn from_wire(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("x-goog-")).cloned().collect();
    for name in names {
        let Some(name_here) = translated(name.as_str(), |(amazon, google)| (google, amazon)) else { continue };
        if let Some(value) = headers.remove(&name) {
            headers.insert(name_here, value);
        }
    }
    let hashes = headers.get_all("x-goog-hash").iter().filter_map(|value| value.to_str().ok());
    let hashes: Vec<String> = hashes.flat_map(|value| value.split(',')).map(|hash| hash.trim().to_owned()).collect();
    for hash in hashes {
        let named = [("crc32c=", CRC32C), ("md5=", MD5)];
        let found = named.iter().find_map(|(prefix, name)| Some((*name, hash.strip_prefix(prefix)?)));
        if let Some((name, value)) = found.and_then(|(name, hash)| Some((name, HeaderValue::from_str(hash).ok()?))) {
            headers.insert(name, value);
        }
    }
    headers.insert("x-amz-server-side-encryption", HeaderValue::from_static("google"));
}

/// The name on the other side, where the order says which side a name is of.
fn translated(
    name: &str,
    order: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> Option<HeaderName> {
    let (here, there) = order(META);
    if let Some(rest) = name.strip_prefix(here) {
        return HeaderName::try_from(format!("{there}{rest}")).ok();
    }
    let pair = RENAMED.into_iter().map(order).find(|(here, _)| *here == name);
    pair.map(|(_, there)| HeaderName::from_static(there))
}

/// Adds what must be there: states have numbers, and 0 is that of nothing.
pub(in crate::store) fn set_condition(call: &mut Call<'_>, condition: &Condition) -> Result<()> {
    let generation = match condition {
        Condition::Always => return Ok(()),
        Condition::Absent => "0",
        Condition::Is(identity) => {
            let unknown = || StoreError::invalid("a condition", "Google needs the generation that was listed");
            identity.version.as_ref().ok_or_else(unknown)?.as_str()
        }
    };
    call.set("x-goog-if-generation-match", generation)
}

/// Whether a storage class is one of Google's; a request with any other is refused.
pub(in crate::store) fn has_class(class: &str) -> bool {
    let known = ["STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE", "MULTI_REGIONAL", "REGIONAL"];
    known.iter().any(|known| known.eq_ignore_ascii_case(class))
}

/// Why Google has no such key, if it has none.
pub(in crate::store) fn refused(key: &Key) -> Option<&'static str> {
    let bytes = key.as_bytes();
    if bytes.contains(&b'\r') || bytes.contains(&b'\n') {
        return Some("Google takes no line breaks");
    }
    matches!(bytes, b"." | b"..").then_some("Google takes no objects of this name")
}

/// The value of the `Authorization` header.
pub(in crate::store) fn bearer(token: &str) -> Result<HeaderValue> {
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut value = value.map_err(|_| StoreError::invalid("a token", "no HTTP header can hold it"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Entry;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn requests_have_googles_headers_and_no_others() {
        let mut sent = headers(&[
            ("content-type", "text/plain"),
            ("x-amz-meta-a-b", "c"),
            ("x-amz-storage-class", "NEARLINE"),
            ("x-amz-checksum-crc32c", "4waSgw=="),
            ("x-amz-sdk-checksum-algorithm", "CRC32C"),
            ("x-amz-mp-object-size", "5"),
            ("x-goog-if-generation-match", "0"),
        ]);
        to_wire(&mut sent);
        let expected = headers(&[
            ("content-type", "text/plain"),
            ("x-goog-meta-a-b", "c"),
            ("x-goog-storage-class", "NEARLINE"),
            ("x-goog-hash", "crc32c=4waSgw=="),
            ("x-goog-if-generation-match", "0"),
        ]);
        assert_eq!(sent, expected);
    }

    #[test]
    fn answers_have_s3s_headers_and_an_etag_that_is_no_md5() {
        let mut told = headers(&[
            ("etag", "\"5d41402abc4b2a76b9719d911017c592\""),
            ("x-goog-generation", "17"),
            ("x-goog-meta-a", "b"),
        ]);
        told.append("x-goog-hash", HeaderValue::from_static("crc32c=mnG7TA=="));
        told.append("x-goog-hash", HeaderValue::from_static("md5=XUFAKrxLKna5cZ2REBfFkg=="));
        from_wire(&mut told);
        for (name, value) in
            [(CRC32C, "mnG7TA=="), (MD5, "XUFAKrxLKna5cZ2REBfFkg=="), ("x-amz-version-id", "17"), ("x-amz-meta-a", "b")]
        {
            assert_eq!(told[name], value, "{name}");
        }
        assert!(told.contains_key("x-amz-server-side-encryption"));
    }

    #[test]
    fn conditions_are_generations() {
        let sent = |condition: &Condition| {
            let mut call = Call::bucket(http::Method::PUT, "test");
            set_condition(&mut call, condition).map(|()| call.headers.get("x-goog-if-generation-match").cloned())
        };
        assert_eq!(sent(&Condition::Absent).unwrap().unwrap(), "0");
        assert_eq!(sent(&Condition::Always).unwrap(), None);
        let mut identity = Entry::object(Key::try_from("k").unwrap(), 1).identity();
        assert!(sent(&Condition::Is(identity.clone())).is_err());
        identity.version = Some(crate::entry::VersionId::new("17"));
        assert_eq!(sent(&Condition::Is(identity)).unwrap().unwrap(), "17");
    }
}
