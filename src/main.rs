//! The command `farshore`: configuration and wiring, nothing else.
//!
//! Read `cli.rs` first, then `serving.rs`, which is what `mount`, `serve` and `mirror` have in
//! common; the other files are one subcommand each.

mod assembly;
mod background;
mod cli;
mod control;
mod control_names;
mod exit;
mod format;
mod guard;
mod logging;
mod metrics;
mod mirror;
mod mounted;
mod output;
mod primary;
mod quickstart;
mod serving;
mod status;
mod sync;
mod tls;
mod token;
mod units;
mod unmount;

use std::future::Future;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};

use cli::{Cli, Command};

/// Blocks come and go on many threads: the C library's allocator would keep several times what is in use.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match logging::begin(&cli.command.log(), cli.verbose).and_then(|()| run(&cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = background::exit_code(&error);
            let message = format!("{error:#}");
            if is_background_child(&cli.command) {
                tracing::error!("{message}");
                background::report_failure(code, &message);
            } else {
                output::note(&format!("farshore: {message}"));
            }
            ExitCode::from(code)
        }
    }
}

fn run(command: &Command) -> Result<()> {
    match command {
        Command::Format(args) => block_on(format::run(args)),
        Command::Mount(args) => primary::mount(args),
        Command::Serve(args) => block_on(primary::serve(args)),
        Command::Mirror(args) => mirror::run(args),
        Command::Status(args) => block_on(status::run(args)),
        Command::Token(args) => token::token(args),
        Command::Wait(args) => token::wait(args),
        Command::Unmount(args) => unmount::run(args),
        Command::Quickstart(args) => quickstart::run(args),
        Command::Guard(args) => block_on(guard::run(args)),
        Command::Sync(args) => block_on(sync::sync(args)),
        Command::SyncWorker(args) => block_on(sync::sync_worker(args)),
        Command::Check(args) => block_on(sync::check(args)),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "farshore", &mut std::io::stdout());
            Ok(())
        }
    }
}

/// Runs a command's future on a runtime of its own, and gives what it leaves behind a moment.
pub(crate) fn block_on(future: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let outcome = runtime.block_on(future);
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    outcome
}

fn is_background_child(command: &Command) -> bool {
    match command {
        Command::Mount(args) => args.process.background_child,
        Command::Mirror(args) => args.process.background_child,
        _ => false,
    }
}
