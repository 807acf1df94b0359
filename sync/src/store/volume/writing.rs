//! Writing to a volume: contents are stored first, without a name; then one transaction gives them the name, with all
//! attributes, in place of what had it.

use farshore_meta::{Contents, Expected, FileKind, FsError, Ino, Name, Placed, WHOLE_EXTENTS, Whole, XattrChange};
use farshore_volume::Stored as Blocks;
use futures::TryStreamExt;

use super::place::Place;
use super::{VolumeStore, failure, inode};
use crate::attributes::{AttributeSet, Attributes};
use crate::entry::{Identity, Kind};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::store::{Body, Condition, CopyRequest, PutRequest, Stored, read_whole};

impl VolumeStore {
    pub(super) async fn put_whole(&self, request: &PutRequest, body: Body) -> Result<Stored> {
        let key = &request.key;
        let place = Place::of(&self.name, key)?;
        let is_directory = request.kind == Kind::Directory || (place.is_directory && request.size == 0);
        if place.is_directory && !is_directory {
            return Err(StoreError::unholdable(&self.name, key, "a name that ends with a slash is a directory"));
        }
        if (is_directory || request.kind != Kind::Object) && !body.is_empty() {
            return Err(StoreError::bug(format!("a {} with bytes", request.kind)));
        }
        let parent = self.make_directories(key, &place.directory).await?;
        if is_directory {
            return self.put_directory(request, parent, &place.name).await;
        }
        let written = match request.kind {
            Kind::Object => self.contents(request, body).await?,
            _ => Written::Contents(Contents::Extents(Vec::new())),
        };
        self.place(request, (parent, &place.name), written).await
    }

    /// Gives contents that are stored their name.
    async fn place(&self, request: &PutRequest, at: (Ino, &Name), written: Written) -> Result<Stored> {
        let key = &request.key;
        let expected = self.expected(key, &request.condition).await?;
        let (mut whole, left_out) = self.whole(request);
        match written {
            Written::Contents(contents) => whole.contents = contents,
            Written::Blocks(blocks) => return self.put_large(request, at, &whole, &blocks, &expected).await,
        }
        let placed = self.volume.place(at.0, at.1, &whole, &expected).await;
        let placed = placed.map_err(|error| self.write_failed(key, &error))?;
        Ok(stored(&placed, left_out))
    }

    /// Gives an object of the same volume another name and inode: both refer to the same blocks.
    pub(super) async fn copy_within(&self, source: &Self, request: &CopyRequest) -> Result<Stored> {
        let (from, target) = (&request.source, &request.target);
        let place = Place::of(&self.name, &target.key)?;
        if place.is_directory {
            let reason = "a name that ends with a slash is a directory";
            return Err(StoreError::unholdable(&self.name, &target.key, reason));
        }
        let (_, ino, attr) = source.look(from, "copy").await?;
        source.expect_identity(from, &request.identity, ino, &attr)?;
        let contents = self.volume.contents_of(&inode::state(ino, &attr)).await;
        let contents = contents.map_err(|error| failure::reading(&source.name, from, "copy", &error))?;
        let written = match contents {
            Contents::Extents(extents) if extents.len() > WHOLE_EXTENTS => {
                Written::Blocks(Blocks { extents, len: attr.size })
            }
            contents => Written::Contents(contents),
        };
        let parent = self.make_directories(&target.key, &place.directory).await?;
        self.place(&PutRequest { size: attr.size, ..target.clone() }, (parent, &place.name), written).await
    }

    /// The inode that is asked for, without contents.
    pub(super) fn whole(&self, request: &PutRequest) -> (Whole, AttributeSet) {
        let attributes = &request.attributes;
        let (xattrs, left_out) = inode::xattrs(attributes);
        let modified = attributes.posix.as_ref().map(|posix| posix.modified).or(request.modified);
        let whole = Whole {
            inode: inode::new_inode(&request.kind, attributes, self.owner),
            modified: modified.map_or_else(|| self.volume.now(), inode::unix_time),
            size: if request.kind == Kind::Object { request.size } else { 0 },
            contents: Contents::Extents(Vec::new()),
            xattrs,
        };
        (whole, left_out)
    }

    /// Stores a body's bytes; nothing refers to them yet.
    async fn contents(&self, request: &PutRequest, body: Body) -> Result<Written> {
        if request.size <= u64::from(self.volume.inline_bytes()) {
            let bytes = match body {
                Body::Whole(bytes) => bytes,
                // One byte more than there may be shows that there are too many.
                Body::Stream { bytes, .. } => read_whole(bytes, request.size as usize + 1).await?,
            };
            self.check_length(request, bytes.len() as u64)?;
            return Ok(Written::Contents(Contents::Inline(bytes)));
        }
        let sparse = request.attributes.posix.as_ref().is_some_and(|posix| posix.sparse);
        let blocks = self.blocks(&request.key, sparse, request.size, body).await?;
        self.check_length(request, blocks.len)?;
        if blocks.extents.len() > WHOLE_EXTENTS {
            return Ok(Written::Blocks(blocks));
        }
        Ok(Written::Contents(Contents::Extents(blocks.extents)))
    }

