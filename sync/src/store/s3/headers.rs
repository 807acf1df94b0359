//! Attributes, checksums and identities as headers, both ways.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderMap;

use super::client::Call;
use super::options::Dialect;
use crate::attributes::{AttributeKind, AttributeSet, Attributes};
use crate::checksum::{Algorithm, Checksum, Checksums, Scope};
use crate::entry::{ETag, Entry, Object, VersionId};
use crate::error::Result;
use crate::key::Key;
use crate::store::Stored;
use crate::store::gcs::dialect as google;
use crate::store::transport::words::{self, NonAscii};
use crate::store::transport::{encode, text, time};

const USER_PREFIX: &str = "x-amz-meta-";
const CONTENT: &[(&str, ContentField)] = &[
    ("content-type", |content| &mut content.content_type),
    ("content-encoding", |content| &mut content.content_encoding),
    ("content-language", |content| &mut content.content_language),
    ("content-disposition", |content| &mut content.content_disposition),
    ("cache-control", |content| &mut content.cache_control),
    ("expires", |content| &mut content.expires),
];
type ContentField = fn(&mut crate::attributes::ContentHeaders) -> &mut Option<String>;

/// What the headers of every answer about an object tell.
pub(super) const IN_HEADERS: AttributeSet =
    AttributeSet::of(&[AttributeKind::ContentHeaders, AttributeKind::UserMetadata, AttributeKind::StorageClass]);

/// Puts the attributes that S3 holds into a request.
pub(super) fn write_attributes(
    call: &mut Call<'_>,
    attributes: &Attributes,
    non_ascii: NonAscii,
    dialect: Dialect,
) -> Result<()> {
    let mut content = attributes.content.clone();
    for (name, field) in CONTENT {
        if let Some(value) = field(&mut content) {
            call.set(name, value)?;
        }
    }
    for (name, value) in &attributes.user {
        call.set(&format!("{USER_PREFIX}{name}"), &words::encode(value, non_ascii))?;
    }
    if let Some(class) = attributes.storage_class.as_ref().filter(|class| !is_foreign(class, dialect)) {
        call.set("x-amz-storage-class", class)?;
    }
    Ok(())
}

/// What of the attributes that S3 holds in general it cannot hold of these.
pub(super) fn left_out(attributes: &Attributes, dialect: Dialect) -> AttributeSet {
    let foreign = attributes.storage_class.as_deref().is_some_and(|class| is_foreign(class, dialect));
    if foreign { AttributeSet::of(&[AttributeKind::StorageClass]) } else { AttributeSet::NONE }
}

/// Whether a class is another cloud's, which a request would be refused for. Servers have classes of their own, so that
/// all others are let through.
fn is_foreign(class: &str, dialect: Dialect) -> bool {
    if dialect == Dialect::Google {
        return !google::has_class(class);
    }
    let foreign = ["hot", "cool", "cold", "archive", "nearline", "coldline", "regional", "multi_regional"];
    foreign.iter().any(|foreign| foreign.eq_ignore_ascii_case(class))
}

