//! The end of a job: its summary in plain words or as JSON, and the exit code that it deserves.

use std::time::Duration;

use anyhow::Result;
use farshore_sync::{Counts, Summary};
use indicatif::HumanCount;

use crate::exit::{Exit, Failure};
use crate::units;

/// What a summary is about.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) source: &'a str,
    pub(super) target: &'a str,
    pub(super) summary: &'a Summary,
    pub(super) elapsed: Duration,
    pub(super) moved_bytes: u64,
}

impl Told<'_> {
    /// The summary of a job, a line for each thing to know.
    pub(super) fn lines(&self, dry_run: bool) -> Vec<String> {
        let counts = &self.summary.counts;
        let would = if dry_run { "would be " } else { "" };
        let mut lines = vec![
            format!("{}: {} and {} listed", self.source, objects(counts.source_entries), size(counts.source_bytes)),
            format!("{}: {} listed", self.target, objects(counts.target_entries)),
            format!(
                "{} {would}copied, {}{}",
                objects(counts.copied),
                size(counts.copied_bytes),
                self.how_fast(dry_run)
            ),
        ];
        let mut line = |number: u64, what: &str| {
            if number > 0 {
                lines.push(format!("{} {what}", objects(number)));
            }
        };
        line(counts.copied_server_side, "of these copied by the store itself");
        line(counts.backed_up, &format!("{would}brought to the place for backups first"));
        line(counts.updated, &format!("{would}given other attributes, with the same contents"));
        line(counts.skipped, "left alone, for they were equal or to be left");
        line(counts.filtered, "not chosen");
        line(if dry_run { counts.deletions_planned } else { counts.deleted }, &format!("{would}deleted"));
        line(counts.vanished, "gone from the source before they were copied");
        line(counts.conflicts, "left to you: symbolic links, which the target does not hold");
        line(counts.not_objects, "left out, for they are sockets, pipes or devices");
        line(counts.keys_escaped, "copied into .farshore-keys, for a disk cannot hold their keys");
        line(counts.links_not_kept, "copied as files of their own, although they are hard links");
        line(counts.attributes_left_out, "copied without attributes that the target does not hold");
        line(counts.failed, "failed");
        if counts.unlisted > 0 {
            lines.push(format!("{} places could not be listed", HumanCount(counts.unlisted)));
        }
        lines
    }

    /// What a comparison without differences compared.
    pub(super) fn compared(&self) -> String {
        let counts = &self.summary.counts;
        let unproven = match counts.unproven {
            0 => String::new(),
            number => format!(", {} of these by size alone, for the manifest tells no more", HumanCount(number)),
        };
        format!("{} of {} compared with {}{unproven}", objects(counts.source_entries), self.source, self.target)
    }

    fn how_fast(&self, dry_run: bool) -> String {
        let seconds = self.elapsed.as_secs_f64().max(0.001);
        let rate = units::size((self.moved_bytes as f64 / seconds) as u64);
        if dry_run { String::new() } else { format!(" in {seconds:.1} s, {rate}/s") }
    }

    /// The same for scripts.
    pub(super) fn json(&self, dry_run: bool) -> String {
        let numbers: serde_json::Map<_, _> =
            self.summary.counts.named().map(|(name, number)| (name.to_owned(), number.into())).collect();
        let told = serde_json::json!({
            "source": self.source,
            "target": self.target,
            "dry_run": dry_run,
            "complete": self.summary.complete,
            "clean": self.summary.is_clean(),
            "seconds": self.elapsed.as_secs_f64(),
            "moved_bytes": self.moved_bytes,
            "counts": numbers,
            "deletions_withheld": self.summary.closed.as_ref().map(ToString::to_string),
            "error": self.summary.error.as_ref().map(ToString::to_string),
        });
        told.to_string()
    }
}

/// How a job ended, as a command does.
pub(super) fn ending(summary: &Summary) -> Result<()> {
    if let Some(error) = &summary.error {
        return Err(error.clone().into());
    }
    if let Some(closed) = &summary.closed {
        return Err(Failure::error(Exit::Withheld, format!("nothing was deleted: {closed}")));
    }
    partial(&summary.counts, "run the same command again for these")?;
    if summary.complete {
        Ok(())
    } else {
        Err(Failure::error(Exit::Partial, "not everything was listed; run it again"))
    }
}

/// How a comparison ended.
pub(super) fn ending_of_check(summary: &Summary) -> Result<()> {
    let counts = &summary.counts;
    if let Some(error) = &summary.error {
        return Err(error.clone().into());
    }
    let differ = differences(counts);
    if differ > 0 {
        let verb = if differ == 1 { "differs" } else { "differ" };
        return Err(Failure::error(Exit::Differs, format!("{} {verb}", objects(differ))));
    }
    partial(counts, "they may differ")
}

/// How many objects a comparison found to differ.
pub(super) fn differences(counts: &Counts) -> u64 {
    counts.copied + counts.updated + counts.deletions_planned
}

fn partial(counts: &Counts, way_out: &str) -> Result<()> {
    let mut parts = Vec::new();
    if counts.failed > 0 {
        parts.push(format!("{} failed", objects(counts.failed)));
    }
    if counts.conflicts > 0 {
        parts.push(format!("{} left to you", objects(counts.conflicts)));
    }
    if counts.unlisted > 0 {
        parts.push(format!("{} places not listed", HumanCount(counts.unlisted)));
    }
    if parts.is_empty() {
        return Ok(());
    }
    Err(Failure::error(Exit::Partial, format!("{}; {way_out}; --report FILE names each", parts.join(", "))))
}

fn objects(number: u64) -> String {
    format!("{} object{}", HumanCount(number), if number == 1 { "" } else { "s" })
}

fn size(bytes: u64) -> String {
    units::size(bytes)
}

#[cfg(test)]
mod tests {
    use farshore_sync::{Closed, StoreError};

    use super::*;
    use crate::exit::code_of;

    fn summary(counts: Counts) -> Summary {
        Summary { counts, complete: true, closed: None, error: None }
    }

    #[test]
    fn each_ending_has_its_code() {
        let code = |summary: &Summary| ending(summary).map_err(|error| code_of(&error)).err();
        let good = summary(Counts::default());
        assert_eq!(code(&good), None);
        assert_eq!(code(&summary(Counts { failed: 1, ..Counts::default() })), Some(Exit::Partial));
        assert_eq!(code(&summary(Counts { conflicts: 1, ..Counts::default() })), Some(Exit::Partial));
        assert_eq!(code(&Summary { complete: false, ..good.clone() }), Some(Exit::Partial));
        assert_eq!(code(&Summary { closed: Some(Closed::EmptySource), ..good.clone() }), Some(Exit::Withheld));
        let error = Some(StoreError::Full { store: "s".into() });
        assert_eq!(code(&Summary { error, ..good.clone() }), Some(Exit::NoSpace));
        let error = Some(StoreError::unavailable("s", "list", "gone"));
        assert_eq!(code(&Summary { error, complete: false, ..good }), Some(Exit::Store));
    }

    #[test]
    fn a_comparison_tells_differences_before_failures() {
        let code = |counts| ending_of_check(&summary(counts)).map_err(|error| code_of(&error)).err();
        assert_eq!(code(Counts::default()), None);
        assert_eq!(code(Counts { deletions_planned: 1, failed: 1, ..Counts::default() }), Some(Exit::Differs));
        assert_eq!(code(Counts { failed: 1, ..Counts::default() }), Some(Exit::Partial));
    }
}
