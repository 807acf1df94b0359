//! Which uploads this process sends parts of. Each process sends parts of an upload from one place only, so that many
//! idle workers of one process are not more than one, and it helps with no upload that it cannot send parts of.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::journal::WorkerId;
use crate::limits::UNHELPED_UPLOADS;
use crate::store::Upload;

/// The senders of one process.
#[derive(Debug)]
pub(super) struct Senders {
    /// What tells this process from others.
    seed: u64,
    named: AtomicU64,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// How many send parts of each: one who helped may still do so when this process goes on with the object itself.
    sending: BTreeMap<Upload, usize>,
    /// The last of those that could not be helped with.
    unhelped: VecDeque<Upload>,
}

/// One who sends parts of an upload; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Sending {
    state: Arc<Mutex<State>>,
    upload: Upload,
}

impl Senders {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, named: AtomicU64::new(0), state: Arc::default() }
    }

    /// A name that no other sender has.
    pub(super) fn name(&self) -> WorkerId {
        WorkerId(format!("{:016x}-part-{}", self.seed, self.named.fetch_add(1, Ordering::Relaxed)))
    }

    /// The process's own copy of an object begins to send parts.
    pub(super) fn begin(&self, upload: &Upload) -> Sending {
        *self.state.lock().sending.entry(upload.clone()).or_default() += 1;
        Sending { state: Arc::clone(&self.state), upload: upload.clone() }
    }

    /// Begins to help with an upload of another process, unless that is done already or failed before.
    pub(super) fn help(&self, upload: &Upload) -> Option<Sending> {
        let mut state = self.state.lock();
        if state.unhelped.contains(upload) || state.sending.contains_key(upload) {
            return None;
        }
        state.sending.insert(upload.clone(), 1);
        Some(Sending { state: Arc::clone(&self.state), upload: upload.clone() })
    }
}

impl Sending {
    /// This process does not help with the upload again.
    pub(super) fn give_up(&self) {
        let mut state = self.state.lock();
        if state.unhelped.len() >= UNHELPED_UPLOADS {
            state.unhelped.pop_front();
        }
        state.unhelped.push_back(self.upload.clone());
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if let Some(count) = state.sending.get_mut(&self.upload) {
            *count -= 1;
        }
        state.sending.retain(|_, count| *count > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;
    use crate::store::UploadId;

    fn upload(number: usize) -> Upload {
        Upload { key: Key::try_from("large").unwrap(), id: UploadId::new(number.to_string()) }
    }

    #[test]
    fn an_upload_has_one_sender_here_and_none_once_help_failed() {
        let senders = Senders::new(7);
        let own = senders.begin(&upload(1));
        assert!(senders.help(&upload(1)).is_none());
        drop(own);
        let help = senders.help(&upload(1)).expect("nobody sends it any more");
        assert!(senders.help(&upload(1)).is_none());
        help.give_up();
        let own = senders.begin(&upload(1));
        drop(help);
        assert!(senders.state.lock().sending.contains_key(&upload(1)), "it is still sent");
        drop(own);
        assert!(senders.state.lock().sending.is_empty());
        assert!(senders.help(&upload(1)).is_none());
        for number in 2..2 + UNHELPED_UPLOADS {
            senders.help(&upload(number)).unwrap().give_up();
        }
        assert!(senders.help(&upload(1)).is_some(), "what is kept is bounded");
        assert_ne!(senders.name(), senders.name());
    }
}
