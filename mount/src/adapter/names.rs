//! Names: looking them up, making, moving and removing them.

use std::sync::Arc;

use farshore_meta::{Attr, Ino, Name, RenameMode};
use fuser::{Errno, Generation, RenameFlags, ReplyData, ReplyEmpty, ReplyEntry};

use crate::cache::Permit;
use crate::convert::{file_attr, no_file};

use super::request::{Operation, Touched};
use super::{Adapter, Made, NOT_CACHED, found};

/// Inode numbers are never given out twice.
pub(super) const GENERATION: Generation = Generation(0);

/// Where something new is to be made.
pub(super) struct NewEntry {
    pub(super) parent: Ino,
    pub(super) name: Name,
    pub(super) operation: &'static str,
}

/// Hands an inode to the kernel.
fn hand_out(permit: &Permit<'_>, parent: Ino, ino: Ino, attr: &Attr, reply: ReplyEntry) {
    permit.hand(ino, parent);
    let times = (permit.attributes(ino), permit.names(parent));
    reply.entry_with_ttls(&times.0, &times.1, &file_attr(ino, attr), GENERATION);
}

fn rename_mode(flags: RenameFlags) -> Option<RenameMode> {
    if flags.is_empty() {
        Some(RenameMode::Replace)
    } else if flags == RenameFlags::RENAME_NOREPLACE {
        Some(RenameMode::NoReplace)
    } else if flags == RenameFlags::RENAME_EXCHANGE {
        Some(RenameMode::Exchange)
    } else {
        None
    }
}

impl Adapter {
    pub(super) fn look_up(&self, parent: Ino, name: Name, reply: ReplyEntry) {
        let (volume, cache, noted) = (Arc::clone(&self.volume), Arc::clone(&self.cache), self.cache.note());
        let work = async move { found(volume.lookup(parent, &name).await) };
        self.read(Operation::new("lookup", parent), reply, work, move |reply, found| {
            let permit = cache.permit(noted);
            match found {
                Some((ino, attr)) => hand_out(&permit, parent, ino, &attr, reply),
                None => reply.entry_with_ttls(&NOT_CACHED, &permit.names(parent), &no_file(), GENERATION),
            }
        });
    }

    pub(super) fn make(&self, entry: NewEntry, new: Made, reply: ReplyEntry) {
        let (volume, cache, noted) = (Arc::clone(&self.volume), Arc::clone(&self.cache), self.cache.note());
        let NewEntry { parent, name, operation } = entry;
        let touched = Touched { inodes: vec![parent], names: vec![(parent, name.clone())], data: None };
        let work = async move { volume.create(parent, &name, &new.0).await };
        let operation = Operation::new(operation, parent);
        self.change(operation, self.options.deadline, touched, reply, work, move |reply, (ino, attr)| {
            hand_out(&cache.permit(noted), parent, ino, &attr, reply);
        });
    }

    pub(super) fn add_link(&self, ino: Ino, parent: Ino, name: Name, reply: ReplyEntry) {
        let (volume, cache, noted) = (Arc::clone(&self.volume), Arc::clone(&self.cache), self.cache.note());
        let touched = Touched { inodes: vec![parent, ino], names: vec![(parent, name.clone())], data: None };
        let work = async move { volume.link(ino, parent, &name).await };
        let operation = Operation::new("link", ino);
        self.change(operation, self.options.deadline, touched, reply, work, move |reply, attr| {
            hand_out(&cache.permit(noted), parent, ino, &attr, reply);
        });
    }

    pub(super) fn remove_file(&self, parent: Ino, name: Name, reply: ReplyEmpty) {
        let volume = Arc::clone(&self.volume);
        let touched = Touched { inodes: vec![parent], names: vec![(parent, name.clone())], data: None };
        let work = async move { volume.unlink(parent, &name).await };
        let operation = Operation::new("unlink", parent);
        self.change(operation, self.options.deadline, touched, reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn remove_directory(&self, parent: Ino, name: Name, reply: ReplyEmpty) {
        let volume = Arc::clone(&self.volume);
        let touched = Touched { inodes: vec![parent], names: vec![(parent, name.clone())], data: None };
        let work = async move { volume.remove_directory(parent, &name).await };
        let operation = Operation::new("rmdir", parent);
        self.change(operation, self.options.deadline, touched, reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn move_name(&self, from: (Ino, Name), to: (Ino, Name), flags: RenameFlags, reply: ReplyEmpty) {
        let Some(mode) = rename_mode(flags) else { return reply.error(Errno::EINVAL) };
        let volume = Arc::clone(&self.volume);
        let touched = Touched { inodes: vec![from.0, to.0], names: vec![from.clone(), to.clone()], data: None };
        let operation = Operation::new("rename", from.0);
        let work = async move { volume.rename((from.0, &from.1), (to.0, &to.1), mode).await };
        self.change(operation, self.options.deadline, touched, reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn read_link(&self, ino: Ino, reply: ReplyData) {
        let volume = Arc::clone(&self.volume);
        let work = async move { volume.read_link(ino).await };
        self.read(Operation::new("readlink", ino), reply, work, |reply, target| reply.data(&target));
    }
}
