//! What a person sees while a job runs: a line that moves on a terminal, a line of the log now and then elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use farshore_sync::{Observer, Outcome, Side, What};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use super::report::{Line, Report};
use crate::output::say;
use crate::units;

/// How often the line on a terminal moves.
const TICK: Duration = Duration::from_millis(200);
/// How often the log hears of a job.
const LOG_EVERY: Duration = Duration::from_secs(30);
/// Failures that are told as they happen; all are in the report.
const TOLD_FAILURES: u64 = 10;

/// How each outcome is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Print {
    /// Not at all.
    Nothing,
    /// As a plan.
    Plan,
    /// As a difference.
    Difference,
    /// As a difference, in JSON.
    DifferenceJson,
}

/// Hears of a job.
#[derive(Debug)]
pub(super) struct Progress {
    begun: Instant,
    print: Print,
    report: Option<Report>,
    bar: ProgressBar,
    listed: [AtomicU64; 2],
    copied: AtomicU64,
    moved_bytes: AtomicU64,
    failed: AtomicU64,
    latest: Mutex<String>,
}

impl Progress {
    pub(super) fn new(print: Print, report: Option<Report>) -> Self {
        use std::io::IsTerminal;
        let lines_there = print != Print::Nothing && std::io::stdout().is_terminal();
        let visible = std::io::stderr().is_terminal() && !lines_there;
        let bar = if visible { ProgressBar::new_spinner().with_style(style()) } else { ProgressBar::hidden() };
        Self {
            begun: Instant::now(),
            print,
            report,
            bar,
            listed: [AtomicU64::new(0), AtomicU64::new(0)],
            copied: AtomicU64::new(0),
            moved_bytes: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            latest: Mutex::default(),
        }
    }

    /// Shows how the job is until the handle is aborted.
    pub(super) fn show(self: &Arc<Self>) -> JoinHandle<()> {
        let progress = Arc::clone(self);
        tokio::spawn(async move {
            let every = if progress.bar.is_hidden() { LOG_EVERY } else { TICK };
            loop {
                tokio::time::sleep(every).await;
                if progress.bar.is_hidden() {
                    tracing::info!("{}", progress.line());
                } else {
                    progress.bar.set_message(progress.line());
                    progress.bar.tick();
                }
            }
        })
    }

    /// Takes the line away and ends the report.
    pub(super) fn finish(&self) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        self.report.as_ref().map_or(Ok(()), Report::finish)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Bytes that were read for copies, also for those that failed.
    pub(super) fn moved_bytes(&self) -> u64 {
        self.moved_bytes.load(Ordering::Relaxed)
    }

    fn line(&self) -> String {
        let count = |number: &AtomicU64| HumanCount(number.load(Ordering::Relaxed));
        let bytes = self.moved_bytes();
        let rate = bytes as f64 / self.elapsed().as_secs_f64().max(0.001);
        let failed = self.failed.load(Ordering::Relaxed);
        let failed = if failed > 0 { format!(", {} failed", HumanCount(failed)) } else { String::new() };
        format!(
            "listed {} in SRC and {} in DST, copied and verified {}{failed}, {} at {}/s  {}",
            count(&self.listed[0]),
            count(&self.listed[1]),
            count(&self.copied),
            units::size(bytes),
            units::size(rate as u64),
            self.latest.lock().unwrap_or_else(PoisonError::into_inner),
        )
    }

    fn tell(&self, line: &Line<'_>) {
        if let Some(report) = &self.report {
            report.write(line);
        }
        match self.print {
            Print::Nothing => {}
            Print::DifferenceJson => say(&line.json()),
            Print::Plan | Print::Difference => say(&line.text()),
        }
    }

    fn warn_of(&self, what: &str, reason: &str) {
        let number = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
        if self.print == Print::Nothing && number <= TOLD_FAILURES {
            self.bar.suspend(|| tracing::warn!("{what}: {reason}"));
        }
    }
}

impl Observer for Progress {
    fn listed(&self, side: Side, entries: u64) {
        self.listed[usize::from(side == Side::Target)].fetch_add(entries, Ordering::Relaxed);
    }

    fn copied_bytes(&self, bytes: u64) {
        self.moved_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn outcome(&self, outcome: &Outcome) {
        match &outcome.what {
            What::Copied { .. } => {
                self.copied.fetch_add(1, Ordering::Relaxed);
            }
            What::Failed { reason, .. } => self.warn_of(&outcome.key.to_string(), reason),
            _ => {}
        }
        if !self.bar.is_hidden() {
            *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = outcome.key.to_string();
        }
        match self.print {
            Print::Difference | Print::DifferenceJson => self.tell(&Line::of_difference(outcome)),
            Print::Nothing | Print::Plan => self.tell(&Line::of(outcome)),
        }
    }

    fn unlisted(&self, side: Side, place: &str, reason: &str) {
        let side = if side == Side::Source { "source" } else { "target" };
        self.warn_of(place, &format!("not listed at the {side}: {reason}"));
        self.tell(&Line::unlisted(place, reason));
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}
