//! Attributes, checksums and identities as headers, both ways.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderMap;

use super::client::Call;
use super::names;
use crate::attributes::{AttributeKind, AttributeSet, Attributes, ContentHeaders};
use crate::checksum::{Algorithm, Checksum, Checksums};
use crate::entry::{ETag, Entry, Object};
use crate::error::Result;
use crate::key::Key;
use crate::store::transport::words::{self, NonAscii};
use crate::store::transport::{encode, text, time};

const USER_PREFIX: &str = "x-ms-meta-";
/// The name in requests, that in answers, and the field.
const CONTENT: &[(&str, &str, ContentField)] = &[
    ("x-ms-blob-content-type", "content-type", |content| &mut content.content_type),
    ("x-ms-blob-content-encoding", "content-encoding", |content| &mut content.content_encoding),
    ("x-ms-blob-content-language", "content-language", |content| &mut content.content_language),
    ("x-ms-blob-content-disposition", "content-disposition", |content| &mut content.content_disposition),
    ("x-ms-blob-cache-control", "cache-control", |content| &mut content.cache_control),
];
type ContentField = fn(&mut ContentHeaders) -> &mut Option<String>;

/// What the headers of every answer about an object tell.
pub(super) const IN_HEADERS: AttributeSet =
    AttributeSet::of(&[AttributeKind::ContentHeaders, AttributeKind::UserMetadata, AttributeKind::StorageClass]);

/// The access tiers of block blobs.
const TIERS: [&str; 4] = ["Hot", "Cool", "Cold", "Archive"];
/// The class of other stores that is no choice, and so is not missed.
const USUAL_CLASS: &str = "STANDARD";
const MAX_TAGS: usize = 10;

/// Puts everything that Azure holds beside bytes into a request, tags if the account keeps them; what cannot be held.
pub(super) fn write_attributes(call: &mut Call<'_>, attributes: &Attributes, tags: bool) -> Result<AttributeSet> {
    let mut left_out = Vec::new();
    write_content(call, &attributes.content)?;
    if attributes.content.expires.is_some() {
        left_out.push(AttributeKind::ContentHeaders);
    }
    write_user(call, attributes)?;
    match &attributes.storage_class {
        Some(class) if is_tier(class) => call.set("x-ms-access-tier", class)?,
        Some(class) if class != USUAL_CLASS => left_out.push(AttributeKind::StorageClass),
        _ => {}
    }
    if tags {
        let (tagging, all) = tagging(attributes);
        if !tagging.is_empty() {
            call.set("x-ms-tags", &tagging)?;
        }
        if !all {
            left_out.push(AttributeKind::Tags);
        }
    }
    Ok(AttributeSet::of(&left_out))
}

/// Puts the content headers into a request; each that is not there is cleared.
pub(super) fn write_content(call: &mut Call<'_>, content: &ContentHeaders) -> Result<()> {
    let mut content = content.clone();
    for (name, _, field) in CONTENT {
        if let Some(value) = field(&mut content) {
            call.set(name, value)?;
        }
    }
    Ok(())
}

/// The names of content headers in requests.
pub(super) fn content_names() -> impl Iterator<Item = &'static str> {
    CONTENT.iter().map(|(name, _, _)| *name)
}

/// Gives the MD5 that an object is kept with again, where it would be cleared.
pub(super) fn keep_md5(call: &mut Call<'_>, sums: &Checksums) -> Result<()> {
    let md5 = sums.whole(Algorithm::Md5);
    md5.map_or(Ok(()), |md5| call.set("x-ms-blob-content-md5", &BASE64.encode(md5.to_bytes())))
}

/// Puts the user's metadata into a request.
pub(super) fn write_user(call: &mut Call<'_>, attributes: &Attributes) -> Result<()> {
    for (name, value) in &attributes.user {
        call.set(&format!("{USER_PREFIX}{}", names::identifier(name)), &words::encode(value, NonAscii::Encoded))?;
    }
    Ok(())
}

/// Whether the class is one of Azure's.
pub(super) fn is_tier(class: &str) -> bool {
    TIERS.iter().any(|tier| tier.eq_ignore_ascii_case(class))
}

/// The tags that Azure takes.
pub(super) fn possible_tags(attributes: &Attributes) -> impl Iterator<Item = (&String, &String)> {
    let plain = |text: &str| text.chars().all(|it| it.is_ascii_alphanumeric() || " +-./:=_".contains(it));
    let fits = move |(name, value): &(&String, &String)| {
        plain(name) && plain(value) && (1..=128).contains(&name.len()) && value.len() <= 256
    };
    attributes.tags.iter().filter(fits).take(MAX_TAGS)
}

/// Tags as a header has them, and whether these are all.
fn tagging(attributes: &Attributes) -> (String, bool) {
    let pairs = possible_tags(attributes)
        .map(|(name, value)| format!("{}={}", encode::query(name), encode::query(value)))
        .collect::<Vec<_>>();
    (pairs.join("&"), pairs.len() == attributes.tags.len())
}

/// The object that an answer's headers tell of; its size is not there, because that of a range is another.
pub(super) fn object(key: Key, size: u64, headers: &HeaderMap) -> Object {
    let mut entry = Entry::object(key, size);
    entry.modified = text(headers, "last-modified").and_then(time::from_http);
    entry.etag = etag(headers);
    entry.checksums = stored_md5(headers).into_iter().collect();
    let mut attributes = Attributes::default();
    for (_, name, field) in CONTENT {
        *field(&mut attributes.content) = text(headers, name).filter(|value| !value.is_empty()).map(ToOwned::to_owned);
    }
    for (name, value) in headers {
        let name = name.as_str().strip_prefix(USER_PREFIX);
        if let (Some(name), Ok(value)) = (name, std::str::from_utf8(value.as_bytes())) {
            attributes.user.insert(names::from_identifier(name), words::decode(value).into_owned());
        }
    }
    // A tier that follows from the account's is nobody's choice.
    let chosen = text(headers, "x-ms-access-tier-inferred") != Some("true");
    let tier = text(headers, "x-ms-access-tier").filter(|_| chosen);
    attributes.storage_class = tier.map(ToOwned::to_owned);
    entry.storage_class = tier.map(Into::into);
    Object { entry, attributes, known: IN_HEADERS }
}

