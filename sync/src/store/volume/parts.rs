//! Objects in parts: a file without a name that the volume keeps, each part at its offset. The file's extended
//! attributes say of which key it will be and which parts it has, so any process can go on with it, list it or end it.

use bytes::Bytes;
use farshore_meta::{FsError, Ino, NewInode, Xattr, XattrChange};

use super::place::Place;
use super::writing::stored;
use super::{VolumeStore, failure, inode};
use crate::attributes::Attributes;
use crate::checksum::Checksums;
use crate::entry::{ETag, Kind};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::PAGE_ENTRIES;
use crate::store::{
    Body, ByteRange, OpenUpload, PartPage, PartRequest, PutRequest, Stored, StoredPart, Upload, UploadId, UploadPage,
};

const KEY: &[u8] = b"farshore.upload.key";
const ROOT: &[u8] = b"farshore.upload.root";
const PART: &[u8] = b"farshore.upload.part.";
/// Uploads of one page of a listing.
const UPLOADS_PAGE: usize = 100;

/// A part as its attribute tells it.
struct Part {
    number: u32,
    range: ByteRange,
}

impl VolumeStore {
    pub(super) async fn begin_parts(&self, request: &PutRequest) -> Result<UploadId> {
        // Who could not complete it is told at once.
        let place = Place::of(&self.name, &request.key)?;
        if place.is_directory {
            let reason = "a name that ends with a slash is a directory";
            return Err(StoreError::unholdable(&self.name, &request.key, reason));
        }
        let inode: NewInode = inode::new_inode(&Kind::Object, &Attributes::default(), self.owner);
        let root = Bytes::copy_from_slice(&self.root.0.to_be_bytes());
        let named: [Xattr; 2] = [(Bytes::from_static(KEY), request.key.to_bytes()), (Bytes::from_static(ROOT), root)];
        let begun = self.volume.begin_unnamed(&inode, &named, true).await;
        let ino = begun.map_err(|error| self.write_failed(&request.key, &error))?;
        Ok(UploadId::new(ino.0.to_string()))
    }

    pub(super) async fn put_one_part(&self, upload: &Upload, part: &PartRequest, body: Body) -> Result<StoredPart> {
        let ino = self.upload(upload).await?;
        let blocks = self.blocks(&upload.key, false, part.range.len, body).await?;
        if blocks.len != part.range.len {
            let what = format!("part {} of {}", part.number, upload.key);
            let reason = format!("{} bytes came in place of the {} that were announced", blocks.len, part.range.len);
            return Err(StoreError::corrupt(&self.name, &what, reason));
        }
        let done = Part { number: part.number, range: part.range };
        let put = self.volume.put_run(ino, part.range.offset, &blocks, &[done.encode()]).await;
        put.map_err(|error| self.part_failed(upload, &error))?;
        Ok(done.stored())
    }

    pub(super) async fn complete_parts(
        &self,
        upload: &Upload,
        request: &PutRequest,
        parts: &[StoredPart],
    ) -> Result<Stored> {
        let ino = self.upload(upload).await?;
        self.check_parts(upload, request, parts, &self.parts(upload, ino).await?)?;
        let place = Place::of(&self.name, &upload.key)?;
        let parent = self.make_directories(&upload.key, &place.directory).await?;
        let expected = self.expected(&upload.key, &request.condition).await?;
        let (whole, left_out) = self.whole(request);
        let named = self.volume.name(ino, parent, &place.name, &whole, &expected).await;
        let placed = named.map_err(|error| self.write_failed(&upload.key, &error))?;
        Ok(stored(&placed, left_out))
    }

    /// Fails unless those parts are here and make up the object.
    fn check_parts(&self, upload: &Upload, request: &PutRequest, sent: &[StoredPart], have: &[Part]) -> Result<()> {
        let mut reached = 0;
        for part in have {
            let named = sent.iter().any(|sent| sent.number == part.number && sent.size == part.range.len);
            if !named || part.range.offset != reached {
                let reason = format!("its part {} is not the one that was sent", part.number);
                return Err(StoreError::corrupt(&self.name, &upload.key, reason));
            }
            reached = part.range.end();
        }
        if have.len() == sent.len() && reached == request.size {
            return Ok(());
        }
        Err(StoreError::corrupt(&self.name, &upload.key, "not all of its parts are here"))
    }

    pub(super) async fn abort_parts(&self, upload: &Upload) -> Result<()> {
        let ino = match self.upload(upload).await {
            Err(StoreError::Missing { .. }) => return Ok(()),
            ino => ino?,
        };
        let given_up = self.volume.give_up_unnamed(ino).await;
        given_up.map_err(|error| failure::other(&self.name, &format!("abort an upload of {}", upload.key), &error))
    }

