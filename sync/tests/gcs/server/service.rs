//! What is answered to a request.

use std::fmt::Write;

use farshore_sync::Algorithm;

use super::bucket::{Bucket, Upload, hash};
use super::encoding::{base64, decode, elements, encode, hex, xml};
use super::{BUCKET, Request, Response, TOKEN};

const CLASSES: [&str; 4] = ["STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"];
const KEPT: [&str; 6] = [
    "content-type",
    "content-encoding",
    "content-language",
    "content-disposition",
    "cache-control",
    "x-goog-storage-class",
];
const MIN_PART: usize = 5 << 20;
/// Conditions and actions of S3 that the service ignores or refuses.
const UNKNOWN: [&str; 3] = ["if-none-match", "x-goog-tagging", "x-goog-copy-source-range"];

/// An answer, or a refusal, which is one too.
type Answer = Result<Response, Response>;

pub(super) fn refuse(status: u16, code: &str) -> Response {
    let body = format!("<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>no</Message></Error>");
    Response { status, headers: Vec::new(), body: body.into_bytes(), length: None }
}

fn told(status: u16, headers: Vec<(String, String)>, body: impl Into<Vec<u8>>) -> Response {
    Response { status, headers, body: body.into(), length: None }
}

pub(super) fn answer(bucket: &mut Bucket, request: &Request) -> Answer {
    check(request)?;
    let path = request.path.strip_prefix('/').unwrap_or_default();
    let (name, key) = path.split_once('/').map_or((path, None), |(name, key)| (name, Some(key)));
    if name != BUCKET {
        return Err(refuse(404, "NoSuchBucket"));
    }
    let Some(key) = key else { return about_bucket(bucket, request) };
    let key = decode(key).ok_or_else(|| refuse(400, "InvalidURI"))?;
    check_key(&key)?;
    match request.parameter("uploadId") {
        Some(id) => about_upload(bucket, request, &key, id),
        None => about_object(bucket, request, &key),
    }
}

fn check(request: &Request) -> Result<(), Response> {
    if request.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return Err(refuse(401, "AuthenticationRequired"));
    }
    let strange = |name: &str| name.starts_with("x-amz-") || UNKNOWN.contains(&name);
    if request.headers.iter().any(|(name, _)| strange(name)) {
        return Err(refuse(501, "NotImplemented"));
    }
    let header = |name: &str| request.header(name).map(ToOwned::to_owned);
    let hashes = header("x-goog-hash").unwrap_or_default();
    let md5 = header("content-md5").map(|md5| format!("md5={md5}"));
    for hash_told in hashes.split(',').map(str::trim).filter(|hash| !hash.is_empty()).chain(md5.as_deref()) {
        let (name, value) = hash_told.split_once('=').ok_or_else(|| refuse(400, "InvalidDigest"))?;
        let algorithm = if name == "crc32c" { Algorithm::Crc32c } else { Algorithm::Md5 };
        if base64(&hash(algorithm, &request.body)) != value {
            return Err(refuse(400, "BadDigest"));
        }
    }
    Ok(())
}

fn check_key(key: &[u8]) -> Result<(), Response> {
    let text = std::str::from_utf8(key).map_err(|_| refuse(400, "InvalidURI"))?;
    if key.is_empty() || key.len() > 1024 || text.contains(['\r', '\n']) || matches!(text, "." | "..") {
        return Err(refuse(400, "InvalidObjectName"));
    }
    Ok(())
}

fn number(request: &Request, name: &str) -> Result<Option<u64>, Response> {
    let text = request.header(name);
    text.map(|text| text.parse().map_err(|_| refuse(400, "InvalidArgument"))).transpose()
}

/// The condition on the state of what is written or read.
fn check_condition(bucket: &Bucket, request: &Request, key: &[u8]) -> Result<(), Response> {
    match number(request, "x-goog-if-generation-match")? {
        Some(wanted) if wanted != bucket.generation(key) => Err(refuse(412, "PreconditionFailed")),
        _ => Ok(()),
    }
}

/// What is kept of a request's headers.
fn kept(request: &Request) -> Result<Vec<(String, String)>, Response> {
    let class = request.header("x-goog-storage-class");
    if class.is_some_and(|class| !CLASSES.contains(&class)) {
        return Err(refuse(400, "InvalidArgument"));
    }
    let is_kept = |name: &str| KEPT.contains(&name) || name.starts_with("x-goog-meta-");
    let mut kept: Vec<_> = request.headers.iter().filter(|(name, _)| is_kept(name)).cloned().collect();
    if class.is_none() {
        kept.push(("x-goog-storage-class".to_owned(), "STANDARD".to_owned()));
    }
    Ok(kept)
}

