//! A store that holds every key: those that the store below it cannot hold are kept under escaped names in a directory of
//! their own (`key_escape.rs`), and are listed, read and deleted under their keys.
//!
//! A key is looked for under its own name first. Written under its own name it goes from the escaped one, so that a
//! key that became holdable, because what was beside it is gone, is there once.
//!
//! Read `names.rs`, `listing.rs`, `uploads.rs`, then what is done with them here.

mod listing;
mod names;
#[cfg(test)]
mod tests;
mod uploads;

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use self::names::is_reserved;
use super::layer::Layer;
use super::{
    Body, CopyRequest, ListPage, ListRequest, PartPage, PartRequest, PutRequest, ReadRequest, Reading, Store, Stored,
    StoredPart, Upload, UploadId, UploadPage, look_in_listing,
};
use crate::attributes::{AttributeSet, Attributes};
use crate::entry::{Entry, Identity, Kind, Object};
use crate::error::{Result, StoreError};
use crate::key::{Key, escaped};
use crate::key_escape::escape;

/// A store, and what is known of its escaped names.
#[derive(Debug)]
pub struct EscapingStore {
    inner: Arc<dyn Store>,
    /// Whether it has escaped names; none before it was asked.
    used: Mutex<Option<bool>>,
    /// Keys that turned out to be unholdable only after their bytes had been taken.
    conflicts: Mutex<BTreeSet<Key>>,
}

impl EscapingStore {
    /// Lets this store hold every key.
    pub fn over(inner: Arc<dyn Store>) -> Self {
        Self { inner, used: Mutex::new(None), conflicts: Mutex::default() }
    }

    async fn put_escaped(&self, request: &PutRequest, body: Body, reason: StoreError) -> Result<Stored> {
        let name = self.escaped_name(&request.key, reason)?;
        *self.used.lock() = Some(true);
        // A directory's key ends with a slash, and its escaped name does not.
        let kind = if request.kind == Kind::Directory { Kind::Object } else { request.kind.clone() };
        let request = PutRequest { key: name, kind, ..request.clone() };
        let stored = self.inner.put(&request, body).await?;
        Ok(Stored { escaped: true, ..stored })
    }
}

#[async_trait]
impl Layer for EscapingStore {
    fn below(&self) -> &dyn Store {
        self.inner.as_ref()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        self.list_both(request).await
    }

    async fn look(&self, key: &Key) -> Result<Option<Entry>> {
        look_in_listing(self, key).await
    }

    async fn head(&self, key: &Key, wanted: AttributeSet) -> Result<Object> {
        let escapes = self.is_only_escaped(key).await?;
        let own = if escapes { Err(self.must_be_escaped(key)) } else { self.inner.head(key, wanted).await };
        let error = match own {
            Err(error) => error,
            own => return own,
        };
        let mut object = self.inner.head(&self.other_name(key, error).await?, wanted).await?;
        object.entry.key = key.clone();
        Ok(object)
    }

    async fn read(&self, request: &ReadRequest) -> Result<Reading> {
        let escapes = self.is_only_escaped(&request.key).await?;
        let own = if escapes { Err(self.must_be_escaped(&request.key)) } else { self.inner.read(request).await };
        let error = match own {
            Err(error) => error,
            own => return own,
        };
        let name = match &error {
            // A directory of this name is no file that changed, if the file is escaped.
            StoreError::Changed { .. } if self.is_used().await? => escape(&request.key).ok_or_else(|| error.clone())?,
            _ => self.other_name(&request.key, error.clone()).await?,
        };
        let mut reading = match self.inner.read(&ReadRequest { key: name, ..request.clone() }).await {
            Err(StoreError::Missing { .. }) => return Err(error),
            reading => reading?,
        };
        reading.object.entry.key = request.key.clone();
        Ok(reading)
    }

