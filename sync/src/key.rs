//! The key: a store's name of an object, as bytes. Owns its limits and its printable escape, which loses nothing.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use thiserror::Error;

use crate::limits::MAX_KEY_BYTES;

/// The name of an object: 1 to 1,024 bytes of any value, ordered by bytes. `a//b`, `.`, `dir/`, control characters
/// and bytes that are not UTF-8 are names as any other.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

/// Bytes that are no key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// No byte at all.
    #[error("a key has at least one byte")]
    Empty,
    /// More bytes than a key may have.
    #[error("a key has at most {MAX_KEY_BYTES} bytes, this one has {len}")]
    TooLong {
        /// How many it has.
        len: usize,
    },
    /// A printed key with a `%` that two hexadecimal digits do not follow.
    #[error("a `%` in a printed key is followed by two hexadecimal digits; print `%` itself as %25")]
    Escape,
}

impl Key {
    /// Checks the length; every byte is allowed.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, KeyError> {
        let bytes = bytes.into();
        match bytes.len() {
            0 => Err(KeyError::Empty),
            len if len > MAX_KEY_BYTES => Err(KeyError::TooLong { len }),
            _ => Ok(Self(bytes)),
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, shared.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// Whether it ends with a slash, as the markers of directories do.
    pub fn is_directory_name(&self) -> bool {
        self.0.ends_with(b"/")
    }

    /// The last segment, without a slash at its end; empty only where the key ends with `//` or is `/`.
    pub fn base_name(&self) -> &[u8] {
        let whole = self.0.strip_suffix(b"/").unwrap_or(&self.0);
        whole.rsplit(|byte| *byte == b'/').next().unwrap_or(whole)
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<&str> for Key {
    type Error = KeyError;

    fn try_from(text: &str) -> Result<Self, KeyError> {
        Self::new(Bytes::copy_from_slice(text.as_bytes()))
    }
}

/// The printable form: UTF-8 as it is, and `%XX` for `%`, controls, marks that turn or hide text, and bytes that are
/// not UTF-8. Parsing it gives the same key again.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(&self.0, f)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(printed: &str) -> Result<Self, KeyError> {
        Self::new(parse_escaped(printed).ok_or(KeyError::Escape)?)
    }
}

/// The bytes of a printed form; none if a `%` is not followed by two hexadecimal digits.
pub(crate) fn parse_escaped(printed: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(printed.len());
    let mut rest = printed.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok())?;
        bytes.push(hex_byte(digits)?);
        rest = &rest[2..];
    }
    Some(bytes)
}

fn hex_byte(digits: &str) -> Option<u8> {
    // `from_str_radix` alone would take a sign.
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// Writes bytes in the printable form of keys; also for parts of keys and for names that are no keys.
pub(crate) fn write_escaped(bytes: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_plain(character) {
                f.write_char(character)?;
            } else {
                write_hex(character.encode_utf8(&mut [0; 4]).as_bytes(), f)?;
            }
        }
        write_hex(chunk.invalid(), f)?;
    }
    Ok(())
}

/// The printable form of any bytes.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    write_escaped(bytes, &mut text).expect("a string takes all that is written");
    text
}

fn write_hex(bytes: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "%{byte:02X}"))
}

/// Whether a person sees the character as itself: no control, no mark that reorders or hides what is around it.
fn is_plain(character: char) -> bool {
    let hidden =
        matches!(character, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}');
    character != '%' && !character.is_control() && !hidden
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(bytes: &[u8]) -> Key {
        Key::new(Bytes::copy_from_slice(bytes)).unwrap()
    }

    #[test]
    fn prints_what_a_person_can_read_and_escapes_the_rest() {
        assert_eq!(key("a//b/é".as_bytes()).to_string(), "a//b/é");
        assert_eq!(key(b"dir/\n\xFF%").to_string(), "dir/%0A%FF%25");
        assert_eq!(key("x\u{202E}gpj".as_bytes()).to_string(), "x%E2%80%AEgpj");
    }

    #[test]
    fn refuses_no_byte_and_too_many() {
        assert_eq!(Key::new(Bytes::new()), Err(KeyError::Empty));
        assert!(Key::new(vec![0xFF; MAX_KEY_BYTES]).is_ok());
        assert_eq!(Key::new(vec![0; MAX_KEY_BYTES + 1]), Err(KeyError::TooLong { len: MAX_KEY_BYTES + 1 }));
        for wrong in ["%", "a%4", "%+1", "%zz", "%é"] {
            assert_eq!(wrong.parse::<Key>(), Err(KeyError::Escape), "{wrong}");
        }
    }

    #[test]
    fn the_base_name_is_the_last_segment() {
        for (whole, base) in [("a/b.txt", "b.txt"), ("a/b/", "b"), ("a", "a"), ("a//", ""), ("/", "")] {
            assert_eq!(key(whole.as_bytes()).base_name(), base.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn the_printed_form_parses_to_the_same_key(bytes in prop::collection::vec(any::<u8>(), 1..64)) {
            let key = key(&bytes);
            prop_assert_eq!(key.to_string().parse::<Key>().unwrap(), key);
        }
    }
}
