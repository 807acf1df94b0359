//! The mount and unmount calls, as root or through `fusermount3`.
//!
//! fuser can mount too, but takes its own mount down by path even when it is gone already and
//! another one stands there; so only its session is used.

use std::ffi::CString;
use std::io::{self, ErrorKind, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg, socketpair,
};

use crate::mount::MountError;

const DEVICE: &str = "/dev/fuse";
const SOURCE: &str = "farshore";
/// The type that `mount` and `/proc/mounts` show.
pub(crate) const FILESYSTEM_TYPE: &str = "fuse.farshore";
/// The helper, which may mount for those who may not.
const HELPER: &str = "fusermount3";
/// Tells the helper which descriptor to send the device over.
const HELPER_SOCKET: &str = "_FUSE_COMMFD";

/// Who may enter a mount, and what they may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access {
    pub(crate) read_only: bool,
    pub(crate) allow_other: bool,
}

/// Mounts over `dir` and returns the kernel's side of it. Set-user-id bits and devices have no
/// effect in it: the volume may come from another machine's users.
pub(crate) fn attach(dir: &Path, access: Access) -> Result<OwnedFd, MountError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let device = rustix::fs::open(DEVICE, flags, Mode::empty());
    let device = device.map_err(|errno| MountError::NoDevice { source: errno.into() })?;
    match mount_directly(dir, &device, access) {
        Ok(()) => Ok(device),
        Err(Errno::PERM) => mount_by_helper(dir, access).map_err(|source| MountError::refused(dir, source)),
        Err(errno) => Err(MountError::refused(dir, errno.into())),
    }
}

fn mount_directly(dir: &Path, device: &OwnedFd, access: Access) -> Result<(), Errno> {
    let mut flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOATIME;
    if access.read_only {
        flags |= MountFlags::RDONLY;
    }
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let fd = device.as_raw_fd();
    let mut data = format!("fd={fd},rootmode=40000,user_id={uid},group_id={gid},default_permissions");
    if access.allow_other {
        data.push_str(",allow_other");
    }
    let data = CString::new(data).expect("numbers and words");
    rustix::mount::mount(SOURCE, dir, FILESYSTEM_TYPE, flags, data.as_c_str())
}

fn mount_by_helper(dir: &Path, access: Access) -> io::Result<OwnedFd> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let mut options = format!("fsname={SOURCE},subtype={SOURCE},default_permissions,noatime");
    if access.read_only {
        options.push_str(",ro");
    }
    if access.allow_other {
        options.push_str(",allow_other");
    }
    // A duplicate is not closed when the helper begins.
    let theirs_for_helper = rustix::io::dup(&theirs)?;
    let helper = Command::new(HELPER)
        .args(["-o", &options, "--"])
        .arg(dir)
        .env(HELPER_SOCKET, theirs_for_helper.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("{HELPER} cannot be started: {error}")))?;
    drop((theirs, theirs_for_helper));
    let device = receive_device(&ours);
    let output = helper.wait_with_output()?;
    device.map_err(|error| {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if said.is_empty() { error } else { io::Error::new(error.kind(), said) }
    })
}

fn receive_device(socket: &OwnedFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0u8; 1];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let devices = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut devices) => devices.next(),
        _ => None,
    });
    devices.last().ok_or_else(|| io::Error::new(ErrorKind::UnexpectedEof, format!("{HELPER} sent no device")))
}

/// Unmounts `dir`. A lazy unmount takes the name away now and the rest when nobody uses it.
pub(crate) fn detach(dir: &Path, lazy: bool) -> io::Result<()> {
    let how = if lazy { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match rustix::mount::unmount(dir, how | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(Errno::PERM) => detach_by_helper(dir, lazy),
        Err(errno) => Err(errno.into()),
    }
}

/// Aborts the connection of the mount on `dir`, and unmounts it if nobody uses it. For root only.
pub(crate) fn force(dir: &Path) -> io::Result<()> {
    match rustix::mount::unmount(dir, UnmountFlags::FORCE | UnmountFlags::NOFOLLOW) {
        // It is aborted before the kernel looks for users.
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn detach_by_helper(dir: &Path, lazy: bool) -> io::Result<()> {
    let mut helper = Command::new(HELPER);
    helper.args(if lazy { ["-u", "-z"].as_slice() } else { &["-u"] }).arg("--").arg(dir);
    let output = helper.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let kind = if said.contains("busy") { ErrorKind::ResourceBusy } else { ErrorKind::Other };
    Err(io::Error::new(kind, said))
}
