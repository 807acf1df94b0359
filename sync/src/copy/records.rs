//! What a manifest wants of objects that were not copied: their bytes, read at the target; and whether an object is still the one
//! that a manifest tells of.

use super::Copier;
use crate::attributes::AttributeSet;
use crate::checksum::{Agreement, Algorithm, Checksums};
use crate::digest::{Extra, checksum_of};
use crate::entry::{Entry, Kind};
use crate::error::{Result, StoreError};
use crate::manifest::Recorded;

impl Copier {
    /// Reads the target's object for its BLAKE3. What its store tells of it must be true.
    pub(crate) async fn read_recorded(&self, recorded: Recorded) -> Result<Recorded> {
        self.retry(|| async {
            let entry = self.target_entry(&recorded).await?;
            let known = &recorded.checksums;
            let found = self.target_checksums(&entry, &Extra { blake3: true, md5: knows_md5(known) }).await?;
            if let Agreement::Different(algorithm) = found.agreement(known) {
                let reason = format!("its {algorithm} is another than the one that the store tells");
                return Err(StoreError::corrupt(self.target.name(), &recorded.key, reason));
            }
            Ok(Recorded::of(&entry, &found))
        })
        .await
    }

    async fn target_entry(&self, recorded: &Recorded) -> Result<Entry> {
        self.target_pace.request().await;
        let entry = self.target.head(&recorded.key, AttributeSet::NONE).await?.entry;
        if entry.size != recorded.size || entry.kind != recorded.kind {
            return Err(StoreError::changed(&recorded.key, "it was written since it was compared"));
        }
        Ok(entry)
    }

    /// Reads an object of the target and compares it with all that a manifest tells of its bytes: whether they are the same;
    /// none if it tells nothing.
    pub(crate) async fn is_as_recorded(&self, recorded: &Entry, target: &Entry) -> Result<Option<bool>> {
        let told = match &recorded.kind {
            Kind::Symlink { target } => checksum_of(Algorithm::Blake3, target).into_iter().collect(),
            _ => recorded.checksums.clone(),
        };
        let extra = Extra { blake3: told.whole(Algorithm::Blake3).is_some(), md5: knows_md5(&told) };
        let found = self.retry(|| async { self.target_checksums(target, &extra).await }).await?;
        Ok(match found.agreement(&told) {
            Agreement::Equal => Some(true),
            Agreement::Different(_) => Some(false),
            Agreement::Unknown => None,
        })
    }

    async fn target_checksums(&self, entry: &Entry, extra: &Extra) -> Result<Checksums> {
        let _slot = self.target_pace.slot().await;
        self.target_pace.request().await;
        self.checksums_of(&self.target, entry, *extra).await
    }
}

fn knows_md5(known: &Checksums) -> bool {
    known.whole(Algorithm::Md5).is_some()
}
