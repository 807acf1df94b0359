//! Heads and reads, bound to an identity.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};
use http::Method;

use super::AzureStore;
use super::client::Call;
use super::headers;
use crate::attributes::{AttributeKind, AttributeSet};
use crate::entry::Object;
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::MAX_ANSWER_BYTES;
use crate::store::transport::{Answer, ranged, tags};
use crate::store::{Body, ReadRequest, Reading};

impl AzureStore {
    pub(super) async fn head_object(&self, key: &Key, wanted: AttributeSet) -> Result<Object> {
        self.head_with_state(key, wanted).await.map(|(object, _)| object)
    }

    /// The object, and how the copy stands that made it, if one did.
    pub(super) async fn head_with_state(&self, key: &Key, wanted: AttributeSet) -> Result<(Object, Option<String>)> {
        let call = Call::object(Method::HEAD, "look at", key, self.client.blob_name(key)?);
        let answer = self.client.call(&call, Body::empty()).await?;
        let size = answer.header("content-length").and_then(|size| size.parse().ok());
        let size = size.ok_or_else(|| self.client.nonsense(&call, "it tells no size"))?;
        let mut object = headers::object(key.clone(), size, &answer.headers);
        self.add_tags(&mut object, wanted, &answer).await?;
        Ok((object, answer.header("x-ms-copy-status").map(ToOwned::to_owned)))
    }

    /// Adds the tags, if they are wanted and the answer tells of any.
    async fn add_tags(&self, object: &mut Object, wanted: AttributeSet, answer: &Answer) -> Result<()> {
        if !wanted.has(AttributeKind::Tags) || !self.keeps_tags() {
            return Ok(());
        }
        let count = answer.header("x-ms-tag-count").and_then(|count| count.parse::<u32>().ok());
        // Who may not read tags is not told of any.
        if count.unwrap_or(0) > 0 {
            object.attributes.tags = self.tags(&object.entry.key).await?;
        }
        object.known = object.known.or(AttributeSet::of(&[AttributeKind::Tags]));
        Ok(())
    }

    async fn tags(&self, key: &Key) -> Result<BTreeMap<String, String>> {
        let call = Call::object(Method::GET, "read the tags of", key, self.client.blob_name(key)?).with("comp", "tags");
        let document = self.client.fetch(&call, MAX_ANSWER_BYTES).await?;
        tags::read(&document, "Tags").map_err(|reason| self.client.nonsense(&call, reason))
    }

    pub(super) async fn read_range(&self, request: &ReadRequest) -> Result<Reading> {
        let (key, identity) = (&request.key, &request.identity);
        let mut call = Call::object(Method::GET, "read", key, self.client.blob_name(key)?);
        if let Some(etag) = &identity.etag {
            call.set("if-match", &format!("\"{}\"", etag.as_str()))?;
        }
        if let Some(range) = ranged::range_header(request.range, identity.size) {
            call.set("range", &range)?;
        }
        let answer = match self.client.call(&call, Body::empty()).await {
            // Azurite says of what is not there, too, that a condition does not hold.
            Err(changed @ StoreError::Changed { .. }) => {
                return Err(self.head_object(key, AttributeSet::NONE).await.map_or_else(|error| error, |_| changed));
            }
            answer => answer?,
        };
        let size = ranged::size_told(self.client.name(), &answer, request)?;
        let mut object = headers::object(key.clone(), size, &answer.headers);
        ranged::check_identity(key, identity, &object)?;
        self.add_tags(&mut object, request.wanted, &answer).await?;
        let bytes = match request.range.len {
            0 => stream::empty().boxed(),
            len => answer.into_stream(len, self.client.name().to_owned(), call.action()),
        };
        Ok(Reading { object, bytes })
    }
}
