//! Second looks: whether two objects are the same by all that their stores know, or by their bytes, and attributes that
//! are brought over without bytes.

use std::sync::Arc;

use super::checked::Checked;
use super::{Copied, Copier};
use crate::attributes::{AttributeKind, AttributeSet};
use crate::checksum::{Agreement, Algorithm, Checksums};
use crate::counts::Counts;
use crate::digest::Extra;
use crate::entry::{Entry, Kind, Object};
use crate::error::{Result, StoreError};
use crate::likeness::{Likeness, likeness};
use crate::policy::{ComparePolicy, PairCapabilities};
use crate::store::{ReadRequest, Store};
use crate::verdict::CopyReason;

/// What a second look says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looked {
    /// Nothing is to be done.
    Same,
    /// The bytes are the same and something beside them is not.
    OtherAttributes,
    /// The object is to be copied.
    Different(CopyReason),
}

/// Checksums that are computed of bytes that are read.
const COMPUTED: [Algorithm; 4] = [Algorithm::Crc64Nvme, Algorithm::Crc32c, Algorithm::Md5, Algorithm::Blake3];

impl Copier {
    /// Looks at both objects; `same_bytes` says that their bytes are known to be the same.
    pub(crate) async fn look(
        &self,
        source: &Entry,
        target: &Entry,
        (policy, can): (&ComparePolicy, &PairCapabilities),
        same_bytes: bool,
    ) -> Result<Looked> {
        let (here, there) = self.retry(|| self.both(source, target)).await?;
        let looked = match likeness(&here, &there, policy, can) {
            Likeness::Same | Likeness::TargetIsNewer => Looked::Same,
            Likeness::OtherAttributes => Looked::OtherAttributes,
            Likeness::OtherTime if same_bytes => Looked::OtherAttributes,
            Likeness::Different(CopyReason::Time) if same_bytes => Looked::Same,
            // One side is read rather than both written and read, if the other knows a checksum.
            Likeness::OtherTime if knows_checksum(&here) || knows_checksum(&there) => {
                if self.equal_contents(source, target).await? {
                    Looked::OtherAttributes
                } else {
                    Looked::Different(CopyReason::Contents)
                }
            }
            Likeness::OtherTime => Looked::Different(CopyReason::Time),
            Likeness::Different(reason) => Looked::Different(reason),
        };
        if let (Looked::Same, Some(origin)) = (looked, self.origin_of(&here))
            && let Err(error) = self.target.note_origin(&there.entry, &origin).await
        {
            tracing::debug!(key = %source.key, %error, "a copy does not remember its object");
        }
        Ok(looked)
    }

    /// All that is known of both, in the states that were listed.
    async fn both(&self, source: &Entry, target: &Entry) -> Result<(Object, Object)> {
        let _slot = self.target_pace.slot().await;
        let wanted = self.wanted().or(AttributeSet::of(&[AttributeKind::ExtendedAttributes]));
        self.target_pace.request().await;
        let (here, there) = futures::try_join!(self.source_object(source), self.target.head(&target.key, wanted))?;
        if !target.identity().may_be(&there.entry.identity()) {
            return Err(StoreError::changed(&target.key, "it was written since it was listed"));
        }
        Ok((here, there))
    }

    /// Whether two objects of one size have the same bytes: by what their stores know, else by reading the one whose
    /// store knows nothing, else both.
    pub(crate) async fn equal_contents(&self, source: &Entry, target: &Entry) -> Result<bool> {
        self.retry(|| async {
            let (here, there) = futures::try_join!(
                self.source.head(&source.key, AttributeSet::NONE),
                self.target.head(&target.key, AttributeSet::NONE),
            )?;
            let is_link = |object: &Object| matches!(object.entry.kind, Kind::Symlink { .. });
            if is_link(&here) || is_link(&there) {
                return Ok(here.entry.kind == there.entry.kind);
            }
            if here.entry.size != there.entry.size {
                return Ok(false);
            }
            let (mut here, mut there) = (here.entry.checksums, there.entry.checksums);
            if let Some(agreement) = known(&here, &there) {
                return Ok(agreement);
            }
            let _slot = self.target_pace.slot().await;
            let extra = self.extra_for(&here, &there);
            for source_first in [here.is_empty(), !here.is_empty()] {
                if source_first {
                    add(&mut here, &self.checksums_of(&self.source, source, extra).await?);
                } else {
                    add(&mut there, &self.checksums_of(&self.target, target, extra).await?);
                }
                if let Some(agreement) = known(&here, &there) {
                    return Ok(agreement);
                }
            }
            Ok(false)
        })
        .await
    }

