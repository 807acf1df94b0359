//! The way of every request: addressed, sent once, and what is no success turned into an error.

use std::time::SystemTime;

use http::header::{ACCEPT, AUTHORIZATION, HOST};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Uri};

use super::links::Place;
use super::options::HttpOptions;
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::store::Body;
use crate::store::transport::refusal::{Asked, Refusal};
use crate::store::transport::{Answer, Transport, encode};

/// A request: `P` is a path, decoded, with the slash before it.
pub(super) type Call<'a> = crate::store::transport::Call<'a, Vec<u8>>;

/// What indexes are wanted as: JSON, where a server has it, cannot be mistaken.
const INDEX_KINDS: &str = "application/json, text/html;q=0.9";

/// A server that can be asked.
#[derive(Debug)]
pub(super) struct Client {
    name: String,
    scheme: Scheme,
    authority: Authority,
    /// What the paths of all keys begin with: slashes are around it.
    base: Vec<u8>,
    authorization: Option<HeaderValue>,
    transport: Transport,
}

impl Client {
    pub(super) fn new(options: &HttpOptions) -> Result<Self> {
        let wrong = |reason: &str| StoreError::invalid(options.to_string(), reason);
        let authority: Authority = options.authority.parse().map_err(|_| wrong("the host is no host"))?;
        let value = options.authorization.as_deref().map(HeaderValue::from_str).transpose();
        let mut authorization = value.map_err(|_| wrong("HTTP_AUTHORIZATION is no value of a header"))?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        if authorization.is_some() && !options.encrypted && !is_loopback(authority.host()) {
            return Err(wrong("credentials are sent with TLS only; use https://"));
        }
        let directory = options.path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        Ok(Self {
            name: options.to_string(),
            scheme: if options.encrypted { Scheme::HTTPS } else { Scheme::HTTP },
            authority,
            base: [b"/", &options.path[..directory]].concat(),
            authorization,
            transport: Transport::new()?,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The path of a directory, by its key's beginning.
    pub(super) fn directory(&self, prefix: &[u8]) -> Vec<u8> {
        [self.base.as_slice(), prefix].concat()
    }

    /// Where a directory's index is, for the links in it.
    pub(super) fn place<'a>(&'a self, path: &'a [u8]) -> Place<'a> {
        Place { scheme: self.scheme.as_str(), authority: self.authority.as_str(), path }
    }

    /// The path of an object that may be here. Paths that servers change are those of no object.
    pub(super) fn path(&self, key: &Key) -> Result<Vec<u8>> {
        let odd = |segment: &[u8]| matches!(segment, b"" | b"." | b"..") || segment.contains(&0);
        if key.as_bytes().split(|byte| *byte == b'/').any(odd) {
            return Err(StoreError::missing(&self.name, key));
        }
        Ok([self.base.as_slice(), key.as_bytes()].concat())
    }

    /// Asks for a directory's index; the path has a slash at its end. Any answer is returned.
    pub(super) async fn index(&self, path: &[u8]) -> Result<Answer> {
        let mut call = Call::bucket(Method::GET, "list");
        call.headers.insert(ACCEPT, HeaderValue::from_static(INDEX_KINDS));
        self.send(&call, path).await
    }

    /// Asks for an object. Any answer is returned.
    pub(super) async fn ask(&self, call: &Call<'_>) -> Result<Answer> {
        let path = call.key.as_ref().map_or(b"/".as_slice(), |(_, path)| path);
        self.send(call, path).await
    }

    /// An answer that is no success, as an error.
    pub(super) async fn refused(&self, action: &str, key: Option<&Key>, answer: Answer) -> StoreError {
        let to = answer.header("location").map(|place| crate::key::escaped(place.as_bytes()));
        if answer.status.is_redirection() && answer.status != http::StatusCode::NOT_MODIFIED {
            let reason = format!("the server says that it is at {}; name that address", to.unwrap_or_default());
            return StoreError::invalid(format!("{}: {action}", self.name), reason);
        }
        let refusal = Refusal::of(answer, SystemTime::now().into()).await;
        let store = &self.name;
        refusal.into_error(Asked { store, action, key, bucket: "", bucket_word: "", codes: |_| None })
    }

    async fn send(&self, call: &Call<'_>, path: &[u8]) -> Result<Answer> {
        let path: PathAndQuery = encode::path_bytes(path)
            .parse()
            .map_err(|error| StoreError::bug(format!("the address of {}: {error}", call.action())))?;
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(path);
        let uri = uri.build().map_err(|error| StoreError::bug(format!("an address: {error}")))?;
        let host = HeaderValue::from_str(self.authority.as_str());
        let mut headers = call.headers.clone();
        headers.insert(HOST, host.map_err(|_| StoreError::invalid(&self.name, "its host is no host"))?);
        if let Some(value) = &self.authorization {
            headers.insert(AUTHORIZATION, value.clone());
        }
        let mut request = http::Request::new(());
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (call.method.clone(), uri, headers);
        let answer = self.transport.send(request, Body::empty(), call.patience).await;
        answer.map_err(|failure| failure.into_error(&self.name, &call.action()))
    }
}

fn is_loopback(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}