/// Tags as a header has them.
pub(super) fn tagging(attributes: &Attributes) -> String {
    let pairs = attributes.tags.iter().map(|(name, value)| format!("{}={}", encode::query(name), encode::query(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// The object that an answer's headers tell of; its size is not there, because that of a range is another.
pub(super) fn object(key: Key, size: u64, headers: &HeaderMap, checksums: Checksums) -> Object {
    let mut entry = Entry::object(key, size);
    entry.modified = text(headers, "last-modified").and_then(time::from_http);
    entry.etag = etag(headers);
    entry.version = version(headers);
    entry.checksums = checksums;
    let mut attributes = Attributes::default();
    for (name, field) in CONTENT {
        *field(&mut attributes.content) = text(headers, name).map(ToOwned::to_owned);
    }
    attributes.content.content_encoding = attributes.content.content_encoding.and_then(|encoding| stored(&encoding));
    for (name, value) in headers {
        if let (Some(name), Ok(value)) =
            (name.as_str().strip_prefix(USER_PREFIX), std::str::from_utf8(value.as_bytes()))
        {
            attributes.user.insert(name.to_owned(), words::decode(value).into_owned());
        }
    }
    // The class that needs no name is not named.
    let class = text(headers, "x-amz-storage-class").unwrap_or("STANDARD");
    attributes.storage_class = Some(class.to_owned());
    entry.storage_class = Some(class.into());
    Object { entry, attributes, known: IN_HEADERS }
}

/// Without `aws-chunked`, which was a matter of the upload and which some servers keep.
fn stored(encoding: &str) -> Option<String> {
    let kept: Vec<_> =
        encoding.split(',').map(str::trim).filter(|word| !word.is_empty() && *word != "aws-chunked").collect();
    (!kept.is_empty()).then(|| kept.join(", "))
}

/// What an answer to a write tells.
pub(super) fn stored_by(headers: &HeaderMap) -> Stored {
    Stored { etag: etag(headers), version: version(headers), checksums: checksums(headers), ..Stored::default() }
}

fn etag(headers: &HeaderMap) -> Option<ETag> {
    text(headers, "etag").filter(|etag| !etag.is_empty()).map(ETag::new)
}

fn version(headers: &HeaderMap) -> Option<VersionId> {
    text(headers, "x-amz-version-id").filter(|version| *version != "null").map(VersionId::new)
}

/// The checksums of a whole object: those of the headers, and the ETag where it is an MD5.
pub(super) fn checksums(headers: &HeaderMap) -> Checksums {
    let composite = text(headers, "x-amz-checksum-type") == Some("COMPOSITE");
    let mut sums = Checksums::none();
    for algorithm in ALGORITHMS {
        let value = name(algorithm).and_then(|name| text(headers, name));
        if let Some((scope, sum)) = value.and_then(|value| parse_checksum(algorithm, value, composite)) {
            sums.add(scope, sum);
        }
    }
    // Google tells it beside the tag, which there is none in all cases.
    let told = text(headers, "x-goog-hash-md5").and_then(|value| parse_checksum(Algorithm::Md5, value, false));
    if let Some((scope, sum)) = told {
        sums.add(scope, sum);
    }
    if let Some((scope, sum)) = etag(headers).filter(|_| !is_encrypted(headers)).and_then(|etag| md5_of(&etag)) {
        sums.add(scope, sum);
    }
    sums
}

/// Whether the ETag is of encrypted bytes, and so no MD5 of the object's.
fn is_encrypted(headers: &HeaderMap) -> bool {
    let managed = text(headers, "x-amz-server-side-encryption").is_some_and(|kind| kind != "AES256");
    managed || headers.contains_key("x-amz-server-side-encryption-customer-algorithm")
}

/// The MD5 that an ETag is: of the bytes, or of the parts' MD5s with their number after it.
pub(super) fn md5_of(etag: &ETag) -> Option<(Scope, Checksum)> {
    let (hex, scope) = match etag.as_str().split_once('-') {
        None => (etag.as_str(), Scope::Whole),
        Some((hex, parts)) => (hex, Scope::Composite { parts: parts.parse().ok()? }),
    };
    if hex.len() != 32 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let bytes = u128::from_str_radix(hex, 16).ok()?.to_be_bytes();
    Some((scope, Checksum::Md5(bytes)))
}

const ALGORITHMS: [Algorithm; 4] = [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme, Algorithm::Sha256];

/// The header of a checksum; none if S3 has none for it.
pub(super) fn name(algorithm: Algorithm) -> Option<&'static str> {
    Some(match algorithm {
        Algorithm::Crc32 => "x-amz-checksum-crc32",
        Algorithm::Crc32c => "x-amz-checksum-crc32c",
        Algorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
        Algorithm::Sha256 => "x-amz-checksum-sha256",
        Algorithm::Md5 => "content-md5",
        Algorithm::Blake3 => return None,
    })
}

/// An algorithm's name in requests; none for those that objects are not stored with.
pub(super) fn word(algorithm: Algorithm) -> Option<&'static str> {
    Some(match algorithm {
        Algorithm::Crc32 => "CRC32",
        Algorithm::Crc32c => "CRC32C",
        Algorithm::Crc64Nvme => "CRC64NVME",
        Algorithm::Sha256 => "SHA256",
        Algorithm::Md5 | Algorithm::Blake3 => return None,
    })
}

/// The element of a checksum in documents, as in `ChecksumCRC32C`.
pub(super) fn of_element(name: &str) -> Option<Algorithm> {
    let name = name.strip_prefix("Checksum")?;
    ALGORITHMS.into_iter().find(|algorithm| word(*algorithm) == Some(name))
}

/// A checksum as headers and documents have it.
pub(super) fn base64_of(sum: Checksum) -> String {
    BASE64.encode(sum.to_bytes())
}

/// A checksum and its scope: composite ones have the number of parts after a hyphen.
pub(super) fn parse_checksum(algorithm: Algorithm, value: &str, composite: bool) -> Option<(Scope, Checksum)> {
    let (value, scope) = match value.split_once('-') {
        Some((value, parts)) => (value, Scope::Composite { parts: parts.parse().ok()? }),
        // Of how many parts is not told, so that it says nothing.
        None if composite => return None,
        None => (value, Scope::Whole),
    };
    Checksum::from_bytes(algorithm, &BASE64.decode(value).ok()?).map(|sum| (scope, sum))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    const MD5: &str = "\"5d41402abc4b2a76b9719d911017c592\"";

    #[test]
    fn an_etag_is_an_md5_unless_the_object_is_encrypted() {
        let md5 = |more: &[(&'static str, &str)]| {
            let pairs = [&[("etag", MD5)], more].concat();
            checksums(&headers(&pairs)).whole(Algorithm::Md5).is_some()
        };
        assert!(md5(&[]));
        assert!(md5(&[("x-amz-server-side-encryption", "AES256")]));
        assert!(!md5(&[("x-amz-server-side-encryption", "aws:kms")]));
        assert!(!md5(&[("x-amz-server-side-encryption-customer-algorithm", "AES256")]));
        let parts = md5_of(&ETag::new("5d41402abc4b2a76b9719d911017c592-3")).unwrap();
        assert_eq!(parts.0, Scope::Composite { parts: 3 });
        for odd in ["", "abc", "5d41402abc4b2a76b9719d911017c59", "5d41402abc4b2a76b9719d911017c592-x"] {
            assert_eq!(md5_of(&ETag::new(odd)), None, "{odd}");
        }
    }

    #[test]
    fn checksums_are_whole_or_composite() {
        let whole =
            checksums(&headers(&[("x-amz-checksum-crc32c", "4waSgw=="), ("x-amz-checksum-type", "FULL_OBJECT")]));
        assert_eq!(whole.whole(Algorithm::Crc32c), Some(Checksum::Crc32c(0xE306_9283)));
        let parts =
            checksums(&headers(&[("x-amz-checksum-crc32c", "4waSgw==-2"), ("x-amz-checksum-type", "COMPOSITE")]));
        assert_eq!(parts.get(Scope::Composite { parts: 2 }, Algorithm::Crc32c), Some(Checksum::Crc32c(0xE306_9283)));
        assert!(
            checksums(&headers(&[("x-amz-checksum-crc32c", "4waSgw=="), ("x-amz-checksum-type", "COMPOSITE")]))
                .is_empty()
        );
        assert!(checksums(&headers(&[("x-amz-checksum-crc32c", "nonsense")])).is_empty());
    }

    #[test]
    fn classes_of_other_clouds_are_left_out_and_told() {
        for (class, left) in [("Cool", true), ("NEARLINE", true), ("GLACIER", false), ("of-this-server", false)] {
            let attributes = Attributes { storage_class: Some(class.to_owned()), ..Attributes::default() };
            let mut call = Call::bucket(http::Method::PUT, "test");
            write_attributes(&mut call, &attributes, NonAscii::Raw, Dialect::Amazon).unwrap();
            assert_eq!(call.headers.contains_key("x-amz-storage-class"), !left, "{class}");
            assert_eq!(left_out(&attributes, Dialect::Amazon).has(AttributeKind::StorageClass), left, "{class}");
        }
    }

    #[test]
    fn attributes_are_read_from_headers() {
        let pairs = [
            ("content-type", "text/plain"),
            ("content-encoding", "aws-chunked,gzip"),
            ("x-amz-meta-a", "=?utf-8?q?caf=C3=A9_au?= =?UTF-8?B?IGxhaXQ=?="),
            ("x-amz-meta-b", "caf\u{e9}"),
            ("x-amz-version-id", "null"),
            ("last-modified", "Fri, 24 May 2013 00:00:00 GMT"),
        ];
        let object = object(Key::try_from("k").unwrap(), 3, &headers(&pairs), Checksums::none());
        assert_eq!(object.attributes.content.content_encoding.as_deref(), Some("gzip"));
        assert_eq!(object.attributes.user["a"], "café au lait");
        assert_eq!(object.attributes.user["b"], "café");
        assert_eq!(object.entry.version, None);
        assert_eq!(object.entry.modified.unwrap().seconds(), 1_369_353_600);
        assert_eq!(object.attributes.storage_class.as_deref(), Some("STANDARD"));
    }
}
