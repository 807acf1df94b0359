//! A moment, in nanoseconds since 1970 UTC. Owns its arithmetic and its printed form; reads no clock.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// Nanoseconds since 1970-01-01T00:00:00Z; before it negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

impl Timestamp {
    /// From seconds and the nanoseconds after them, as systems keep them; more than a second of nanoseconds is carried.
    pub fn new(seconds: i64, nanos: u32) -> Self {
        Self::from_nanos(i128::from(seconds) * NANOS_PER_SECOND + i128::from(nanos))
    }

    /// From nanoseconds since 1970.
    pub fn from_nanos(nanos: i128) -> Self {
        let seconds = nanos.div_euclid(NANOS_PER_SECOND) as i64;
        Self { seconds, nanos: nanos.rem_euclid(NANOS_PER_SECOND) as u32 }
    }

    /// Nanoseconds since 1970.
    pub fn as_nanos(self) -> i128 {
        i128::from(self.seconds) * NANOS_PER_SECOND + i128::from(self.nanos)
    }

    /// Whole seconds since 1970, rounded down.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// The nanoseconds after [`Self::seconds`].
    pub fn subsec_nanos(self) -> u32 {
        self.nanos
    }

    /// How far the two are apart.
    pub fn distance(self, other: Self) -> Duration {
        let nanos = (self.as_nanos() - other.as_nanos()).unsigned_abs();
        Duration::new((nanos / NANOS_PER_SECOND as u128) as u64, (nanos % NANOS_PER_SECOND as u128) as u32)
    }

    /// The moment that lies this long before.
    #[must_use]
    pub fn before(self, earlier: Duration) -> Self {
        Self::from_nanos(self.as_nanos() - earlier.as_nanos() as i128)
    }

    /// Seconds and nine digits, as rclone and others write `mtime`.
    pub fn to_decimal(self) -> String {
        let nanos = self.as_nanos();
        let sign = if nanos < 0 { "-" } else { "" };
        let (seconds, rest) =
            (nanos.unsigned_abs() / NANOS_PER_SECOND as u128, nanos.unsigned_abs() % NANOS_PER_SECOND as u128);
        format!("{sign}{seconds}.{rest:09}")
    }

    /// Parses seconds with at most nine digits after the point.
    pub fn from_decimal(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if seconds.is_empty() || fraction.len() > 9 || !digits(seconds) || !digits(fraction) {
            return None;
        }
        let fraction: i128 = format!("{fraction:0<9}").parse().ok()?;
        let nanos = i128::from(seconds.parse::<i64>().ok()?) * NANOS_PER_SECOND + fraction;
        Some(Self::from_nanos(if negative { -nanos } else { nanos }))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Self::from_nanos(since.as_nanos() as i128),
            Err(before) => Self::from_nanos(-(before.duration().as_nanos() as i128)),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_decimal())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_form_gives_the_same_moment(seconds in any::<i64>(), nanos in 0_u32..1_000_000_000) {
            // The lowest second and a fraction cannot be told as a negative decimal of 64 bits.
            prop_assume!(seconds > i64::MIN + 1);
            let time = Timestamp::new(seconds, nanos);
            prop_assert_eq!((time.seconds(), time.subsec_nanos()), (seconds, nanos));
            prop_assert_eq!(Timestamp::from_nanos(time.as_nanos()), time);
            prop_assert_eq!(Timestamp::from_decimal(&time.to_decimal()), Some(time));
        }
    }

    #[test]
    fn decimals_of_others_are_read_and_nonsense_is_not() {
        assert_eq!(Timestamp::from_decimal("1700000000.5"), Some(Timestamp::new(1_700_000_000, 500_000_000)));
        assert_eq!(Timestamp::from_decimal("-0.5"), Some(Timestamp::from_nanos(-500_000_000)));
        for wrong in ["", ".5", "1.0000000001", "1e9", "+1", "--1", "1.-5"] {
            assert_eq!(Timestamp::from_decimal(wrong), None, "{wrong}");
        }
        assert_eq!(Timestamp::new(1, 0).distance(Timestamp::new(-1, 0)), Duration::from_secs(2));
    }
}
