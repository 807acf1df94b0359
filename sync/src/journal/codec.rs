//! A journal's rows in and out of bytes, with its errors.

use farshore_proto::codec::{self, Damage};

use super::JournalError;

pub(crate) use codec::Writer;

/// Takes a row apart.
pub(crate) type Reader<'b> = codec::Reader<'b, JournalError>;

impl Damage for JournalError {
    fn damaged(what: &'static str, why: String) -> Self {
        Self::Damaged { what, why }
    }

    fn other_version(what: &'static str, found: u8, known: u8) -> Self {
        Self::OtherFormat { what, found, known }
    }
}
