//! Whole writes, and what all requests that make an object have in common: attributes, checksums, conditions.

use http::Method;

use super::AzureStore;
use super::client::Call;
use super::headers;
use crate::attributes::{AttributeKind, AttributeSet};
use crate::checksum::{Algorithm, Checksum, Checksums};
use crate::entry::{ETag, Kind};
use crate::error::{Result, StoreError};
use crate::limits::MAX_ANSWER_BYTES;
use crate::store::{Body, Condition, PutRequest, Stored};

impl AzureStore {
    pub(super) async fn put_object(&self, request: &PutRequest, body: Body) -> Result<Stored> {
        if body.len() != request.size {
            let reason = format!("it has {} bytes where {} were announced", body.len(), request.size);
            return Err(StoreError::invalid(format!("the body of {}", request.key), reason));
        }
        let (mut call, left_out) = self.make_object("write", request)?;
        call.set("x-ms-blob-type", "BlockBlob")?;
        if let Some(sum) = best_of(&request.checksums, &self.capabilities.verifies) {
            headers::send_checksum(&mut call, sum)?;
        }
        self.set_condition(&mut call, &request.condition)?;
        let answer = self.client.call(&call, body).await.map_err(|error| condition_failed(request, error))?;
        let (etag, checksums) = (headers::etag(&answer.headers), headers::computed(&answer.headers));
        self.client.collect(&call, answer, MAX_ANSWER_BYTES).await?;
        Ok(Stored { etag, checksums, left_out, ..Stored::default() })
    }

    /// A request that makes an object with its attributes, and which of them cannot be held.
    pub(super) fn make_object<'a>(
        &self,
        verb: &'static str,
        request: &'a PutRequest,
    ) -> Result<(Call<'a>, AttributeSet)> {
        if let Kind::Symlink { .. } = request.kind {
            return Err(StoreError::unsupported(self.client.name(), "hold symbolic links"));
        }
        let mut call = Call::object(Method::PUT, verb, &request.key, self.client.new_name(&request.key)?);
        let left_out = headers::write_attributes(&mut call, &request.attributes, self.keeps_tags())?;
        Ok((call, left_out))
    }

    pub(super) fn keeps_tags(&self) -> bool {
        self.capabilities.holds.has(AttributeKind::Tags)
    }

    /// Adds what must be there.
    pub(super) fn set_condition(&self, call: &mut Call<'_>, condition: &Condition) -> Result<()> {
        match condition {
            Condition::Always => Ok(()),
            Condition::Absent => call.set("if-none-match", "*"),
            Condition::Is(identity) => {
                let unsupported =
                    || StoreError::unsupported(self.client.name(), "write on a condition without an ETag");
                set_match(call, identity.etag.as_ref().ok_or_else(unsupported)?)
            }
        }
    }
}

/// Adds the tag that the object must have.
pub(super) fn set_match(call: &mut Call<'_>, etag: &ETag) -> Result<()> {
    call.set("if-match", &format!("\"{}\"", etag.as_str()))
}

/// The first of these algorithms of which a whole checksum is known.
pub(super) fn best_of(sums: &Checksums, algorithms: &[Algorithm]) -> Option<Checksum> {
    algorithms.iter().find_map(|algorithm| sums.whole(*algorithm))
}

/// A condition on an object that is gone does not hold.
pub(super) fn condition_failed(request: &PutRequest, error: StoreError) -> StoreError {
    match (&request.condition, error) {
        (Condition::Is(_), StoreError::Missing { .. }) => StoreError::changed(&request.key, "it is no longer there"),
        (_, error) => error,
    }
}
