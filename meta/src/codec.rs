//! Fixed-width fields in and out of bytes. What is read may be damaged: it gives errors, never panics.

use crate::error::FsError;

/// Builds a value field by field, integers big-endian.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(96))
    }

    pub(crate) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
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
    /// Reads `bytes` as a `what`, the word that its errors use.
    pub(crate) fn new(what: &'static str, bytes: &'b [u8]) -> Self {
        Self { what, rest: bytes }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'b [u8], FsError> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.corrupt("it is cut short"));
        };
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FsError> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("take returns the length it was asked for"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FsError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FsError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FsError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FsError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(crate) fn sized(&mut self) -> Result<&'b [u8], FsError> {
        let len = self.u32()?;
        self.take(len as usize)
    }

    /// Checks the format version that opens every value.
    pub(crate) fn version(&mut self, known: u8) -> Result<(), FsError> {
        let found = self.u8()?;
        if found == known {
            return Ok(());
        }
        Err(self.corrupt(&format!("its format version is {found}, this build knows {known}; use a newer build")))
    }

    /// Checks that nothing is left.
    pub(crate) fn end(self) -> Result<(), FsError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.corrupt("it is too long"))
    }

    pub(crate) fn rest(self) -> &'b [u8] {
        self.rest
    }

    pub(crate) fn corrupt(&self, why: &str) -> FsError {
        FsError::Corrupt(format!("{}: {why}", self.what))
    }
}
