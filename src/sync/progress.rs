//! What a person sees while a job runs: a line that moves on a terminal, a line of the log now and then elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use farshore_sync::coordinator::{Numbers, Watcher};
use farshore_sync::{Observer, Outcome, Side, What};
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use super::report::{Line, Report};
use crate::metrics::{Kind, Measured, Page};
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
    /// Where lines for the report of another machine gather, until they are taken.
    lines: Option<Mutex<Vec<String>>>,
    /// What the workers of other processes did.
    others: Mutex<Numbers>,
    listed: [AtomicU64; 2],
    planned_bytes: AtomicU64,
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
            lines: None,
            others: Mutex::default(),
            listed: [AtomicU64::new(0), AtomicU64::new(0)],
            planned_bytes: AtomicU64::new(0),
            copied: AtomicU64::new(0),
            moved_bytes: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            latest: Mutex::default(),
        }
    }

    /// Of a worker, whose coordinator has the report.
    pub(super) fn of_worker(wants_lines: bool) -> Self {
        Self { lines: wants_lines.then(Mutex::default), ..Self::new(Print::Nothing, None) }
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

    /// Bytes that were read for copies, also for those that failed, here and by other processes.
    pub(super) fn moved_bytes(&self) -> u64 {
        self.numbers().moved_bytes
    }

    /// What was done so far, here and by other processes.
    pub(super) fn numbers(&self) -> Numbers {
        let number = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let mut numbers = Numbers {
            listed_source: number(&self.listed[0]),
            listed_target: number(&self.listed[1]),
            planned_bytes: number(&self.planned_bytes),
            moved_bytes: number(&self.moved_bytes),
            copied: number(&self.copied),
            failed: number(&self.failed),
            latest: self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        numbers += &*self.others.lock().unwrap_or_else(PoisonError::into_inner);
        numbers
    }

    /// The lines that gathered since they were last taken.
    pub(super) fn take_lines(&self) -> Vec<String> {
        let taken =
            |lines: &Mutex<Vec<String>>| std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner));
        self.lines.as_ref().map(taken).unwrap_or_default()
    }

    fn line(&self) -> String {
        let numbers = self.numbers();
        let seconds = self.elapsed().as_secs_f64().max(0.001);
        let rate = numbers.moved_bytes as f64 / seconds;
        let failed = numbers.failed;
        let failed = if failed > 0 { format!(", {} failed", HumanCount(failed)) } else { String::new() };
        format!(
            "listed {} in SRC and {} in DST, copied and verified {}{failed}, {} at {}/s{}  {}",
            HumanCount(numbers.listed_source),
            HumanCount(numbers.listed_target),
            HumanCount(numbers.copied),
            units::size(numbers.moved_bytes),
            units::size(rate as u64),
            time_left(&numbers, rate),
            numbers.latest,
        )
    }

    fn tell(&self, line: &Line<'_>) {
        if let Some(report) = &self.report {
            report.write(line);
        }
        if let Some(lines) = &self.lines {
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line.json());
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

    fn planned(&self, bytes: u64) {
        self.planned_bytes.fetch_add(bytes, Ordering::Relaxed);
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

impl Watcher for Progress {
    fn told(&self, sum: &Numbers, lines: &[String]) {
        self.others.lock().unwrap_or_else(PoisonError::into_inner).clone_from(sum);
        if let Some(report) = &self.report {
            for line in lines {
                report.write_text(line);
            }
        }
    }
}

impl Measured for Progress {
    fn page(&self) -> Page {
        let numbers = self.numbers();
        let mut page = Page::default();
        let listed =
            [("side=\"source\"", numbers.listed_source as f64), ("side=\"target\"", numbers.listed_target as f64)];
        page.add("farshore_sync_listed_entries_total", Kind::Counter, "Entries listed.", &listed);
        let mut count = |name: &str, help: &str, number: u64| {
            page.add(name, Kind::Counter, help, &[("", number as f64)]);
        };
        count("farshore_sync_copied_objects_total", "Objects copied and verified.", numbers.copied);
        count("farshore_sync_failed_objects_total", "Objects that failed.", numbers.failed);
        count("farshore_sync_read_bytes_total", "Bytes read for copies.", numbers.moved_bytes);
        count("farshore_sync_planned_bytes_total", "Bytes of objects found to be copied.", numbers.planned_bytes);
        let elapsed = [("", self.elapsed().as_secs_f64())];
        page.add("farshore_sync_elapsed_seconds", Kind::Gauge, "Since this process began.", &elapsed);
        page
    }
}

/// How long what is known to be left takes at this rate.
fn time_left(numbers: &Numbers, rate: f64) -> String {
    let left = numbers.planned_bytes.saturating_sub(numbers.moved_bytes);
    if left == 0 || rate < 1.0 {
        return String::new();
    }
    let left = Duration::from_secs((left as f64 / rate).ceil() as u64);
    format!(", {} left of what is listed", HumanDuration(left))
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}
