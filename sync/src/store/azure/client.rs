//! The way of every request: addressed, signed, sent once, and its refusal turned into an error.

use std::time::SystemTime;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderValue, Method};

use super::address::{Address, BlobName};
use super::credentials::{Keys, Proof};
use super::options::AzureOptions;
use super::refusal::{code_of, of_code};
use super::sign;
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::store::Body;
use crate::store::transport::refusal::{Asked, Refusal};
use crate::store::transport::{Answer, Transport, time};
use crate::timestamp::Timestamp;

/// A request to a container.
pub(super) type Call<'a> = crate::store::transport::Call<'a, BlobName>;

/// A container that can be asked.
#[derive(Debug)]
pub(super) struct Client {
    name: String,
    address: Address,
    keys: Keys,
    version: HeaderValue,
    transport: Transport,
}

impl Client {
    pub(super) fn new(options: &AzureOptions) -> Result<Self> {
        let version = HeaderValue::from_str(&options.version);
        Ok(Self {
            name: options.to_string(),
            address: Address::new(options)?,
            keys: Keys::open(options)?,
            version: version.map_err(|_| StoreError::invalid("the setting api_version", "it is a date"))?,
            transport: Transport::new()?,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Where the other container is for a server-side copy: an address with what proves that it may be read. None if
    /// it is of another account, or if whoever asks here may not ask there in one and the same request.
    pub(super) fn source_uri(&self, other: &Self, name: &BlobName) -> Result<Option<String>> {
        if !self.reaches(other) {
            return Ok(None);
        }
        let query = if let Keys::Fixed(Proof::Sas(query)) = &other.keys { query.as_ref() } else { "" };
        other.address.uri(Some(name), query).map(|uri| Some(uri.to_string()))
    }

    /// Whether a server-side copy from the other one is possible. Tokens prove nothing of the source of a copy.
    pub(super) fn reaches(&self, other: &Self) -> bool {
        let provable = |keys: &Keys| matches!(keys, Keys::Fixed(Proof::Key(_) | Proof::Sas(_)));
        self.address.is_beside(&other.address) && provable(&self.keys) && provable(&other.keys)
    }

    /// The name of an object that is to be written.
    pub(super) fn new_name(&self, key: &Key) -> Result<BlobName> {
        self.address.name(key).map_err(|reason| StoreError::unholdable(&self.name, key, reason))
    }

    /// The name of an object that may be here: one that cannot be is missing.
    pub(super) fn blob_name(&self, key: &Key) -> Result<BlobName> {
        self.address.name(key).map_err(|_| StoreError::missing(&self.name, key))
    }

    /// Sends a request; a refusal is an error.
    pub(super) async fn call(&self, call: &Call<'_>, body: Body) -> Result<Answer> {
        let proof = self.keys.get(&self.name).await?;
        let request = self.request(call, &body, &proof)?;
        let answer = self.transport.send(request, body, call.patience).await;
        let answer = answer.map_err(|failure| failure.into_error(&self.name, &call.action()))?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let code = answer.header("x-ms-error-code").map(ToOwned::to_owned);
        let mut refusal = Refusal::of(answer, now()).await;
        refusal.code = code_of(code.unwrap_or(refusal.code), &refusal.message);
        Err(self.error(call, refusal))
    }

    /// Sends a request without a body and collects its answer.
    pub(super) async fn fetch(&self, call: &Call<'_>, limit: usize) -> Result<bytes::Bytes> {
        self.collect(call, self.call(call, Body::empty()).await?, limit).await
    }

    /// The whole body of an answer.
    pub(super) async fn collect(&self, call: &Call<'_>, answer: Answer, limit: usize) -> Result<bytes::Bytes> {
        answer.collect(limit).await.map_err(|failure| failure.into_error(&self.name, &call.action()))
    }

    fn request(&self, call: &Call<'_>, body: &Body, proof: &Proof) -> Result<http::Request<()>> {
        let mut query = call.query();
        if let Proof::Sas(signature) = proof {
            query = if query.is_empty() { signature.to_string() } else { format!("{query}&{signature}") };
        }
        let uri = self.address.uri(call.key.as_ref().map(|(_, name)| name), &query)?;
        let mut headers = call.headers.clone();
        headers.insert(HOST, header(self.address.host())?);
        headers.insert("x-ms-version", self.version.clone());
        headers.insert("x-ms-date", header(&time::to_http(now()))?);
        if call.method == Method::PUT {
            headers.insert(CONTENT_LENGTH, body.len().into());
        }
        self.prove(&mut headers, &call.method, &uri, proof)?;
        let mut request = http::Request::new(());
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (call.method.clone(), uri, headers);
        Ok(request)
    }

    fn prove(&self, headers: &mut HeaderMap, method: &Method, uri: &http::Uri, proof: &Proof) -> Result<()> {
        let value = match proof {
            Proof::None | Proof::Sas(_) => return Ok(()),
            Proof::Key(key) => sign::authorization(self.address.account(), key, method, uri, headers),
            Proof::Token(token) => format!("Bearer {token}"),
        };
        let mut value = header(&value)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        Ok(())
    }

    /// A refusal as an error.
    fn error(&self, call: &Call<'_>, refusal: Refusal) -> StoreError {
        let (action, key) = (call.action(), call.key.as_ref().map(|(key, _)| *key));
        let bucket = self.address.container();
        let store = &self.name;
        refusal.into_error(Asked { store, action: &action, key, bucket, bucket_word: "container", codes: of_code })
    }

    /// An answer that cannot be right.
    pub(super) fn nonsense(&self, call: &Call<'_>, reason: impl Into<String>) -> StoreError {
        StoreError::corrupt(&self.name, &format!("the answer to {}", call.action()), reason)
    }
}

fn header(value: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(value).map_err(|_| StoreError::invalid("a credential or host", "no HTTP header can hold it"))
}

fn now() -> Timestamp {
    SystemTime::now().into()
}
