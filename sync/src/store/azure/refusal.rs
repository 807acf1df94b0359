//! What the codes mean with which Azure refuses a request.

use crate::store::transport::refusal::Class;

/// The code, where Azurite has another one for the same.
pub(super) fn code_of(code: String, message: &str) -> String {
    let mismatch = code == "InvalidOperation" && message.contains("MD5");
    if mismatch { "Md5Mismatch".to_owned() } else { code }
}

pub(super) fn of_code(code: &str) -> Option<Class> {
    Some(match code {
        "ServerBusy" | "AccountBeingCreated" | "TooManyRequests" => Class::Throttled,
        "InternalError" | "OperationTimedOut" | "RequestBodyIncomplete" | "ContainerBeingDeleted" => Class::Unavailable,
        "AuthenticationFailed"
        | "AuthorizationFailure"
        | "AuthorizationPermissionMismatch"
        | "AuthorizationProtocolMismatch"
        | "AuthorizationResourceTypeMismatch"
        | "AuthorizationServiceMismatch"
        | "AuthorizationSourceIPMismatch"
        | "InsufficientAccountPermissions"
        | "InvalidAuthenticationInfo"
        | "NoAuthenticationInformation"
        | "PublicAccessNotPermitted"
        | "KeyBasedAuthenticationNotPermitted"
        | "AccountIsDisabled"
        | "CannotVerifyCopySource"
        | "CopySourceNotVerified"
        | "LeaseIdMissing"
        | "BlobImmutableDueToPolicy"
        | "BlobImmutableDueToLegalHold"
        | "SnapshotsPresent" => Class::Refused,
        "BlobNotFound" | "ResourceNotFound" | "InvalidBlockList" => Class::Missing,
        "ContainerNotFound" | "ContainerDisabled" => Class::NoBucket,
        "ConditionNotMet"
        | "SourceConditionNotMet"
        | "TargetConditionNotMet"
        | "BlobAlreadyExists"
        | "BlobModifiedWhileReading"
        | "PendingCopyOperation"
        | "InvalidRange" => Class::Changed,
        "AccountLimitExceeded" | "StorageAccountCapacityExceeded" => Class::Full,
        "Md5Mismatch" | "Crc64Mismatch" => Class::Corrupt,
        "InvalidResourceName" | "InvalidUri" | "OutOfRangeInput" => Class::Unholdable,
        "BlobArchived"
        | "BlobBeingRehydrated"
        | "FeatureVersionMismatch"
        | "BlobTypeNotSupported"
        | "AccessTierNotSupportedForBlobType"
        | "HierarchicalNamespaceNotSupported"
        | "UnsupportedHttpVerb"
        | "NotImplemented"
        | "APINotImplemented" => Class::Unsupported,
        "InvalidHeaderValue"
        | "InvalidInput"
        | "InvalidMd5"
        | "InvalidMetadata"
        | "MetadataTooLarge"
        | "InvalidBlobOrBlock"
        | "InvalidBlockId"
        | "InvalidQueryParameterValue"
        | "BlockCountExceedsLimit"
        | "BlockListTooLong"
        | "RequestBodyTooLarge"
        | "InvalidBlobType" => Class::Invalid,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::store::transport::refusal::Refusal;

    #[test]
    fn codes_decide_and_statuses_where_there_are_none() {
        for (status, code, expected) in [
            (503, "ServerBusy", Class::Throttled),
            (429, "", Class::Throttled),
            (500, "OperationTimedOut", Class::Unavailable),
            (403, "AuthenticationFailed", Class::Refused),
            (401, "InvalidAuthenticationInfo", Class::Refused),
            (409, "SnapshotsPresent", Class::Refused),
            (412, "LeaseIdMissing", Class::Refused),
            (404, "BlobNotFound", Class::Missing),
            (404, "ContainerNotFound", Class::NoBucket),
            (409, "BlobAlreadyExists", Class::Changed),
            (412, "ConditionNotMet", Class::Changed),
            (400, "Md5Mismatch", Class::Corrupt),
            (409, "BlobArchived", Class::Unsupported),
            (400, "InvalidHeaderValue", Class::Invalid),
            (400, "NobodyKnows", Class::Invalid),
            (404, "", Class::Missing),
        ] {
            let document = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m</Message></Error>");
            let refusal = Refusal::new(StatusCode::from_u16(status).unwrap(), document.as_bytes());
            assert_eq!(refusal.class(of_code), expected, "{status} {code}");
        }
    }
}
