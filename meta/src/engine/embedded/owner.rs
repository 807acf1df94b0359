//! The lock by which one process at a time owns an engine's directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};

use super::layout::Layout;
use crate::engine::{EngineError, Result};

/// Most bytes of the owner's text that are shown.
const MAX_TEXT_BYTES: u64 = 512;

/// Held as long as the engine is open. The lock goes with the process, however it ends; the
/// text that names the owner may be left behind and then means nothing.
#[derive(Debug)]
pub(super) struct Owner {
    file: File,
}

impl Owner {
    pub(super) fn acquire(layout: &Layout) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(layout.owner()).map_err(|error| layout.failed(error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(owned(layout, file)),
            Err(TryLockError::Error(error)) => return Err(layout.failed(error)),
        }
        let owner = Self { file };
        owner.write_text().map_err(|error| layout.failed(error))?;
        Ok(owner)
    }

    fn write_text(&self) -> io::Result<()> {
        let command: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
        let text = format!("{} ({})", std::process::id(), command.join(" "));
        self.file.set_len(0)?;
        (&self.file).write_all(text.as_bytes())
    }
}

fn owned(layout: &Layout, file: File) -> EngineError {
    let mut bytes = Vec::new();
    let read = file.take(MAX_TEXT_BYTES).read_to_end(&mut bytes);
    let owner = match read {
        Ok(length) if length > 0 => String::from_utf8_lossy(&bytes).into_owned(),
        _ => "unknown".to_owned(),
    };
    EngineError::Owned { path: layout.directory.clone(), owner }
}