    /// Those that either side knows are computed of the other.
    fn extra_for(&self, here: &Checksums, there: &Checksums) -> Extra {
        let (one, other) = (self.extra(here), self.extra(there));
        Extra { md5: one.md5 || other.md5, blake3: one.blake3 || other.blake3 }
    }

    /// Reads an object for its checksums alone.
    pub(super) async fn checksums_of(&self, store: &Arc<dyn Store>, entry: &Entry, extra: Extra) -> Result<Checksums> {
        let reading = store.read(&ReadRequest::whole(&entry.key, &entry.identity())).await?;
        let bytes = Checked::new(self, &entry.key, reading.bytes, entry.size, Checksums::none(), extra);
        bytes.of(store.as_ref()).drain().await
    }

    /// Gives the target's object the source's attributes.
    pub(crate) async fn update(self: &Arc<Self>, source: &Entry, target: &Entry) -> Result<Copied> {
        match self.retry(|| self.give_attributes(source, target)).await {
            Ok(Some(counts)) => {
                Ok(Copied::Done { counts: Counts { updated: 1, ..counts }, server_side: false, recorded: None })
            }
            // Attributes that cannot be set by themselves come with a copy.
            Ok(None) | Err(StoreError::Unsupported { .. } | StoreError::Changed { .. }) => {
                Ok(match self.copy(source, true).await? {
                    // What has no bytes was only put again to get them.
                    Copied::Done { counts, server_side, recorded } if counts.copied_bytes == 0 => {
                        Copied::Done { counts: Counts { updated: 1, copied: 0, ..counts }, server_side, recorded }
                    }
                    copied => copied,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Sets attributes without bytes; none if the source tells none.
    async fn give_attributes(&self, source: &Entry, target: &Entry) -> Result<Option<Counts>> {
        let (here, there) = self.both(source, target).await?;
        let mut attributes = self.request_of(&here).attributes;
        let Some(posix) = &mut attributes.posix else { return Ok(None) };
        // Metadata may have had no room for all extended attributes: those that they do not tell stay.
        let tells_all = here.known.has(AttributeKind::ExtendedAttributes);
        if !tells_all || self.source.capabilities().posix_in_metadata.is_some() {
            for (name, value) in there.attributes.posix.iter().flat_map(|posix| &posix.xattrs) {
                posix.xattrs.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        self.target_pace.request().await;
        let stored = self.target.set_attributes(&target.key, &target.identity(), &attributes).await?;
        Ok(Some(self.counts(&here, &stored)))
    }

    /// Gives a directory of the target the attributes of the source's, if they differ.
    pub(crate) async fn match_directory(
        &self,
        source: &Entry,
        (policy, can): (&ComparePolicy, &PairCapabilities),
    ) -> Result<()> {
        let there = match self.target.head(&source.key, AttributeSet::NONE).await {
            // It was not copied, and that was told.
            Err(StoreError::Missing { .. }) => return Ok(()),
            there => there?.entry,
        };
        match self.look(source, &there, (policy, can), false).await? {
            Looked::OtherAttributes => self.retry(|| self.give_attributes(source, &there)).await.map(drop),
            Looked::Same | Looked::Different(_) => Ok(()),
        }
    }
}

fn knows_checksum(object: &Object) -> bool {
    COMPUTED.iter().any(|algorithm| object.entry.checksums.whole(*algorithm).is_some())
}

fn known(here: &Checksums, there: &Checksums) -> Option<bool> {
    match here.agreement(there) {
        Agreement::Equal => Some(true),
        Agreement::Different(_) => Some(false),
        Agreement::Unknown => None,
    }
}

fn add(sums: &mut Checksums, more: &Checksums) {
    for (scope, sum) in more.iter() {
        sums.add(scope, sum);
    }
}
