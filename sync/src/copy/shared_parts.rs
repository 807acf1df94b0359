//! One object's parts, sent by several workers. Whoever copies the object shares its upload, sends parts like any other,
//! waits until all are there, and completes it. Who helps sends parts and nothing else: whether the source changed, and
//! what becomes of the upload, is decided by the one who copies the object.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};
use tokio::sync::{Mutex, watch};

use super::parts::PartCopy;
use super::{Copier, journal_error};
use crate::error::{Result, StoreError};
use crate::journal::{ClaimedPart, FinishedPart, JournalError, PartClaim, UploadRecord, WorkerId};
use crate::limits::{CLAIM_PAUSE, LONGEST_CLAIM_PAUSE, PARTS_AT_ONCE, SHARED_PAGE};
use crate::parts::Cut;

/// How long a helper that leaves tries to give back what it claimed.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(2);

/// What is wanted of those who help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// That they claim parts and send them.
    Help,
    /// That they send what they have claimed, and no more.
    Rest,
    /// That they drop what they send, at once.
    Nothing,
}

/// Who sends parts of a shared upload, and until when.
struct Sender<'a> {
    copy: &'a PartCopy,
    name: WorkerId,
    /// One of those that find no part waits for one; the others wait for it.
    turn: Mutex<()>,
    /// The parts that it has claimed.
    held: parking_lot::Mutex<BTreeSet<u32>>,
    /// For a helper, what is still wanted of it.
    wanted: Option<watch::Receiver<Wanted>>,
}

impl PartCopy {
    /// Whether others may send parts of it: where there are others, and it has more parts than are sent at once here.
    pub(super) fn is_shared(&self) -> bool {
        self.copier.journal.lease().is_some() && self.cut.count() as usize > PARTS_AT_ONCE
    }

    /// Sends parts, as others may, until the store has all of them: all parts, in order.
    pub(super) async fn send_shared(&self) -> Result<Vec<FinishedPart>> {
        let sender = Sender::new(self, None);
        let journal = &self.copier.journal;
        journal.share(&sender.name, &self.upload).await.map_err(|error| self.untold(&error))?;
        let sent = tokio::select! {
            sent = sender.send() => sent,
            error = sender.keep_shared() => Err(self.untold(&error)),
        };
        if let Err(error) = sent {
            if let Err(error) = journal.withdraw(&sender.name, &self.upload).await {
                tracing::debug!(key = %self.upload.key, %error, "the sharing of an upload was not ended; it lapses");
            }
            return Err(error);
        }
        self.all_parts().await
    }

    /// The parts as the journal has them, by whomever they were sent.
    async fn all_parts(&self) -> Result<Vec<FinishedPart>> {
        let known = self.copier.journal.upload_of(&self.upload.key).await.map_err(|error| self.untold(&error))?;
        let known = known.filter(|record| record.upload == self.upload).ok_or(JournalError::Lost);
        let parts = known.map_err(|error| self.untold(&error))?.parts;
        if parts.iter().map(|part| part.stored.number).eq(1..=self.cut.count()) {
            return Ok(parts);
        }
        Err(StoreError::bug(format!("the journal called the parts of {} finished before they were", self.upload.key)))
    }

    fn untold(&self, error: &JournalError) -> StoreError {
        journal_error(&self.upload.key, error)
    }
}

impl Copier {
    /// Sends parts of uploads that other processes share, until none has parts to claim or no help is wanted.
    pub(crate) async fn help(self: &Arc<Self>, wanted: watch::Receiver<Wanted>) {
        if self.journal.lease().is_none() {
            return;
        }
        let mut after = None;
        while *wanted.borrow() == Wanted::Help {
            let mut records = match self.journal.shared(after.as_ref(), SHARED_PAGE).await {
                Ok(records) => records,
                Err(error) => return tracing::debug!(%error, "it was not heard which uploads want help"),
            };
            let Some(last) = records.last() else { return };
            after = Some(last.upload.key.clone());
            // Each helper begins elsewhere, so that not all want the same part.
            let first = (self.dice.roll() * records.len() as f64) as usize;
            records.rotate_left(first);
            for record in records {
                self.help_with(record, &wanted).await;
            }
        }
    }

    async fn help_with(self: &Arc<Self>, record: UploadRecord, wanted: &watch::Receiver<Wanted>) {
        let Some(sending) = self.senders.help(&record.upload) else { return };
        let cut = Cut { size: record.identity.size, part_bytes: record.part_bytes };
        let UploadRecord { upload, identity, .. } = record;
        let (key, server_side) = (upload.key.clone(), self.copies_server_side());
        let copy = PartCopy { copier: Arc::clone(self), key, identity, cut, upload, server_side };
        let sender = Sender::new(&copy, Some(wanted.clone()));
        let mut wanted = wanted.clone();
        let sent = tokio::select! {
            sent = sender.send() => sent,
            // An error says that nobody is there any more who wants anything.
            _ = wanted.wait_for(|wanted| *wanted == Wanted::Nothing) => Ok(()),
        };
        sender.give_back().await;
        if let Err(error) = sent {
            tracing::debug!(key = %copy.upload.key, %error, "parts of an upload are left to the others");
            sending.give_up();
        }
    }
}

