//! Keys that a filesystem cannot hold, as names that it can: reversible, and in the same order, so that a listing of the
//! names is a listing of the keys.
//!
//! All such keys lie in one directory at the root. Below it a key is written byte for byte: those from `0` to `}` but `[`
//! and `\` as they are, the others as `!`, `[` or `~` and two hexadecimal digits, whichever of the three sorts where the
//! byte does. After each 240 characters begins a directory; a key that ends there ends with a `!` in it.

use bytes::Bytes;

use crate::key::Key;

/// The directory in which escaped keys are. A key that begins so is escaped itself.
pub(crate) const RESERVED: &[u8] = b".farshore-keys/";

const CHUNK: usize = 240;
const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// The name of a key; none if it has more bytes than a key may have.
pub(crate) fn escape(key: &Key) -> Option<Key> {
    let mut name = place(key.as_bytes());
    if (name.len() - RESERVED.len() + 1).is_multiple_of(CHUNK + 1) {
        name.extend(b"/!");
    }
    Key::new(name).ok()
}

/// The place among names that a place among keys has: names from there on are those of keys from there on.
pub(crate) fn place(bytes: &[u8]) -> Vec<u8> {
    let (mut name, mut written) = (RESERVED.to_vec(), 0);
    let mut push = |byte| {
        if written > 0 && written % CHUNK == 0 {
            name.push(b'/');
        }
        name.push(byte);
        written += 1;
    };
    for &byte in bytes {
        match lead(byte) {
            None => push(byte),
            Some(lead) => {
                push(lead);
                push(DIGITS[usize::from(byte >> 4)]);
                push(DIGITS[usize::from(byte & 15)]);
            }
        }
    }
    name
}

/// The key of a name; none if no key has this name.
pub(crate) fn unescape(name: &[u8]) -> Option<Key> {
    let text = name.strip_prefix(RESERVED)?;
    let text = text.strip_suffix(b"/!").filter(|text| (text.len() + 1).is_multiple_of(CHUNK + 1)).unwrap_or(text);
    let (mut key, mut rest) = (Vec::with_capacity(text.len()), text.iter().copied().filter(|byte| *byte != b'/'));
    while let Some(byte) = rest.next() {
        key.push(match byte {
            b'!' | b'[' | b'~' => digit(rest.next()?)? << 4 | digit(rest.next()?)?,
            plain => plain,
        });
    }
    // A key has one name: any other spelling of it is not its.
    let key = Key::new(Bytes::from(key)).ok()?;
    escape(&key).is_some_and(|escaped| escaped.as_bytes() == name).then_some(key)
}

fn lead(byte: u8) -> Option<u8> {
    match byte {
        0..b'0' => Some(b'!'),
        b'[' | b'\\' => Some(b'['),
        b'~'.. => Some(b'~'),
        _ => None,
    }
}

fn digit(byte: u8) -> Option<u8> {
    DIGITS.iter().position(|digit| *digit == byte).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(bytes: &[u8]) -> Key {
        Key::new(Bytes::copy_from_slice(bytes)).unwrap()
    }

    #[test]
    fn names_are_readable_and_hold_nothing_that_disks_do_not() {
        let name = |bytes: &[u8]| String::from_utf8(escape(&key(bytes)).unwrap().as_bytes().to_vec()).unwrap();
        assert_eq!(name(b"a//b.txt"), ".farshore-keys/a!2F!2Fb!2Etxt");
        assert_eq!(name(b".."), ".farshore-keys/!2E!2E");
        assert_eq!(name(b"n\0\\[\xff"), ".farshore-keys/n!00[5C[5B~FF");
        assert_eq!(name(&[b'x'; 241]), format!(".farshore-keys/{}/x", "x".repeat(240)));
        assert_eq!(name(&[b'x'; 240]), format!(".farshore-keys/{}/!", "x".repeat(240)));
        assert_eq!(escape(&key(&[b'/'; 400])), None, "it would be too long");
    }

    #[test]
    fn what_is_no_name_of_a_key_is_none() {
        for wrong in ["a", "", "!2", "!2f", "!zz", "!41", "a.b", "a/b", "x/!", "~7D", "[41"] {
            let name = [RESERVED, wrong.as_bytes()].concat();
            let expected = (wrong == "a").then(|| key(b"a"));
            assert_eq!(unescape(&name), expected, "{wrong}");
        }
        assert_eq!(unescape(b"elsewhere"), None);
    }

    proptest! {
        #[test]
        fn every_key_comes_back_in_order(
            one in prop::collection::vec(any::<u8>(), 1..300),
            other in prop::collection::vec(prop::sample::select(&b"/.!a~\\x"[..]), 1..300),
            shared in prop::collection::vec(prop::sample::select(&b"ab/"[..]), 0..260),
        ) {
            let (one, other) = ([shared.clone(), one].concat(), [shared, other].concat());
            let names = (escape(&key(&one)), escape(&key(&other)));
            for (bytes, name) in [(&one, &names.0), (&other, &names.1)] {
                if let Some(name) = name {
                    prop_assert_eq!(unescape(name.as_bytes()), Some(key(bytes)));
                    prop_assert!(name.as_bytes().split(|byte| *byte == b'/').all(|part| !part.is_empty() && part.len() <= CHUNK));
                    prop_assert!(place(bytes).as_slice() <= name.as_bytes());
                }
            }
            if let (Some(first), Some(second)) = names {
                prop_assert_eq!(first.cmp(&second), one.cmp(&other));
                prop_assert_eq!(first.as_bytes() >= place(&other).as_slice(), one >= other);
            }
        }
    }
}