/// The tag of an object.
pub(super) fn etag(headers: &HeaderMap) -> Option<ETag> {
    text(headers, "etag").filter(|etag| !etag.is_empty()).map(ETag::new)
}

/// The MD5 that is kept with a block blob. That of other blobs is not kept up when they are written to.
fn stored_md5(headers: &HeaderMap) -> Option<Checksum> {
    let is_block = text(headers, "x-ms-blob-type").is_none_or(|kind| kind == "BlockBlob");
    let ranged = headers.contains_key("content-range");
    let name = if ranged { "x-ms-blob-content-md5" } else { "content-md5" };
    text(headers, name).filter(|_| is_block).and_then(parse_md5)
}

/// The checksums that the service computed of a body that it took.
pub(super) fn computed(headers: &HeaderMap) -> Checksums {
    let md5 = text(headers, "content-md5").and_then(parse_md5);
    let crc = text(headers, "x-ms-content-crc64").and_then(parse_crc64);
    md5.into_iter().chain(crc).collect()
}

/// An MD5 in base64.
pub(super) fn parse_md5(text: &str) -> Option<Checksum> {
    Checksum::from_bytes(Algorithm::Md5, &BASE64.decode(text.trim()).ok()?)
}

/// A CRC-64/NVME: Azure writes its lowest byte first.
fn parse_crc64(text: &str) -> Option<Checksum> {
    let bytes: [u8; 8] = BASE64.decode(text.trim()).ok()?.try_into().ok()?;
    Some(Checksum::Crc64Nvme(u64::from_le_bytes(bytes)))
}

/// Adds a checksum that the service verifies.
pub(super) fn send_checksum(call: &mut Call<'_>, sum: Checksum) -> Result<()> {
    match sum {
        Checksum::Crc64Nvme(value) => call.set("x-ms-content-crc64", &BASE64.encode(value.to_le_bytes())),
        Checksum::Md5(value) => call.set("content-md5", &BASE64.encode(value)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Method};

    use super::*;
    use crate::digest::checksum_of;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn checksums_are_those_of_the_service() {
        // What the service told of a blob of these bytes.
        let told = headers(&[("content-md5", "sQqNsWTgdUEFt6mb5y4/5Q=="), ("x-ms-content-crc64", "YeJLfssylmU=")]);
        let sums = computed(&told);
        for algorithm in [Algorithm::Md5, Algorithm::Crc64Nvme] {
            assert_eq!(sums.whole(algorithm), checksum_of(algorithm, b"Hello World"), "{algorithm}");
        }
        let mut call = Call::bucket(Method::PUT, "test");
        send_checksum(&mut call, checksum_of(Algorithm::Crc64Nvme, b"Hello World").unwrap()).unwrap();
        assert_eq!(call.headers["x-ms-content-crc64"], "YeJLfssylmU=");
        assert!(computed(&headers(&[("content-md5", "nonsense")])).is_empty());
    }

    #[test]
    fn what_azure_cannot_hold_is_left_out_and_told() {
        let mut attributes = Attributes { storage_class: Some("GLACIER".to_owned()), ..Attributes::default() };
        attributes.content.expires = Some("never".to_owned());
        attributes.tags.insert("fine: one".to_owned(), "a+b = c".to_owned());
        attributes.tags.insert("wrong@".to_owned(), "x".to_owned());
        let mut call = Call::bucket(Method::PUT, "test");
        let left_out = write_attributes(&mut call, &attributes, true).unwrap();
        let kinds = [AttributeKind::ContentHeaders, AttributeKind::Tags, AttributeKind::StorageClass];
        assert_eq!(left_out, AttributeSet::of(&kinds));
        assert_eq!(call.headers["x-ms-tags"], "fine%3A%20one=a%2Bb%20%3D%20c");
        assert!(!call.headers.contains_key("x-ms-access-tier"));
        let usual = Attributes { storage_class: Some(USUAL_CLASS.to_owned()), ..Attributes::default() };
        assert!(write_attributes(&mut call, &usual, true).unwrap().is_empty());
    }

    #[test]
    fn a_tier_that_nobody_chose_is_none() {
        let class = |pairs: &[(&'static str, &str)]| {
            object(Key::try_from("k").unwrap(), 0, &headers(pairs)).attributes.storage_class
        };
        assert_eq!(class(&[("x-ms-access-tier", "Cool")]).as_deref(), Some("Cool"));
        assert_eq!(class(&[("x-ms-access-tier", "Hot"), ("x-ms-access-tier-inferred", "true")]), None);
    }

    #[test]
    fn the_md5_of_a_range_is_none_of_the_object() {
        let sums =
            |pairs: &[(&'static str, &str)]| object(Key::try_from("k").unwrap(), 0, &headers(pairs)).entry.checksums;
        let md5 = ("content-md5", "sQqNsWTgdUEFt6mb5y4/5Q==");
        assert!(!sums(&[md5]).is_empty());
        assert!(sums(&[md5, ("content-range", "bytes 0-1/11")]).is_empty());
        assert!(sums(&[md5, ("x-ms-blob-type", "AppendBlob")]).is_empty());
    }
}
