//! Answers to reads: that they have exactly the range that was asked for, of the object in the state that it must be in.

use http::StatusCode;

use super::Answer;
use crate::entry::{Identity, Object};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::store::{ByteRange, ReadRequest};

/// The value of a `Range` header; none where everything is wanted, or nothing.
pub(crate) fn range_header(range: ByteRange, size: u64) -> Option<String> {
    let part = range.len > 0 && (range.offset, range.len) != (0, size);
    part.then(|| format!("bytes={}-{}", range.offset, range.end() - 1))
}

/// The size of the whole object, by an answer that has exactly the range.
pub(crate) fn size_told(store: &str, answer: &Answer, request: &ReadRequest) -> Result<u64> {
    let told = match answer.status {
        StatusCode::PARTIAL_CONTENT => answer.header("content-range").and_then(parse_content_range),
        _ => answer.header("content-length").and_then(|size| size.parse().ok()).map(|size| (0, size, size)),
    };
    let nonsense = |reason: String| StoreError::corrupt(store, &format!("the answer to read {}", request.key), reason);
    let (offset, len, size) = told.ok_or_else(|| nonsense("it does not tell what it has".to_owned()))?;
    let (wanted, known) = (request.range, request.identity.size);
    if size != known {
        return Err(StoreError::changed(&request.key, format!("it has {size} bytes and no longer {known}")));
    }
    if wanted.len > 0 && (offset, len) != (wanted.offset, wanted.len) {
        let reason = format!("it has {len} bytes from {offset} in place of {} from {}", wanted.len, wanted.offset);
        return Err(nonsense(reason));
    }
    Ok(size)
}

/// An ETag was a condition of the request; what else is known is compared here.
pub(crate) fn check_identity(key: &Key, identity: &Identity, object: &Object) -> Result<()> {
    if identity.may_be(&object.entry.identity()) {
        return Ok(());
    }
    Err(StoreError::changed(key, "it was written since it was listed"))
}

/// `bytes 0-9/100` as (offset, length, size).
fn parse_content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (first <= last && last < size).then(|| (first, last - first + 1, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_they_are_told() {
        assert_eq!(parse_content_range("bytes 10-19/100"), Some((10, 10, 100)));
        for wrong in ["bytes 10-9/100", "bytes 0-100/100", "bytes 0-9/*", "bytes */100", "0-9/100", ""] {
            assert_eq!(parse_content_range(wrong), None, "{wrong}");
        }
    }
}
