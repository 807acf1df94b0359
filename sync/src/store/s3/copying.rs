//! What the server does by itself: copies, parts of copies, and other attributes for what is there.

use std::any::Any;

use http::Method;

use super::S3Store;
use super::client::Call;
use super::headers;
use super::writing::condition_failed;
use crate::attributes::{AttributeKind, AttributeSet, Attributes};
use crate::checksum::Algorithm;
use crate::entry::{Identity, Object};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::{MAX_ANSWER_BYTES, SERVER_WORK_TIMEOUT};
use crate::store::transport::tags;
use crate::store::{Body, CopyRequest, PutRequest, ReadRequest, Store, Stored, StoredPart, Upload};

/// What has to be done so that an object has these attributes.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Nothing,
    /// Only the tags, which have a request of their own.
    Tags,
    /// A copy onto itself.
    Everything,
}

impl S3Store {
    /// That store as one from which this one can copy.
    fn peer<'a>(&self, source: &'a dyn Store) -> Option<&'a Self> {
        let source = (source as &dyn Any).downcast_ref::<Self>()?;
        self.client.reaches(&source.client).then_some(source)
    }

    pub(super) fn can_copy_from(&self, source: &dyn Store) -> bool {
        self.peer(source).is_some()
    }

    fn must_reach<'a>(&self, source: &'a dyn Store) -> Result<&'a Self> {
        let reason = || format!("copy from {} server-side", source.name());
        self.peer(source).ok_or_else(|| StoreError::unsupported(self.client.name(), reason()))
    }

    pub(super) async fn copy_object(&self, source: &dyn Store, request: &CopyRequest) -> Result<Stored> {
        let source = self.must_reach(source)?;
        let target = &request.target;
        let mut call = self.make_object(Method::PUT, "copy to", target).await?.patient(SERVER_WORK_TIMEOUT);
        source.set_source(&mut call, &request.source, &request.identity).await?;
        call.set("x-amz-metadata-directive", "REPLACE")?;
        if self.keeps_tags() {
            call.set("x-amz-tagging-directive", "REPLACE")?;
        }
        if !self.tags_later(target) {
            self.set_tags(&mut call, target)?;
        }
        if let Some(word) = self.capabilities.verifies.first().copied().and_then(headers::word) {
            call.set("x-amz-checksum-algorithm", word)?;
        }
        self.set_condition(&mut call, &target.condition)?;
        let answer = self.client.call(&call, Body::empty()).await;
        let answer = answer.map_err(|error| of_source(&request.source, condition_failed(target, error)))?;
        let version = headers::stored_by(&answer.headers).version;
        let document = self.client.collect(&call, answer, MAX_ANSWER_BYTES).await?;
        let stored = self.stored_of(&call, &document, "CopyObjectResult", version)?;
        if self.tags_later(target) {
            self.put_tags(&target.key, &target.attributes).await?;
        }
        Ok(Stored { left_out: headers::left_out(&target.attributes, self.client.dialect()), ..stored })
    }

    pub(super) async fn copy_range(
        &self,
        source: &dyn Store,
        read: &ReadRequest,
        upload: &Upload,
        number: u32,
    ) -> Result<StoredPart> {
        let source = self.must_reach(source)?;
        let mut call = self.part_call(upload, number).await?.patient(SERVER_WORK_TIMEOUT);
        source.set_source(&mut call, &read.key, &read.identity).await?;
        let (first, last) = (read.range.offset, read.range.end().saturating_sub(1));
        call.set("x-amz-copy-source-range", &format!("bytes={first}-{last}"))?;
        let answer = self.client.call(&call, Body::empty()).await.map_err(|error| of_source(&read.key, error))?;
        let document = self.client.collect(&call, answer, MAX_ANSWER_BYTES).await?;
        let stored = self.stored_of(&call, &document, "CopyPartResult", None)?;
        let etag = stored.etag.ok_or_else(|| self.client.nonsense(&call, "it has no ETag"))?;
        Ok(StoredPart { number, size: read.range.len, etag, checksums: stored.checksums })
    }

    /// Names an object of this store as the source of a copy, in the state that it must be in. Without an ETag its
    /// time and size are compared before, which leaves a gap that S3 has no request to close.
    async fn set_source(&self, call: &mut Call<'_>, key: &Key, identity: &Identity) -> Result<()> {
        let full = self.full_key_of_source(key).await?;
        call.set("x-amz-copy-source", &self.client.address().copy_source(&full))?;
        if let Some(version) = identity.version.as_ref().filter(|_| self.client.is_google()) {
            return call.set("x-goog-copy-source-if-generation-match", version.as_str());
        }
        let etag = match &identity.etag {
            Some(etag) => etag.clone(),
            None => self.etag_of(key, identity).await?,
        };
        let etag = format!("\"{}\"", etag.as_str());
        if !self.client.address().is_amazon() {
            // radosgw knows the condition by this name alone and silently ignores the right one.
            call.set("x-amz-copy-if-match", &etag)?;
        }
        call.set("x-amz-copy-source-if-match", &etag)
    }

    async fn etag_of(&self, key: &Key, identity: &Identity) -> Result<crate::entry::ETag> {
        let object = self.head_object(key, AttributeSet::NONE).await?;
        let current = object.entry.identity();
        if !identity.may_be(&current) {
            return Err(StoreError::changed(key, "it was written since it was listed"));
        }
        current.etag.ok_or_else(|| StoreError::unsupported(self.client.name(), "copy an object without an ETag"))
    }

    pub(super) async fn change_attributes(
        &self,
        key: &Key,
        identity: &Identity,
        attributes: &Attributes,
    ) -> Result<Stored> {
        let wanted = self.capabilities.holds.without(AttributeSet::of(&[AttributeKind::Grants]));
        let object = self.head_object(key, wanted).await?;
        if !identity.may_be(&object.entry.identity()) {
            return Err(StoreError::changed(key, "it was written since it was listed"));
        }
        match change(&object, attributes, self.keeps_tags()) {
            Change::Nothing => Ok(as_it_is(&object)),
            Change::Tags => {
                self.put_tags(key, attributes).await?;
                Ok(as_it_is(&object))
            }
            Change::Everything => self.copy_onto_itself(object, attributes).await,
        }
    }

    async fn copy_onto_itself(&self, object: Object, attributes: &Attributes) -> Result<Stored> {
        let identity = object.entry.identity();
        let mut target = PutRequest { attributes: attributes.clone(), ..PutRequest::copy_of(&object) };
        // A class that is not named would become the standard one.
        let class = &mut target.attributes.storage_class;
        *class = class.take().or(object.attributes.storage_class);
        // So would what is granted to others be taken away.
        target.attributes.grants.append(&mut self.grants_if_told(&object.entry.key).await?);
        self.copy_object(self, &CopyRequest { source: object.entry.key, identity, target }).await
    }

    /// Whether an object that is no plain write gets its tags in a request of their own: radosgw spoils those of copies and of
    /// uploads in parts, so that only Amazon's own servers are given them at once.
    pub(super) fn tags_later(&self, request: &PutRequest) -> bool {
        self.keeps_tags() && !request.attributes.tags.is_empty() && !self.client.address().is_amazon()
    }

    pub(super) async fn put_tags(&self, key: &Key, attributes: &Attributes) -> Result<()> {
        let full = self.client.full_key(key).await?;
        let mut document = "<Tagging xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">".to_owned();
        tags::write(&mut document, &attributes.tags);
        document.push_str("</Tagging>");
        let mut call = Call::object(Method::PUT, "tag", key, full).with("tagging", "");
        if let Some(md5) = crate::digest::checksum_of(Algorithm::Md5, document.as_bytes()) {
            call.set("content-md5", &headers::base64_of(md5))?;
        }
        let answer = self.client.call(&call, Body::Whole(document.into())).await?;
        self.client.collect(&call, answer, MAX_ANSWER_BYTES).await.map(drop)
    }

    pub(super) fn keeps_tags(&self) -> bool {
        self.capabilities.holds.has(AttributeKind::Tags)
    }
}

