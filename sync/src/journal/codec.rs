//! Fields in and out of bytes, integers big-endian. What is read may be damaged: it gives errors, never panics.

use super::{JournalError, Result};

/// Builds a value field by field.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn bytes(mut self, value: &[u8]) -> Self {
        self.0.extend_from_slice(value);
        self
    }

    /// A length of four bytes, then the bytes.
    pub(crate) fn sized(self, value: &[u8]) -> Self {
        self.u32(value.len() as u32).bytes(value)
    }

    /// A byte that says whether there is a value, then the value.
    pub(crate) fn optional<T>(self, value: Option<T>, write: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => write(self.u8(1), value),
            None => self.u8(0),
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes a value apart, field by field.
#[derive(Debug)]
pub(crate) struct Reader<'b> {
    what: &'static str,
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    /// Reads `bytes` as a `what`, the words that its errors use.
    pub(crate) fn new(what: &'static str, bytes: &'b [u8]) -> Self {
        Self { what, rest: bytes }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'b [u8]> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.damaged("it is cut short"));
        };
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("take returns the length it was asked for"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(crate) fn sized(&mut self) -> Result<&'b [u8]> {
        let len = self.u32()?;
        self.take(len as usize)
    }

    pub(crate) fn text(&mut self) -> Result<&'b str> {
        let bytes = self.sized()?;
        std::str::from_utf8(bytes).map_err(|_| self.damaged("a text in it is not UTF-8"))
    }

    pub(crate) fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        match self.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(self.damaged("a mark in it is neither 0 nor 1")),
        }
    }

    /// Checks the format version that opens every value.
    pub(crate) fn version(&mut self, known: u8) -> Result<()> {
        let found = self.u8()?;
        if found == known {
            return Ok(());
        }
        Err(JournalError::OtherFormat { what: self.what, found, known })
    }

    /// Checks that nothing is left.
    pub(crate) fn end(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.damaged("it is too long")) }
    }

    pub(crate) fn damaged(&self, why: impl Into<String>) -> JournalError {
        JournalError::Damaged { what: self.what, why: why.into() }
    }
}
