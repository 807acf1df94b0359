//! Uploads whose parts several workers send: who claims which part, as decisions that every journal keeps as rows of its
//! own kind.
//!
//! The contract, beside that of journals:
//! - An upload is shared for as long as the sender who shared it gives signs of life. Who shares it later takes the
//!   place of the one before, whose claims end.
//! - A claim on a part ends when the part is finished, given back, or not renewed within the lease. No two claims of a
//!   part hold at a time; whoever lost his is told `Lost` when he renews it.
//! - A part may be finished by whoever has sent it, with a claim or without: of two that were sent the later counts.
//! - The answer `Finished` means that the store has every part.

use async_trait::async_trait;

use super::range::{Holder, ProcessId};
use super::{JournalError, Result, UploadRecord, WorkerId};
use crate::key::Key;
use crate::store::Upload;

/// A part of a shared upload that a sender has claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedPart {
    /// Who: a name of its own for each upload that a worker sends parts of.
    pub sender: WorkerId,
    /// The upload.
    pub upload: Upload,
    /// The part's number, from 1 on.
    pub number: u32,
}

/// The answer to a sender that wants a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartClaim {
    /// The part of this number.
    Part(u32),
    /// None is free, but not all are there: others send them, and may die.
    Wait,
    /// The store has all of them.
    Finished,
}

/// What senders of parts ask of a journal and tell it. See the module for the contract.
#[async_trait]
pub trait SharedUploads {
    /// Lets others send parts of an upload. `Lost` if it was ended.
    async fn share(&self, sender: &WorkerId, upload: &Upload) -> Result<()>;

    /// A sign of life of the one who shares an upload. `Lost` if it is not he any more.
    async fn keep_shared(&self, sender: &WorkerId, upload: &Upload) -> Result<()>;

    /// Ends the sharing of an upload and all claims on its parts, if it is he who shares it.
    async fn withdraw(&self, sender: &WorkerId, upload: &Upload) -> Result<()>;

    /// Some uploads that are shared and have free parts, by key, after this key, without their parts: at most `limit`.
    async fn shared(&self, after: Option<&Key>, limit: usize) -> Result<Vec<UploadRecord>>;

    /// Claims the lowest part of a shared upload that the store does not have and nobody who is alive has claimed.
    /// `Lost` if the upload is not shared any more.
    async fn claim_part(&self, sender: &WorkerId, upload: &Upload) -> Result<PartClaim>;

    /// Keeps the claim on a part that takes long to send.
    async fn renew_part(&self, claimed: &ClaimedPart) -> Result<()>;

    /// Gives the claim on a part back, for another sender; one that does not hold is none.
    async fn release_part(&self, claimed: &ClaimedPart) -> Result<()>;
}

/// An upload that is shared. Each part below `next` is there or claimed, or was claimed and is free again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    /// Who shares it.
    pub(crate) holder: Holder,
    /// The lowest part that was never claimed.
    pub(crate) next: u32,
}

/// Who has a part below a share's `next` that is not there; none once it was given back.
pub(crate) type PartHolder = Option<Holder>;

impl Share {
    /// A share of an upload that nobody shared before.
    pub(crate) fn new(sender: &WorkerId, process: ProcessId) -> Self {
        Self { holder: Holder::new(sender, process), next: 1 }
    }

    /// The share in another sender's hands, and who had it before. The same sender may share again: what it had
    /// claimed before is free again too.
    pub(crate) fn pass_to(self, sender: &WorkerId, process: ProcessId) -> (Self, WorkerId) {
        (Self { holder: Holder::new(sender, process), ..self }, self.holder.worker)
    }

    /// Counts a call of whoever shares it as a sign of life.
    pub(crate) fn keep(&mut self, sender: &WorkerId) -> Result<()> {
        self.holder.keep(sender)
    }

    /// What a sender gets, if the lowest part that is free again is `freed`, the lowest from `next` on that is not there
    /// is `fresh`, and others are claimed or not.
    pub(crate) fn choose(freed: Option<u32>, fresh: Option<u32>, claimed: bool) -> PartClaim {
        match (freed.or(fresh), claimed) {
            (Some(number), _) => PartClaim::Part(number),
            (None, true) => PartClaim::Wait,
            (None, false) => PartClaim::Finished,
        }
    }
}

impl Holder {
    pub(crate) fn new(worker: &WorkerId, process: ProcessId) -> Self {
        Self { worker: worker.clone(), process, beat: 0 }
    }

    /// Counts a call as a sign of life, if it is the holder's.
    pub(crate) fn keep(&mut self, worker: &WorkerId) -> Result<()> {
        if self.worker != *worker {
            return Err(JournalError::Lost);
        }
        self.beat += 1;
        Ok(())
    }
}

impl UploadRecord {
    /// How many parts it has.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.identity.size.div_ceil(self.part_bytes.max(1))).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> WorkerId {
        WorkerId(name.to_owned())
    }

    #[test]
    fn what_is_free_again_comes_before_what_was_never_claimed() {
        assert_eq!(Share::choose(Some(2), Some(9), true), PartClaim::Part(2));
        assert_eq!(Share::choose(None, Some(9), true), PartClaim::Part(9));
        assert_eq!(Share::choose(None, None, true), PartClaim::Wait);
        assert_eq!(Share::choose(None, None, false), PartClaim::Finished);
    }

    #[test]
    fn only_who_shares_last_keeps_it() {
        let process = ProcessId([1; 16]);
        let mut share = Share::new(&named("one"), process);
        share.next = 7;
        share.keep(&named("one")).unwrap();
        let (mut share, before) = share.pass_to(&named("two"), process);
        assert_eq!((before, share.next), (named("one"), 7));
        assert!(matches!(share.keep(&named("one")), Err(JournalError::Lost)));
        share.keep(&named("two")).unwrap();
    }
}