/// A condition on the source that does not hold is told of the source.
fn of_source(source: &Key, error: StoreError) -> StoreError {
    match error {
        StoreError::Changed { what, .. } => StoreError::Changed { key: source.clone(), what },
        error => error,
    }
}

/// What is told of an object that is as it is to be.
pub(super) fn as_it_is(object: &Object) -> Stored {
    let entry = &object.entry;
    let (etag, version, checksums) = (entry.etag.clone(), entry.version.clone(), entry.checksums.clone());
    Stored { etag, version, size: Some(entry.size), checksums, ..Stored::default() }
}

fn change(object: &Object, wanted: &Attributes, keeps_tags: bool) -> Change {
    let has = &object.attributes;
    let class = wanted.storage_class.is_none() || wanted.storage_class == has.storage_class;
    if has.content != wanted.content || has.user != wanted.user || !class {
        return Change::Everything;
    }
    if keeps_tags && has.tags != wanted.tags { Change::Tags } else { Change::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Entry;

    #[test]
    fn only_what_differs_is_changed() {
        let attributes = Attributes { storage_class: Some("STANDARD".to_owned()), ..Attributes::default() };
        let entry = Entry::object(Key::try_from("k").unwrap(), 1);
        let object = Object { entry, attributes, known: AttributeSet::all() };
        let mut wanted = Attributes::default();
        assert_eq!(change(&object, &wanted, true), Change::Nothing);
        wanted.tags.insert("a".into(), "b".into());
        assert_eq!(change(&object, &wanted, true), Change::Tags);
        assert_eq!(change(&object, &wanted, false), Change::Nothing);
        wanted.storage_class = Some("GLACIER".to_owned());
        assert_eq!(change(&object, &wanted, true), Change::Everything);
    }
}
