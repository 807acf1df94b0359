//! Whole writes, and what all requests that make an object have in common: attributes, checksums, conditions.

use http::Method;

use super::S3Store;
use super::client::Call;
use super::headers;
use crate::attributes::{AttributeKind, AttributeSet};
use crate::checksum::{Algorithm, Checksum, Checksums};
use crate::entry::Kind;
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::MAX_ANSWER_BYTES;
use crate::store::gcs::dialect as google;
use crate::store::transport::words::NonAscii;
use crate::store::{Body, Condition, PutRequest, Stored};

impl S3Store {
    pub(super) async fn put_object(&self, request: &PutRequest, body: Body) -> Result<Stored> {
        if body.len() != request.size {
            let reason = format!("it has {} bytes where {} were announced", body.len(), request.size);
            return Err(StoreError::invalid(format!("the body of {}", request.key), reason));
        }
        let mut call = self.make_object(Method::PUT, "write", request).await?;
        self.set_tags(&mut call, request)?;
        if let Some(sum) = best_of(&request.checksums, &self.capabilities.verifies) {
            send_checksum(&mut call, sum)?;
        }
        self.set_condition(&mut call, &request.condition)?;
        let answer = self.client.call(&call, body).await.map_err(|error| condition_failed(request, error))?;
        let mut stored = headers::stored_by(&answer.headers);
        if self.drops_metadata_of(&request.key) && !request.attributes.user.is_empty() {
            stored.left_out = AttributeSet::of(&[AttributeKind::UserMetadata]);
        }
        self.client.collect(&call, answer, MAX_ANSWER_BYTES).await?;
        Ok(Stored {
            left_out: stored.left_out.or(headers::left_out(&request.attributes, self.client.dialect())),
            ..stored
        })
    }

    /// A request that makes an object with its attributes but for tags.
    pub(super) async fn make_object<'a>(
        &self,
        method: Method,
        verb: &'static str,
        request: &'a PutRequest,
    ) -> Result<Call<'a>> {
        if let Kind::Symlink { .. } = request.kind {
            return Err(StoreError::unsupported(self.client.name(), "hold symbolic links"));
        }
        let full = self.client.new_key(&request.key).await?;
        if request.size > 0 && request.key.is_directory_name() && self.client.keeps_paths().await? {
            let reason = "this server keeps a directory of that name and drops the bytes";
            return Err(StoreError::unholdable(self.client.name(), &request.key, reason));
        }
        let mut call = Call::object(method, verb, &request.key, full);
        headers::write_attributes(&mut call, &request.attributes, self.non_ascii(), self.client.dialect())?;
        self.set_grants(&mut call, &request.attributes).await?;
        Ok(call)
    }

    /// Whether the server makes a directory of it, without metadata.
    pub(super) fn drops_metadata_of(&self, key: &Key) -> bool {
        key.is_directory_name() && self.client.is_known_to_keep_paths() == Some(true)
    }

    /// Adds the tags.
    pub(super) fn set_tags(&self, call: &mut Call<'_>, request: &PutRequest) -> Result<()> {
        if !self.keeps_tags() || request.attributes.tags.is_empty() {
            return Ok(());
        }
        call.set("x-amz-tagging", &headers::tagging(&request.attributes))
    }

    fn non_ascii(&self) -> NonAscii {
        let encoded = self.client.address().is_amazon() || self.client.is_google();
        if encoded { NonAscii::Encoded } else { NonAscii::Raw }
    }

    /// Adds what must be there.
    pub(super) fn set_condition(&self, call: &mut Call<'_>, condition: &Condition) -> Result<()> {
        let unsupported = |what: &str| StoreError::unsupported(self.client.name(), what);
        match condition {
            Condition::Always => Ok(()),
            _ if !self.capabilities.conditional => Err(unsupported("write on a condition")),
            _ if self.client.is_google() => google::set_condition(call, condition),
            Condition::Absent => call.set("if-none-match", "*"),
            Condition::Is(identity) => {
                let etag = identity.etag.as_ref().ok_or_else(|| unsupported("write on a condition without an ETag"))?;
                // radosgw compares the value with its quotes; the others take it without them too.
                let amazon = self.client.address().is_amazon();
                call.set("if-match", &if amazon { format!("\"{}\"", etag.as_str()) } else { etag.as_str().to_owned() })
            }
        }
    }

    /// A key of an object that may be here: one that cannot be is missing.
    pub(super) async fn full_key_of_source(&self, key: &Key) -> Result<super::address::FullKey> {
        match self.client.full_key(key).await {
            Err(StoreError::Unholdable { .. }) => Err(StoreError::missing(self.client.name(), key)),
            other => other,
        }
    }
}

/// The first of these algorithms of which a whole checksum is known.
pub(super) fn best_of(sums: &Checksums, algorithms: &[Algorithm]) -> Option<Checksum> {
    algorithms.iter().find_map(|algorithm| sums.whole(*algorithm))
}

/// Adds a checksum that the server verifies.
pub(super) fn send_checksum(call: &mut Call<'_>, sum: Checksum) -> Result<()> {
    if let Some(word) = headers::word(sum.algorithm()) {
        call.set("x-amz-sdk-checksum-algorithm", word)?;
    }
    let name = headers::name(sum.algorithm());
    name.map_or(Ok(()), |name| call.set(name, &headers::base64_of(sum)))
}

/// A condition on an object that is gone does not hold.
pub(super) fn condition_failed(request: &PutRequest, error: StoreError) -> StoreError {
    match (&request.condition, error) {
        (Condition::Is(_), StoreError::Missing { .. }) => StoreError::changed(&request.key, "it is no longer there"),
        (_, error) => error,
    }
}
