//! Objects in parts: each part is a block that is not committed, and its id names the upload and the part.
//!
//! An upload begins without a request: it is nothing but its blocks. Azure discards them when the blob is written, and
//! after a week. There is no request that removes them. So an upload that is aborted where there is no blob yet is
//! committed empty and deleted at once; where there is one its blocks stay, unseen, until then.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Method;

use super::AzureStore;
use super::client::Call;
use super::headers;
use super::writing::{best_of, condition_failed, set_match};
use crate::checksum::{Algorithm, Checksums};
use crate::digest::checksum_of;
use crate::entry::ETag;
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::{MAX_ANSWER_BYTES, MAX_PAGE_BYTES, SERVER_WORK_TIMEOUT};
use crate::store::transport::xml;
use crate::store::{
    Body, OpenUpload, PartPage, PartRequest, PutRequest, Stored, StoredPart, Upload, UploadId, UploadPage,
};

/// What the ids of all blocks of sync begin with. All ids of a blob have one length.
const MARK: &str = "farshore";
/// Digits of a part's number.
const NUMBER_DIGITS: usize = 5;
/// Hexadecimal digits of an upload's id.
const ID_DIGITS: usize = 32;

/// A block as the service has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    id: String,
    size: u64,
}

impl AzureStore {
    pub(super) fn begin_upload(&self, request: &PutRequest) -> Result<UploadId> {
        // What cannot be written is told before any part is sent.
        self.make_object("begin an upload of", request)?;
        Ok(UploadId::new(format!("{:032x}", rand::random::<u128>())))
    }

    pub(super) async fn send_part(&self, upload: &Upload, part: &PartRequest, body: Body) -> Result<StoredPart> {
        if body.len() != part.range.len {
            let reason = format!("it has {} bytes where {} were announced", body.len(), part.range.len);
            return Err(StoreError::invalid(format!("part {} of {}", part.number, upload.key), reason));
        }
        let id = block_id(&upload.id, part.number);
        let call = Call::object(Method::PUT, "write a part of", &upload.key, self.client.new_name(&upload.key)?);
        let mut call = call.with("comp", "block").with("blockid", id.as_str());
        if let Some(sum) = best_of(&part.checksums, &self.capabilities.verifies) {
            headers::send_checksum(&mut call, sum)?;
        }
        let answer = self.client.call(&call, body).await.map_err(|error| foreign_blocks(&upload.key, error))?;
        let checksums = headers::computed(&answer.headers);
        self.client.collect(&call, answer, MAX_ANSWER_BYTES).await?;
        Ok(StoredPart { number: part.number, size: part.range.len, etag: ETag::new(&id), checksums })
    }

    pub(super) async fn complete_upload(
        &self,
        upload: &Upload,
        request: &PutRequest,
        parts: &[StoredPart],
    ) -> Result<Stored> {
        let (call, left_out) = self.make_object("complete an upload of", request)?;
        let mut call = call.with("comp", "blocklist").patient(SERVER_WORK_TIMEOUT);
        if let Some(md5) = request.checksums.whole(Algorithm::Md5) {
            call.set("x-ms-blob-content-md5", &BASE64.encode(md5.to_bytes()))?;
        }
        self.set_condition(&mut call, &request.condition)?;
        let document = block_list(parts.iter().map(|part| block_id(&upload.id, part.number)));
        if let Some(md5) = checksum_of(Algorithm::Md5, document.as_bytes()) {
            headers::send_checksum(&mut call, md5)?;
        }
        let answer = self.client.call(&call, Body::Whole(document.into())).await;
        let answer = answer.map_err(|error| condition_failed(request, error))?;
        // The checksums of this answer are those of the list.
        let etag = headers::etag(&answer.headers);
        self.client.collect(&call, answer, MAX_ANSWER_BYTES).await?;
        Ok(Stored { etag, left_out, ..Stored::default() })
    }