    async fn put(&self, request: &PutRequest, body: Body) -> Result<Stored> {
        if self.is_escaped(&request.key) {
            return self.put_escaped(request, body, self.must_be_escaped(&request.key)).await;
        }
        let again = if let Body::Whole(bytes) = &body { Some(Body::Whole(bytes.clone())) } else { None };
        match (self.inner.put(request, body).await, again) {
            (Err(error @ StoreError::Unholdable { .. }), Some(again)) => self.put_escaped(request, again, error).await,
            // The bytes are taken: they are sent again, to the escaped name then.
            (Err(error @ StoreError::Unholdable { .. }), None) => {
                self.escaped_name(&request.key, error)?;
                self.remember_conflict(&request.key);
                Err(StoreError::unavailable(self.name(), format!("write {}", request.key), "its key has to be escaped"))
            }
            (Ok(stored), _) => {
                if let (true, Some(name)) = (self.is_used().await?, escape(&request.key)) {
                    self.inner.delete(&[name]).await?;
                }
                Ok(stored)
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn begin_multipart(&self, request: &PutRequest) -> Result<UploadId> {
        let reason = if self.is_escaped(&request.key) {
            self.must_be_escaped(&request.key)
        } else {
            match self.inner.begin_multipart(request).await {
                Err(error @ StoreError::Unholdable { .. }) => error,
                begun => return begun,
            }
        };
        let key = self.escaped_name(&request.key, reason)?;
        *self.used.lock() = Some(true);
        let id = self.inner.begin_multipart(&PutRequest { key, ..request.clone() }).await?;
        Ok(uploads::escaped_id(&id))
    }

    async fn put_part(&self, upload: &Upload, part: &PartRequest, body: Body) -> Result<StoredPart> {
        self.inner.put_part(&uploads::below(upload), part, body).await
    }

    async fn complete_multipart(&self, upload: &Upload, request: &PutRequest, parts: &[StoredPart]) -> Result<Stored> {
        let below = uploads::below(upload);
        let request = PutRequest { key: below.key.clone(), ..request.clone() };
        match self.inner.complete_multipart(&below, &request, parts).await {
            // Something came in its way while the parts were sent: they are sent again, under the escaped name then.
            Err(error @ StoreError::Unholdable { .. }) => {
                self.escaped_name(&upload.key, error)?;
                self.remember_conflict(&upload.key);
                self.inner.abort_multipart(&below).await?;
                Err(StoreError::missing(self.name(), &format!("the upload of {}", upload.key)))
            }
            stored => Ok(Stored { escaped: below.key != upload.key, ..stored? }),
        }
    }

    async fn abort_multipart(&self, upload: &Upload) -> Result<()> {
        self.inner.abort_multipart(&uploads::below(upload)).await
    }

    async fn list_uploads(&self, after: Option<&str>) -> Result<UploadPage> {
        let mut page = self.inner.list_uploads(after).await?;
        for open in &mut page.uploads {
            uploads::lift(&mut open.upload);
        }
        Ok(page)
    }

    async fn list_parts(&self, upload: &Upload, after: Option<u32>) -> Result<PartPage> {
        self.inner.list_parts(&uploads::below(upload), after).await
    }

    fn copies_from(&self, source: &dyn Store) -> bool {
        // An escaped source has no name that the store below knows.
        !(source as &dyn Any).is::<Self>() && self.inner.copies_from(source)
    }

    async fn copy(&self, source: &dyn Store, request: &CopyRequest) -> Result<Stored> {
        match self.inner.copy(source, request).await {
            Err(error @ StoreError::Unholdable { .. }) => {
                let key = self.escaped_name(&request.target.key, error)?;
                *self.used.lock() = Some(true);
                let request = CopyRequest { target: PutRequest { key, ..request.target.clone() }, ..request.clone() };
                Ok(Stored { escaped: true, ..self.inner.copy(source, &request).await? })
            }
            copied => copied,
        }
    }

    async fn set_attributes(&self, key: &Key, identity: &Identity, attributes: &Attributes) -> Result<Stored> {
        let escapes = self.is_only_escaped(key).await?;
        let own = if escapes {
            Err(self.must_be_escaped(key))
        } else {
            self.inner.set_attributes(key, identity, attributes).await
        };
        match own {
            Err(error) => self.inner.set_attributes(&self.other_name(key, error).await?, identity, attributes).await,
            own => own,
        }
    }

    async fn delete(&self, keys: &[Key]) -> Result<Vec<Result<()>>> {
        let is_used = self.is_used().await?;
        let own: Vec<Key> = keys.iter().filter(|key| !is_reserved(key)).cloned().collect();
        let mut own = self.inner.delete(&own).await?.into_iter();
        let names: Vec<Key> = keys.iter().filter(|_| is_used).filter_map(escape).collect();
        let mut names = if names.is_empty() { Vec::new() } else { self.inner.delete(&names).await? }.into_iter();
        let mut outcomes = Vec::with_capacity(keys.len());
        for key in keys {
            let one = if is_reserved(key) { Ok(()) } else { own.next().unwrap_or_else(|| Err(gone(key))) };
            let has_name = is_used && escape(key).is_some();
            let other = if has_name { names.next().unwrap_or_else(|| Err(gone(key))) } else { Ok(()) };
            outcomes.push(match one {
                Err(StoreError::Unholdable { .. }) => other,
                one => one.and(other),
            });
        }
        Ok(outcomes)
    }
}

fn gone(key: &Key) -> StoreError {
    StoreError::bug(format!("a deletion of {} has no outcome", escaped(key.as_bytes())))
}
