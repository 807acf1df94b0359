//! Heads and reads, bound to an identity.

use futures::stream::{self, StreamExt};
use http::{Method, StatusCode};

use super::S3Store;
use super::client::Call;
use super::{headers, xml};
use crate::attributes::{AttributeKind, AttributeSet};
use crate::checksum::Checksums;
use crate::entry::{Identity, Object};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::MAX_ANSWER_BYTES;
use crate::store::transport::Answer;
use crate::store::{Body, ReadRequest, Reading};

const CHECKSUM_MODE: &str = "x-amz-checksum-mode";

impl S3Store {
    pub(super) async fn head_object(&self, key: &Key, wanted: AttributeSet) -> Result<Object> {
        let full = self.full_key_of_source(key).await?;
        let call = Call::object(Method::HEAD, "look at", key, full).header(CHECKSUM_MODE, "ENABLED")?;
        let answer = self.client.call(&call, Body::empty()).await?;
        let size = answer.header("content-length").and_then(|size| size.parse().ok());
        let size = size.ok_or_else(|| self.client.nonsense(&call, "it tells no size"))?;
        let mut object = headers::object(key.clone(), size, &answer.headers, headers::checksums(&answer.headers));
        if wanted.has(AttributeKind::Tags) && self.capabilities.holds.has(AttributeKind::Tags) {
            object.attributes.tags = self.tags(key).await?;
            object.known = object.known.or(AttributeSet::of(&[AttributeKind::Tags]));
        }
        Ok(object)
    }

    async fn tags(&self, key: &Key) -> Result<std::collections::BTreeMap<String, String>> {
        let full = self.full_key_of_source(key).await?;
        let call = Call::object(Method::GET, "read the tags of", key, full).with("tagging", "");
        let document = self.client.fetch(&call, MAX_ANSWER_BYTES).await?;
        let (mut tags, mut name) = (std::collections::BTreeMap::new(), None::<String>);
        let read = xml::leaves(&document, "Tagging", |_, element, text| {
            match (element, &name) {
                ("Key", _) => name = Some(text.to_owned()),
                ("Value", Some(name)) => drop(tags.insert(name.clone(), text.to_owned())),
                _ => {}
            }
            Ok(())
        });
        read.map_err(|reason| self.client.nonsense(&call, reason))?;
        Ok(tags)
    }

    pub(super) async fn read_range(&self, request: &ReadRequest) -> Result<Reading> {
        let (key, identity, range) = (&request.key, &request.identity, request.range);
        let whole = range.offset == 0 && range.len == identity.size;
        let full = self.full_key_of_source(key).await?;
        let mut call = Call::object(Method::GET, "read", key, full);
        if let Some(etag) = &identity.etag {
            call.set("if-match", &format!("\"{}\"", etag.as_str()))?;
        }
        if whole {
            call.set(CHECKSUM_MODE, "ENABLED")?;
        } else if range.len > 0 {
            call.set("range", &format!("bytes={}-{}", range.offset, range.end() - 1))?;
        }
        let answer = self.client.call(&call, Body::empty()).await?;
        let size = self.size_told(&call, &answer, request)?;
        let sums = if whole { headers::checksums(&answer.headers) } else { Checksums::none() };
        let object = headers::object(key.clone(), size, &answer.headers, sums);
        check_identity(key, identity, &object)?;
        let bytes = match range.len {
            0 => stream::empty().boxed(),
            len => answer.into_stream(len, self.client.name().to_owned(), call.action()),
        };
        Ok(Reading { object, bytes })
    }

    /// The size of the whole object, by an answer that has exactly the range.
    fn size_told(&self, call: &Call<'_>, answer: &Answer, request: &ReadRequest) -> Result<u64> {
        let told = match answer.status {
            StatusCode::PARTIAL_CONTENT => answer.header("content-range").and_then(parse_content_range),
            _ => answer.header("content-length").and_then(|size| size.parse().ok()).map(|size| (0, size, size)),
        };
        let (offset, len, size) = told.ok_or_else(|| self.client.nonsense(call, "it does not tell what it has"))?;
        let (wanted, known) = (request.range, request.identity.size);
        if size != known {
            return Err(StoreError::changed(&request.key, format!("it has {size} bytes and no longer {known}")));
        }
        if wanted.len > 0 && (offset, len) != (wanted.offset, wanted.len) {
            let reason = format!("it has {len} bytes from {offset} in place of {} from {}", wanted.len, wanted.offset);
            return Err(self.client.nonsense(call, reason));
        }
        Ok(size)
    }
}

/// An ETag was a condition of the request; what else is known is compared here.
fn check_identity(key: &Key, identity: &Identity, object: &Object) -> Result<()> {
    if identity.may_be(&object.entry.identity()) {
        return Ok(());
    }
    Err(StoreError::changed(key, "it was written since it was listed"))
}

/// `bytes 0-9/100` as (offset, length, size).
fn parse_content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (first <= last && last < size).then(|| (first, last - first + 1, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_they_are_told() {
        assert_eq!(parse_content_range("bytes 10-19/100"), Some((10, 10, 100)));
        for wrong in ["bytes 10-9/100", "bytes 0-100/100", "bytes 0-9/*", "bytes */100", "0-9/100", ""] {
            assert_eq!(parse_content_range(wrong), None, "{wrong}");
        }
    }
}