    pub(super) async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        let blocks = self.blocks(&upload.key).await?;
        let own = blocks.iter().filter(|block| number_of(&block.id, &upload.id).is_some()).count();
        // The blocks of another writer would be discarded with these.
        if own == 0 || own < blocks.len() {
            return Ok(());
        }
        let name = self.client.blob_name(&upload.key)?;
        let call = Call::object(Method::PUT, "abort an upload of", &upload.key, name.clone()).with("comp", "blocklist");
        let call = call.header("if-none-match", "*")?;
        let committed = self.client.call(&call, Body::Whole(block_list(std::iter::empty()).into())).await;
        let etag = match committed {
            Ok(answer) => {
                headers::etag(&answer.headers).ok_or_else(|| self.client.nonsense(&call, "it has no ETag"))?
            }
            // There is a blob: its blocks stay until it is written again.
            Err(StoreError::Changed { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut call = Call::object(Method::DELETE, "abort an upload of", &upload.key, name);
        set_match(&mut call, &etag)?;
        match self.client.fetch(&call, MAX_ANSWER_BYTES).await {
            // Somebody has written the object meanwhile.
            Err(StoreError::Changed { .. }) => Ok(()),
            Err(error) if error.is_absence_of(&upload.key) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// Uploads of objects that are not there yet; blocks of those that are cannot be found without asking for each.
    pub(super) async fn uploads_page(&self, after: Option<&str>) -> Result<UploadPage> {
        let page = self.page(&self.query_of_uploads(after)).await?;
        let mut found = UploadPage { uploads: Vec::new(), next: page.marker };
        for entry in page.entries.into_iter().filter(|entry| entry.size == 0) {
            let mut ids: Vec<_> =
                self.blocks(&entry.key).await?.iter().filter_map(|block| upload_of(&block.id)).collect();
            ids.sort_unstable();
            ids.dedup();
            let upload = |id| OpenUpload { upload: Upload { key: entry.key.clone(), id }, begun: entry.modified };
            found.uploads.extend(ids.into_iter().map(upload));
        }
        Ok(found)
    }

    pub(super) async fn parts_page(&self, upload: &Upload, after: Option<u32>) -> Result<PartPage> {
        let part = |block: Block| {
            let number = number_of(&block.id, &upload.id)?;
            let checksums = Checksums::none();
            Some(StoredPart { number, size: block.size, etag: ETag::new(&block.id), checksums })
        };
        let parts = self.blocks(&upload.key).await?.into_iter().filter_map(part);
        let mut parts: Vec<_> = parts.filter(|part| part.number > after.unwrap_or(0)).collect();
        parts.sort_by_key(|part| part.number);
        Ok(PartPage { parts, more: false })
    }

    /// The blocks of a blob that are not committed; none if there is no such blob.
    async fn blocks(&self, key: &Key) -> Result<Vec<Block>> {
        let call = Call::object(Method::GET, "list the parts of", key, self.client.blob_name(key)?);
        let call = call.with("comp", "blocklist").with("blocklisttype", "uncommitted");
        match self.client.fetch(&call, MAX_PAGE_BYTES).await {
            Ok(document) => parse_blocks(&document).map_err(|reason| self.client.nonsense(&call, reason)),
            Err(error) if error.is_absence_of(key) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// Blocks whose ids have another length are in the way of all others.
fn foreign_blocks(key: &Key, error: StoreError) -> StoreError {
    match error {
        StoreError::Invalid { reason, .. } if reason.contains("InvalidBlobOrBlock") => {
            let way_out = "another tool's unfinished upload is in the way; write or delete the blob, or wait a week";
            StoreError::invalid(key.to_string(), format!("{way_out} ({reason})"))
        }
        error => error,
    }
}

fn block_id(upload: &UploadId, number: u32) -> String {
    BASE64.encode(format!("{MARK}{upload}{number:0NUMBER_DIGITS$}"))
}

/// The upload and the part's number of a block; none if it is no block of sync.
fn parse_block_id(id: &str) -> Option<(String, u32)> {
    let bytes = BASE64.decode(id.trim()).ok()?;
    let rest = std::str::from_utf8(&bytes).ok()?.strip_prefix(MARK)?;
    let (upload, number) = rest.split_at_checked(ID_DIGITS)?;
    let digits = number.len() == NUMBER_DIGITS && number.bytes().all(|byte| byte.is_ascii_digit());
    Some((upload.to_owned(), number.parse().ok().filter(|_| digits)?))
}

fn upload_of(block: &str) -> Option<UploadId> {
    parse_block_id(block).map(|(upload, _)| UploadId::new(upload))
}

fn number_of(block: &str, upload: &UploadId) -> Option<u32> {
    parse_block_id(block).filter(|(id, _)| id == upload.as_str()).map(|(_, number)| number)
}

fn block_list(ids: impl Iterator<Item = String>) -> String {
    let mut document = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>".to_owned();
    for id in ids {
        xml::element(&mut document, "Uncommitted", &id);
    }
    document.push_str("</BlockList>");
    document
}

fn parse_blocks(document: &[u8]) -> std::result::Result<Vec<Block>, String> {
    let (mut blocks, mut id) = (Vec::new(), None::<String>);
    xml::leaves(document, "BlockList", |parent, name, text| {
        match (parent, name) {
            ("Block", "Name") => id = Some(text.to_owned()),
            ("Block", "Size") => {
                let size = text.trim().parse().map_err(|_| "a block has no size")?;
                blocks.push(Block { id: id.take().ok_or("a block has no name")?, size });
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_blocks_name_the_upload_and_the_part_and_have_one_length() {
        let upload = UploadId::new(format!("{:032x}", 77));
        for number in [1, 9, 50_000] {
            let id = block_id(&upload, number);
            assert_eq!(number_of(&id, &upload), Some(number));
            assert_eq!((id.len(), upload_of(&id)), (60, Some(upload.clone())));
            assert_eq!(number_of(&id, &UploadId::new("other")), None);
        }
        for foreign in ["", "AAAA", "not base64", &BASE64.encode("farshoreshort"), &BASE64.encode([0xFF; 45])] {
            assert_eq!(parse_block_id(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn lists_of_blocks_are_read_and_written() {
        let document =
            b"<?xml version=\"1.0\"?><BlockList><UncommittedBlocks><Block><Name>aQ==</Name><Size>7</Size></Block>\
                         <Block><Name>ag==</Name><Size>8</Size></Block></UncommittedBlocks></BlockList>";
        let blocks = parse_blocks(document).unwrap();
        assert_eq!(blocks[1], Block { id: "ag==".to_owned(), size: 8 });
        assert!(parse_blocks(b"<BlockList/>").unwrap().is_empty());
        assert!(parse_blocks(b"<BlockList><Block><Size>1</Size></Block></BlockList>").is_err());
        assert!(parse_blocks(b"<html/>").is_err());
        let written = block_list(["aQ==".to_owned()].into_iter());
        assert!(written.ends_with("<BlockList><Uncommitted>aQ==</Uncommitted></BlockList>"), "{written}");
    }
}
