//! What a transaction read, and must find unchanged when it commits.

use bytes::Bytes;

use super::key_range::KeyRange;

/// Keys and ranges that conflict with later writes.
#[derive(Debug, Default)]
pub(super) struct Reads {
    pub(super) keys: Vec<Bytes>,
    pub(super) ranges: Vec<KeyRange>,
}

impl Reads {
    pub(super) fn add_key(&mut self, key: &[u8]) {
        self.keys.push(Bytes::copy_from_slice(key));
    }

    pub(super) fn add_range(&mut self, range: KeyRange) {
        if !range.is_empty() {
            self.ranges.push(range);
        }
    }
}
