//! Runs a tool to its end and tells what it took: wall time, CPU time, peak memory.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::machine;

/// How often a running tool's memory is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// What Linux counts in `/proc`: hundredths of a second, on every machine.
const TICK_MS: u64 = 10;
/// Longest that a tool may take.
const LIMIT: Duration = Duration::from_mins(30);

/// What a tool took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) wall: Duration,
    /// The time until what it wrote was on disk too.
    pub(super) durable: Duration,
    pub(super) cpu: Duration,
    pub(super) peak_bytes: u64,
}

/// Runs a command that must succeed, and then has the filesystem synced that it wrote to, if that is one here.
pub(super) fn run(command: &mut Command, written: Option<&Path>) -> Result<Spent> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let begun = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let mut stderr = child.stderr.take().context("it is piped")?;
    let words = std::thread::spawn(move || {
        let mut words = String::new();
        std::io::Read::read_to_string(&mut stderr, &mut words).map(|_| words)
    });
    let mut spent = Spent::default();
    while !is_ended(child.id()) {
        spent.peak_bytes = peak_bytes_of_all(child.id()).max(spent.peak_bytes);
        if begun.elapsed() > LIMIT {
            child.kill()?;
        }
        std::thread::sleep(LOOK);
    }
    spent.wall = begun.elapsed();
    if let Some(written) = written {
        machine::settle(written)?;
    }
    spent.durable = begun.elapsed();
    // It has ended and is not waited for: its times are still there.
    spent.cpu = cpu_time(child.id())?;
    let status = child.wait()?;
    let words = words.join().map_err(|_| anyhow::anyhow!("its words were lost"))??;
    if !status.success() {
        bail!("{status}: {}", words.lines().last().unwrap_or_default());
    }
    Ok(spent)
}

fn stat_fields(id: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn is_ended(id: u32) -> bool {
    stat_fields(id).is_none_or(|fields| fields.first().is_none_or(|state| state == "Z"))
}

/// The time of a process and of those children that it waited for, as a tool has that a script starts.
fn cpu_time(id: u32) -> Result<Duration> {
    let fields = stat_fields(id).context("the tool is gone")?;
    let ticks: u64 = fields
        .get(11..=14)
        .context("the kernel tells no times")?
        .iter()
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_millis(ticks * TICK_MS))
}

/// The most memory that a process or one of its children had: a script is small beside the tool that it starts.
fn peak_bytes_of_all(id: u32) -> u64 {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(id).chain(children).filter_map(peak_bytes).max().unwrap_or(0)
}

fn peak_bytes(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}
