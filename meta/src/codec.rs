//! Rows and records in and out of bytes, with this crate's errors.

use farshore_proto::codec::{self, Damage};

use crate::error::FsError;

pub(crate) use codec::Writer;

/// Takes a row or a record apart.
pub(crate) type Reader<'b> = codec::Reader<'b, FsError>;

impl Damage for FsError {
    fn damaged(what: &'static str, why: String) -> Self {
        Self::Corrupt(format!("{what}: {why}"))
    }

    fn other_version(what: &'static str, found: u8, known: u8) -> Self {
        Self::Corrupt(format!("{what}: its format version is {found}, this build knows {known}; use a newer build"))
    }
}
