//! One request as stores make it, before it is addressed and signed.

use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method};

use super::encode;
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::STALL_TIMEOUT;

/// A request. `P` is what a store's addresses are made of.
#[derive(Debug)]
pub(crate) struct Call<'a, P> {
    pub(crate) method: Method,
    verb: &'static str,
    /// The object and its place on the wire; none if it is about the bucket.
    pub(crate) key: Option<(&'a Key, P)>,
    query: Vec<(&'static str, String)>,
    pub(crate) headers: HeaderMap,
    /// How long an answer is waited for.
    pub(crate) patience: Duration,
}

impl<'a, P> Call<'a, P> {
    /// A request about the bucket; the verb is for messages.
    pub(crate) fn bucket(method: Method, verb: &'static str) -> Self {
        let (query, headers) = (Vec::new(), HeaderMap::new());
        Self { method, verb, key: None, query, headers, patience: STALL_TIMEOUT }
    }

    /// A request about an object.
    pub(crate) fn object(method: Method, verb: &'static str, key: &'a Key, full: P) -> Self {
        Self { key: Some((key, full)), ..Self::bucket(method, verb) }
    }

    /// With a parameter.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// With a header; what no header can hold is an error.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Result<Self> {
        self.set(name, value)?;
        Ok(self)
    }

    /// Sets a header; what no header can hold is an error.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let wrong = || StoreError::invalid(format!("{name}: {value:?}"), "no HTTP header can hold it");
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| wrong())?;
        self.headers.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?, value);
        Ok(())
    }

    /// With a longer wait for the answer.
    pub(crate) fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// What it does, for messages.
    pub(crate) fn action(&self) -> String {
        self.key.as_ref().map_or_else(|| self.verb.to_owned(), |(key, _)| format!("{} {key}", self.verb))
    }

    /// The parameters in the order and encoding of signatures.
    pub(crate) fn query(&self) -> String {
        let mut pairs: Vec<_> = self
            .query
            .iter()
            .map(|(name, value)| format!("{}={}", encode::query(name), encode::query(value)))
            .collect();
        pairs.sort_unstable();
        pairs.join("&")
    }
}
