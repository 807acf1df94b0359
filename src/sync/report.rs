//! The report: what came of each object, as JSON, one a line.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result};
use farshore_sync::{CopyReason, Outcome, What};
use serde::Serialize;

/// One line of a report.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    /// In the printable form of keys, which loses nothing.
    key: String,
    size: u64,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    server_side: bool,
}

/// A report's file. What could not be written is told at its end.
#[derive(Debug)]
pub(super) struct Report {
    path: PathBuf,
    written: Mutex<std::io::Result<BufWriter<File>>>,
}

impl Report {
    /// Begins a report, or goes on with that of the job that goes on.
    pub(super) fn open(path: &Path, goes_on: bool) -> Result<Self> {
        let file = OpenOptions::new().create(true).write(true).append(goes_on).truncate(!goes_on).open(path);
        let file = file.with_context(|| format!("cannot write the report {}", path.display()))?;
        Ok(Self { path: path.to_owned(), written: Mutex::new(Ok(BufWriter::new(file))) })
    }

    pub(super) fn write(&self, line: &Line<'_>) {
        let mut written = self.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Ok(file) = written.as_mut()
            && let Err(error) = write_line(file, line)
        {
            *written = Err(error);
        }
    }

    /// Writes a line that another process made.
    pub(super) fn write_text(&self, line: &str) {
        let mut written = self.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Ok(file) = written.as_mut()
            && let Err(error) = writeln!(file, "{line}")
        {
            *written = Err(error);
        }
    }

    /// Ends the report; an error if it lacks lines.
    pub(super) fn finish(&self) -> Result<()> {
        let mut written = self.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let flushed = match written.as_mut() {
            Ok(file) => file.flush(),
            Err(error) => Err(std::io::Error::new(error.kind(), error.to_string())),
        };
        flushed.with_context(|| format!("the report {} is not whole", self.path.display()))
    }
}

impl<'a> Line<'a> {
    /// What came of a key.
    pub(super) fn of(outcome: &'a Outcome) -> Self {
        let (word, reason, error, server_side) = match &outcome.what {
            What::Copied { reason, server_side } => ("copied", Some(reason_word(*reason)), None, *server_side),
            What::Updated => ("updated", None, None, false),
            What::BackedUp => ("backed-up", None, None, false),
            What::Deleted => ("deleted", None, None, false),
            What::Vanished => ("vanished", None, None, false),
            What::Conflict(_) => ("conflict", Some("symlink-not-held"), None, false),
            What::Failed { word, reason } => ("failed", Some(*word), Some(reason.as_str()), false),
        };
        Self { key: outcome.key.to_string(), size: outcome.size, outcome: word, reason, error, server_side }
    }

    /// What a comparison found of a key.
    pub(super) fn of_difference(outcome: &'a Outcome) -> Self {
        let word = match &outcome.what {
            What::Copied { reason: CopyReason::New, .. } => "missing",
            What::Deleted => "extra",
            What::Copied { .. } | What::Updated => "differs",
            _ => return Self::of(outcome),
        };
        let attributes = matches!(outcome.what, What::Updated).then_some("attributes");
        let reason = Self::of(outcome).reason.filter(|reason| *reason != "new").or(attributes);
        Self { outcome: word, reason, ..Self::of(outcome) }
    }

    /// A place that could not be listed.
    pub(super) fn unlisted(place: &str, reason: &'a str) -> Self {
        let key = place.to_owned();
        Self { key, size: 0, outcome: "unlisted", reason: None, error: Some(reason), server_side: false }
    }

    /// As a person reads it.
    pub(super) fn text(&self) -> String {
        let reason = self.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        let error = self.error.map(|error| format!(": {error}")).unwrap_or_default();
        format!("{:8} {}{reason}{error}", self.outcome, self.key)
    }

    /// As a script reads it.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn write_line(file: &mut BufWriter<File>, line: &Line<'_>) -> std::io::Result<()> {
    serde_json::to_writer(&mut *file, line)?;
    file.write_all(b"\n")
}

fn reason_word(reason: CopyReason) -> &'static str {
    match reason {
        CopyReason::New => "new",
        CopyReason::Size => "size",
        CopyReason::Time => "time",
        CopyReason::Checksum(_) | CopyReason::Contents => "contents",
        CopyReason::Kind => "kind",
        CopyReason::LinkTarget => "link-target",
        CopyReason::Forced => "forced",
    }
}

#[cfg(test)]
mod tests {
    use farshore_sync::Key;

    use super::*;

    fn outcome(what: What) -> Outcome {
        Outcome { key: Key::new(&b"odd\n\xff"[..]).unwrap(), size: 3, what }
    }

    #[test]
    fn a_line_tells_the_key_so_that_it_can_be_read_again() {
        let copied = outcome(What::Copied { reason: CopyReason::New, server_side: true });
        let line: serde_json::Value = serde_json::from_str(&Line::of(&copied).json()).unwrap();
        let expected = serde_json::json!({
            "key": "odd%0A%FF", "size": 3, "outcome": "copied", "reason": "new", "server_side": true
        });
        assert_eq!(line, expected);
        assert_eq!(line["key"].as_str().unwrap().parse::<Key>().unwrap(), copied.key);
        assert_eq!(Line::of_difference(&copied).text(), "missing  odd%0A%FF");
        let failed = outcome(What::Failed { word: "refused", reason: "no".into() });
        assert_eq!(Line::of_difference(&failed).text(), "failed   odd%0A%FF (refused): no");
    }
}
