//! Messages to the kernel that nobody asked for: forget a name, an inode, its data.
//!
//! fuser's own notifier hides the kernel's ENOENT, which is just what `invalidate` has to
//! know; therefore the two messages are written here, as `linux/fuse.h` has them.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use farshore_meta::Ino;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const FUSE_NOTIFY_INVAL_INODE: i32 = 2;
const FUSE_NOTIFY_INVAL_ENTRY: i32 = 3;
/// `struct fuse_out_header`: length, code, and 0 for a message that answers nothing.
const HEADER_BYTES: usize = 16;
/// An offset that tells the kernel to keep the pages.
const NO_PAGES: i64 = -1;

/// What of an inode the kernel must forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Its attributes.
    Attributes,
    /// Its attributes and every page of its data.
    Data,
}

/// What the kernel said to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It had it.
    Done,
    /// It does not have it.
    Unknown,
    /// There is no mount any more.
    Gone,
}

/// The kernel's side of a mount.
pub(crate) trait Kernel: Send + Sync {
    /// Forgets a name, there or not. Waits for what changes or looks up names in that directory.
    fn forget_name(&self, parent: Ino, name: &[u8]) -> io::Result<Answer>;

    /// Forgets of an inode what `scope` says. With its data, waits for reads of it in flight.
    fn forget_inode(&self, ino: Ino, scope: Scope) -> io::Result<Answer>;
}

/// The kernel's side, through a descriptor of `/dev/fuse`. It is closed when the mount ends,
/// because an open one would keep the kernel waiting for answers from nobody.
#[derive(Debug)]
pub(crate) struct KernelChannel(Mutex<Option<Arc<File>>>);

impl KernelChannel {
    pub(crate) fn new(device: OwnedFd) -> Self {
        Self(Mutex::new(Some(Arc::new(device.into()))))
    }

    pub(crate) fn close(&self) {
        self.0.lock().take();
    }

    /// True while the kernel's side is there, and with it the device number of the mount.
    pub(crate) fn is_connected(&self) -> bool {
        let Some(device) = self.0.lock().clone() else { return false };
        let mut polled = [PollFd::new(&*device, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut polled, Some(&at_once)), Ok(0))
    }

    fn send(&self, message: &[u8]) -> io::Result<Answer> {
        let Some(device) = self.0.lock().clone() else { return Ok(Answer::Gone) };
        match (&*device).write(message) {
            Ok(_) => Ok(Answer::Done),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Answer::Unknown),
            Err(error) if is_gone(&error) => Ok(Answer::Gone),
            Err(error) => Err(error),
        }
    }
}

impl Kernel for KernelChannel {
    fn forget_name(&self, parent: Ino, name: &[u8]) -> io::Result<Answer> {
        self.send(&name_message(parent, name))
    }

    fn forget_inode(&self, ino: Ino, scope: Scope) -> io::Result<Answer> {
        self.send(&inode_message(ino, scope))
    }
}

fn is_gone(error: &io::Error) -> bool {
    let gone = [rustix::io::Errno::NODEV, rustix::io::Errno::NOTCONN, rustix::io::Errno::CONNABORTED];
    gone.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn message(code: i32, body: &[&[u8]]) -> Vec<u8> {
    let bytes = HEADER_BYTES + body.iter().map(|part| part.len()).sum::<usize>();
    let mut message = Vec::with_capacity(bytes);
    message.extend_from_slice(&(bytes as u32).to_ne_bytes());
    message.extend_from_slice(&code.to_ne_bytes());
    message.extend_from_slice(&0u64.to_ne_bytes());
    for part in body {
        message.extend_from_slice(part);
    }
    message
}

/// `struct fuse_notify_inval_entry_out`, then the name and its NUL.
fn name_message(parent: Ino, name: &[u8]) -> Vec<u8> {
    let (length, flags) = ((name.len() as u32).to_ne_bytes(), 0u32.to_ne_bytes());
    message(FUSE_NOTIFY_INVAL_ENTRY, &[&parent.0.to_ne_bytes(), &length, &flags, name, &[0]])
}

/// `struct fuse_notify_inval_inode_out`: a length of 0 reaches to the end.
fn inode_message(ino: Ino, scope: Scope) -> Vec<u8> {
    let offset = match scope {
        Scope::Attributes => NO_PAGES,
        Scope::Data => 0,
    };
    message(FUSE_NOTIFY_INVAL_INODE, &[&ino.0.to_ne_bytes(), &offset.to_ne_bytes(), &0i64.to_ne_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_the_kernel_reads_them() {
        let name = name_message(Ino(0x42), b"abc");
        assert_eq!(name.len(), 36);
        assert_eq!(name[..8], [36, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(name[16..], [0x42, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, b'a', b'b', b'c', 0]);
        let data = inode_message(Ino(0x42), Scope::Data);
        assert_eq!((data.len(), data[4]), (40, 2));
        assert_eq!(data[24..], [0; 16]);
        assert_eq!(inode_message(Ino(1), Scope::Attributes)[24..32], [0xff; 8]);
    }
}
