//! Bytes on their way from a source: counted, paced, checksummed, and compared at their end with what is known of
//! them. The end comes only if all is right, so whoever stores them stores nothing wrong.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use parking_lot::Mutex;

use super::Copier;
use super::buffers::Buffers;
use crate::checksum::{Agreement, Checksums};
use crate::digest::{Extra, Hasher, PartDigest};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::outcome::Observer;
use crate::pace::Pace;
use crate::store::{Body, ByteStream, Store};

/// A stream that is checked.
pub(super) struct Checked {
    bytes: ByteStream,
    hasher: Hasher,
    key: Key,
    store: String,
    len: u64,
    known: Checksums,
    paces: [Arc<Pace>; 2],
    observer: Arc<dyn Observer>,
    buffers: Buffers,
}

/// What was computed, once the end has come.
pub(super) type Computed<T> = Arc<Mutex<Option<T>>>;

impl Checked {
    /// The whole bytes of an object.
    pub(super) fn new(copier: &Copier, key: &Key, bytes: ByteStream, len: u64, known: Checksums, extra: Extra) -> Self {
        Self::with(copier, key, bytes, len, known, Hasher::new(extra))
    }

    /// Bytes that a hasher of their own takes.
    pub(super) fn with(
        copier: &Copier,
        key: &Key,
        bytes: ByteStream,
        len: u64,
        known: Checksums,
        hasher: Hasher,
    ) -> Self {
        Self {
            bytes,
            hasher,
            key: key.clone(),
            store: copier.source.name().to_owned(),
            len,
            known,
            paces: [Arc::clone(&copier.source_pace), Arc::clone(&copier.target_pace)],
            observer: Arc::clone(&copier.observer),
            buffers: copier.buffers.clone(),
        }
    }

    /// The same of a store that is not the source, which errors name.
    pub(super) fn of(self, store: &dyn Store) -> Self {
        Self { store: store.name().to_owned(), ..self }
    }

    /// The next chunk; none at an end that is right.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(chunk) = self.bytes.try_next().await? else {
            return self.check().map(|()| None);
        };
        self.hasher.update(&chunk);
        if self.hasher.len() > self.len {
            return Err(self.wrong(format!("more than {} bytes came", self.len)));
        }
        for pace in &self.paces {
            pace.bytes(chunk.len()).await;
        }
        self.observer.copied_bytes(chunk.len() as u64);
        Ok(Some(chunk))
    }

    fn check(&self) -> Result<()> {
        if self.hasher.len() != self.len {
            return Err(self.wrong(format!("{} bytes came of {}", self.hasher.len(), self.len)));
        }
        match self.hasher.checksums().agreement(&self.known) {
            Agreement::Different(algorithm) => {
                Err(self.wrong(format!("its {algorithm} is another than the one that the store tells")))
            }
            Agreement::Equal | Agreement::Unknown => Ok(()),
        }
    }

    fn wrong(&self, reason: String) -> StoreError {
        StoreError::corrupt(&self.store, &self.key, reason)
    }

    /// All bytes in memory, and their checksums.
    pub(super) async fn collect(self) -> Result<(Bytes, Checksums)> {
        let (bytes, hasher) = self.collect_hashed().await?;
        Ok((bytes, hasher.checksums()))
    }

    /// All bytes in memory, and the digest of a part.
    pub(super) async fn collect_part(self) -> Result<(Bytes, (Checksums, PartDigest))> {
        let (bytes, hasher) = self.collect_hashed().await?;
        Ok((bytes, (hasher.checksums(), hasher.part())))
    }

    async fn collect_hashed(mut self) -> Result<(Bytes, Hasher)> {
        let first = self.next().await?.unwrap_or_default();
        if first.len() as u64 == self.len {
            // The end is asked for, because it is what is checked.
            while self.next().await?.is_some() {}
            return Ok((first, self.hasher));
        }
        let mut all = self.buffers.lend(self.len as usize);
        all.extend(&first);
        while let Some(chunk) = self.next().await? {
            all.extend(&chunk);
        }
        Ok((all.freeze(), self.hasher))
    }

    /// The checksums, without the bytes.
    pub(super) async fn drain(mut self) -> Result<Checksums> {
        while self.next().await?.is_some() {}
        Ok(self.hasher.checksums())
    }

    /// A body to be stored, and where its checksums will be.
    pub(super) fn into_body(self) -> (Body, Computed<Checksums>) {
        self.stream(Hasher::checksums)
    }

    /// A part's body, and where its digest will be.
    pub(super) fn into_part(self) -> (Body, Computed<(Checksums, PartDigest)>) {
        self.stream(|hasher| (hasher.checksums(), hasher.part()))
    }

    fn stream<T: Send + 'static>(self, compute: fn(&Hasher) -> T) -> (Body, Computed<T>) {
        let (computed, len) = (Computed::default(), self.len);
        let told = Arc::clone(&computed);
        let bytes = stream::try_unfold((self, told), move |(mut checked, told)| async move {
            if let Some(chunk) = checked.next().await? {
                return Ok(Some((chunk, (checked, told))));
            }
            *told.lock() = Some(compute(&checked.hasher));
            Ok(None)
        });
        (Body::Stream { len, bytes: bytes.boxed() }, computed)
    }
}
