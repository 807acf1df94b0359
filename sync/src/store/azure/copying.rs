//! What the service does by itself: copies within an account, and other attributes for what is there.

use std::any::Any;
use std::time::Duration;

use http::Method;
use tokio::time::Instant;

use super::AzureStore;
use super::client::Call;
use super::headers;
use super::writing::{condition_failed, set_match};
use crate::attributes::{AttributeSet, Attributes};
use crate::entry::{ETag, Identity, Object};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::{MAX_ANSWER_BYTES, SERVER_WORK_TIMEOUT};
use crate::store::transport::tags;
use crate::store::{Body, CopyRequest, Store, Stored};

/// How often the service is asked whether a copy is done, which within an account it nearly always is at once.
const POLL: Duration = Duration::from_millis(500);

impl AzureStore {
    pub(super) fn can_copy_from(&self, source: &dyn Store) -> bool {
        let source = (source as &dyn Any).downcast_ref::<Self>();
        source.is_some_and(|source| self.client.reaches(&source.client))
    }

    pub(super) async fn copy_object(&self, source: &dyn Store, request: &CopyRequest) -> Result<Stored> {
        let target = &request.target;
        let (mut call, left_out) = self.make_object("copy to", target)?;
        // The request takes no content headers: those of the source come along, and are changed after.
        for name in headers::content_names() {
            call.headers.remove(name);
        }
        call.set("x-ms-copy-source", &self.source_address(source, &request.source)?)?;
        if let Some(etag) = &request.identity.etag {
            call.set("x-ms-source-if-match", &format!("\"{}\"", etag.as_str()))?;
        }
        self.set_condition(&mut call, &target.condition)?;
        let answer = self.client.call(&call.patient(SERVER_WORK_TIMEOUT), Body::empty()).await;
        let answer = answer.map_err(|error| of_source(request, condition_failed(target, error)))?;
        drop(answer);
        let object = self.copied(&target.key).await?;
        if object.entry.size != request.identity.size {
            return Err(StoreError::changed(&request.source, "it has another size than was listed"));
        }
        let etag = self.bring(&object, &target.attributes, Bring::AfterCopy).await?;
        let (size, checksums) = (Some(object.entry.size), object.entry.checksums);
        Ok(Stored { etag, size, checksums, left_out, ..Stored::default() })
    }

    fn source_address(&self, source: &dyn Store, key: &Key) -> Result<String> {
        let other = (source as &dyn Any).downcast_ref::<Self>();
        let address = match other {
            Some(other) => self.client.source_uri(&other.client, &other.client.blob_name(key)?)?,
            None => None,
        };
        let reason = || format!("copy from {} server-side", source.name());
        address.ok_or_else(|| StoreError::unsupported(self.client.name(), reason()))
    }

    /// The copy once it is whole.
    async fn copied(&self, key: &Key) -> Result<Object> {
        let begun = Instant::now();
        loop {
            let (object, state) = self.head_with_state(key, AttributeSet::NONE).await?;
            let failed = |reason: &str| StoreError::unavailable(self.client.name(), format!("copy to {key}"), reason);
            match state.as_deref() {
                Some("success") | None => return Ok(object),
                Some("pending") if begun.elapsed() < SERVER_WORK_TIMEOUT => tokio::time::sleep(POLL).await,
                Some("pending") => return Err(failed("it is not done yet")),
                Some(other) => return Err(failed(&format!("the copy ended as {other}"))),
            }
        }
    }

    pub(super) async fn change_attributes(
        &self,
        key: &Key,
        identity: &Identity,
        attributes: &Attributes,
    ) -> Result<Stored> {
        let object = self.head_object(key, self.capabilities.holds).await?;
        if !identity.may_be(&object.entry.identity()) {
            return Err(StoreError::changed(key, "it was written since it was listed"));
        }
        let etag = self.bring(&object, attributes, Bring::Everything).await?;
        let (size, checksums) = (Some(object.entry.size), object.entry.checksums);
        Ok(Stored { etag, size, checksums, ..Stored::default() })
    }

    /// Gives an object these attributes, each kind that differs in a request of its own; its tag after that.
    async fn bring(&self, object: &Object, wanted: &Attributes, what: Bring) -> Result<Option<ETag>> {
        let (key, has) = (&object.entry.key, &object.attributes);
        let mut etag = object.entry.etag.clone();
        let mut content = wanted.content.clone();
        content.expires = None;
        if has.content != content {
            let mut call = self.change(key, "properties")?;
            headers::write_content(&mut call, &content)?;
            // What is not given again is cleared.
            headers::keep_md5(&mut call, &object.entry.checksums)?;
            etag = self.changed(call, etag).await?;
        }
        if has.user != wanted.user {
            let mut call = self.change(key, "metadata")?;
            headers::write_user(&mut call, wanted)?;
            etag = self.changed(call, etag).await?;
        }
        if what == Bring::AfterCopy {
            return Ok(etag);
        }
        if self.keeps_tags() && has.tags != wanted.tags {
            let call = self.change(key, "tags")?;
            let answer = self.client.call(&call, Body::Whole(tag_document(wanted).into())).await?;
            self.client.collect(&call, answer, MAX_ANSWER_BYTES).await?;
        }
        let tier = wanted.storage_class.as_deref().filter(|tier| headers::is_tier(tier));
        if let Some(tier) = tier.filter(|tier| has.storage_class.as_deref() != Some(*tier)) {
            let call = self.change(key, "tier")?.header("x-ms-access-tier", tier)?;
            self.client.fetch(&call, MAX_ANSWER_BYTES).await?;
        }
        Ok(etag)
    }

    fn change<'a>(&self, key: &'a Key, what: &'static str) -> Result<Call<'a>> {
        let name = self.client.blob_name(key)?;
        Ok(Call::object(Method::PUT, "change the attributes of", key, name).with("comp", what))
    }

    /// Sends a change of what has this tag; the tag that it has then.
    async fn changed(&self, mut call: Call<'_>, etag: Option<ETag>) -> Result<Option<ETag>> {
        if let Some(etag) = &etag {
            set_match(&mut call, etag)?;
        }
        let answer = self.client.call(&call, Body::empty()).await?;
        let etag = headers::etag(&answer.headers).or(etag);
        self.client.collect(&call, answer, MAX_ANSWER_BYTES).await?;
        Ok(etag)
    }
}

/// What an object may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bring {
    Everything,
    /// Content headers, and metadata where that of the source came along.
    AfterCopy,
}

fn tag_document(attributes: &Attributes) -> String {
    let mut document = "<?xml version=\"1.0\" encoding=\"utf-8\"?><Tags>".to_owned();
    tags::write(&mut document, headers::possible_tags(attributes));
    document.push_str("</Tags>");
    document
}

/// A condition on the source that does not hold is told of the source.
fn of_source(request: &CopyRequest, error: StoreError) -> StoreError {
    let is_target = error.is_absence_of(&request.target.key);
    match error {
        StoreError::Changed { what, .. } => StoreError::Changed { key: request.source.clone(), what },
        StoreError::Missing { store, .. } if is_target => StoreError::missing(&store, &request.source),
        error => error,
    }
}
