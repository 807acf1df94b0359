//! Values of metadata as headers can hold them: encoded words (RFC 2047) where they are no plain text.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// How metadata that is no plain ASCII is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NonAscii {
    /// As encoded words (RFC 2047), which Amazon decodes before it stores them.
    Encoded,
    /// As UTF-8, which all others store as it is.
    Raw,
}

/// A value of metadata as a header can hold it.
pub(crate) fn encode(value: &str, non_ascii: NonAscii) -> Cow<'_, str> {
    let printable = |character: char| !character.is_control() && (character.is_ascii() || non_ascii == NonAscii::Raw);
    let plain = value.chars().all(printable) && value.trim() == value && !value.starts_with("=?");
    if plain { Cow::Borrowed(value) } else { Cow::Owned(format!("=?UTF-8?B?{}?=", BASE64.encode(value))) }
}

/// A value of metadata that was one or several encoded words; any other as it is.
pub(crate) fn decode(value: &str) -> Cow<'_, str> {
    let words: Option<Vec<Vec<u8>>> = value.split_ascii_whitespace().map(decode_one).collect();
    let decoded = words.filter(|words| !words.is_empty()).and_then(|words| String::from_utf8(words.concat()).ok());
    decoded.map_or(Cow::Borrowed(value), Cow::Owned)
}

fn decode_one(word: &str) -> Option<Vec<u8>> {
    let word = word.strip_prefix("=?")?.strip_suffix("?=")?;
    let (charset, rest) = word.split_once('?')?;
    let (encoding, body) = rest.split_once('?')?;
    match encoding {
        _ if !charset.eq_ignore_ascii_case("utf-8") => None,
        "B" | "b" => BASE64.decode(body).ok(),
        "Q" | "q" => decode_quoted(body.as_bytes()),
        _ => None,
    }
}

fn decode_quoted(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        decoded.push(match byte {
            b'_' => b' ',
            b'=' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                rest = &rest[2..];
                u8::from_str_radix(digits, 16).ok()?
            }
            other => other,
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn metadata_comes_back(value in any::<String>()) {
            for non_ascii in [NonAscii::Encoded, NonAscii::Raw] {
                let word = encode(&value, non_ascii);
                prop_assert_eq!(decode(&word), value.as_str());
                prop_assert!(HeaderValue::from_bytes(word.as_bytes()).is_ok());
                prop_assert_eq!(word.trim(), word.as_ref());
            }
        }
    }
}
