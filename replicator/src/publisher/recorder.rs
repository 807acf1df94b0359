//! When a mirror's progress is written to the engine: a decision over its reports and the clock.
//!
//! A record is itself a commit, which moves the region's position. An empty interval therefore
//! counts as no progress: or publisher and mirror would feed each other for ever.

use std::time::Duration;

use farshore_proto::Position;

use super::options::{HEARD_EVERY, RECORD_EVERY};

/// What one mirror has reported, and what of it is written.
#[derive(Debug)]
pub(crate) struct Recorder {
    applied: Position,
    visible: Option<Position>,
    recorded: Position,
    recorded_at: Duration,
    /// The end of the last interval that was sent with commits.
    worth: Position,
    sent: Position,
}

/// A report that no mirror makes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadReport;

impl Recorder {
    /// A mirror that stands at `from` and was recorded there at `now`.
    pub(crate) fn new(from: Position, now: Duration) -> Self {
        Self { applied: from, visible: None, recorded: from, recorded_at: now, worth: from, sent: from }
    }

    /// An interval up to `to` was sent.
    pub(crate) fn sent(&mut self, to: Position, has_commits: bool) {
        self.sent = to;
        if has_commits {
            self.worth = to;
        }
    }

    /// The mirror reports. It can have applied no more than it was sent, and shown no more than
    /// it has applied.
    pub(crate) fn reported(&mut self, applied: Position, visible: Option<Position>) -> Result<(), BadReport> {
        if applied > self.sent || visible.is_some_and(|visible| visible > applied) {
            return Err(BadReport);
        }
        self.applied = self.applied.max(applied);
        self.visible = self.visible.max(visible);
        Ok(())
    }

    /// When the record is due to be written.
    pub(crate) fn due_at(&self) -> Duration {
        let progress = self.applied > self.recorded && self.recorded < self.worth;
        self.recorded_at + if progress { RECORD_EVERY } else { HEARD_EVERY }
    }

    /// What to write: the positions applied and visible.
    pub(crate) fn positions(&self) -> (Position, Option<Position>) {
        (self.applied, self.visible)
    }

    /// Whether something is lost if the stream ends now without a record.
    pub(crate) fn has_news(&self) -> bool {
        self.applied > self.recorded
    }

    /// The record was written at `now`.
    pub(crate) fn recorded(&mut self, now: Duration) {
        self.recorded = self.applied;
        self.recorded_at = now;
    }
}

#[cfg(test)]
mod tests {
    use farshore_proto::{Incarnation, Version};

    use super::*;

    fn at(batch: u64) -> Position {
        Position { incarnation: Incarnation::new(1, [1; 12]), version: Version::new(batch, 0) }
    }

    #[test]
    fn progress_is_recorded_each_second_and_idleness_seldom() {
        let mut recorder = Recorder::new(at(1), Duration::ZERO);
        assert_eq!(recorder.due_at(), HEARD_EVERY);
        recorder.sent(at(2), false);
        recorder.reported(at(2), Some(at(1))).unwrap();
        assert_eq!(recorder.due_at(), HEARD_EVERY, "an empty interval is no progress");
        recorder.sent(at(3), true);
        recorder.reported(at(3), Some(at(2))).unwrap();
        assert_eq!(recorder.due_at(), RECORD_EVERY);
        assert_eq!(recorder.positions(), (at(3), Some(at(2))));
        recorder.recorded(RECORD_EVERY);
        assert!(!recorder.has_news());
        assert_eq!(recorder.due_at(), RECORD_EVERY + HEARD_EVERY);
    }

    #[test]
    fn what_cannot_be_is_refused_and_nothing_goes_back() {
        let mut recorder = Recorder::new(at(5), Duration::ZERO);
        recorder.sent(at(8), true);
        assert_eq!(recorder.reported(at(9), None), Err(BadReport));
        assert_eq!(recorder.reported(at(7), Some(at(8))), Err(BadReport));
        recorder.reported(at(7), Some(at(7))).unwrap();
        recorder.reported(at(6), Some(at(6))).unwrap();
        assert_eq!(recorder.positions(), (at(7), Some(at(7))));
    }
}
