//! Results on standard output; a reader that has gone away is no error.

use std::io::{ErrorKind, Write};

/// Prints a line of a result.
pub(crate) fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = writeln!(stdout, "{line}")
        && error.kind() != ErrorKind::BrokenPipe
    {
        tracing::warn!(%error, "cannot write to standard output");
    }
}

/// Prints a line that is not a result, on standard error.
pub(crate) fn note(line: &str) {
    let mut stderr = std::io::stderr().lock();
    // Nobody can be told that standard error does not work.
    writeln!(stderr, "{line}").unwrap_or_default();
}