    pub(super) async fn open_uploads(&self, after: Option<&str>) -> Result<UploadPage> {
        let failed = |error: &FsError| failure::other(&self.name, "list uploads", error);
        let after = after.and_then(|text| text.parse().ok()).map(Ino);
        let inos = self.volume.kept_unnamed(after, UPLOADS_PAGE).await.map_err(|error| failed(&error))?;
        let next = inos.last().filter(|_| inos.len() == UPLOADS_PAGE).map(|ino| ino.0.to_string());
        let mut uploads = Vec::new();
        for ino in inos {
            match self.open_upload(ino).await {
                Ok(upload) => uploads.extend(upload),
                // It was completed or ended meanwhile.
                Err(FsError::NotFound | FsError::NoAttribute) => {}
                Err(error) => return Err(failed(&error)),
            }
        }
        Ok(UploadPage { uploads, next })
    }

    /// The upload that a file without a name is, if it is one below this root.
    async fn open_upload(&self, ino: Ino) -> std::result::Result<Option<OpenUpload>, FsError> {
        if self.volume.xattr(ino, ROOT).await?.as_ref() != self.root.0.to_be_bytes() {
            return Ok(None);
        }
        let Ok(key) = Key::new(self.volume.xattr(ino, KEY).await?) else { return Ok(None) };
        // Reading does not change this time, and writing neither.
        let begun = inode::timestamp(self.volume.attr(ino).await?.atime);
        let upload = Upload { key, id: UploadId::new(ino.0.to_string()) };
        Ok(Some(OpenUpload { upload, begun: Some(begun) }))
    }

    pub(super) async fn parts_page(&self, upload: &Upload, after: Option<u32>) -> Result<PartPage> {
        let ino = self.upload(upload).await?;
        let parts = self.parts(upload, ino).await?;
        let mut parts: Vec<_> = parts.iter().filter(|part| Some(part.number) > after).map(Part::stored).collect();
        let more = parts.len() > PAGE_ENTRIES;
        parts.truncate(PAGE_ENTRIES);
        Ok(PartPage { parts, more })
    }

    /// The parts that an upload has, in order.
    async fn parts(&self, upload: &Upload, ino: Ino) -> Result<Vec<Part>> {
        let all = self.volume.all_xattrs(ino).await.map_err(|error| self.part_failed(upload, &error))?;
        let parts =
            all.iter().filter(|(name, _)| name.starts_with(PART)).map(|(name, value)| Part::decode(name, value));
        let damaged = || StoreError::corrupt(&self.name, &upload.key, "what its upload tells of a part");
        parts.collect::<Option<_>>().ok_or_else(damaged)
    }

    /// The file that an upload is written to; `Missing` if it is not under way.
    async fn upload(&self, upload: &Upload) -> Result<Ino> {
        let missing = || StoreError::missing(&self.name, &format!("the upload {} of {}", upload.id, upload.key));
        let ino = Ino(upload.id.as_str().parse().map_err(|_| missing())?);
        let read = async {
            let (key, root) = (self.volume.xattr(ino, KEY).await?, self.volume.xattr(ino, ROOT).await?);
            Ok((key, root, self.volume.attr(ino).await?.nlink))
        };
        match read.await {
            Ok((key, root, 0)) if key == upload.key.as_bytes() && root.as_ref() == self.root.0.to_be_bytes() => Ok(ino),
            Ok(_) | Err(FsError::NotFound | FsError::NoAttribute) => Err(missing()),
            Err(error) => Err(self.part_failed(upload, &error)),
        }
    }

    fn part_failed(&self, upload: &Upload, error: &FsError) -> StoreError {
        match error {
            FsError::NotFound => StoreError::missing(&self.name, &format!("the upload {}", upload.id)),
            error => self.write_failed(&upload.key, error),
        }
    }
}

impl Part {
    /// The attribute that tells of it: numbers are in the order of names.
    fn encode(&self) -> XattrChange {
        let name = [PART, &self.number.to_be_bytes()].concat();
        let value = [self.range.offset.to_be_bytes(), self.range.len.to_be_bytes()].concat();
        (name.into(), Some(value.into()))
    }

    fn decode(name: &[u8], value: &[u8]) -> Option<Self> {
        let number = u32::from_be_bytes(name.strip_prefix(PART)?.try_into().ok()?);
        let (offset, len) = value.split_first_chunk()?;
        let len = u64::from_be_bytes(len.try_into().ok()?);
        Some(Self { number, range: ByteRange { offset: u64::from_be_bytes(*offset), len } })
    }

    fn stored(&self) -> StoredPart {
        let etag = ETag::new(&format!("{}-{}", self.range.offset, self.range.len));
        StoredPart { number: self.number, size: self.range.len, etag, checksums: Checksums::none() }
    }
}
