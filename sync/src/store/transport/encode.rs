//! Percent-encoding as object stores and their signatures have it: of paths, of queries, and of the keys in listings.

use std::borrow::Cow;
use std::fmt::Write;

/// A path: all but unreserved characters and slashes is encoded. Dots stay, also where they are segments.
pub(crate) fn path(text: &str) -> String {
    encode(text.as_bytes(), true)
}

/// The same of bytes that need not be text.
pub(crate) fn path_bytes(bytes: &[u8]) -> String {
    encode(bytes, true)
}

/// A name or value of a query.
pub(crate) fn query(text: &str) -> String {
    encode(text.as_bytes(), false)
}

fn encode(bytes: &[u8], slashes: bool) -> String {
    let mut encoded = String::with_capacity(bytes.len() + 16);
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte as char),
            b'/' if slashes => encoded.push('/'),
            _ => write!(encoded, "%{byte:02X}").expect("a string takes all that is written"),
        }
    }
    encoded
}

/// A key of a listing in the encoding of forms, where a plus is a space; none if it is not encoded so.
pub(crate) fn decode(text: &str) -> Option<Cow<'_, [u8]>> {
    if text.contains('+') {
        decode_path(&text.replace('+', " ")).map(|bytes| Cow::Owned(bytes.into_owned()))
    } else {
        decode_path(text)
    }
}

/// A path of an address; none if it is not encoded right.
pub(crate) fn decode_path(text: &str) -> Option<Cow<'_, [u8]>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        decoded.push(match byte {
            b'%' => {
                let (high, low) = (digit(*rest.first()?)?, digit(*rest.get(1)?)?);
                rest = &rest[2..];
                high << 4 | low
            }
            other => other,
        });
    }
    Some(Cow::Owned(decoded))
}

fn digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_has_no_meaning_in_an_address_stays() {
        assert_eq!(path("a/../c//d.e~f-g_h"), "a/../c//d.e~f-g_h");
        assert_eq!(path("sp ace+%?#\u{1}é"), "sp%20ace%2B%25%3F%23%01%C3%A9");
        assert_eq!(query("a/b"), "a%2Fb");
    }

    #[test]
    fn listings_are_decoded_as_forms() {
        assert_eq!(decode("a+b%2Bc%20d%0A").unwrap().as_ref(), b"a b+c d\n");
        assert_eq!(decode_path("a+b%20c").unwrap().as_ref(), b"a+b c");
        for wrong in ["%", "%4", "%zz", "a%+1"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in any::<String>()) {
            for encoded in [path(&text), query(&text)] {
                let decoded = decode(&encoded).unwrap().into_owned();
                prop_assert_eq!(decoded, text.as_bytes());
            }
        }
    }
}
