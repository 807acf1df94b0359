//! Uploads of escaped keys: their ids say so, for whoever goes on with one knows its key and its id alone.

use crate::key_escape::{escape, unescape};
use crate::store::{Upload, UploadId};

/// What ids of uploads of escaped keys begin with.
const ESCAPED_UPLOAD: &str = "escaped:";

/// The id of an upload of an escaped key, as others know it.
pub(super) fn escaped_id(below: &UploadId) -> UploadId {
    UploadId::new(format!("{ESCAPED_UPLOAD}{}", below.as_str()))
}

/// Makes an upload that the store below tells of one of the key that it is for.
pub(super) fn lift(upload: &mut Upload) {
    if let Some(key) = unescape(upload.key.as_bytes()) {
        *upload = Upload { key, id: escaped_id(&upload.id) };
    }
}

/// An upload as the store below knows it.
pub(super) fn below(upload: &Upload) -> Upload {
    let escaped = upload.id.as_str().strip_prefix(ESCAPED_UPLOAD).zip(escape(&upload.key));
    escaped.map_or_else(|| upload.clone(), |(id, key)| Upload { key, id: UploadId::new(id) })
}
