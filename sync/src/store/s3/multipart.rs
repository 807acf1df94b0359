//! Objects in parts: uploads, parts, their completion and their lists.

use http::Method;

use super::S3Store;
use super::client::Call;
use super::copying::as_it_is;
use super::headers;
use super::writing::{best_of, condition_failed, send_checksum};
use crate::attributes::AttributeSet;
use crate::checksum::{Algorithm, Checksums};
use crate::entry::{ETag, VersionId};
use crate::error::{Result, StoreError};
use crate::limits::{MAX_ANSWER_BYTES, SERVER_WORK_TIMEOUT};
use crate::store::transport::refusal::Refusal;
use crate::store::transport::xml::{self, Record, Records};
use crate::store::transport::{encode, time};
use crate::store::{
    Body, Condition, OpenUpload, PartPage, PartRequest, PutRequest, Stored, StoredPart, Upload, UploadId, UploadPage,
};

/// The checksums of whole objects that S3 makes of those of parts.
const COMBINABLE: [Algorithm; 3] = [Algorithm::Crc64Nvme, Algorithm::Crc32c, Algorithm::Crc32];
const PAGE: &str = "1000";

impl S3Store {
    /// The checksum that objects in parts are stored with.
    fn parts_algorithm(&self) -> Option<Algorithm> {
        self.capabilities.verifies.iter().copied().find(|algorithm| COMBINABLE.contains(algorithm))
    }

    pub(super) async fn begin_upload(&self, request: &PutRequest) -> Result<UploadId> {
        let mut call = self.make_object(Method::POST, "begin an upload of", request).await?.with("uploads", "");
        if !self.tags_later(request) {
            self.set_tags(&mut call, request)?;
        }
        if let Some(word) = self.parts_algorithm().and_then(headers::word) {
            call.set("x-amz-checksum-algorithm", word)?;
            call.set("x-amz-checksum-type", "FULL_OBJECT")?;
        }
        let document = self.client.fetch(&call, MAX_ANSWER_BYTES).await?;
        let records = Records::read(&document, "InitiateMultipartUploadResult");
        let records = records.map_err(|reason| self.client.nonsense(&call, reason))?;
        let id = records.top.get("UploadId").filter(|id| !id.is_empty());
        id.map(UploadId::new).ok_or_else(|| self.client.nonsense(&call, "it has no upload id"))
    }

    pub(super) async fn send_part(&self, upload: &Upload, part: &PartRequest, body: Body) -> Result<StoredPart> {
        if body.len() != part.range.len {
            let reason = format!("it has {} bytes where {} were announced", body.len(), part.range.len);
            return Err(StoreError::invalid(format!("part {} of {}", part.number, upload.key), reason));
        }
        let mut call = self.part_call(upload, part.number).await?;
        // Another algorithm than the upload's would be refused; an MD5 is of the request alone.
        let sent = best_of(&part.checksums, self.parts_algorithm().as_slice());
        if let Some(sum) = sent.or_else(|| best_of(&part.checksums, self.request_algorithms())) {
            send_checksum(&mut call, sum)?;
        }
        let answer = self.client.call(&call, body).await?;
        let stored = headers::stored_by(&answer.headers);
        self.client.collect(&call, answer, MAX_ANSWER_BYTES).await?;
        let etag = stored.etag.ok_or_else(|| self.client.nonsense(&call, "it has no ETag"))?;
        Ok(StoredPart { number: part.number, size: part.range.len, etag, checksums: stored.checksums })
    }

