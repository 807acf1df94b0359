//! Talking to the process behind a mount, through the attributes of the mount's root.

use std::path::Path;

use anyhow::Result;
use rustix::io::Errno;

use crate::exit::{Exit, Failure};

/// Room for an attribute's value; a status with many mirrors is the largest.
const MAX_VALUE_BYTES: usize = 60 << 10;

/// Reads an attribute of a mount's root.
pub(crate) fn attribute(dir: &Path, name: &str) -> Result<String> {
    let mut buffer = vec![0; MAX_VALUE_BYTES];
    let len = rustix::fs::getxattr(dir, name, buffer.as_mut_slice()).map_err(|errno| not_answered(dir, errno))?;
    buffer.truncate(len);
    Ok(String::from_utf8(buffer)?)
}

/// True if `dir` is the root of a mount whose process answers.
pub(crate) fn answers(dir: &Path) -> bool {
    attribute(dir, crate::control_names::TOKEN).is_ok()
}

fn not_answered(dir: &Path, errno: Errno) -> anyhow::Error {
    let dir = dir.display();
    let message = match errno {
        Errno::NOENT => format!("{dir} is not there"),
        Errno::NOTCONN | Errno::CONNABORTED => {
            format!("the process behind the mount {dir} has gone; `farshore unmount {dir}`, then mount again")
        }
        Errno::OPNOTSUPP | Errno::NODATA => format!("{dir} is not the root of a farshore mount"),
        other => format!("the mount {dir} does not answer: {other}"),
    };
    Failure::error(Exit::MountPoint, message)
}
