//! Deletions: many keys in one request, each with an outcome of its own.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};
use http::{Method, StatusCode};

use super::S3Store;
use super::address::FullKey;
use super::client::Call;
use super::headers;
use crate::checksum::Algorithm;
use crate::digest::checksum_of;
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::{MAX_ANSWER_BYTES, SINGLE_DELETES};
use crate::store::Body;
use crate::store::transport::refusal::{Asked, Refusal};
use crate::store::transport::xml::{self, Records};

/// What is done with a key.
enum Way {
    /// Nothing: no such key can be here.
    Absent,
    /// A request of its own.
    Single(FullKey),
    /// A line of the common request.
    Batch(FullKey),
}

impl S3Store {
    pub(super) async fn delete_all(&self, keys: &[Key]) -> Result<Vec<Result<()>>> {
        let mut ways = Vec::with_capacity(keys.len());
        for key in keys {
            ways.push(self.way(key).await?);
        }
        let batch: Vec<&FullKey> =
            ways.iter().filter_map(|way| if let Way::Batch(full) = way { Some(full) } else { None }).collect();
        let mut answers = match batch.as_slice() {
            [] | [_] => BTreeMap::new(),
            many => self.delete_batch(many).await?,
        };
        let alone = batch.len() == 1;
        let outcomes = keys.iter().zip(&ways).map(|(key, way)| {
            let answer = if let Way::Batch(full) = way { answers.remove(full.as_str()) } else { None };
            async move {
                match way {
                    Way::Absent => Ok(()),
                    Way::Single(full) => self.delete_one(key, full).await,
                    Way::Batch(full) if alone => self.delete_one(key, full).await,
                    Way::Batch(_) => self.outcome(key, answer),
                }
            }
        });
        Ok(stream::iter(outcomes.collect::<Vec<_>>()).buffered(SINGLE_DELETES).collect().await)
    }

    async fn way(&self, key: &Key) -> Result<Way> {
        match self.client.full_key(key).await {
            Ok(full) if full.fits_xml() && !self.client.is_google() => Ok(Way::Batch(full)),
            Ok(full) => Ok(Way::Single(full)),
            Err(StoreError::Unholdable { .. }) => Ok(Way::Absent),
            Err(error) => Err(error),
        }
    }

    async fn delete_one(&self, key: &Key, full: &FullKey) -> Result<()> {
        let call = Call::object(Method::DELETE, "delete", key, full.clone());
        match self.client.fetch(&call, MAX_ANSWER_BYTES).await {
            // A bucket that is not there is no empty one.
            Err(error) if error.is_absence_of(key) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// The answer for each key that the server named.
    async fn delete_batch(&self, keys: &[&FullKey]) -> Result<BTreeMap<String, std::result::Result<(), Refusal>>> {
        let document = request(keys);
        let mut call = Call::bucket(Method::POST, "delete objects").with("delete", "");
        if let Some(md5) = checksum_of(Algorithm::Md5, document.as_bytes()) {
            call.set("content-md5", &headers::base64_of(md5))?;
        }
        let answer = self.client.call(&call, Body::Whole(document.into())).await?;
        let document = self.client.collect(&call, answer, MAX_ANSWER_BYTES).await?;
        answers(&document).map_err(|reason| self.client.nonsense(&call, reason))
    }

    /// A key that the server did not name may be there or not.
    fn outcome(&self, key: &Key, answer: Option<std::result::Result<(), Refusal>>) -> Result<()> {
        let action = format!("delete {key}");
        let asked = Asked { action: &action, key: Some(key), ..self.client.asked() };
        match answer {
            Some(Ok(())) => Ok(()),
            Some(Err(refusal)) if refusal.code == "NoSuchKey" => Ok(()),
            Some(Err(refusal)) => Err(refusal.into_error(asked)),
            None => Err(StoreError::unavailable(asked.store, action.as_str(), "the server did not tell of it")),
        }
    }
}

fn request(keys: &[&FullKey]) -> String {
    let mut document = "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">".to_owned();
    for key in keys {
        document.push_str("<Object>");
        xml::element(&mut document, "Key", key.as_str());
        document.push_str("</Object>");
    }
    document.push_str("<Quiet>false</Quiet></Delete>");
    document
}

fn answers(document: &[u8]) -> std::result::Result<BTreeMap<String, std::result::Result<(), Refusal>>, String> {
    let records = Records::read(document, "DeleteResult")?;
    let key = |record: &xml::Record<'_>| record.get("Key").map(ToOwned::to_owned).ok_or("an outcome has no key");
    let mut answers = BTreeMap::new();
    for record in records.of("Deleted") {
        answers.insert(key(record)?, Ok(()));
    }
    for record in records.of("Error") {
        let text = |name: &str| record.get(name).unwrap_or_default().to_owned();
        let (code, message) = (text("Code"), text("Message"));
        let refusal = Refusal { status: StatusCode::OK, code, message, retry_after: None, hint: None };
        answers.insert(key(record)?, Err(refusal));
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_answer() {
        let document = "<DeleteResult><Deleted><Key>a&amp;b</Key></Deleted><Error><Key>c</Key><Code>AccessDenied</Code>\
                        <Message>no</Message></Error></DeleteResult>";
        let answers = answers(document.as_bytes()).unwrap();
        assert_eq!(answers["a&b"], Ok(()));
        assert_eq!(answers["c"].as_ref().unwrap_err().code, "AccessDenied");
        assert!(super::answers(b"<DeleteResult><Deleted/></DeleteResult>").unwrap().is_empty());
        assert!(super::answers(b"<Error><Code>SlowDown</Code></Error>").is_err());
    }
}
