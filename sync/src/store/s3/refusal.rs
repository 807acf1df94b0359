//! An answer that says no, and which error it is. Codes decide; the status does where the code says nothing.

use std::time::Duration;

use http::StatusCode;

use super::xml;
use crate::error::StoreError;
use crate::key::Key;

/// What a server answered in place of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The status.
    pub(super) status: StatusCode,
    /// The code, empty if there was none, as after a `HEAD`.
    pub(super) code: String,
    /// The message.
    pub(super) message: String,
    /// When to ask again.
    pub(super) retry_after: Option<Duration>,
    /// The region that the bucket is in, if it is another one.
    pub(super) region: Option<String>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The store.
    pub(super) store: &'a str,
    /// What it should do.
    pub(super) action: &'a str,
    /// The object, if it was about one.
    pub(super) key: Option<&'a Key>,
    /// The bucket.
    pub(super) bucket: &'a str,
}

/// The kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
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
    pub(super) fn new(status: StatusCode, document: &[u8]) -> Self {
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
        Self { status, code, message, retry_after: None, region: None }
    }

    /// Which kind it is.
    pub(super) fn class(&self) -> Class {
        of_code(&self.code).unwrap_or_else(|| of_status(self.status))
    }

    /// As the error of a store.
    pub(super) fn into_error(self, asked: Asked<'_>) -> StoreError {
        let store = asked.store;
        match self.class() {
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
            Class::NoBucket => StoreError::missing(store, &format!("the bucket {}", asked.bucket)),
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
        self.region.as_ref().map_or(Ok(()), |region| write!(f, "; the bucket is in the region {region}"))
    }
}

/// The codes of S3 and of the servers that speak like it.
fn of_code(code: &str) -> Option<Class> {
    Some(match code {
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests"
        | "TooManyRequestsException"
        | "ServiceUnavailable"
        | "Busy"
        | "Reduce" => Class::Throttled,
        "InternalError"
        | "InternalFailure"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "IncompleteBody"
        | "OperationAborted"
        | "TemporaryRedirect" => Class::Unavailable,
        "AccessDenied"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidToken"
        | "TokenRefreshRequired"
        | "RequestTimeTooSkewed"
        | "RequestExpired"
        | "AllAccessDisabled"
        | "AccountProblem"
        | "InvalidObjectState"
        | "InvalidSecurity"
        | "NotSignedUp"
        | "InvalidPayer" => Class::Refused,
        "NoSuchKey" | "NoSuchVersion" | "NoSuchUpload" => Class::Missing,
        "NoSuchBucket" => Class::NoBucket,
        "PreconditionFailed" | "ConditionalRequestConflict" | "InvalidRange" => Class::Changed,
        "QuotaExceeded"
        | "StorageFull"
        | "XMinioStorageFull"
        | "XMinioAdminBucketQuotaExceeded"
        | "InsufficientStorage"
        | "NoSpaceLeftOnDevice" => Class::Full,
        "BadDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" | "ContentSHA256Mismatch" => {
            Class::Corrupt
        }
        "InvalidURI"
        | "KeyTooLong"
        | "KeyTooLongError"
        | "InvalidObjectName"
        | "XMinioInvalidObjectName"
        | "XMinioObjectExistsAsDirectory"
        | "XMinioParentIsObject"
        | "ExistingObjectIsDirectory"
        | "ExistingObjectIsFile" => Class::Unholdable,
        "NotImplemented" | "MethodNotAllowed" => Class::Unsupported,
        "InvalidArgument"
        | "InvalidRequest"
        | "InvalidDigest"
        | "InvalidPart"
        | "InvalidPartOrder"
        | "EntityTooSmall"
        | "EntityTooLarge"
        | "MalformedXML"
        | "InvalidTag"
        | "InvalidStorageClass"
        | "MetadataTooLarge"
        | "PermanentRedirect"
        | "AuthorizationHeaderMalformed" => Class::Invalid,
        _ => return None,
    })
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

    fn class(status: u16, code: &str) -> Class {
        let document = format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
        let document = if code.is_empty() { String::new() } else { document };
        Refusal::new(StatusCode::from_u16(status).unwrap(), document.as_bytes()).class()
    }

    #[test]
    fn codes_decide_and_statuses_where_there_are_none() {
        for (status, code, expected) in [
            (503, "SlowDown", Class::Throttled),
            (503, "", Class::Throttled),
            (429, "", Class::Throttled),
            (500, "InternalError", Class::Unavailable),
            (200, "InternalError", Class::Unavailable),
            (502, "", Class::Unavailable),
            (400, "RequestTimeout", Class::Unavailable),
            (403, "AccessDenied", Class::Refused),
            (400, "ExpiredToken", Class::Refused),
            (401, "", Class::Refused),
            (404, "NoSuchKey", Class::Missing),
            (404, "NoSuchBucket", Class::NoBucket),
            (404, "", Class::Missing),
            (412, "PreconditionFailed", Class::Changed),
            (412, "", Class::Changed),
            (409, "ConditionalRequestConflict", Class::Changed),
            (416, "InvalidRange", Class::Changed),
            (403, "QuotaExceeded", Class::Full),
            (507, "", Class::Full),
            (400, "BadDigest", Class::Corrupt),
            (400, "KeyTooLongError", Class::Unholdable),
            (501, "NotImplemented", Class::Unsupported),
            (400, "InvalidArgument", Class::Invalid),
            (400, "NobodyKnows", Class::Invalid),
            (301, "PermanentRedirect", Class::Invalid),
        ] {
            assert_eq!(class(status, code), expected, "{status} {code}");
        }
    }

    #[test]
    fn a_document_that_is_none_gives_no_code() {
        for document in ["", "<html><h1>503</h1></html>", "<Error><Code>SlowDown", "\u{0}"] {
            assert_eq!(Refusal::new(StatusCode::BAD_GATEWAY, document.as_bytes()).class(), Class::Unavailable);
        }
    }
}
