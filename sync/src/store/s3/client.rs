//! The way of every request: addressed, signed, sent once, and its refusal turned into an error.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use http::header::{CONTENT_LENGTH, HOST, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use object_store::aws::AwsCredential;

use super::address::{Address, FullKey};
use super::credentials::Keys;
use super::encode;
use super::options::{KeyRules, S3Options, SignBodies};
use super::refusal::{Asked, Refusal};
use super::sign::{Payload, Signer};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::{MAX_ANSWER_BYTES, STALL_TIMEOUT};
use crate::store::Body;
use crate::store::transport::{Answer, Transport, retry_after};
use crate::timestamp::Timestamp;

/// A bucket that can be asked.
#[derive(Debug)]
pub(super) struct Client {
    name: String,
    address: Address,
    keys: Keys,
    signer: Signer,
    transport: Transport,
    sign_bodies: SignBodies,
    request_payer: bool,
    rules: KeyRules,
    /// Whether the server keeps paths rather than keys, as its first answer told.
    keeps_paths: OnceLock<bool>,
}

/// A request.
#[derive(Debug)]
pub(super) struct Call<'a> {
    method: Method,
    verb: &'static str,
    key: Option<(&'a Key, FullKey)>,
    query: Vec<(&'static str, String)>,
    headers: HeaderMap,
    patience: Duration,
}

impl<'a> Call<'a> {
    /// A request about the bucket; the verb is for messages.
    pub(super) fn bucket(method: Method, verb: &'static str) -> Self {
        let (query, headers) = (Vec::new(), HeaderMap::new());
        Self { method, verb, key: None, query, headers, patience: STALL_TIMEOUT }
    }

    /// A request about an object.
    pub(super) fn object(method: Method, verb: &'static str, key: &'a Key, full: FullKey) -> Self {
        Self { key: Some((key, full)), ..Self::bucket(method, verb) }
    }

    /// With a parameter.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// With a header; what no header can hold is an error.
    pub(super) fn header(mut self, name: &str, value: &str) -> Result<Self> {
        self.set(name, value)?;
        Ok(self)
    }

    /// Sets a header; what no header can hold is an error.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let wrong = || StoreError::invalid(format!("{name}: {value:?}"), "no HTTP header can hold it");
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| wrong())?;
        self.headers.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?, value);
        Ok(())
    }

    /// With a longer wait for the answer.
    pub(super) fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// What it does, for messages.
    pub(super) fn action(&self) -> String {
        self.key.as_ref().map_or_else(|| self.verb.to_owned(), |(key, _)| format!("{} {key}", self.verb))
    }

    /// The parameters in the order and encoding of signatures.
    fn query(&self) -> String {
        let mut pairs: Vec<_> = self
            .query
            .iter()
            .map(|(name, value)| format!("{}={}", encode::query(name), encode::query(value)))
            .collect();
        pairs.sort_unstable();
        pairs.join("&")
    }
}

