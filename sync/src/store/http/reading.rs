//! Heads and reads, bound to what the server tells of a file: its size, its tag and its time.

use futures::stream::{self, StreamExt, TryStreamExt};
use http::{HeaderMap, Method, StatusCode};

use super::HttpStore;
use super::client::Call;
use crate::attributes::{AttributeKind, AttributeSet, Attributes, ContentHeaders};
use crate::entry::{ETag, Entry, Object};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::store::transport::{Answer, ranged, text, time};
use crate::store::{ByteRange, ByteStream, ReadRequest, Reading};

const CONTENT: &[(&str, ContentField)] = &[
    ("content-type", |content| &mut content.content_type),
    ("content-encoding", |content| &mut content.content_encoding),
    ("content-language", |content| &mut content.content_language),
    ("content-disposition", |content| &mut content.content_disposition),
    ("cache-control", |content| &mut content.cache_control),
    ("expires", |content| &mut content.expires),
];
type ContentField = fn(&mut ContentHeaders) -> &mut Option<String>;

/// What a server's answer to a question for a name tells.
pub(super) enum Looked {
    /// The file.
    File(Box<Object>),
    /// It is no file that can be read, which hides what it is.
    Hidden(String),
    /// There is nothing.
    Absent,
}

impl HttpStore {
    /// Looks at a name of an index: a server's failure is an error, all else is told.
    pub(super) async fn look(&self, key: &Key) -> Result<Looked> {
        let call = Call::object(Method::HEAD, "look at", key, self.client.path(key)?);
        let answer = self.client.ask(&call).await?;
        Ok(match answer.status {
            status if status.is_success() => match object(key, &answer) {
                Some(object) => Looked::File(Box::new(object)),
                None => Looked::Hidden("the server tells no size".to_owned()),
            },
            StatusCode::NOT_FOUND | StatusCode::GONE => Looked::Absent,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Looked::Hidden(answer.status.to_string()),
            status if status.is_redirection() => Looked::Hidden("the server says that it is elsewhere".to_owned()),
            _ => return Err(self.client.refused(&call.action(), Some(key), answer).await),
        })
    }

    pub(super) async fn head_object(&self, key: &Key) -> Result<Object> {
        let call = Call::object(Method::HEAD, "look at", key, self.client.path(key)?);
        let answer = self.client.ask(&call).await?;
        if !answer.status.is_success() {
            return Err(self.client.refused(&call.action(), Some(key), answer).await);
        }
        let no_size =
            || StoreError::corrupt(self.client.name(), &format!("the answer to {}", call.action()), "it tells no size");
        object(key, &answer).ok_or_else(no_size)
    }

    pub(super) async fn read_range(&self, request: &ReadRequest) -> Result<Reading> {
        let (key, identity, range) = (&request.key, &request.identity, request.range);
        let mut call = Call::object(Method::GET, "read", key, self.client.path(key)?);
        match (&identity.etag, identity.modified) {
            // A weak tag matches nothing, by the rules of HTTP.
            (Some(etag), _) if !is_weak(etag) => call.set("if-match", &format!("\"{}\"", etag.as_str()))?,
            (_, Some(modified)) => call.set("if-unmodified-since", &time::to_http(modified))?,
            _ => {}
        }
        if let Some(range) = ranged::range_header(range, identity.size) {
            call.set("range", &range)?;
        }
        let answer = self.client.ask(&call).await?;
        if !answer.status.is_success() {
            return Err(self.client.refused(&call.action(), Some(key), answer).await);
        }
        // A server that knows no ranges gives everything.
        let whole = ByteRange { offset: 0, len: identity.size };
        let given = if answer.status == StatusCode::OK { whole } else { range };
        let asked = ReadRequest { range: given, ..request.clone() };
        let size = ranged::size_told(self.client.name(), &answer, &asked)?;
        let object = object_of(key, size, &answer.headers);
        ranged::check_identity(key, identity, &object)?;
        let bytes = match range.len {
            0 => stream::empty().boxed(),
            _ => cut(answer.into_stream(given.len, self.client.name().to_owned(), call.action()), given, range),
        };
        Ok(Reading { object, bytes })
    }
}

/// The bytes of a range within those that came. What comes after it is not waited for.
fn cut(bytes: ByteStream, given: ByteRange, range: ByteRange) -> ByteStream {
    if given == range {
        return bytes;
    }
    let state = (bytes, range.offset - given.offset, range.len);
    let cut = stream::try_unfold(state, |(mut bytes, mut skip, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        while let Some(mut chunk) = bytes.try_next().await? {
            let skipped = skip.min(chunk.len() as u64);
            skip -= skipped;
            drop(chunk.split_to(skipped as usize));
            chunk.truncate(left.min(chunk.len() as u64) as usize);
            if !chunk.is_empty() {
                let left = left - chunk.len() as u64;
                return Ok(Some((chunk, (bytes, skip, left))));
            }
        }
        Ok(None)
    });
    cut.boxed()
}

fn is_weak(etag: &ETag) -> bool {
    etag.as_str().starts_with("W/")
}

/// The file that an answer to `HEAD` tells of; none if it tells no size.
fn object(key: &Key, answer: &Answer) -> Option<Object> {
    let size = answer.header("content-length")?.parse().ok()?;
    Some(object_of(key, size, &answer.headers))
}

fn object_of(key: &Key, size: u64, headers: &HeaderMap) -> Object {
    let mut entry = Entry::object(key.clone(), size);
    entry.modified = text(headers, "last-modified").and_then(time::from_http);
    entry.etag = text(headers, "etag").filter(|etag| !etag.is_empty()).map(ETag::new);
    let mut attributes = Attributes::default();
    for (name, field) in CONTENT {
        *field(&mut attributes.content) = text(headers, name).map(ToOwned::to_owned);
    }
    Object { entry, attributes, known: AttributeSet::of(&[AttributeKind::ContentHeaders]) }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::read_whole;

    #[tokio::test]
    async fn a_range_is_cut_out_of_everything() {
        let bytes = Bytes::from_static(b"0123456789");
        for size in [1, 3, 10] {
            for (offset, len) in [(0, 10), (0, 3), (4, 2), (9, 1), (2, 8)] {
                let chunks: Vec<_> = bytes.chunks(size).map(|chunk| Ok(bytes.slice_ref(chunk))).collect();
                let range = ByteRange { offset, len };
                let cut = cut(stream::iter(chunks).boxed(), ByteRange { offset: 0, len: 10 }, range);
                let found = read_whole(cut, len as usize).await.unwrap();
                assert_eq!(found, bytes.slice(offset as usize..(offset + len) as usize));
            }
        }
    }
}
