//! The answer to a request: its head, and its body as a bounded whole or as a stream of an exact length.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt, TryStreamExt};
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

use super::{Failure, chain, time};
use crate::error::StoreError;
use crate::limits::STALL_TIMEOUT;
use crate::store::ByteStream;
use crate::timestamp::Timestamp;

/// An answer of which the head has come.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// All headers.
    pub(crate) headers: HeaderMap,
    body: Incoming,
}

type Result<T> = std::result::Result<T, Failure>;

impl Answer {
    pub(super) fn new(answer: http::Response<Incoming>) -> Self {
        let (head, body) = answer.into_parts();
        Self { status: head.status, headers: head.headers, body }
    }

    /// A header that is text; what is not UTF-8 counts as absent.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        text(&self.headers, name)
    }

    /// The whole body, which must not be longer than this.
    pub(crate) async fn collect(mut self, limit: usize) -> Result<Bytes> {
        let Some(first) = next_data(&mut self.body).await? else { return Ok(Bytes::new()) };
        let check = |len: usize| {
            let fits = (len <= limit).then_some(());
            fits.ok_or_else(|| Failure::Nonsense(format!("it has more than {limit} bytes")))
        };
        check(first.len())?;
        let mut whole: Option<BytesMut> = None;
        while let Some(chunk) = next_data(&mut self.body).await? {
            let whole = whole.get_or_insert_with(|| BytesMut::from(first.as_ref()));
            check(whole.len() + chunk.len())?;
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.map_or(first, BytesMut::freeze))
    }

    /// The body as a stream of however many bytes it has.
    pub(crate) fn into_chunks(self, store: String, action: String) -> ByteStream {
        let chunks = stream::try_unfold(self.body, |mut body| async move {
            let chunk = next_data(&mut body).await?;
            Ok(chunk.map(|chunk| (chunk, body)))
        });
        chunks.map_err(move |failure: Failure| -> StoreError { failure.into_error(&store, &action) }).boxed()
    }

    /// The body as a stream of exactly `len` bytes; any other number ends it with an error.
    pub(crate) fn into_stream(self, len: u64, store: String, action: String) -> ByteStream {
        let chunks = stream::try_unfold((self.body, len), |(mut body, left)| async move {
            let Some(chunk) = next_data(&mut body).await? else { return ended(left) };
            let left = left.checked_sub(chunk.len() as u64);
            let left = left.ok_or_else(|| Failure::Nonsense("it has more bytes than were asked for".to_owned()))?;
            Ok(Some((chunk, (body, left))))
        });
        chunks.map_err(move |failure: Failure| -> StoreError { failure.into_error(&store, &action) }).boxed()
    }
}

/// The end of a body in which so many bytes were still to come.
fn ended<T>(left: u64) -> Result<Option<T>> {
    if left == 0 { Ok(None) } else { Err(Failure::Wire(format!("it ended {left} bytes early"))) }
}

/// The next bytes, which must come within the time for stalls; none at the end.
async fn next_data(body: &mut Incoming) -> Result<Option<Bytes>> {
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
        let Ok(frame) = tokio::time::timeout(STALL_TIMEOUT, frame).await else {
            return Err(Failure::Wire(format!("no bytes came for {} s", STALL_TIMEOUT.as_secs())));
        };
        let Some(frame) = frame else { return Ok(None) };
        let frame = frame.map_err(|error| Failure::Wire(chain(&error)))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

/// A header as text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

/// When a server wants to be asked again: seconds from now, or a time of day.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = text(headers, "retry-after")?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = time::from_http(value)?;
    Some(if then > now { then.distance(now) } else { Duration::ZERO })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_told_in_seconds_or_as_a_time() {
        let now = time::from_http("Fri, 24 May 2013 00:00:00 GMT").unwrap();
        let pause = |value: &'static str| {
            let headers = HeaderMap::from_iter([(http::header::RETRY_AFTER, http::HeaderValue::from_static(value))]);
            retry_after(&headers, now)
        };
        assert_eq!(pause("120"), Some(Duration::from_mins(2)));
        assert_eq!(pause("Fri, 24 May 2013 00:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(pause("Thu, 23 May 2013 00:00:30 GMT"), Some(Duration::ZERO));
        assert_eq!(pause("soon"), None);
    }
}
