//! Extended attributes.

use bytes::Bytes;
use farshore_proto::limits::{MAX_NAME_BYTES, MAX_XATTR_BYTES};

use crate::attr::UnixTime;
use crate::engine::RangeRead;
use crate::error::{FsError, Result};
use crate::ino::Ino;
use crate::txn::Txn;
use crate::{key, row};

use super::attributes;

/// What setting an extended attribute does when it is there, or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XattrMode {
    /// It is made or replaced.
    Any,
    /// It must be new.
    Create,
    /// It must be there.
    Replace,
}

pub(super) async fn get(txn: &mut Txn, ino: Ino, name: &[u8]) -> Result<Bytes> {
    let value = txn.peek(&key::xattr(ino, name)).await?.ok_or(FsError::NoAttribute)?;
    let bytes = row::decode_bytes("an extended attribute", &value)?;
    Ok(value.slice_ref(bytes))
}

pub(super) async fn list(txn: &mut Txn, ino: Ino) -> Result<Vec<Bytes>> {
    let prefix = key::xattrs(ino);
    let page = txn.peek_range(&RangeRead::prefix(prefix.as_slice())).await?;
    Ok(page.rows.into_iter().map(|(key, _)| key.slice(prefix.len()..)).collect())
}

/// The extended attributes with their values, in the order of their names.
pub(super) async fn all(txn: &mut Txn, ino: Ino) -> Result<Vec<(Bytes, Bytes)>> {
    let prefix = key::xattrs(ino);
    let page = txn.peek_range(&RangeRead::prefix(prefix.as_slice())).await?;
    let decode = |(key, value): (Bytes, Bytes)| {
        let bytes = row::decode_bytes("an extended attribute", &value)?;
        Ok((key.slice(prefix.len()..), value.slice_ref(bytes)))
    };
    page.rows.into_iter().map(decode).collect()
}

/// Fails for a name that no extended attribute has.
pub(super) fn check_name(name: &[u8]) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(FsError::Invalid("an extended attribute's name has 1 to 255 bytes"));
    }
    Ok(())
}

pub(super) async fn set(
    txn: &mut Txn,
    ino: Ino,
    name: &[u8],
    value: &[u8],
    mode: XattrMode,
    now: UnixTime,
) -> Result<()> {
    check_name(name)?;
    if value.len() > MAX_XATTR_BYTES {
        return Err(FsError::AttributeTooLarge);
    }
    let key = key::xattr(ino, name);
    match (txn.get(&key).await?.is_some(), mode) {
        (true, XattrMode::Create) => return Err(FsError::Exists),
        (false, XattrMode::Replace) => return Err(FsError::NoAttribute),
        _ => {}
    }
    txn.put(&key, row::encode_bytes(value)).await?;
    stamp(txn, ino, now).await
}

pub(super) async fn remove(txn: &mut Txn, ino: Ino, name: &[u8], now: UnixTime) -> Result<()> {
    let key = key::xattr(ino, name);
    if txn.get(&key).await?.is_none() {
        return Err(FsError::NoAttribute);
    }
    txn.delete(&key).await?;
    stamp(txn, ino, now).await
}

async fn stamp(txn: &mut Txn, ino: Ino, now: UnixTime) -> Result<()> {
    let mut attr = attributes::get(txn, ino).await?;
    attr.ctime = now;
    attributes::put(txn, ino, &attr).await
}
