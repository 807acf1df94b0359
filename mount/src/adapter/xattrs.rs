//! Extended attributes: the volume's, and the root's virtual ones.

use std::sync::Arc;

use farshore_meta::{Ino, XattrMode};
use fuser::{Errno, ReplyEmpty, ReplyXattr};

use crate::control::CONTROL_PREFIX;
use crate::errno::Failure;

use super::Adapter;
use super::request::{Operation, Touched};

/// Names that mean something to the kernel which nobody here enforces (ACLs): not supported,
/// rather than stored and then without effect.
const SYSTEM_PREFIX: &[u8] = b"system.";
const CREATE: i32 = 1;
const REPLACE: i32 = 2;

/// The mode of a `setxattr`.
pub(super) fn mode(flags: i32) -> Option<XattrMode> {
    match flags {
        0 => Some(XattrMode::Any),
        CREATE => Some(XattrMode::Create),
        REPLACE => Some(XattrMode::Replace),
        _ => None,
    }
}

/// Why an attribute of this name cannot be changed.
fn refusal(name: &[u8]) -> Option<Errno> {
    if name.starts_with(CONTROL_PREFIX) {
        Some(Errno::EPERM)
    } else if name.starts_with(SYSTEM_PREFIX) {
        Some(Errno::EOPNOTSUPP)
    } else {
        None
    }
}

/// Answers with a value or its size, as the caller's buffer allows.
fn answer(reply: ReplyXattr, size: u32, value: &[u8]) {
    let length = value.len() as u32;
    if size == 0 {
        reply.size(length);
    } else if length > size {
        reply.error(Errno::ERANGE);
    } else {
        reply.data(value);
    }
}

impl Adapter {
    pub(super) fn xattr(&self, ino: Ino, name: &[u8], size: u32, reply: ReplyXattr) {
        if name.starts_with(CONTROL_PREFIX) {
            return self.control_attribute(ino, name, size, reply);
        }
        if name.starts_with(SYSTEM_PREFIX) {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let (volume, name) = (Arc::clone(&self.volume), name.to_vec());
        let work = async move { volume.xattr(ino, &name).await };
        self.read(Operation::new("getxattr", ino), reply, work, move |reply, value| answer(reply, size, &value));
    }

    fn control_attribute(&self, ino: Ino, name: &[u8], size: u32, reply: ReplyXattr) {
        let name = str::from_utf8(name).map(str::to_owned);
        let (Ok(name), Ino::ROOT) = (name, ino) else { return reply.error(Errno::ENODATA) };
        let control = Arc::clone(&self.control);
        self.dispatcher.run_unlimited(async move {
            match control.attribute(&name).await {
                None => reply.error(Errno::ENODATA),
                Some(Ok(value)) => answer(reply, size, &value),
                Some(Err(error)) => reply.error(Failure::Volume(error).answer("getxattr", Ino::ROOT.0)),
            }
        });
    }

    pub(super) fn xattrs(&self, ino: Ino, size: u32, reply: ReplyXattr) {
        let volume = Arc::clone(&self.volume);
        let work = async move { volume.xattrs(ino).await };
        self.read(Operation::new("listxattr", ino), reply, work, move |reply, names| {
            let mut list = Vec::new();
            for name in names {
                list.extend_from_slice(&name);
                list.push(0);
            }
            answer(reply, size, &list);
        });
    }

    pub(super) fn set_xattr(&self, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode, reply: ReplyEmpty) {
        if let Some(errno) = refusal(name) {
            return reply.error(errno);
        }
        let (volume, name, value) = (Arc::clone(&self.volume), name.to_vec(), value.to_vec());
        let touched = Touched { inodes: vec![ino], ..Touched::default() };
        let work = async move { volume.set_xattr(ino, &name, &value, mode).await };
        let operation = Operation::new("setxattr", ino);
        self.change(operation, self.options.deadline, touched, reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn remove_xattr(&self, ino: Ino, name: &[u8], reply: ReplyEmpty) {
        if let Some(errno) = refusal(name) {
            return reply.error(errno);
        }
        let (volume, name) = (Arc::clone(&self.volume), name.to_vec());
        let touched = Touched { inodes: vec![ino], ..Touched::default() };
        let work = async move { volume.remove_xattr(ino, &name).await };
        let operation = Operation::new("removexattr", ino);
        self.change(operation, self.options.deadline, touched, reply, work, |reply, ()| reply.ok());
    }
}
