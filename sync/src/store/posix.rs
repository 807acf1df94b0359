//! A store of objects that keeps what a filesystem keeps: modes, owners, times and extended attributes in user metadata,
//! symbolic links as objects whose bytes are where they point, directories as empty objects whose key ends with a slash.
//!
//! Only for a pair of which the other side has files: between objects, user metadata are a user's own. The names and
//! forms are in `posix_metadata.rs`. A listing tells none of it, so that a link is listed as the object that it is.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::layer::Layer;
use super::{
    Body, Capabilities, PutRequest, ReadRequest, Reading, Store, Stored, StoredPart, Upload, UploadId, read_whole,
};
use crate::attributes::{AttributeKind, AttributeSet, Attributes, ContentHeaders};
use crate::checksum::{Agreement, Checksums};
use crate::digest::{Extra, Hasher, checksum_of};
use crate::entry::{Identity, Kind, Object};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::MAX_LINK_BYTES;
use crate::posix_metadata::{self, TimeForm};

/// The content type by which others know directories.
const DIRECTORY_TYPE: &str = "application/x-directory";

/// What is kept in user metadata.
const IN_METADATA: AttributeSet = AttributeSet::of(&[
    AttributeKind::Mode,
    AttributeKind::Owner,
    AttributeKind::ModifiedTime,
    AttributeKind::ExtendedAttributes,
]);
/// What is kept in the objects themselves.
const AS_OBJECTS: AttributeSet = AttributeSet::of(&[AttributeKind::Symlinks, AttributeKind::Directories]);

/// A store of objects, and how its metadata tell times.
#[derive(Debug)]
pub struct PosixStore {
    inner: Arc<dyn Store>,
    capabilities: Capabilities,
    form: TimeForm,
}

impl PosixStore {
    /// Keeps what a filesystem keeps in this store, which must hold user metadata.
    pub fn over(inner: Arc<dyn Store>, form: TimeForm) -> Self {
        let mut capabilities = inner.capabilities().clone();
        capabilities.holds = capabilities.holds.or(IN_METADATA).or(AS_OBJECTS);
        capabilities.posix_in_metadata = Some(form);
        Self { inner, capabilities, form }
    }

    /// The object that is written, and what of the attributes it cannot hold.
    fn object_of(&self, request: &PutRequest) -> Result<(PutRequest, AttributeSet)> {
        let mut object = request.clone();
        let left_out = self.put_into_metadata(&request.kind, &mut object.attributes);
        match &request.kind {
            Kind::Symlink { .. } if !object.attributes.user.contains_key("mode") => {
                return Err(self.cannot(format!("hold {}, a symbolic link with that much metadata", request.key)));
            }
            Kind::Symlink { target } => object.size = target.len() as u64,
            Kind::Directory => {
                object.attributes.content.content_type.get_or_insert_with(|| DIRECTORY_TYPE.to_owned());
            }
            Kind::Object => {}
        }
        object.kind = Kind::Object;
        Ok((object, left_out))
    }

    fn put_into_metadata(&self, kind: &Kind, attributes: &mut Attributes) -> AttributeSet {
        let Some(posix) = attributes.posix.take() else { return AttributeSet::NONE };
        let room = self.capabilities.user_metadata_bytes;
        posix_metadata::write(&posix, kind, self.form, room, &mut attributes.user)
    }

    /// What a filesystem keeps of an object, taken out of its metadata; whether it is a symbolic link.
    fn take_out_of_metadata(object: &mut Object) -> bool {
        if !object.known.has(AttributeKind::UserMetadata) {
            return false;
        }
        let entry = &object.entry;
        let told = posix_metadata::read(&mut object.attributes.user, &entry.key, entry.modified);
        (object.attributes.posix, object.attributes.modified) = (told.posix, told.modified);
        object.known = object.known.or(IN_METADATA).or(AS_OBJECTS);
        let content_type = &mut object.attributes.content.content_type;
        if entry.key.is_directory_name() && content_type.as_deref() == Some(DIRECTORY_TYPE) {
            *content_type = None;
        }
        told.is_symlink && (1..=MAX_LINK_BYTES).contains(&entry.size)
    }

