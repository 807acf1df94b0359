//! Heads and reads, bound to an identity.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};
use http::Method;

use super::S3Store;
use super::client::Call;
use super::headers;
use crate::attributes::{AttributeKind, AttributeSet};
use crate::checksum::Checksums;
use crate::entry::Object;
use crate::error::Result;
use crate::key::Key;
use crate::limits::MAX_ANSWER_BYTES;
use crate::store::transport::{Answer, ranged, tags};
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
        if self.drops_metadata_of(key) {
            object.known = object.known.without(AttributeSet::of(&[AttributeKind::UserMetadata]));
        }
        self.add_tags(&mut object, wanted, &answer).await?;
        self.add_grants(&mut object, wanted).await?;
        Ok(object)
    }

    /// Adds the tags, if they are wanted. They are asked for unless the answer tells that there are none.
    async fn add_tags(&self, object: &mut Object, wanted: AttributeSet, answer: &Answer) -> Result<()> {
        if !wanted.has(AttributeKind::Tags) || !self.capabilities.holds.has(AttributeKind::Tags) {
            return Ok(());
        }
        let none = self.client.counts_tags() && answer.header("x-amz-tagging-count").is_none_or(|count| count == "0");
        if !none {
            object.attributes.tags = self.tags(&object.entry.key).await?;
        }
        object.known = object.known.or(AttributeSet::of(&[AttributeKind::Tags]));
        Ok(())
    }

    /// Adds what was granted to others, if it is wanted: no other answer tells it.
    async fn add_grants(&self, object: &mut Object, wanted: AttributeSet) -> Result<()> {
        if wanted.has(AttributeKind::Grants) && self.capabilities.holds.has(AttributeKind::Grants) {
            object.attributes.grants = self.grants(&object.entry.key).await?;
            object.known = object.known.or(AttributeSet::of(&[AttributeKind::Grants]));
        }
        Ok(())
    }

    async fn tags(&self, key: &Key) -> Result<BTreeMap<String, String>> {
        let full = self.full_key_of_source(key).await?;
        let call = Call::object(Method::GET, "read the tags of", key, full).with("tagging", "");
        let document = self.client.fetch(&call, MAX_ANSWER_BYTES).await?;
        // What radosgw says of an object whose tags it spoilt.
        if document.is_empty() {
            return Ok(BTreeMap::new());
        }
        tags::read(&document, "Tagging").map_err(|reason| self.client.nonsense(&call, reason))
    }

    pub(super) async fn read_range(&self, request: &ReadRequest) -> Result<Reading> {
        let (key, identity, range) = (&request.key, &request.identity, request.range);
        let whole = range.offset == 0 && range.len == identity.size;
        let full = self.full_key_of_source(key).await?;
        let mut call = Call::object(Method::GET, "read", key, full);
        if let Some(etag) = &identity.etag {
            call.set("if-match", &format!("\"{}\"", etag.as_str()))?;
        }
        if let Some(version) = identity.version.as_ref().filter(|_| self.client.is_google()) {
            call.set("x-goog-if-generation-match", version.as_str())?;
        }
        if whole {
            call.set(CHECKSUM_MODE, "ENABLED")?;
        }
        if let Some(range) = ranged::range_header(range, identity.size) {
            call.set("range", &range)?;
        }
        let answer = self.client.call(&call, Body::empty()).await?;
        let size = ranged::size_told(self.client.name(), &answer, request)?;
        let sums = if whole { headers::checksums(&answer.headers) } else { Checksums::none() };
        let mut object = headers::object(key.clone(), size, &answer.headers, sums);
        ranged::check_identity(key, identity, &object)?;
        self.add_tags(&mut object, request.wanted, &answer).await?;
        self.add_grants(&mut object, request.wanted).await?;
        let bytes = match range.len {
            0 => stream::empty().boxed(),
            len => answer.into_stream(len, self.client.name().to_owned(), call.action()),
        };
        Ok(Reading { object, bytes })
    }
}
