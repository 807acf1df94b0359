//! Patterns over the bytes of keys: `*`, `?`, `**`, `[a-z]`, `[!a-z]`, `{one,two}`, and a backslash that takes the next
//! byte as it is. Translated to a regular expression, whose time is linear in the key.

use regex::bytes::Regex;

use super::FilterError;

/// A character that is no slash, of one byte or of several.
const ONE: &str = r"(?:[^/\x80-\xFF]|[\xC0-\xFF][\x80-\xBF]*|[\x80-\xBF])";

/// A pattern that is ready.
#[derive(Debug, Clone)]
pub(super) struct Glob {
    regex: Regex,
    endless: bool,
}

/// What a pattern says of the beginning of all that it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Literal {
    /// It matches this alone.
    Whole(Vec<u8>),
    /// All that it matches begins so.
    Beginning(Vec<u8>),
}

impl Glob {
    /// A pattern with something before and after it, both as regular expressions.
    pub(super) fn new(before: &str, pattern: &str, after: &str) -> Result<Self, FilterError> {
        let wrong = |reason: String| FilterError::Pattern { pattern: pattern.to_owned(), reason };
        let body = translate(pattern).map_err(|reason| wrong(reason.to_owned()))?;
        let whole = format!(r"(?s-u)\A(?:{before}{body}{after})\z");
        let regex = Regex::new(&whole).map_err(|error| wrong(error.to_string()))?;
        // A dot of a pattern is not written so.
        Ok(Self { regex, endless: format!("{body}{after}").ends_with(".*") })
    }

    /// Whether it matches whatever begins with what it matches.
    pub(super) fn is_endless(&self) -> bool {
        self.endless
    }

    pub(super) fn matches(&self, bytes: &[u8]) -> bool {
        self.regex.is_match(bytes)
    }
}

/// What all begins with that a pattern matches, read from its first byte on.
pub(super) fn literal(pattern: &str) -> Literal {
    let (mut bytes, mut rest) = (Vec::new(), pattern.bytes());
    while let Some(byte) = rest.next() {
        match byte {
            b'*' | b'?' | b'[' | b'{' => return Literal::Beginning(bytes),
            b'\\' => bytes.extend(rest.next()),
            byte => bytes.push(byte),
        }
    }
    Literal::Whole(bytes)
}

fn translate(pattern: &str) -> Result<String, &'static str> {
    let (mut regex, mut rest, mut braces) = (String::new(), pattern.as_bytes(), 0_u32);
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'*' => {
                let stars = 1 + rest.iter().take_while(|byte| **byte == b'*').count();
                rest = &rest[stars - 1..];
                match (stars, rest.first()) {
                    // `a/**/b` matches `a/b` too.
                    (2.., Some(b'/')) if regex.is_empty() || regex.ends_with('/') => {
                        rest = &rest[1..];
                        regex.push_str("(?:.*/)?");
                    }
                    (2.., _) => regex.push_str(".*"),
                    _ => regex.push_str("[^/]*"),
                }
            }
            b'?' => regex.push_str(ONE),
            b'[' => rest = translate_class(rest, &mut regex)?,
            b'{' => {
                braces += 1;
                regex.push_str("(?:");
            }
            b',' if braces > 0 => regex.push('|'),
            b'}' if braces > 0 => {
                braces -= 1;
                regex.push(')');
            }
            b'\\' => {
                let (&escaped, after) = rest.split_first().ok_or("a backslash is its last byte")?;
                rest = after;
                push_byte(&mut regex, escaped);
            }
            other => push_byte(&mut regex, other),
        }
    }
    if braces > 0 { Err("a `{` is not closed") } else { Ok(regex) }
}

/// A class up to its bracket; what comes after it.
fn translate_class<'a>(rest: &'a [u8], regex: &mut String) -> Result<&'a [u8], &'static str> {
    let (negated, mut rest) = match rest {
        [b'!' | b'^', after @ ..] => (true, after),
        _ => (false, rest),
    };
    regex.push_str(if negated { "[^/" } else { "[" });
    let mut first = true;
    loop {
        let (&byte, after) = rest.split_first().ok_or("a `[` is not closed")?;
        rest = after;
        match (byte, first, rest.first()) {
            (b']', false, _) => break,
            (b'-', false, Some(next)) if *next != b']' => regex.push('-'),
            (b'\\', ..) => {
                let (&escaped, after) = rest.split_first().ok_or("a `[` is not closed")?;
                rest = after;
                push_byte(regex, escaped);
            }
            (b'/', ..) => return Err("a class matches no slash"),
            (byte, ..) => push_byte(regex, byte),
        }
        first = false;
    }
    regex.push(']');
    Ok(rest)
}

/// A byte as itself. A slash stays one, so that it can be looked for.
fn push_byte(regex: &mut String, byte: u8) {
    use std::fmt::Write;
    if byte == b'/' || byte.is_ascii_alphanumeric() {
        regex.push(char::from(byte));
    } else {
        write!(regex, r"\x{byte:02X}").expect("a string takes all that is written");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, key: &[u8]) -> bool {
        Glob::new("", pattern, "").unwrap().matches(key)
    }

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, key, expected) in [
            ("*.txt", "a.txt", true),
            ("*.txt", "a/b.txt", false),
            ("a/**", "a/b/c", true),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/x/y/c", true),
            ("a/**/c", "a/xc", false),
            ("**/c", "c", true),
            ("?", "é", true),
            ("?", "/", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[!a-c]x", "/x", false),
            ("[]]", "]", true),
            ("{one,two*}.jpg", "twofold.jpg", true),
            ("{one,two}.jpg", "three.jpg", false),
            (r"\*", "*", true),
            (r"\*", "x", false),
            ("a.b", "axb", false),
            ("a,b", "a,b", true),
        ] {
            assert_eq!(matches(pattern, key.as_bytes()), expected, "{pattern} {key}");
        }
        assert!(matches("*", b"not\xFFutf8\n"));
        for wrong in ["[a", "{a", "\\", "[a/b]"] {
            assert!(Glob::new("", wrong, "").is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn an_escaped_key_matches_itself_alone(key in "[a-z*?\\[{,}/.\\\\é]{1,8}", other in "[a-z*/]{1,8}") {
            let pattern: String = key.chars().map(|character| {
                if character.is_ascii() && !character.is_ascii_alphanumeric() { format!("\\{character}") } else { character.to_string() }
            }).collect();
            prop_assert!(matches(&pattern, key.as_bytes()));
            prop_assert_eq!(matches(&pattern, other.as_bytes()), key == other);
        }

        #[test]
        fn any_pattern_is_read_or_refused(pattern in "[a-c*?\\[\\]{},!/\\\\-]{0,12}", key in "[a-c/]{1,6}") {
            if let Ok(glob) = Glob::new("", &pattern, "") {
                glob.matches(key.as_bytes());
            }
        }
    }
}
