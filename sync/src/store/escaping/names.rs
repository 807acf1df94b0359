//! Which of its two names a key has: its own, or the escaped one.

use super::EscapingStore;
use crate::attributes::AttributeSet;
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::key_escape::{RESERVED, escape};
use crate::key_range::KeyRange;
use crate::store::{ListRequest, PageEnd, Store};

/// Keys of streamed bodies that are to be escaped, which are remembered until they are sent again.
const CONFLICTS_KEPT: usize = 4096;

impl EscapingStore {
    /// Whether there may be escaped names.
    pub(super) async fn is_used(&self) -> Result<bool> {
        if let Some(used) = *self.used.lock() {
            return Ok(used);
        }
        let request = ListRequest { limit: 1, ..ListRequest::first(KeyRange::of_prefix(RESERVED)) };
        let page = self.inner.list(&request).await?;
        let found = !page.entries.is_empty() || !page.unlisted.is_empty() || page.end != PageEnd::Complete;
        let mut used = self.used.lock();
        // What was written meanwhile counts.
        Ok(*used.get_or_insert(found))
    }

    pub(super) fn escaped_name(&self, key: &Key, reason: StoreError) -> Result<Key> {
        escape(key).ok_or(match reason {
            StoreError::Unholdable { reason, .. } => {
                StoreError::unholdable(self.name(), key, format!("{reason}, and its escaped name would be too long"))
            }
            error => error,
        })
    }

    pub(super) fn remember_conflict(&self, key: &Key) {
        let mut conflicts = self.conflicts.lock();
        if conflicts.len() >= CONFLICTS_KEPT {
            conflicts.pop_first();
        }
        conflicts.insert(key.clone());
    }

    /// Whether the key is not even tried under its own name.
    pub(super) fn is_escaped(&self, key: &Key) -> bool {
        is_reserved(key) || self.conflicts.lock().contains(key)
    }

    /// Whether it is looked for under its escaped name alone: also if a directory has its own name, while it has bytes.
    pub(super) async fn is_only_escaped(&self, key: &Key) -> Result<bool> {
        if self.is_escaped(key) || !key.is_directory_name() || !self.is_used().await? {
            return Ok(self.is_escaped(key));
        }
        let Some(name) = escape(key) else { return Ok(false) };
        match self.inner.head(&name, AttributeSet::NONE).await {
            Ok(_) => Ok(true),
            Err(StoreError::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn must_be_escaped(&self, key: &Key) -> StoreError {
        StoreError::unholdable(self.name(), key, "it begins as escaped keys do, or another key is in its way")
    }

    /// The escaped name to try after the own one failed with this error; the error itself if there is none to try.
    pub(super) async fn other_name(&self, key: &Key, error: StoreError) -> Result<Key> {
        match error {
            StoreError::Missing { .. } | StoreError::Unholdable { .. } if self.is_used().await? => {
                escape(key).ok_or_else(|| StoreError::missing(self.name(), key))
            }
            StoreError::Unholdable { .. } => Err(StoreError::missing(self.name(), key)),
            error => Err(error),
        }
    }
}

/// Whether the key is of the directory of escaped keys, or would be in its place.
pub(super) fn is_reserved(key: &Key) -> bool {
    key.as_bytes().starts_with(RESERVED) || RESERVED.strip_suffix(b"/") == Some(key.as_bytes())
}
