//! The body of a request on its way: exactly its length, and never whole unless its source ended well.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{StreamExt, TryStreamExt};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::{Result, StoreError};
use crate::store::{Body, ByteStream};

/// A body that is being sent.
///
/// The last chunk is held back until the source says that it has ended: a source that fails at its very end, where
/// it checks itself, thus leaves the request unfinished, and the server stores nothing.
pub(super) struct Outgoing {
    bytes: ByteStream,
    /// Bytes that the source still has to give.
    left: u64,
    /// Bytes that are still to be handed on.
    unsent: u64,
    held: Option<Bytes>,
    ended: bool,
    progress: Arc<Progress>,
}

/// When the body last moved, and why it failed.
#[derive(Debug)]
pub(super) struct Progress(Mutex<(Instant, Option<StoreError>)>);

/// What stops a body; the reason is in its `Progress`.
#[derive(Debug, thiserror::Error)]
#[error("the body could not be read")]
pub(super) struct BodyFailed;

type Next = Poll<Option<std::result::Result<Frame<Bytes>, BodyFailed>>>;

impl Progress {
    fn new() -> Self {
        Self(Mutex::new((Instant::now(), None)))
    }

    /// When the last bytes were handed on.
    pub(super) fn moved(&self) -> Instant {
        self.0.lock().0
    }

    /// Why the body failed, if it did.
    pub(super) fn take_failure(&self) -> Option<StoreError> {
        self.0.lock().1.take()
    }
}

impl Outgoing {
    /// Begins to send. A stream of no bytes is read to its end right away: nobody would poll it later.
    pub(super) async fn new(body: Body) -> Result<(Self, Arc<Progress>)> {
        let len = body.len();
        let mut bytes = body.into_stream();
        if len == 0 && bytes.try_next().await?.is_some_and(|chunk| !chunk.is_empty()) {
            return Err(wrong_length(1, 0));
        }
        let progress = Arc::new(Progress::new());
        let body = Self { bytes, left: len, unsent: len, held: None, ended: len == 0, progress: progress.clone() };
        Ok((body, progress))
    }

    fn fail(&mut self, error: StoreError) -> Next {
        self.ended = true;
        self.progress.0.lock().1 = Some(error);
        Poll::Ready(Some(Err(BodyFailed)))
    }

    fn hand_on(&mut self, chunk: Bytes) -> Next {
        self.unsent -= chunk.len() as u64;
        self.progress.0.lock().0 = Instant::now();
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }
}

fn wrong_length(came: u64, said: u64) -> StoreError {
    StoreError::invalid("a body", format!("{came} bytes or more came where {said} were announced"))
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = BodyFailed;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Next {
        while !self.ended {
            let next = std::task::ready!(self.bytes.poll_next_unpin(context));
            let held = match next {
                Some(Err(error)) => return self.fail(error),
                Some(Ok(chunk)) if chunk.len() as u64 > self.left => {
                    let said = self.unsent;
                    return self.fail(wrong_length(said + 1, said));
                }
                Some(Ok(chunk)) if chunk.is_empty() => continue,
                Some(Ok(chunk)) => {
                    self.left -= chunk.len() as u64;
                    self.held.replace(chunk)
                }
                None if self.left > 0 => {
                    let error = StoreError::invalid("a body", format!("it ended {} bytes early", self.left));
                    return self.fail(error);
                }
                None => {
                    self.ended = true;
                    self.held.take()
                }
            };
            if let Some(chunk) = held {
                return self.hand_on(chunk);
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.held.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.unsent)
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes to send", self.unsent)
    }
}