impl Client {
    pub(super) fn new(options: &S3Options) -> Result<Self> {
        Ok(Self {
            name: options.to_string(),
            address: Address::new(options)?,
            keys: Keys::open(options)?,
            signer: Signer::new(&options.region),
            transport: Transport::new()?,
            sign_bodies: options.sign_bodies,
            request_payer: options.request_payer,
            rules: options.keys,
            keeps_paths: OnceLock::new(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn region(&self) -> &str {
        self.signer.region()
    }

    /// Whether a server-side copy from the other one is possible: one server, one who asks.
    pub(super) fn reaches(&self, other: &Self) -> bool {
        self.address.is_beside(&other.address) && self.keys.same_as(&other.keys)
    }

    /// The key of an object that is to be written; an error if this server would not keep it as it is.
    pub(super) async fn new_key(&self, key: &Key) -> Result<FullKey> {
        if key.as_bytes().contains(&0) {
            return Err(StoreError::unholdable(&self.name, key, "servers refuse or cut keys with a zero byte"));
        }
        self.full_key(key).await
    }

    /// The key as it is sent; an error if this server knows only other ones.
    pub(super) async fn full_key(&self, key: &Key) -> Result<FullKey> {
        let unholdable = |reason| StoreError::unholdable(&self.name, key, reason);
        let full = self.address.full_key(key).map_err(unholdable)?;
        if full.is_no_path() && self.keeps_paths().await? {
            return Err(unholdable("this server keeps paths and would write it under another key"));
        }
        Ok(full)
    }

    /// Whether the server keeps paths. It is asked if it has not answered anything yet.
    pub(super) async fn keeps_paths(&self) -> Result<bool> {
        if self.is_known_to_keep_paths().is_none() {
            let call = Call::bucket(Method::HEAD, "look at the bucket");
            // Any answer tells, also a refusal.
            self.exchange(&call, Body::empty()).await?;
        }
        Ok(self.is_known_to_keep_paths().unwrap_or(false))
    }

    /// Whether the server keeps paths; none before its first answer.
    pub(super) fn is_known_to_keep_paths(&self) -> Option<bool> {
        match self.rules {
            KeyRules::Exact => Some(false),
            KeyRules::Paths => Some(true),
            KeyRules::Auto => self.keeps_paths.get().copied(),
        }
    }

    /// Sends a request; a refusal is an error.
    pub(super) async fn call(&self, call: &Call<'_>, body: Body) -> Result<Answer> {
        let answer = self.exchange(call, body).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(self.refusal(call, answer).await)
    }

    /// Sends a request without a body and collects its answer.
    pub(super) async fn fetch(&self, call: &Call<'_>, limit: usize) -> Result<bytes::Bytes> {
        self.collect(call, self.call(call, Body::empty()).await?, limit).await
    }

    /// The whole body of an answer.
    pub(super) async fn collect(&self, call: &Call<'_>, answer: Answer, limit: usize) -> Result<bytes::Bytes> {
        answer.collect(limit).await.map_err(|failure| failure.into_error(&self.name, &call.action()))
    }

    async fn exchange(&self, call: &Call<'_>, body: Body) -> Result<Answer> {
        let keys = self.keys.get(&self.name).await?;
        let request = self.request(call, &body, keys.as_deref())?;
        let answer = self.transport.send(request, body, call.patience).await;
        let answer = answer.map_err(|failure| failure.into_error(&self.name, &call.action()))?;
        self.keeps_paths.get_or_init(|| answer.header("server").is_some_and(|server| server.starts_with("SeaweedFS")));
        Ok(answer)
    }

    fn request(&self, call: &Call<'_>, body: &Body, keys: Option<&AwsCredential>) -> Result<http::Request<()>> {
        let uri = self.address.uri(call.key.as_ref().map(|(_, full)| full), &call.query())?;
        let mut headers = call.headers.clone();
        let host = HeaderValue::from_str(self.address.host());
        headers.insert(HOST, host.map_err(|_| StoreError::invalid(&self.name, "its host is no host"))?);
        if self.request_payer {
            headers.insert("x-amz-request-payer", HeaderValue::from_static("requester"));
        }
        if let Some(keys) = keys {
            self.signer.sign(&call.method, &uri, &mut headers, &self.payload(body), keys, now())?;
        }
        if call.method == Method::PUT || call.method == Method::POST {
            headers.insert(CONTENT_LENGTH, body.len().into());
        }
        let mut request = http::Request::new(());
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (call.method.clone(), uri, headers);
        Ok(request)
    }

    /// A body that is a stream cannot be hashed before it is sent.
    fn payload(&self, body: &Body) -> Payload {
        let wanted = match self.sign_bodies {
            SignBodies::Always => true,
            SignBodies::Never => false,
            SignBodies::Auto => !self.address.is_encrypted(),
        };
        match body {
            Body::Whole(bytes) if wanted || bytes.is_empty() => Payload::of(bytes),
            _ => Payload::Unsigned,
        }
    }

    async fn refusal(&self, call: &Call<'_>, answer: Answer) -> StoreError {
        let (status, headers) = (answer.status, answer.headers.clone());
        let document = answer.collect(MAX_ANSWER_BYTES).await.unwrap_or_default();
        let refusal = Refusal {
            retry_after: retry_after(&headers, now()),
            region: crate::store::transport::text(&headers, "x-amz-bucket-region").map(ToOwned::to_owned),
            ..Refusal::new(status, &document)
        };
        self.error(call, refusal)
    }

    /// A refusal as an error.
    pub(super) fn error(&self, call: &Call<'_>, refusal: Refusal) -> StoreError {
        let (action, key) = (call.action(), call.key.as_ref().map(|(key, _)| *key));
        refusal.into_error(Asked { store: &self.name, action: &action, key, bucket: self.address.bucket() })
    }

    /// An answer that cannot be right.
    pub(super) fn nonsense(&self, call: &Call<'_>, reason: impl Into<String>) -> StoreError {
        StoreError::corrupt(&self.name, &format!("the answer to {}", call.action()), reason)
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}