    /// Stores a body as blocks; stops where it has more than `most` bytes.
    pub(super) async fn blocks(&self, key: &Key, sparse: bool, most: u64, body: Body) -> Result<Blocks> {
        let failed = |error: FsError| self.write_failed(key, &error);
        let mut writer = self.volume.write_whole(sparse).map_err(failed)?;
        let (mut bytes, mut seen) = (body.into_stream(), 0);
        while let Some(chunk) = bytes.try_next().await? {
            seen += chunk.len() as u64;
            if seen > most {
                return Err(StoreError::corrupt(&self.name, key, format!("more bytes came than the {most} announced")));
            }
            writer.write(chunk).await.map_err(failed)?;
        }
        writer.finish().await.map_err(failed)
    }

    fn check_length(&self, request: &PutRequest, len: u64) -> Result<()> {
        if len == request.size {
            return Ok(());
        }
        let reason = format!("{len} bytes came in place of the {} that were announced", request.size);
        Err(StoreError::corrupt(&self.name, &request.key, reason))
    }

    /// What has more extents than one transaction takes gets them first and its name last.
    async fn put_large(
        &self,
        request: &PutRequest,
        at: (Ino, &Name),
        whole: &Whole,
        blocks: &Blocks,
        expected: &Expected,
    ) -> Result<Stored> {
        let failed = |error: FsError| self.write_failed(&request.key, &error);
        let ino = self.volume.begin_unnamed(&whole.inode, &[], false).await.map_err(failed)?;
        let named = async {
            self.volume.put_run(ino, 0, blocks, &[]).await?;
            self.volume.name(ino, at.0, at.1, whole, expected).await
        };
        match named.await {
            Ok(placed) => Ok(stored(&placed, inode::xattrs(&request.attributes).1)),
            Err(error) => {
                self.give_up(ino).await;
                Err(failed(error))
            }
        }
    }

    pub(super) async fn give_up(&self, ino: Ino) {
        if let Err(error) = self.volume.give_up_unnamed(ino).await {
            tracing::warn!(%ino, %error, "a file without a name stays until the volume is opened anew");
        }
    }

    async fn put_directory(&self, request: &PutRequest, parent: Ino, name: &Name) -> Result<Stored> {
        let key = &request.key;
        let (whole, left_out) = self.whole(&PutRequest { kind: Kind::Directory, ..request.clone() });
        match self.volume.place(parent, name, &whole, &Expected::Nothing).await {
            Ok(placed) => return Ok(stored(&placed, left_out)),
            Err(FsError::Exists) => {}
            Err(error) => return Err(self.write_failed(key, &error)),
        }
        let found = self.volume.resolve(parent, std::slice::from_ref(name)).await;
        let (ino, attr) = found.map_err(|error| self.write_failed(key, &error))?;
        if attr.kind != FileKind::Directory {
            return Err(self.write_failed(key, &FsError::NotDirectory));
        }
        let change = inode::change(&request.attributes, request.modified, false);
        let (xattrs, _) = self.changed_xattrs(key, ino, &request.attributes).await?;
        let changed = self.volume.change(ino, None, &change, &xattrs).await;
        let attr = changed.map_err(|error| self.write_failed(key, &error))?;
        Ok(stored(&Placed { ino, attr, replaced: None }, left_out))
    }

    /// The directory of these names below the root; those that are missing are made.
    pub(super) async fn make_directories(&self, key: &Key, path: &[Name]) -> Result<Ino> {
        let failed = |error: &FsError| self.write_failed(key, error);
        match self.volume.resolve(self.root, path).await {
            Ok((ino, attr)) if attr.kind == FileKind::Directory => return Ok(ino),
            Ok(_) => return Err(failed(&FsError::NotDirectory)),
            Err(FsError::NotFound) => {}
            Err(error) => return Err(failed(&error)),
        }
        let mut above = self.root;
        for name in path {
            above = match self.volume.resolve(above, std::slice::from_ref(name)).await {
                Ok((ino, attr)) if attr.kind == FileKind::Directory => ino,
                Ok(_) => return Err(failed(&FsError::NotDirectory)),
                Err(FsError::NotFound) => self.make_directory(key, above, name).await?,
                Err(error) => return Err(failed(&error)),
            };
        }
        Ok(above)
    }

    async fn make_directory(&self, key: &Key, above: Ino, name: &Name) -> Result<Ino> {
        let new = inode::new_inode(&Kind::Directory, &Attributes::default(), self.owner);
        let made = match self.volume.create(above, name, &new).await {
            // Another put made it at the same time.
            Err(FsError::Exists) => self.volume.resolve(above, std::slice::from_ref(name)).await,
            made => made,
        };
        match made {
            Ok((ino, attr)) if attr.kind == FileKind::Directory => Ok(ino),
            Ok(_) => Err(self.write_failed(key, &FsError::NotDirectory)),
            Err(error) => Err(self.write_failed(key, &error)),
        }
    }

