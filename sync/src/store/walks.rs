//! Walks over directories that wait for their next page, so that a page goes on where the one before ended. A walk that is
//! not there any more is made anew from its place: that costs its directories' names again, and never a key.

use std::collections::VecDeque;

use bytes::Bytes;

use super::ListRequest;
use crate::key_range::KeyRange;
use crate::limits::OPEN_WALKS;

/// A walk that can be gone on with.
pub(super) trait Resumable {
    /// The keys that were not told yet.
    fn rest(&self) -> &KeyRange;
}

/// The walks that wait, the oldest first.
#[derive(Debug)]
pub(super) struct Walks<W> {
    waiting: VecDeque<(u64, W)>,
    next_token: u64,
}

impl<W> Default for Walks<W> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), next_token: 0 }
    }
}

impl<W: Resumable> Walks<W> {
    /// The walk that stands at this request's start, if it still waits.
    pub(super) fn take(&mut self, request: &ListRequest) -> Option<W> {
        let token = u64::from_be_bytes(request.token.as_deref()?.try_into().ok()?);
        let index = self.waiting.iter().position(|(known, _)| *known == token)?;
        let (_, walk) = self.waiting.remove(index)?;
        let rest = walk.rest();
        let same = rest.start() == request.range.start()
            && (rest.end().is_none() || request.range.end().is_some_and(|end| Some(end) <= rest.end()));
        same.then_some(walk)
    }

    /// Keeps a walk for the next page; the token that it is taken with.
    pub(super) fn keep(&mut self, walk: W) -> Bytes {
        self.next_token += 1;
        if self.waiting.len() >= OPEN_WALKS {
            self.waiting.pop_front();
        }
        self.waiting.push_back((self.next_token, walk));
        Bytes::copy_from_slice(&self.next_token.to_be_bytes())
    }
}
