//! The virtual extended attributes of a mount's root by which commands talk to its process.

use std::time::Duration;

use farshore_proto::Position;

/// The position of everything written so far.
pub(crate) const TOKEN: &str = "farshore.token";
/// What `farshore status` shows, as JSON.
pub(crate) const STATUS: &str = "farshore.status";
/// Opens the name that waits.
const WAIT: &str = "farshore.wait.";
/// What a wait that succeeded reads.
pub(crate) const REACHED: &str = "reached";
/// What a wait reads whose time ran out.
pub(crate) const NOT_REACHED: &str = "not reached";

/// The name whose value is read once `position` is visible, or `timeout` has passed.
pub(crate) fn wait(timeout: Duration, position: Position) -> String {
    format!("{WAIT}{}.{position}", timeout.as_millis())
}

/// Takes the name of a wait apart.
pub(crate) fn parse_wait(name: &str) -> Option<(Duration, Position)> {
    let (ms, token) = name.strip_prefix(WAIT)?.split_once('.')?;
    Some((Duration::from_millis(ms.parse().ok()?), token.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use farshore_proto::Incarnation;

    use super::*;

    #[test]
    fn a_wait_is_named_and_understood() {
        let position = Position::start_of(Incarnation::new(1, [3; 12]));
        let timeout = Duration::from_millis(1_500);
        assert_eq!(parse_wait(&wait(timeout, position)), Some((timeout, position)));
        assert_eq!(parse_wait("farshore.wait.soon.fs1-00"), None);
        assert!(wait(Duration::MAX, position).len() <= 255);
    }
}
