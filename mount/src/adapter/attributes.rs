//! An inode's attributes, and the volume's statistics.

use std::sync::Arc;

use farshore_meta::{AttrChange, Ino, UnixTime};
use fuser::{ReplyAttr, ReplyStatfs, TimeOrNow};

use crate::convert::{file_attr, unix_time};

use super::Adapter;
use super::request::{Operation, Touched};

/// Room that `statfs` always shows as free: an object store has no end that we know of.
const FREE_BYTES: u64 = 1 << 50;
/// Inodes that `statfs` always shows as free.
const FREE_INODES: u64 = 1 << 40;
/// The unit of `statfs`.
const STATFS_BLOCK_BYTES: u32 = 4_096;
/// Longest name, as `statfs` shows it.
const NAME_BYTES: u32 = 255;

impl Adapter {
    pub(super) fn time(&self, time: TimeOrNow) -> UnixTime {
        match time {
            TimeOrNow::SpecificTime(time) => unix_time(time),
            TimeOrNow::Now => (self.options.clock)(),
        }
    }

    pub(super) fn attributes(&self, ino: Ino, reply: ReplyAttr) {
        let (volume, cache, noted) = (Arc::clone(&self.volume), Arc::clone(&self.cache), self.cache.note());
        let work = async move { volume.attr(ino).await };
        self.read(Operation::new("getattr", ino), reply, work, move |reply, attr| {
            let permit = cache.permit(noted);
            reply.attr(&permit.attributes(ino), &file_attr(ino, &attr));
        });
    }

    pub(super) fn change_attributes(&self, ino: Ino, change: AttrChange, reply: ReplyAttr) {
        let (volume, cache, noted) = (Arc::clone(&self.volume), Arc::clone(&self.cache), self.cache.note());
        let touched = Touched { data: Some(ino), ..Touched::default() };
        // What was written before is stored first, hence the deadline of writes.
        let deadline = self.options.write_deadline;
        let work = async move { volume.set_attr(ino, change).await };
        self.change(Operation::new("setattr", ino), deadline, touched, reply, work, move |reply, attr| {
            let permit = cache.permit(noted);
            reply.attr(&permit.attributes(ino), &file_attr(ino, &attr));
        });
    }

    pub(super) fn statistics(&self, reply: ReplyStatfs) {
        let volume = Arc::clone(&self.volume);
        let work = async move { volume.statistics().await };
        self.read(Operation::new("statfs", Ino::ROOT), reply, work, |reply, used| {
            let block_bytes = u64::from(STATFS_BLOCK_BYTES);
            let free = FREE_BYTES / block_bytes;
            let blocks = free + used.used_bytes.div_ceil(block_bytes);
            let inodes = FREE_INODES + used.used_inodes;
            let (unit, names) = (STATFS_BLOCK_BYTES, NAME_BYTES);
            reply.statfs(blocks, free, free, inodes, FREE_INODES, unit, names, unit);
        });
    }
}