    /// What the name must lead to, as the volume's own transaction checks it.
    pub(super) async fn expected(&self, key: &Key, condition: &Condition) -> Result<Expected> {
        match condition {
            Condition::Always => Ok(Expected::Any),
            Condition::Absent => Ok(Expected::Nothing),
            Condition::Is(identity) => {
                let (_, ino, attr) = self.look(key, "write").await.map_err(|error| match error {
                    StoreError::Missing { .. } => StoreError::changed(key, "it is not there"),
                    error => error,
                })?;
                self.expect_identity(key, identity, ino, &attr)?;
                Ok(Expected::State(inode::state(ino, &attr)))
            }
        }
    }

    pub(super) fn expect_identity(
        &self,
        key: &Key,
        identity: &Identity,
        ino: Ino,
        attr: &farshore_meta::Attr,
    ) -> Result<()> {
        let kind = inode::kind_of(attr.kind, bytes::Bytes::new()).unwrap_or(Kind::Object);
        if identity.may_be(&inode::entry(key.clone(), kind, self.device, ino, attr).identity()) {
            return Ok(());
        }
        Err(StoreError::changed(key, "its size, time or inode is another"))
    }

    /// Changes attributes of what is in the state that is expected.
    pub(super) async fn change_attributes(
        &self,
        key: &Key,
        identity: &Identity,
        attributes: &Attributes,
    ) -> Result<Stored> {
        let (_, ino, attr) = self.look(key, "change the attributes of").await?;
        self.expect_identity(key, identity, ino, &attr)?;
        let is_link = attr.kind == FileKind::Symlink;
        let (xattrs, left_out) = self.changed_xattrs(key, ino, attributes).await?;
        let change = inode::change(attributes, None, is_link);
        let changed = self.volume.change(ino, Some(&inode::state(ino, &attr)), &change, &xattrs).await;
        let attr = changed.map_err(|error| self.write_failed(key, &error))?;
        Ok(stored(&Placed { ino, attr, replaced: None }, left_out))
    }

    /// A user's extended attributes become these and no others; those of the system stay.
    async fn changed_xattrs(
        &self,
        key: &Key,
        ino: Ino,
        attributes: &Attributes,
    ) -> Result<(Vec<XattrChange>, AttributeSet)> {
        let (kept, left_out) = inode::xattrs(attributes);
        let mut changes: Vec<XattrChange> = kept.into_iter().map(|(name, value)| (name, Some(value))).collect();
        if attributes.posix.is_some() {
            let there = self.volume.all_xattrs(ino).await.map_err(|error| self.write_failed(key, &error))?;
            let users = there.into_iter().map(|(name, _)| name).filter(|name| name.starts_with(b"user."));
            let gone: Vec<_> = users.filter(|name| changes.iter().all(|(kept, _)| kept != name)).collect();
            changes.extend(gone.into_iter().map(|name| (name, None)));
        }
        Ok((changes, left_out))
    }

    pub(super) async fn link_name(&self, existing: &Key, new: &Key) -> Result<()> {
        let (_, ino, attr) = self.look(existing, "link").await?;
        if attr.kind == FileKind::Directory {
            return Err(StoreError::unholdable(&self.name, new, "a directory has one name"));
        }
        let place = Place::of(&self.name, new)?;
        let parent = self.make_directories(new, &place.directory).await?;
        let linked = self.volume.link_over(ino, parent, &place.name).await;
        linked.map_err(|error| match error {
            FsError::NotFound => StoreError::missing(&self.name, existing),
            error => self.write_failed(new, &error),
        })
    }

    /// What is not there, also because it is a directory where the key names a file or the other way round, is deleted.
    pub(super) async fn delete_one(&self, key: Key) -> Result<()> {
        let place = match Place::of(&self.name, &key) {
            Err(StoreError::Unholdable { .. }) => return Ok(()),
            place => place?,
        };
        let deleted = async {
            let (parent, _) = self.volume.resolve(self.root, &place.directory).await?;
            if place.is_directory {
                self.volume.remove_directory(parent, &place.name).await
            } else {
                self.volume.unlink(parent, &place.name).await
            }
        };
        match deleted.await {
            Ok(()) | Err(FsError::NotFound | FsError::NotDirectory | FsError::IsDirectory) => Ok(()),
            Err(error) => Err(failure::writing(&self.name, &key, "delete", &error)),
        }
    }

    pub(super) fn write_failed(&self, key: &Key, error: &FsError) -> StoreError {
        failure::writing(&self.name, key, "write", error)
    }
}

/// What is told of what has its name.
pub(super) fn stored(placed: &Placed, left_out: AttributeSet) -> Stored {
    let is_file = placed.attr.kind == FileKind::File;
    let size = if is_file { placed.attr.size } else { 0 };
    Stored { size: Some(size), left_out, ..Stored::default() }
}

/// Contents that are stored and have no name.
enum Written {
    /// They fit one transaction.
    Contents(Contents),
    /// They have more extents than that.
    Blocks(Blocks),
}