    /// The algorithms that protect a request and are not stored.
    fn request_algorithms(&self) -> &'static [Algorithm] {
        if self.capabilities.verifies.contains(&Algorithm::Md5) { &[Algorithm::Md5] } else { &[] }
    }

    /// A request that makes a part.
    pub(super) async fn part_call<'a>(&self, upload: &'a Upload, number: u32) -> Result<Call<'a>> {
        let full = self.client.full_key(&upload.key).await?;
        let call = Call::object(Method::PUT, "write a part of", &upload.key, full);
        Ok(call.with("partNumber", number.to_string()).with("uploadId", upload.id.as_str()))
    }

    pub(super) async fn complete_upload(
        &self,
        upload: &Upload,
        request: &PutRequest,
        parts: &[StoredPart],
    ) -> Result<Stored> {
        let full = self.client.full_key(&upload.key).await?;
        let call = Call::object(Method::POST, "complete an upload of", &upload.key, full);
        let mut call = call.with("uploadId", upload.id.as_str()).patient(SERVER_WORK_TIMEOUT);
        // At Google it would be that of the list.
        let whole = best_of(&request.checksums, self.parts_algorithm().as_slice());
        if let Some(sum) = whole.filter(|_| !self.client.is_google()) {
            call.set(headers::name(sum.algorithm()).unwrap_or_default(), &headers::base64_of(sum))?;
            call.set("x-amz-checksum-type", "FULL_OBJECT")?;
        }
        call.set("x-amz-mp-object-size", &request.size.to_string())?;
        if self.client.is_google() && request.condition != Condition::Always {
            let what = "complete an upload in parts on a condition";
            return Err(StoreError::unsupported(self.client.name(), what));
        }
        self.set_condition(&mut call, &request.condition)?;
        let document = completion(parts, self.parts_algorithm());
        let answer = self.client.call(&call, Body::Whole(document.into())).await;
        let answer = answer.map_err(|error| condition_failed(request, error))?;
        let version = headers::stored_by(&answer.headers).version;
        let document = self.client.collect(&call, answer, MAX_ANSWER_BYTES).await?;
        let stored = self.stored_of(&call, &document, "CompleteMultipartUploadResult", version);
        let mut stored = match stored {
            Err(error @ StoreError::Corrupt { .. }) => self.made_of(parts, request).await?.ok_or(error)?,
            stored => stored?,
        };
        if self.tags_later(request) {
            self.put_tags(&request.key, &request.attributes).await?;
        }
        if self.client.is_google() {
            // Only the object itself tells the checksum of the whole.
            let entry = self.head_object(&upload.key, AttributeSet::NONE).await?.entry;
            (stored.version, stored.size, stored.checksums) = (entry.version, Some(entry.size), entry.checksums);
        }
        Ok(Stored { left_out: headers::left_out(&request.attributes, self.client.dialect()), ..stored })
    }

    /// The object, if it is of these parts: radosgw's answer for a long key is garbled where it repeats the key, so that
    /// only the object tells whether it was made.
    async fn made_of(&self, parts: &[StoredPart], request: &PutRequest) -> Result<Option<Stored>> {
        let object = match self.head_object(&request.key, AttributeSet::NONE).await {
            Err(StoreError::Missing { .. }) => return Ok(None),
            object => object?,
        };
        let entry = &object.entry;
        let count = entry.etag.as_ref().and_then(|etag| etag.as_str().rsplit_once('-')?.1.parse().ok());
        let is_it = entry.size == request.size && count == Some(parts.len());
        Ok(is_it.then(|| as_it_is(&object)))
    }

    /// What a document tells of an object that the server made. Such an answer begins before the work is done, so
    /// that it may turn out to be an error.
    pub(super) fn stored_of(
        &self,
        call: &Call<'_>,
        document: &[u8],
        root: &str,
        version: Option<VersionId>,
    ) -> Result<Stored> {
        match Records::read(document, root) {
            Ok(records) => {
                let etag = records.top.get("ETag").map(ETag::new);
                let mut checksums = reported(&records.top);
                if let Some((scope, sum)) = etag.as_ref().filter(|_| self.md5_etags).and_then(headers::md5_of) {
                    checksums.add(scope, sum);
                }
                Ok(Stored { etag, version, checksums, ..Stored::default() })
            }
            Err(reason) => {
                let refusal = Refusal::new(http::StatusCode::OK, document);
                let is_error = !refusal.code.is_empty();
                Err(if is_error { self.client.error(call, refusal) } else { self.client.nonsense(call, reason) })
            }
        }
    }

    pub(super) async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        let full = self.client.full_key(&upload.key).await?;
        let call = Call::object(Method::DELETE, "abort an upload of", &upload.key, full);
        match self.client.fetch(&call.with("uploadId", upload.id.as_str()), MAX_ANSWER_BYTES).await {
            Err(error) if error.is_absence_of(&upload.key) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    pub(super) async fn uploads_page(&self, after: Option<&str>) -> Result<UploadPage> {
        let call = Call::bucket(Method::GET, "list uploads").with("uploads", "").with("encoding-type", "url");
        let mut call = call.with("max-uploads", PAGE);
        if !self.client.address().prefix().is_empty() {
            call = call.with("prefix", self.client.address().prefix());
        }
        if let Some(after) = after {
            let (key, id) = parse_cursor(after).ok_or_else(|| StoreError::invalid("a cursor of uploads", after))?;
            call = call.with("key-marker", key).with("upload-id-marker", id);
        }
        let document = self.client.fetch(&call, MAX_ANSWER_BYTES).await?;
        self.uploads_of(&document, after).map_err(|reason| self.client.nonsense(&call, reason))
    }

    fn uploads_of(&self, document: &[u8], after: Option<&str>) -> std::result::Result<UploadPage, String> {
        let records = Records::read(document, "ListMultipartUploadsResult")?;
        let decode = |text: &str| -> std::result::Result<Vec<u8>, String> {
            match records.top.get("EncodingType") {
                Some("url") => encode::decode(text).map(std::borrow::Cow::into_owned).ok_or_else(|| text.to_owned()),
                _ => Ok(text.as_bytes().to_vec()),
            }
        };
        let mut page = UploadPage::default();
        for record in records.of("Upload") {
            let (key, id) = record.get("Key").zip(record.get("UploadId")).ok_or("an upload has no key or no id")?;
            if let Some(key) = self.client.address().key(&decode(key)?)? {
                let begun = record.get("Initiated").and_then(time::from_iso);
                page.uploads.push(OpenUpload { upload: Upload { key, id: UploadId::new(id) }, begun });
            }
        }
        if records.is_truncated()? {
            let key = records.top.get("NextKeyMarker").ok_or("it does not say where it goes on")?;
            let key = String::from_utf8(decode(key)?).map_err(|_| "a marker is no text")?;
            page.next = Some(cursor(&key, records.top.get("NextUploadIdMarker").unwrap_or_default()));
            if page.next.as_deref() == after {
                return Err("it does not go on".to_owned());
            }
        }
        Ok(page)
    }

    pub(super) async fn parts_page(&self, upload: &Upload, after: Option<u32>) -> Result<PartPage> {
        let full = self.client.full_key(&upload.key).await?;
        let call = Call::object(Method::GET, "list the parts of", &upload.key, full).with("max-parts", PAGE);
        let mut call = call.with("uploadId", upload.id.as_str());
        if let Some(after) = after {
            call = call.with("part-number-marker", after.to_string());
        }
        let document = self.client.fetch(&call, MAX_ANSWER_BYTES).await?;
        parts_of(&document, after).map_err(|reason| self.client.nonsense(&call, reason))
    }
}

