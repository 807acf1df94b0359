//! Whole files, for who moves data and has no handle open: read bound to one state, put in one transaction. What they
//! see of a file is what is committed.

use bytes::Bytes;
use farshore_meta::{
    Attr, AttrChange, Contents, DirectoryEntry, Expected, Extent, FsError, Ino, InodeState, Name, NewInode, Placed,
    Result, Whole, Xattr, XattrChange,
};

use crate::volume::Volume;
use crate::whole_writer::WholeWriter;

/// Extents that one call of the tree writes.
const RUN_EXTENTS: usize = 1_000;

impl Volume {
    /// The inode that a path of names leads to from the directory `from`; no symlink is followed.
    pub async fn resolve(&self, from: Ino, path: &[Name]) -> Result<(Ino, Attr)> {
        self.tree.resolve(from, path).await
    }

    /// The entries of a directory whose names are not below `from`, which may be any bytes, in the order of their
    /// names and with their attributes, at most `limit`.
    pub async fn entries_from(&self, directory: Ino, from: &[u8], limit: usize) -> Result<Vec<DirectoryEntry>> {
        self.tree.read_directory_from(directory, from, limit, true).await
    }

    /// The extended attributes with their values.
    pub async fn all_xattrs(&self, ino: Ino) -> Result<Vec<Xattr>> {
        self.tree.all_xattrs(ino).await
    }

    /// The bytes [offset, offset + len) of a file that is in this state, fewer only at its end; every block that they
    /// come from is verified.
    ///
    /// # Errors
    /// `Stale` when it is in another state.
    pub async fn read_state(&self, state: &InodeState, offset: u64, len: u32) -> Result<Bytes> {
        self.reader.read_state(state, offset, len).await
    }

    /// Where all bytes of a file are that is in this state.
    ///
    /// # Errors
    /// `Stale` when it is in another state.
    pub async fn contents_of(&self, state: &InodeState) -> Result<Contents> {
        let (attr, contents) = self.tree.contents(state.ino, 0, state.size).await?;
        if InodeState::of(state.ino, &attr) == *state { Ok(contents) } else { Err(FsError::Stale) }
    }

    /// Begins to store a file's contents; with `sparse`, runs of zeros become holes.
    ///
    /// # Errors
    /// `ReadOnly` on a mirror.
    pub fn write_whole(&self, sparse: bool) -> Result<WholeWriter> {
        let store = self.flusher.writer.clone().filter(|_| !self.read_only()).ok_or(FsError::ReadOnly)?;
        Ok(WholeWriter::new(store, std::sync::Arc::clone(&self.flusher), sparse))
    }

    /// Contents up to this many bytes are put as they are; what is larger is written as blocks.
    pub fn inline_bytes(&self) -> u32 {
        self.tree.inline_bytes()
    }

    /// Blocks have at most this many bytes.
    pub fn block_bytes(&self) -> u32 {
        self.flusher.block_bytes
    }

    /// Makes an inode with everything that belongs to it and gives it `name`, in place of what is as expected: all of
    /// it at once.
    ///
    /// # Errors
    /// Those of [`farshore_meta::Tree::place`].
    pub async fn place(&self, parent: Ino, name: &Name, whole: &Whole, expected: &Expected) -> Result<Placed> {
        let placed = self.tree.place(parent, name, whole, expected, self.now()).await?;
        self.replaced(placed.replaced).await;
        Ok(placed)
    }

    /// Makes a file without a name; see [`farshore_meta::Tree::begin_unnamed`].
    pub async fn begin_unnamed(&self, inode: &NewInode, xattrs: &[Xattr], kept: bool) -> Result<Ino> {
        self.tree.begin_unnamed(inode, xattrs, kept, self.now()).await
    }

    /// Puts what a writer stored into a file without a name, from `offset` on, in place of what was there; `xattrs`
    /// change once it is in.
    pub async fn put_run(&self, ino: Ino, offset: u64, run: &crate::Stored, xattrs: &[XattrChange]) -> Result<()> {
        let end = offset + run.len;
        let attr = self.tree.attr(ino).await?;
        if offset < attr.size {
            self.tree.punch_hole(ino, offset, end.min(attr.size), self.now()).await?;
        }
        let change = AttrChange { mtime: Some(self.now()), ctime: Some(self.now()), ..AttrChange::default() };
        for few in run.extents.chunks(RUN_EXTENTS) {
            let extents: Vec<_> = few.iter().map(|extent| extent.moved(offset)).collect();
            let reached = extents.last().map_or(offset, Extent::end);
            self.tree.write_extents(ino, &extents, reached, false, &change).await?;
        }
        self.tree.write_extents(ino, &[], end, false, &change).await?;
        if !xattrs.is_empty() {
            self.tree.change(ino, None, &AttrChange::default(), xattrs, self.now()).await?;
        }
        Ok(())
    }

    /// Gives a file without a name one; see [`farshore_meta::Tree::name`].
    pub async fn name(&self, ino: Ino, parent: Ino, name: &Name, whole: &Whole, expected: &Expected) -> Result<Placed> {
        let placed = self.tree.name(ino, parent, name, whole, expected, self.now()).await?;
        self.replaced(placed.replaced).await;
        Ok(placed)
    }

    /// Removes a file without a name; one that is not there is removed already.
    pub async fn give_up_unnamed(&self, ino: Ino) -> Result<()> {
        if self.tree.give_up_unnamed(ino).await? {
            self.reap(ino).await;
        }
        Ok(())
    }

    /// Files without a name that are kept, after `after`, in the order of their numbers.
    pub async fn kept_unnamed(&self, after: Option<Ino>, limit: usize) -> Result<Vec<Ino>> {
        self.tree.kept_unnamed(after, limit).await
    }

    /// Gives a file one more name in place of what had it.
    pub async fn link_over(&self, ino: Ino, parent: Ino, name: &Name) -> Result<()> {
        let replaced = self.tree.link_over(ino, parent, name, self.now()).await?;
        self.replaced(replaced).await;
        Ok(())
    }

    /// Changes attributes but the size, and extended attributes, of an inode in the state that is expected.
    ///
    /// # Errors
    /// `Stale` when it is in another state.
    pub async fn change(
        &self,
        ino: Ino,
        expected: Option<&InodeState>,
        change: &AttrChange,
        xattrs: &[XattrChange],
    ) -> Result<Attr> {
        self.tree.change(ino, expected, change, xattrs, self.now()).await
    }

    async fn replaced(&self, replaced: Option<(Ino, Attr)>) {
        if let Some((ino, attr)) = replaced {
            self.lost_name(ino, &attr).await;
        }
    }
}
