//! What the codes mean with which S3, and servers that speak like it, refuse a request.

use crate::store::transport::refusal::Class;

/// The codes of S3 and of the servers that speak like it.
pub(super) fn of_code(code: &str) -> Option<Class> {
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

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::store::transport::refusal::Refusal;

    fn class(status: u16, code: &str) -> Class {
        let document = format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
        let document = if code.is_empty() { String::new() } else { document };
        Refusal::new(StatusCode::from_u16(status).unwrap(), document.as_bytes()).class(of_code)
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
}