fn parts_of(document: &[u8], after: Option<u32>) -> std::result::Result<PartPage, String> {
    let records = Records::read(document, "ListPartsResult")?;
    let parts: std::result::Result<Vec<_>, String> = records.of("Part").map(part_of).collect();
    let (parts, more) = (parts?, records.is_truncated()?);
    let in_order = parts.is_sorted_by(|one, next| one.number < next.number);
    let later = parts.first().map_or(!more, |first| first.number > after.unwrap_or(0));
    if in_order && later { Ok(PartPage { parts, more }) } else { Err("its parts are out of order".to_owned()) }
}

fn part_of(record: &Record<'_>) -> std::result::Result<StoredPart, String> {
    let number = |name: &str| record.get(name).and_then(|text| text.trim().parse::<u64>().ok());
    let (Some(part), Some(size), Some(etag)) = (number("PartNumber"), number("Size"), record.get("ETag")) else {
        return Err("a part has no number, no size or no ETag".to_owned());
    };
    let part = u32::try_from(part).map_err(|_| "a part's number is too large".to_owned())?;
    Ok(StoredPart { number: part, size, etag: ETag::new(etag), checksums: reported(record) })
}

/// The checksums in a document.
fn reported(record: &Record<'_>) -> Checksums {
    let composite = record.get("ChecksumType") == Some("COMPOSITE");
    let mut sums = Checksums::none();
    for (name, value) in record.iter() {
        let sum =
            headers::of_element(name).and_then(|algorithm| headers::parse_checksum(algorithm, value.trim(), composite));
        if let Some((scope, sum)) = sum {
            sums.add(scope, sum);
        }
    }
    sums
}