fn about_object(bucket: &mut Bucket, request: &Request, key: &[u8]) -> Answer {
    match request.method.as_str() {
        "GET" | "HEAD" => read(bucket, request, key),
        "PUT" if request.header("if-match").is_some() => Err(refuse(501, "NotImplemented")),
        "PUT" => {
            check_condition(bucket, request, key)?;
            if let Some(source) = request.header("x-goog-copy-source") {
                return copy(bucket, request, source, key);
            }
            let object = bucket.store(key, request.body.clone(), kept(request)?, false);
            Ok(told(200, object.headers(), ""))
        }
        "DELETE" => match bucket.objects.remove(key) {
            Some(_) => Ok(told(204, Vec::new(), "")),
            None => Err(refuse(404, "NoSuchKey")),
        },
        "POST" if request.parameter("uploads").is_some() => {
            if request.header("x-goog-if-generation-match").is_some() || !request.body.is_empty() {
                return Err(refuse(400, "InvalidArgument"));
            }
            let upload = Upload { key: key.to_vec(), kept: kept(request)?, parts: std::collections::BTreeMap::new() };
            let id = bucket.next_number();
            bucket.uploads.insert(id, upload);
            let root = "InitiateMultipartUploadResult";
            Ok(told(200, Vec::new(), format!("<{root}><UploadId>{id}</UploadId></{root}>")))
        }
        _ => Err(refuse(405, "MethodNotAllowed")),
    }
}

fn read(bucket: &Bucket, request: &Request, key: &[u8]) -> Answer {
    let object = bucket.objects.get(key).ok_or_else(|| refuse(404, "NoSuchKey"))?;
    check_condition(bucket, request, key)?;
    if request.header("if-match").is_some_and(|etag| etag != format!("\"{}\"", object.etag)) {
        return Err(refuse(412, "PreconditionFailed"));
    }
    let (mut headers, size) = (object.headers(), object.bytes.len());
    let Some(range) = request.header("range") else {
        return Ok(Response { length: Some(size), ..told(200, headers, object.bytes.clone()) });
    };
    let bounds = range.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let bounds = bounds.and_then(|(first, last)| Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?)));
    let (first, last) =
        bounds.filter(|(first, last)| first <= last && *last < size).ok_or_else(|| refuse(416, "InvalidRange"))?;
    headers.retain(|(name, _)| name != "x-goog-hash");
    headers.push(("Content-Range".to_owned(), format!("bytes {first}-{last}/{size}")));
    Ok(told(206, headers, &object.bytes[first..=last]))
}

fn copy(bucket: &mut Bucket, request: &Request, source: &str, key: &[u8]) -> Answer {
    let source = source.trim_start_matches('/').strip_prefix(&format!("{BUCKET}/")).and_then(decode);
    let source = source.ok_or_else(|| refuse(404, "NoSuchBucket"))?;
    let object = bucket.objects.get(&source).cloned().ok_or_else(|| refuse(404, "NoSuchKey"))?;
    let generation = number(request, "x-goog-copy-source-if-generation-match")?;
    let etag = request.header("x-goog-copy-source-if-match");
    if generation.is_some_and(|wanted| wanted != object.generation)
        || etag.is_some_and(|etag| etag != format!("\"{}\"", object.etag))
    {
        return Err(refuse(412, "PreconditionFailed"));
    }
    let replaces = request.header("x-goog-metadata-directive") == Some("REPLACE");
    let kept = if replaces { kept(request)? } else { object.kept.clone() };
    let copy = bucket.store(key, object.bytes, kept, object.composite);
    let document = format!("<CopyObjectResult><ETag>\"{}\"</ETag></CopyObjectResult>", copy.etag);
    Ok(told(200, vec![("x-goog-generation".to_owned(), copy.generation.to_string())], document))
}

fn about_upload(bucket: &mut Bucket, request: &Request, key: &[u8], id: &str) -> Answer {
    let id: u64 = id.parse().map_err(|_| refuse(404, "NoSuchUpload"))?;
    let known = bucket.uploads.get_mut(&id).filter(|upload| upload.key == key);
    let upload = known.ok_or_else(|| refuse(404, "NoSuchUpload"))?;
    match (request.method.as_str(), request.parameter("partNumber")) {
        ("PUT", Some(part)) => {
            let part = part.parse().ok().filter(|part| (1..=10_000).contains(part));
            let part = part.ok_or_else(|| refuse(400, "InvalidArgument"))?;
            upload.parts.insert(part, request.body.clone());
            let crc = base64(&hash(Algorithm::Crc32c, &request.body));
            Ok(told(200, vec![part_tag(&request.body), ("x-goog-hash".to_owned(), format!("crc32c={crc}"))], ""))
        }
        ("GET", None) => Ok(list_parts(request, upload)),
        ("DELETE", None) => {
            bucket.uploads.remove(&id);
            Ok(told(204, Vec::new(), ""))
        }
        ("POST", None) => complete(bucket, request, key, id),
        _ => Err(refuse(405, "MethodNotAllowed")),
    }
}

