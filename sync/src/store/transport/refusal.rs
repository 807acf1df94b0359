//! An answer that says no, and which error it is. Codes decide; the status does where the code says nothing.

use std::time::Duration;

use http::StatusCode;

use super::{Answer, retry_after, xml};
use crate::error::StoreError;
use crate::key::Key;
use crate::limits::MAX_ANSWER_BYTES;
use crate::timestamp::Timestamp;

/// What a server answered in place of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The status.
    pub(crate) status: StatusCode,
    /// The code, empty if there was none, as after a `HEAD`.
    pub(crate) code: String,
    /// The message.
    pub(crate) message: String,
    /// When to ask again.
    pub(crate) retry_after: Option<Duration>,
    /// What else helps a person.
    pub(crate) hint: Option<String>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The store.
    pub(crate) store: &'a str,
    /// What it should do.
    pub(crate) action: &'a str,
    /// The object, if it was about one.
    pub(crate) key: Option<&'a Key>,
    /// The bucket.
    pub(crate) bucket: &'a str,
    /// What this kind of store calls a bucket.
    pub(crate) bucket_word: &'static str,
    /// What the codes of this kind of store mean; none for those that mean nothing.
    pub(crate) codes: fn(&str) -> Option<Class>,
}

/// The kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Fewer requests are wanted.
    Throttled,
    /// It may pass.
    Unavailable,
    /// These credentials may not.
    Refused,
    /// The object or upload is not there.
    Missing,
    /// The bucket is not there.
    NoBucket,
    /// A condition does not hold.
    Changed,
    /// There is no room.
    Full,
    /// The bytes are not those of the checksum.
    Corrupt,
    /// The key is one that the server does not take.
    Unholdable,
    /// The server does not know how.
    Unsupported,
    /// The request is wrong.
    Invalid,
}

impl Refusal {
    /// From the document of an error; one that is none gives no code.
    pub(crate) fn new(status: StatusCode, document: &[u8]) -> Self {
        let (mut code, mut message) = (String::new(), String::new());
        let read = xml::leaves(document, "Error", |parent, name, text| {
            match (parent, name) {
                ("Error", "Code") => text.clone_into(&mut code),
                ("Error", "Message") => text.clone_into(&mut message),
                _ => {}
            }
            Ok(())
        });
        if let Err(reason) = read {
            tracing::debug!(%status, reason, "an error without a readable document");
        }
        Self { status, code, message, retry_after: None, hint: None }
    }

    /// From an answer whose body, if it has one, is such a document.
    pub(crate) async fn of(answer: Answer, now: Timestamp) -> Self {
        let (status, retry_after) = (answer.status, retry_after(&answer.headers, now));
        let document = answer.collect(MAX_ANSWER_BYTES).await.unwrap_or_default();
        Self { retry_after, ..Self::new(status, &document) }
    }

    /// Which kind it is.
    pub(crate) fn class(&self, codes: fn(&str) -> Option<Class>) -> Class {
        codes(&self.code).unwrap_or_else(|| of_status(self.status))
    }

    /// As the error of a store.
    pub(crate) fn into_error(self, asked: Asked<'_>) -> StoreError {
        let store = asked.store;
        match self.class(asked.codes) {
            Class::Throttled => StoreError::Throttled { store: store.to_owned(), retry_after: self.retry_after },
            Class::Unavailable => StoreError::Unavailable {
                store: store.to_owned(),
                action: asked.action.to_owned(),
                reason: self.to_string(),
                retry_after: self.retry_after,
            },
            Class::Refused => StoreError::Refused {
                store: store.to_owned(),
                action: asked.action.to_owned(),
                reason: self.to_string(),
            },
            Class::Missing => match asked.key {
                Some(key) => StoreError::missing(store, key),
                None => StoreError::missing(store, asked.action),
            },
            Class::NoBucket => StoreError::missing(store, &format!("the {} {}", asked.bucket_word, asked.bucket)),
            Class::Changed => match asked.key {
                Some(key) => StoreError::changed(key, self.to_string()),
                None => StoreError::unavailable(store, asked.action, &self.to_string()),
            },
            Class::Full => StoreError::Full { store: store.to_owned() },
            Class::Corrupt => {
                let what = asked.key.map_or_else(|| asked.action.to_owned(), ToString::to_string);
                StoreError::corrupt(store, &what, self.to_string())
            }
            Class::Unholdable => match asked.key {
                Some(key) => StoreError::unholdable(store, key, self.to_string()),
                None => StoreError::invalid(asked.action, self.to_string()),
            },
            Class::Unsupported => StoreError::unsupported(store, format!("{}: {self}", asked.action)),
            Class::Invalid => StoreError::invalid(format!("{store}: {}", asked.action), self.to_string()),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.status.as_u16())?;
        for text in [&self.code, &self.message] {
            if !text.is_empty() {
                write!(f, " {text}")?;
            }
        }
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

fn of_status(status: StatusCode) -> Class {
    match status.as_u16() {
        401 | 403 => Class::Refused,
        404 | 410 => Class::Missing,
        304 | 409 | 412 | 416 => Class::Changed,
        429 | 503 => Class::Throttled,
        405 | 501 => Class::Unsupported,
        507 => Class::Full,
        200 | 307 | 408 | 500..=599 => Class::Unavailable,
        _ => Class::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_decide_where_no_code_does() {
        for (status, expected) in [
            (503, Class::Throttled),
            (429, Class::Throttled),
            (502, Class::Unavailable),
            (401, Class::Refused),
            (404, Class::Missing),
            (412, Class::Changed),
            (507, Class::Full),
            (501, Class::Unsupported),
            (400, Class::Invalid),
        ] {
            let refusal = Refusal::new(StatusCode::from_u16(status).unwrap(), b"");
            assert_eq!(refusal.class(|_| None), expected, "{status}");
        }
    }

    #[test]
    fn a_document_that_is_none_gives_no_code() {
        for document in ["", "<html><h1>503</h1></html>", "<Error><Code>SlowDown", "\u{0}"] {
            let refusal = Refusal::new(StatusCode::BAD_GATEWAY, document.as_bytes());
            assert_eq!((refusal.code.as_str(), refusal.class(|_| None)), ("", Class::Unavailable));
        }
    }
}