/// The parts, with the checksums that they were stored with.
fn completion(parts: &[StoredPart], algorithm: Option<Algorithm>) -> String {
    let mut document = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">".to_owned();
    for part in parts {
        document.push_str("<Part>");
        xml::element(&mut document, "PartNumber", &part.number.to_string());
        xml::element(&mut document, "ETag", &format!("\"{}\"", part.etag.as_str()));
        if let Some(sum) = algorithm.and_then(|algorithm| part.checksums.whole(algorithm)) {
            let name = format!("Checksum{}", headers::word(sum.algorithm()).unwrap_or_default());
            xml::element(&mut document, &name, &headers::base64_of(sum));
        }
        document.push_str("</Part>");
    }
    document.push_str("</CompleteMultipartUpload>");
    document
}

/// Where a list of uploads goes on, as one text.
fn cursor(key: &str, id: &str) -> String {
    format!("{}&{}", encode::query(key), encode::query(id))
}

fn parse_cursor(cursor: &str) -> Option<(String, String)> {
    let (key, id) = cursor.split_once('&')?;
    let decode = |text: &str| String::from_utf8(encode::decode(text)?.into_owned()).ok();
    Some((decode(key)?, decode(id)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::Checksum;

    #[test]
    fn cursors_come_back() {
        for (key, id) in [("a/b&c", "id=="), ("", ""), ("\u{1}+ ", "x")] {
            assert_eq!(parse_cursor(&cursor(key, id)), Some((key.to_owned(), id.to_owned())));
        }
        assert_eq!(parse_cursor("nonsense"), None);
    }

    #[test]
    fn parts_are_read_in_order_or_refused() {
        let part = |number: u32| {
            format!(
                "<Part><PartNumber>{number}</PartNumber><Size>7</Size><ETag>\"e\"</ETag><ChecksumCRC32C>4waSgw==</ChecksumCRC32C></Part>"
            )
        };
        let list = |parts: String, more: bool| {
            format!("<ListPartsResult>{parts}<IsTruncated>{more}</IsTruncated></ListPartsResult>").into_bytes()
        };
        let page = parts_of(&list(part(2) + &part(3), true), Some(1)).unwrap();
        assert_eq!(page.parts[1].checksums.whole(Algorithm::Crc32c), Some(Checksum::Crc32c(0xE306_9283)));
        assert!(page.more && page.parts[0].etag.as_str() == "e");
        assert!(parts_of(&list(part(3) + &part(2), false), None).is_err());
        assert!(parts_of(&list(part(1), false), Some(1)).is_err(), "it was told before");
        assert!(parts_of(&list(String::new(), true), None).is_err(), "there is no more without a part");
        assert!(parts_of(&list(String::new(), false), None).unwrap().parts.is_empty());
    }

    #[test]
    fn a_completion_names_parts_with_their_checksums() {
        let part = StoredPart {
            number: 1,
            size: 7,
            etag: ETag::new("e"),
            checksums: Checksums::none().with(Checksum::Crc32c(0xE306_9283)),
        };
        let document = completion(&[part], Some(Algorithm::Crc32c));
        assert!(document.contains("<ETag>&quot;e&quot;</ETag><ChecksumCRC32C>4waSgw==</ChecksumCRC32C>"), "{document}");
    }
}