fn part_tag(bytes: &[u8]) -> (String, String) {
    ("ETag".to_owned(), format!("\"{}\"", hex(&hash(Algorithm::Md5, bytes))))
}

fn list_parts(request: &Request, upload: &Upload) -> Response {
    let after = request.parameter("part-number-marker").and_then(|after| after.parse().ok()).unwrap_or(0);
    let mut document = "<ListPartsResult>".to_owned();
    for (number, bytes) in upload.parts.range(after + 1..) {
        let (size, (_, etag)) = (bytes.len(), part_tag(bytes));
        write!(document, "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><Size>{size}</Size></Part>")
            .expect("it fits");
    }
    document.push_str("<IsTruncated>false</IsTruncated></ListPartsResult>");
    told(200, Vec::new(), document)
}

fn complete(bucket: &mut Bucket, request: &Request, key: &[u8], id: u64) -> Answer {
    if request.header("x-goog-if-generation-match").is_some() {
        return Err(refuse(400, "InvalidArgument"));
    }
    let document = String::from_utf8_lossy(&request.body).into_owned();
    let numbers: Vec<u32> = elements(&document, "PartNumber").iter().filter_map(|number| number.parse().ok()).collect();
    let upload = &bucket.uploads[&id];
    if numbers.is_empty() || !numbers.is_sorted_by(|one, next| one < next) {
        return Err(refuse(400, "InvalidPartOrder"));
    }
    let mut bytes = Vec::new();
    for (place, (number, etag)) in numbers.iter().zip(elements(&document, "ETag")).enumerate() {
        let part = upload.parts.get(number).ok_or_else(|| refuse(400, "InvalidPart"))?;
        if part_tag(part).1 != etag.replace("&quot;", "\"") {
            return Err(refuse(400, "InvalidPart"));
        }
        if part.len() < MIN_PART && place + 1 < numbers.len() {
            return Err(refuse(400, "EntityTooSmall"));
        }
        bytes.extend_from_slice(part);
    }
    let kept = upload.kept.clone();
    bucket.uploads.remove(&id);
    let etag = bucket.store(key, bytes, kept, true).etag.clone();
    let root = "CompleteMultipartUploadResult";
    Ok(told(200, Vec::new(), format!("<{root}><ETag>\"{etag}\"</ETag></{root}>")))
}

fn about_bucket(bucket: &Bucket, request: &Request) -> Answer {
    match (request.method.as_str(), request.parameter("list-type"), request.parameter("uploads")) {
        ("GET", Some("2"), None) => Ok(list(bucket, request)),
        ("GET", None, Some(_)) => Ok(list_uploads(bucket, request)),
        ("HEAD", None, None) => Ok(told(200, Vec::new(), "")),
        _ => Err(refuse(400, "InvalidArgument")),
    }
}

fn list(bucket: &Bucket, request: &Request) -> Response {
    let limit = request.parameter("max-keys").and_then(|limit| limit.parse().ok()).unwrap_or(1000).min(1000);
    let prefix = request.parameter("prefix").unwrap_or_default().as_bytes();
    let token = request.parameter("continuation-token").or_else(|| request.parameter("start-after"));
    let after = token.unwrap_or_default().as_bytes();
    let mut found = bucket.objects.iter().filter(|(key, _)| key.as_slice() > after && key.starts_with(prefix));
    let mut document =
        "<ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'><EncodingType>url</EncodingType>".to_owned();
    let mut last = None;
    for (key, object) in found.by_ref().take(limit) {
        let (name, size, etag) = (encode(key), object.bytes.len(), &object.etag);
        write!(
            document,
            "<Contents><Key>{name}</Key><Generation>{}</Generation><MetaGeneration>1</MetaGeneration>",
            object.generation
        )
        .expect("it fits");
        write!(
            document,
            "<LastModified>2013-05-24T{}.000Z</LastModified><ETag>\"{}\"</ETag><Size>{size}</Size></Contents>",
            object.time(),
            xml(etag)
        )
        .expect("it fits");
        last = Some(key);
    }
    let more = found.next().is_some();
    write!(document, "<IsTruncated>{more}</IsTruncated>").expect("it fits");
    if let Some(last) = last.filter(|_| more) {
        let token = xml(&String::from_utf8_lossy(last));
        write!(document, "<NextContinuationToken>{token}</NextContinuationToken>").expect("it fits");
    }
    document.push_str("</ListBucketResult>");
    told(200, Vec::new(), document)
}

fn list_uploads(bucket: &Bucket, request: &Request) -> Response {
    let prefix = request.parameter("prefix").unwrap_or_default().as_bytes();
    let mut document =
        "<ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>".to_owned();
    for (id, upload) in bucket.uploads.iter().filter(|(_, upload)| upload.key.starts_with(prefix)) {
        let key = encode(&upload.key);
        write!(document, "<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>").expect("it fits");
    }
    document.push_str("</ListMultipartUploadsResult>");
    told(200, Vec::new(), document)
}
