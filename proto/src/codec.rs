//! Fields in and out of bytes, integers big-endian: what durable values are made of. What is read may be damaged: it
//! gives errors of the reader's own kind, never panics.

use std::marker::PhantomData;

/// The bytes of most values.
const USUAL_BYTES: usize = 96;

/// How a crate's error tells of a value that is not what was written.
pub trait Damage: Sized {
    /// The value, a `what`, cannot be that: `why`.
    fn damaged(what: &'static str, why: String) -> Self;

    /// The value's format version is another than the one that is known.
    fn other_version(what: &'static str, found: u8, known: u8) -> Self;
}

/// Builds a value field by field.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Nothing yet.
    pub fn new() -> Self {
        Self(Vec::with_capacity(USUAL_BYTES))
    }

    /// A byte.
    #[must_use]
    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    /// Two bytes.
    #[must_use]
    pub fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Four bytes.
    #[must_use]
    pub fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Eight bytes.
    #[must_use]
    pub fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// These bytes.
    #[must_use]
    pub fn bytes(mut self, value: &[u8]) -> Self {
        self.0.extend_from_slice(value);
        self
    }

    /// A length of four bytes, then the bytes.
    #[must_use]
    pub fn sized(self, value: &[u8]) -> Self {
        self.u32(value.len() as u32).bytes(value)
    }

    /// A byte that says whether there is a value, then the value.
    #[must_use]
    pub fn optional<T>(self, value: Option<T>, write: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => write(self.u8(1), value),
            None => self.u8(0),
        }
    }

    /// The value.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes a value apart, field by field.
#[derive(Debug)]
pub struct Reader<'b, E> {
    what: &'static str,
    rest: &'b [u8],
    error: PhantomData<fn() -> E>,
}

impl<'b, E: Damage> Reader<'b, E> {
    /// Reads `bytes` as a `what`, the word that its errors use.
    pub fn new(what: &'static str, bytes: &'b [u8]) -> Self {
        Self { what, rest: bytes, error: PhantomData }
    }

    /// So many bytes.
    pub fn take(&mut self, len: usize) -> Result<&'b [u8], E> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.damaged("it is cut short"));
        };
        self.rest = rest;
        Ok(head)
    }

    /// So many bytes as the array has.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], E> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("take returns the length it was asked for"))
    }

    /// A byte.
    pub fn u8(&mut self) -> Result<u8, E> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, E> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, E> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, E> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Bytes after their length.
    pub fn sized(&mut self) -> Result<&'b [u8], E> {
        let len = self.u32()?;
        self.take(len as usize)
    }

    /// A text after its length.
    pub fn text(&mut self) -> Result<&'b str, E> {
        let bytes = self.sized()?;
        std::str::from_utf8(bytes).map_err(|_| self.damaged("a text in it is not UTF-8"))
    }

    /// What may not be there.
    pub fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<Option<T>, E> {
        match self.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(self.damaged("a mark in it is neither 0 nor 1")),
        }
    }

    /// Checks the format version that opens every value.
    pub fn version(&mut self, known: u8) -> Result<(), E> {
        let found = self.u8()?;
        if found == known { Ok(()) } else { Err(E::other_version(self.what, found, known)) }
    }

    /// Checks that nothing is left.
    pub fn end(self) -> Result<(), E> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.damaged("it is too long")) }
    }

    /// All that is left.
    pub fn rest(self) -> &'b [u8] {
        self.rest
    }

    /// The error of a value that cannot be what it should be.
    pub fn damaged(&self, why: impl Into<String>) -> E {
        E::damaged(self.what, why.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Wrong {
        Damaged(String),
        Version(u8),
    }

    impl Damage for Wrong {
        fn damaged(what: &'static str, why: String) -> Self {
            Self::Damaged(format!("{what}: {why}"))
        }

        fn other_version(_: &'static str, found: u8, _: u8) -> Self {
            Self::Version(found)
        }
    }

    #[test]
    fn fields_come_back_and_what_is_damaged_gives_the_readers_own_error() {
        let value = Writer::new().u8(1).u16(2).u32(3).u64(4).sized("fünf".as_bytes()).optional(Some(6), Writer::u32);
        let value = value.optional(None, Writer::u32).bytes(b"rest").finish();
        let mut reader: Reader<'_, Wrong> = Reader::new("value", &value);
        reader.version(1).unwrap();
        assert_eq!((reader.u16(), reader.u32(), reader.u64()), (Ok(2), Ok(3), Ok(4)));
        assert_eq!((reader.text(), reader.optional(Reader::u32)), (Ok("fünf"), Ok(Some(6))));
        assert_eq!(reader.optional(Reader::u32), Ok(None));
        assert_eq!(reader.rest(), b"rest");
        let mut short: Reader<'_, Wrong> = Reader::new("value", &[9, 0, 0]);
        assert_eq!(short.version(1), Err(Wrong::Version(9)));
        assert_eq!(short.u32(), Err(Wrong::Damaged("value: it is cut short".into())));
        assert_eq!(short.end(), Err(Wrong::Damaged("value: it is too long".into())));
    }
}
