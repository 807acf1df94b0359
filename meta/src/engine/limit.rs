//! The limits that hold on every engine, as FoundationDB counts them. A mutation returns
//! nothing, so what breaks a limit is kept here and reported by the commit.

use farshore_proto::limits::{MAX_KEY_BYTES, MAX_TRANSACTION_BYTES, MAX_VALUE_BYTES};

use super::{EngineError, Result};

/// Keys that begin with this byte are the engine's own; FoundationDB's are the same.
pub(super) const RESERVED: u8 = u8::MAX;
/// Length of the version in the middle of a versionstamped key.
pub(super) const STAMP_BYTES: usize = 10;

/// Whether a row with this key can be there at all.
pub(super) fn may_exist(key: &[u8]) -> bool {
    !key.is_empty() && key[0] != RESERVED
}

/// What a transaction has used of its limits.
#[derive(Debug, Default)]
pub(super) struct Limit {
    bytes: usize,
    /// Bytes that the engine puts before every key.
    key_overhead: usize,
    broken: Option<EngineError>,
}

impl Limit {
    /// The limits of an engine that puts `key_overhead` bytes before every key.
    #[cfg(feature = "fdb")]
    pub(super) fn with_key_overhead(key_overhead: usize) -> Self {
        Self { key_overhead, ..Self::default() }
    }

    /// Counts a row that is put or added to. Its key counts three times: in the mutation
    /// and as both ends of the range that it makes others conflict with.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.check_key(key);
        self.at_most("a value", value.len(), MAX_VALUE_BYTES);
        self.bytes += 3 * (self.key_overhead + key.len()) + 1 + value.len();
    }

    /// Counts a row that is deleted.
    pub(super) fn clear(&mut self, key: &[u8]) {
        self.check_key(key);
        self.bytes += 4 * (self.key_overhead + key.len()) + 2;
    }

    /// Counts a range that is deleted.
    pub(super) fn clear_range(&mut self, begin: &[u8], end: &[u8]) {
        let (begin, end) = (self.key_overhead + begin.len(), self.key_overhead + end.len());
        self.at_most("a key", begin.max(end), MAX_KEY_BYTES);
        self.bytes += 2 * (begin + end);
    }

    /// Counts a row whose key is completed at the commit.
    pub(super) fn put_stamped(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]) {
        let key_bytes = self.key_overhead + prefix.len() + STAMP_BYTES + suffix.len();
        self.check_start(prefix.first().copied().unwrap_or_default());
        self.at_most("a key", key_bytes, MAX_KEY_BYTES);
        self.at_most("a value", value.len(), MAX_VALUE_BYTES);
        self.bytes += 3 * key_bytes + 1 + value.len();
    }

    /// Counts a range, or a key as the range of itself, that was read.
    pub(super) fn read(&mut self, begin: &[u8], end: &[u8]) {
        self.bytes += 2 * self.key_overhead + begin.len() + end.len();
    }

    /// The bytes counted so far.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first limit that was broken, if any.
    pub(super) fn check(&mut self) -> Result<()> {
        self.at_most("a transaction", self.bytes, MAX_TRANSACTION_BYTES);
        self.broken.take().map_or(Ok(()), Err)
    }

    fn check_key(&mut self, key: &[u8]) {
        self.at_most("a key", self.key_overhead + key.len(), MAX_KEY_BYTES);
        match key.first() {
            Some(first) => self.check_start(*first),
            None => self.break_with(EngineError::BadKey { reason: "it is empty" }),
        }
    }

    fn check_start(&mut self, first: u8) {
        if first == RESERVED {
            self.break_with(EngineError::BadKey { reason: "it begins with 0xFF, which is the engine's own" });
        }
    }

    fn at_most(&mut self, what: &'static str, bytes: usize, limit: usize) {
        if bytes > limit {
            self.break_with(EngineError::TooLarge { what, bytes, limit });
        }
    }

    fn break_with(&mut self, error: EngineError) {
        self.broken.get_or_insert(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_row_passes_and_one_byte_more_does_not() {
        let mut limit = Limit::default();
        limit.put(&[1; MAX_KEY_BYTES], &vec![0; MAX_VALUE_BYTES]);
        assert!(limit.check().is_ok());
        limit.put(&[1; MAX_KEY_BYTES + 1], &[]);
        assert!(matches!(limit.check(), Err(EngineError::TooLarge { what: "a key", .. })));
    }

    #[test]
    fn the_first_broken_limit_is_reported() {
        let mut limit = Limit::default();
        limit.put(b"k", &vec![0; MAX_VALUE_BYTES + 1]);
        limit.put(b"", b"");
        assert!(matches!(limit.check(), Err(EngineError::TooLarge { what: "a value", .. })));
    }

    #[test]
    fn keys_that_cannot_exist_are_refused() {
        for key in [&b""[..], b"\xff", b"\xff\x01"] {
            let mut limit = Limit::default();
            limit.clear(key);
            assert!(matches!(limit.check(), Err(EngineError::BadKey { .. })));
            assert!(!may_exist(key));
        }
    }

    #[test]
    fn many_small_rows_add_up() {
        let mut limit = Limit::default();
        let value = vec![0; MAX_VALUE_BYTES];
        (0..MAX_TRANSACTION_BYTES / MAX_VALUE_BYTES).for_each(|_| limit.put(b"key", &value));
        assert!(matches!(limit.check(), Err(EngineError::TooLarge { what: "a transaction", .. })));
    }
}
