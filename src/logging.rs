//! Where the log goes and how much it says.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// Our own crates; of the libraries' log only warnings are wanted.
const OURS: [&str; 8] = [
    "farshore",
    "farshore_meta",
    "farshore_blocks",
    "farshore_volume",
    "farshore_mount",
    "farshore_replicator",
    "farshore_sync",
    "farshore_proto",
];
/// The variable that has a filter of `tracing`'s own form.
const VARIABLE: &str = "FARSHORE_LOG";

/// What becomes of a command's log.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogArgs {
    /// Add the log to this file instead of showing it on stderr; the last word on what went wrong is on stderr in any case
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// How much the log says; else -v, FARSHORE_LOG, or info
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) log_level: Option<LogLevel>,
}

/// How much a log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// What a person must look at
    Error,
    /// And what was not expected, and the job went on
    Warn,
    /// And what changes its state
    Info,
    /// And each operation
    Debug,
    /// And what the libraries say
    Trace,
}

/// Begins the log of this process.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn begin(args: &LogArgs, verbose: u8) -> Result<()> {
    let filter = filter(args.log_level, verbose, EnvFilter::try_from_env(VARIABLE).ok());
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    if let Some(path) = &args.log_file {
        log.with_writer(Mutex::new(open(path)?)).with_ansi(false).init();
    } else {
        let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
        log.with_writer(std::io::stderr).with_ansi(ansi).init();
    }
    Ok(())
}

fn open(path: &Path) -> Result<std::fs::File> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.with_context(|| format!("cannot write the log {}; give --log-file a file that can be made", path.display()))
}

/// What was said on the command line counts before what the environment has.
fn filter(level: Option<LogLevel>, verbose: u8, of_environment: Option<EnvFilter>) -> EnvFilter {
    match (level, verbose) {
        (Some(level), _) => EnvFilter::new(directives(level)),
        (None, 0) => of_environment.unwrap_or_else(|| EnvFilter::new(directives(LogLevel::Info))),
        (None, 1) => EnvFilter::new(directives(LogLevel::Debug)),
        (None, _) => EnvFilter::new("debug"),
    }
}

fn directives(level: LogLevel) -> String {
    let (ours, others) = match level {
        LogLevel::Error => ("error", "error"),
        LogLevel::Warn => ("warn", "warn"),
        LogLevel::Info => ("info", "warn"),
        LogLevel::Debug => ("debug", "warn"),
        LogLevel::Trace => ("trace", "debug"),
    };
    let ours: Vec<String> = OURS.iter().map(|name| format!("{name}={ours}")).collect();
    format!("{},{others}", ours.join(","))
}

#[cfg(test)]
mod tests {
    use tracing::level_filters::LevelFilter;

    use super::*;

    fn most(filter: &EnvFilter) -> Option<LevelFilter> {
        filter.max_level_hint()
    }

    #[test]
    fn the_command_line_counts_before_the_environment() {
        let of_environment = || Some(EnvFilter::new("trace"));
        assert_eq!(most(&filter(None, 0, of_environment())), Some(LevelFilter::TRACE));
        assert_eq!(most(&filter(None, 1, of_environment())), Some(LevelFilter::DEBUG));
        assert_eq!(most(&filter(Some(LogLevel::Warn), 1, of_environment())), Some(LevelFilter::WARN));
        assert_eq!(most(&filter(None, 0, None)), Some(LevelFilter::INFO));
    }
}
