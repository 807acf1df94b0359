//! Names of metadata as Azure holds them, where each is an identifier of C#: others are escaped so that they come back.
//!
//! `_xHH_` is the byte HH of the name. It stands for every byte that no identifier has, for a digit at the beginning, and
//! for an underscore before an `x`, which could else be read as the beginning of such an escape.

use std::fmt::Write;

/// The name as an identifier.
pub(super) fn identifier(name: &str) -> String {
    let mut identifier = String::with_capacity(name.len());
    let bytes = name.as_bytes();
    for (at, &byte) in bytes.iter().enumerate() {
        let kept = match byte {
            b'a'..=b'z' => true,
            b'0'..=b'9' => at > 0,
            b'_' => bytes.get(at + 1) != Some(&b'x'),
            _ => false,
        };
        if kept {
            identifier.push(byte as char);
        } else {
            write!(identifier, "_x{byte:02x}_").expect("a string takes all that is written");
        }
    }
    identifier
}

/// The name that an identifier stands for; one that was never escaped stands for itself.
pub(super) fn from_identifier(identifier: &str) -> String {
    let (mut name, mut rest) = (Vec::with_capacity(identifier.len()), identifier.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        if let Some(escaped) = escape_at(rest) {
            name.push(escaped);
            rest = &rest[5..];
        } else {
            name.push(byte);
            rest = after;
        }
    }
    String::from_utf8(name).unwrap_or_else(|_| identifier.to_owned())
}

/// The byte of the escape that these bytes begin with.
fn escape_at(bytes: &[u8]) -> Option<u8> {
    let [b'_', b'x', high, low, b'_', ..] = bytes else { return None };
    let digit = |byte: u8| (byte as char).to_digit(16).filter(|_| !byte.is_ascii_uppercase()).map(|digit| digit as u8);
    Some(digit(*high)? << 4 | digit(*low)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn identifiers_stay_and_others_are_escaped() {
        for (name, expected) in [
            ("purpose", "purpose"),
            ("_a1", "_a1"),
            ("1a", "_x31_a"),
            ("content-hash", "content_x2d_hash"),
            ("_x2d_", "_x5f_x2d_"),
            ("_x2d-", "_x5f_x2d_x2d_"),
            ("", ""),
        ] {
            assert_eq!(identifier(name), expected);
        }
        assert_eq!(from_identifier("_xZZ_a_x2d"), "_xZZ_a_x2d");
    }

    proptest! {
        #[test]
        fn every_name_comes_back_and_is_an_identifier(name in "(_x|[a-z0-9_.é -]|_|2d|5f_){0,12}") {
            let identifier = identifier(&name);
            prop_assert_eq!(from_identifier(&identifier), name);
            prop_assert!(identifier.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'));
            prop_assert!(!identifier.starts_with(|first: char| first.is_ascii_digit()));
        }
    }
}
