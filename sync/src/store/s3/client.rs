//! The way of every request: addressed, signed, sent once, and its refusal turned into an error.

use std::sync::OnceLock;
use std::time::SystemTime;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST};
use http::{HeaderValue, Method};

use super::address::{Address, FullKey};
use super::credentials::{Keys, Proof};
use super::options::{Dialect, KeyRules, S3Options, SignBodies};
use super::refusal::of_code;
use super::sign::{Payload, Signer};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::store::Body;
use crate::store::gcs::dialect as google;
use crate::store::transport::refusal::{Asked, Refusal};
use crate::store::transport::{Answer, Transport};
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
    dialect: Dialect,
    /// Whether the server is SeaweedFS, as its first answer told.
    is_seaweedfs: OnceLock<bool>,
}

/// A request to a bucket.
pub(in crate::store) type Call<'a> = crate::store::transport::Call<'a, FullKey>;

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
            dialect: options.dialect,
            is_seaweedfs: OnceLock::new(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(super) fn is_google(&self) -> bool {
        self.dialect == Dialect::Google
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
        if let Some(reason) = google::refused(key).filter(|_| self.is_google()) {
            return Err(StoreError::unholdable(&self.name, key, reason));
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
            KeyRules::Auto => self.is_seaweedfs.get().copied(),
        }
    }

    /// Whether the server tells with every object how many tags it has. Amazon tells it only to who may read tags, so that
    /// there silence means nothing.
    pub(super) fn counts_tags(&self) -> bool {
        self.is_seaweedfs.get() == Some(&true)
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
        let request = self.request(call, &body, &keys)?;
        let answer = self.transport.send(request, body, call.patience).await;
        let mut answer = answer.map_err(|failure| failure.into_error(&self.name, &call.action()))?;
        if self.is_google() {
            google::from_wire(&mut answer.headers);
        }
        self.is_seaweedfs.get_or_init(|| answer.header("server").is_some_and(|server| server.starts_with("SeaweedFS")));
        Ok(answer)
    }

    fn request(&self, call: &Call<'_>, body: &Body, proof: &Proof) -> Result<http::Request<()>> {
        let uri = self.address.uri(call.key.as_ref().map(|(_, full)| full), &call.query())?;
        let mut headers = call.headers.clone();
        let host = HeaderValue::from_str(self.address.host());
        headers.insert(HOST, host.map_err(|_| StoreError::invalid(&self.name, "its host is no host"))?);
        if self.request_payer {
            headers.insert("x-amz-request-payer", HeaderValue::from_static("requester"));
        }
        if self.is_google() {
            google::to_wire(&mut headers);
        }
        match proof {
            Proof::None => {}
            Proof::Keys(keys) => {
                self.signer.sign(&call.method, &uri, &mut headers, &self.payload(body), keys, now())?;
            }
            Proof::Token(token) => drop(headers.insert(AUTHORIZATION, google::bearer(token)?)),
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
        let region = answer.header("x-amz-bucket-region").map(|region| format!("the bucket is in the region {region}"));
        let refusal = Refusal::of(answer, now()).await;
        self.error(call, Refusal { hint: region, ..refusal })
    }

    /// A refusal as an error.
    pub(super) fn error(&self, call: &Call<'_>, refusal: Refusal) -> StoreError {
        let (action, key) = (call.action(), call.key.as_ref().map(|(key, _)| *key));
        refusal.into_error(Asked { action: &action, key, ..self.asked() })
    }

    /// What every refusal of this bucket is told with.
    pub(super) fn asked(&self) -> Asked<'_> {
        let bucket = self.address.bucket();
        Asked { store: &self.name, action: "", key: None, bucket, bucket_word: "bucket", codes: of_code }
    }

    /// An answer that cannot be right.
    pub(super) fn nonsense(&self, call: &Call<'_>, reason: impl Into<String>) -> StoreError {
        StoreError::corrupt(&self.name, &format!("the answer to {}", call.action()), reason)
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}
