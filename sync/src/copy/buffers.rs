//! Memory for parts, used again: the kernel clears each page that is new to a process, which for parts that live for the
//! time of one request costs as much as all else that is done with them.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::limits::WHOLE_PUT_BYTES;

/// Buffers that are lent for one part each, and kept for the next. There are as many as were ever lent at once, which the
/// memory for copies bounds.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffers {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A buffer that comes back when it is dropped.
#[derive(Debug)]
pub(super) struct Lent {
    bytes: Vec<u8>,
    buffers: Buffers,
}

impl Buffers {
    /// Smaller ones are the allocator's matter: it keeps them.
    const LEAST: usize = WHOLE_PUT_BYTES as usize / 2;

    /// A buffer without bytes and with room for so many.
    pub(super) fn lend(&self, room: usize) -> Lent {
        let kept = if room >= Self::LEAST { self.free.lock().pop() } else { None };
        let mut bytes = kept.unwrap_or_default();
        bytes.reserve_exact(room);
        Lent { bytes, buffers: self.clone() }
    }
}

impl Lent {
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Its bytes, from which it comes back when the last of them is dropped.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() >= Buffers::LEAST {
            bytes.clear();
            self.buffers.free.lock().push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_with_the_last_of_its_bytes() {
        let buffers = Buffers::default();
        let mut lent = buffers.lend(Buffers::LEAST);
        lent.extend(b"some bytes");
        let bytes = lent.freeze();
        let part = bytes.slice(5..);
        drop(bytes);
        assert!(buffers.free.lock().is_empty());
        assert_eq!(part, &b"bytes"[..]);
        drop(part);
        assert_eq!(buffers.free.lock().len(), 1);
        let again = buffers.lend(Buffers::LEAST);
        assert!(again.as_ref().is_empty() && buffers.free.lock().is_empty());
        drop(buffers.lend(1));
        assert!(buffers.free.lock().is_empty(), "a small one is not kept");
    }
}