    /// The bytes of a link, which are where it points.
    async fn link_target(&self, object: &Object, bytes: super::ByteStream) -> Result<Bytes> {
        let entry = &object.entry;
        let target = read_whole(bytes, entry.size as usize).await?;
        let damaged = |reason: &str| StoreError::corrupt(self.name(), &entry.key, reason);
        if target.len() as u64 != entry.size {
            return Err(damaged("it has another length than was told"));
        }
        let mut hasher = Hasher::new(Extra { md5: true, blake3: false });
        hasher.update(&target);
        match hasher.checksums().agreement(&entry.checksums) {
            Agreement::Different(_) => Err(damaged("its checksum is another than the one that the store tells")),
            Agreement::Equal | Agreement::Unknown => Ok(target),
        }
    }

    /// What was stored, with what had no room and what the store below did not keep.
    fn told(mut stored: Stored, left_out: AttributeSet) -> Stored {
        if stored.left_out.has(AttributeKind::UserMetadata) {
            stored.left_out = stored.left_out.or(IN_METADATA);
        }
        stored.left_out = stored.left_out.or(left_out);
        stored
    }
}

#[async_trait]
impl Layer for PosixStore {
    fn below(&self) -> &dyn Store {
        self.inner.as_ref()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn head(&self, key: &Key, wanted: AttributeSet) -> Result<Object> {
        let wanted = wanted.or(AttributeSet::of(&[AttributeKind::UserMetadata]));
        let mut object = self.inner.head(key, wanted).await?;
        if Self::take_out_of_metadata(&mut object) {
            let reading = self.inner.read(&ReadRequest::whole(key, &object.entry.identity())).await?;
            object.entry.kind = Kind::Symlink { target: self.link_target(&object, reading.bytes).await? };
        }
        Ok(object)
    }

    async fn read(&self, request: &ReadRequest) -> Result<Reading> {
        let mut reading = self.inner.read(request).await?;
        let is_link = Self::take_out_of_metadata(&mut reading.object);
        if is_link && request.range.len == reading.object.entry.size {
            let target = self.link_target(&reading.object, reading.bytes).await?;
            reading.object.entry.kind = Kind::Symlink { target };
            reading.bytes = stream::empty().boxed();
        }
        Ok(reading)
    }

    async fn put(&self, request: &PutRequest, body: Body) -> Result<Stored> {
        let (mut object, left_out) = self.object_of(request)?;
        let body = if let Kind::Symlink { target } = &request.kind {
            let sums = self.capabilities.verifies.iter().filter_map(|algorithm| checksum_of(*algorithm, target));
            object.checksums = sums.take(1).collect::<Checksums>();
            Body::Whole(target.clone())
        } else {
            body
        };
        Ok(Self::told(self.inner.put(&object, body).await?, left_out))
    }

    async fn begin_multipart(&self, request: &PutRequest) -> Result<UploadId> {
        self.inner.begin_multipart(&self.object_of(request)?.0).await
    }

    async fn complete_multipart(&self, upload: &Upload, request: &PutRequest, parts: &[StoredPart]) -> Result<Stored> {
        let (object, left_out) = self.object_of(request)?;
        Ok(Self::told(self.inner.complete_multipart(upload, &object, parts).await?, left_out))
    }

    /// Leaves what else the object has: a file has no headers and tags that could replace them.
    async fn set_attributes(&self, key: &Key, identity: &Identity, attributes: &Attributes) -> Result<Stored> {
        if identity.size > self.capabilities.max_copy_bytes {
            return Err(self.cannot(format!("give {key} other attributes without its bytes")));
        }
        let mut there = self.inner.head(key, self.inner.capabilities().holds).await?;
        if !identity.may_be(&there.entry.identity()) {
            return Err(StoreError::changed(key, "it was written since it was listed"));
        }
        if Self::take_out_of_metadata(&mut there) || key.is_directory_name() {
            return Err(self.cannot(format!("give {key} other attributes, because it is no file")));
        }
        let mut wanted = there.attributes;
        wanted.posix.clone_from(&attributes.posix);
        wanted.user.extend(attributes.user.clone());
        wanted.tags.extend(attributes.tags.clone());
        if attributes.content != ContentHeaders::default() {
            wanted.content.clone_from(&attributes.content);
        }
        if attributes.storage_class.is_some() {
            wanted.storage_class.clone_from(&attributes.storage_class);
        }
        let left_out = self.put_into_metadata(&Kind::Object, &mut wanted);
        Ok(Self::told(self.inner.set_attributes(key, identity, &wanted).await?, left_out))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::attributes::Posix;
    use crate::store::MemoryStore;
    use crate::timestamp::Timestamp;

    fn key(text: &str) -> Key {
        Key::try_from(text).unwrap()
    }

    fn posix(mode: u32) -> Posix {
        let modified = Timestamp::new(-5, 1);
        let xattrs = BTreeMap::from([(b"user.a".to_vec(), b"b".to_vec())]);
        Posix { mode, uid: 1, gid: 2, modified, xattrs, sparse: false }
    }

    fn stores() -> (Arc<MemoryStore>, Arc<dyn Store>) {
        let objects = Arc::new(MemoryStore::objects("objects"));
        (Arc::clone(&objects), Arc::new(PosixStore::over(objects, TimeForm::Seconds)))
    }

    fn request(name: &str, kind: Kind, size: u64) -> PutRequest {
        let attributes = Attributes { posix: Some(posix(0o4711)), ..Attributes::default() };
        PutRequest { kind, attributes, ..PutRequest::object(key(name), size) }
    }

    #[tokio::test]
    async fn files_links_and_directories_come_back() {
        let (objects, store) = stores();
        let link = Kind::Symlink { target: "../where".into() };
        store.put(&request("file", Kind::Object, 2), Body::Whole("ab".into())).await.unwrap();
        store.put(&request("link", link.clone(), 0), Body::empty()).await.unwrap();
        store.put(&request("dir/", Kind::Directory, 0), Body::empty()).await.unwrap();
        for (name, kind) in [("file", Kind::Object), ("link", link), ("dir/", Kind::Object)] {
            let object = store.head(&key(name), AttributeSet::all()).await.unwrap();
            assert_eq!((object.attributes.posix, object.entry.kind.clone()), (Some(posix(0o4711)), kind), "{name}");
            assert!(object.attributes.user.is_empty(), "{name}");
            let reading = store.read(&ReadRequest::whole(&key(name), &object.entry.identity())).await.unwrap();
            assert_eq!(reading.object.entry.kind, object.entry.kind);
        }
        let held = objects.snapshot();
        assert_eq!(held[&key("link")].1, "../where");
        assert_eq!(held[&key("dir/")].0.attributes.content.content_type.as_deref(), Some(DIRECTORY_TYPE));
    }

    #[tokio::test]
    async fn other_attributes_leave_the_users_own_metadata() {
        let (objects, store) = stores();
        let mut given = PutRequest::object(key("file"), 2);
        given.attributes.user.insert("colour".into(), "red".into());
        given.attributes.content.content_type = Some("text/plain".into());
        objects.put(&given, Body::Whole("ab".into())).await.unwrap();
        let identity = objects.head(&key("file"), AttributeSet::NONE).await.unwrap().entry.identity();
        let attributes = Attributes { posix: Some(posix(0o600)), ..Attributes::default() };
        store.set_attributes(&key("file"), &identity, &attributes).await.unwrap();
        let object = store.head(&key("file"), AttributeSet::all()).await.unwrap();
        assert_eq!(object.attributes.posix, Some(posix(0o600)));
        assert_eq!(object.attributes.user, given.attributes.user);
        assert_eq!(object.attributes.content, given.attributes.content);
    }

    #[tokio::test]
    async fn what_has_no_room_is_told() {
        let (_, store) = stores();
        let mut large = request("file", Kind::Object, 0);
        let xattrs = BTreeMap::from([(b"user.large".to_vec(), vec![1; 4000])]);
        large.attributes.posix = Some(Posix { xattrs, ..posix(0o600) });
        let stored = store.put(&large, Body::empty()).await.unwrap();
        assert_eq!(stored.left_out, AttributeSet::of(&[AttributeKind::ExtendedAttributes]));
    }
}
