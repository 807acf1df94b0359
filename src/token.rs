//! `farshore token` and `farshore wait`: reading in one region what was written in another.

use std::path::Path;

use anyhow::Result;
use farshore_proto::Position;

use crate::cli::{TokenArgs, WaitArgs};
use crate::control_names;
use crate::exit::{Exit, Failure};
use crate::mounted;
use crate::output::say;

pub(crate) fn token(args: &TokenArgs) -> Result<()> {
    say(&mounted::attribute(&args.dir, control_names::TOKEN)?);
    Ok(())
}

pub(crate) fn wait(args: &WaitArgs) -> Result<()> {
    let position: Position = args
        .token
        .parse()
        .map_err(|error: farshore_proto::Malformed| Failure::error(Exit::Usage, error.to_string()))?;
    let name = control_names::wait(args.timeout, position);
    let reached = mounted::attribute(&args.dir, &name)?;
    if reached == control_names::REACHED {
        return Ok(());
    }
    Err(timed_out(&args.dir, args.timeout))
}

fn timed_out(dir: &Path, timeout: std::time::Duration) -> anyhow::Error {
    let message = format!(
        "{} did not show the token's position within {timeout:?}; see `farshore status {}`",
        dir.display(),
        dir.display()
    );
    Failure::error(Exit::TimedOut, message)
}