impl<'a> Sender<'a> {
    fn new(copy: &'a PartCopy, wanted: Option<watch::Receiver<Wanted>>) -> Self {
        let (turn, held) = (Mutex::new(()), parking_lot::Mutex::default());
        Self { copy, name: copy.copier.senders.name(), turn, held, wanted }
    }

    /// Sends parts until all are there; a helper, until there are none to claim.
    async fn send(&self) -> Result<()> {
        try_join_all((0..PARTS_AT_ONCE).map(|_| self.send_one_by_one())).await.map(drop)
    }

    async fn send_one_by_one(&self) -> Result<()> {
        while self.is_wanted() {
            let _room = self.copy.room().await;
            let (mut claim, mut asked) = self.claim().await?;
            if claim == PartClaim::Wait && self.wanted.is_none() {
                (claim, asked) = self.wait_for_part().await?;
            }
            let PartClaim::Part(number) = claim else { return Ok(()) };
            self.send_claimed(number, asked).await?;
        }
        Ok(())
    }

    fn is_wanted(&self) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| *wanted.borrow() == Wanted::Help)
    }

    /// The answer of the journal, and when it was asked.
    async fn claim(&self) -> Result<(PartClaim, Instant)> {
        let asked = Instant::now();
        match self.copy.copier.journal.claim_part(&self.name, &self.copy.upload).await {
            // Whoever helps is done when the upload is.
            Err(JournalError::Lost) if self.wanted.is_some() => Ok((PartClaim::Finished, asked)),
            claim => claim.map(|claim| (claim, asked)).map_err(|error| self.copy.untold(&error)),
        }
    }

    /// Asks again and again: others may die with the parts that they claimed.
    async fn wait_for_part(&self) -> Result<(PartClaim, Instant)> {
        let _turn = self.turn.lock().await;
        let mut pause = CLAIM_PAUSE;
        loop {
            let (claim, asked) = self.claim().await?;
            if claim != PartClaim::Wait {
                return Ok((claim, asked));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_CLAIM_PAUSE);
        }
    }

    /// Sends a part and keeps the claim on it meanwhile; one that was lost is another's to send.
    async fn send_claimed(&self, number: u32, asked: Instant) -> Result<()> {
        self.held.lock().insert(number);
        let claimed = self.claimed(number);
        let renew = || self.copy.copier.journal.renew_part(&claimed);
        tokio::select! {
            sent = self.copy.send_noted(number) => sent.map(drop)?,
            error = self.keep(asked, renew) => match error {
                JournalError::Lost => {}
                error => return Err(self.copy.untold(&error)),
            },
        }
        self.held.lock().remove(&number);
        Ok(())
    }

    fn claimed(&self, number: u32) -> ClaimedPart {
        ClaimedPart { sender: self.name.clone(), upload: self.copy.upload.clone(), number }
    }

    /// Gives back what was claimed and not sent. What the journal does not hear lapses.
    async fn give_back(&self) {
        let held = std::mem::take(&mut *self.held.lock());
        let release = |number| async move { self.copy.copier.journal.release_part(&self.claimed(number)).await };
        let released = tokio::time::timeout(GIVE_BACK_WITHIN, join_all(held.into_iter().map(release))).await;
        if let Some(error) = released.unwrap_or_default().into_iter().find_map(std::result::Result::err) {
            tracing::debug!(key = %self.copy.upload.key, %error, "parts were not given back; their claims lapse");
        }
    }

    async fn keep_shared(&self) -> JournalError {
        self.keep(Instant::now(), || self.copy.copier.journal.keep_shared(&self.name, &self.copy.upload)).await
    }

    /// Gives signs of life until the journal says no; one that was not heard for its lease may have given away what is
    /// held, so that counts as lost.
    async fn keep<F: Future<Output = crate::journal::Result<()>>>(
        &self,
        mut heard: Instant,
        sign: impl Fn() -> F,
    ) -> JournalError {
        let Some(lease) = self.copy.copier.journal.lease() else { return std::future::pending().await };
        loop {
            tokio::time::sleep_until((heard + lease / 4).into()).await;
            let began = Instant::now();
            match tokio::time::timeout_at((heard + lease * 9 / 10).into(), sign()).await {
                Ok(Ok(())) => heard = began,
                Ok(Err(error)) => return error,
                Err(_) => return JournalError::Lost,
            }
        }
    }
}
