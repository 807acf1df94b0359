//! Bytes on their way: ranges, streams, and the bodies of writes.

use std::fmt;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use crate::error::Result;
use crate::limits::CHUNK_BYTES;

/// Chunks of bytes; after an error nothing comes.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;

/// A run of an object's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteRange {
    /// The first byte.
    pub offset: u64,
    /// How many.
    pub len: u64,
}

impl ByteRange {
    /// The first byte after it.
    pub fn end(self) -> u64 {
        self.offset + self.len
    }
}

/// What is written: from memory, so that a failed request can be sent again as it is, or as a stream, once.
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// A stream of exactly `len` bytes; an error in it, or another length, makes the write fail.
    Stream {
        /// The length in bytes.
        len: u64,
        /// The bytes.
        bytes: ByteStream,
    },
}

impl Body {
    /// No bytes, as directories and symbolic links have them.
    pub fn empty() -> Self {
        Self::Whole(Bytes::new())
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Stream { len, .. } => *len,
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As a stream, in chunks of bounded size if it is in memory.
    pub fn into_stream(self) -> ByteStream {
        match self {
            Self::Whole(bytes) => chunks(bytes),
            Self::Stream { bytes, .. } => bytes,
        }
    }
}

/// Slices of the bytes.
fn chunks(bytes: Bytes) -> ByteStream {
    let cut = |mut rest: Bytes| {
        (!rest.is_empty()).then(|| {
            let chunk = rest.split_to(rest.len().min(CHUNK_BYTES));
            (Ok(chunk), rest)
        })
    };
    stream::iter(std::iter::successors(cut(bytes), move |(_, rest)| cut(rest.clone())).map(|(chunk, _)| chunk)).boxed()
}

/// Collects a stream of at most a whole put's length. A stream of one chunk is not copied.
pub async fn read_whole(mut bytes: ByteStream, len: usize) -> Result<Bytes> {
    let Some(first) = bytes.try_next().await? else { return Ok(Bytes::new()) };
    if first.len() >= len {
        return Ok(first);
    }
    let mut all = BytesMut::with_capacity(len);
    all.extend_from_slice(&first);
    while let Some(chunk) = bytes.try_next().await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_in_memory_streams_all_its_bytes() {
        for len in [0, 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 1] {
            let bytes = Bytes::from(vec![7; len]);
            let body = Body::from(bytes.clone());
            assert_eq!(read_whole(body.into_stream(), len).await.unwrap(), bytes);
        }
    }
}
