//! Which leases have lapsed. A row that stays the same for a whole lease, by this process's own clock, has an owner
//! that is gone. Clocks of other machines are never compared with, so no skew can take a claim from a living worker;
//! the price is that a process which has just begun waits one lease before it takes over.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

/// The rows that are watched: as many as there are claims and waiting workers.
#[derive(Debug)]
pub(super) struct Watch {
    lease: Duration,
    rows: Mutex<HashMap<Bytes, Seen>>,
}

#[derive(Debug)]
struct Seen {
    value: Bytes,
    since: Duration,
    looked: Duration,
}

impl Watch {
    pub(super) fn new(lease: Duration) -> Self {
        Self { lease, rows: Mutex::default() }
    }

    /// How long the row has had this value, as far as was seen.
    pub(super) fn age(&self, row: &Bytes, value: &Bytes, now: Duration) -> Duration {
        let mut rows = self.rows.lock();
        let seen = rows.get_mut(row).filter(|seen| seen.value == *value);
        if let Some(seen) = seen {
            seen.looked = now;
            return now.saturating_sub(seen.since);
        }
        // Rows that nobody looks at any more are gone; they are forgotten here, so that the map stays small.
        let forgotten = 4 * self.lease;
        rows.retain(|_, seen| now.saturating_sub(seen.looked) < forgotten);
        rows.insert(row.clone(), Seen { value: value.clone(), since: now, looked: now });
        Duration::ZERO
    }

    /// Whether the row has had this value for a lease.
    pub(super) fn has_lapsed(&self, row: &Bytes, value: &Bytes, now: Duration) -> bool {
        self.age(row, value, now) >= self.lease
    }

    pub(super) fn lease(&self) -> Duration {
        self.lease
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    #[test]
    fn a_row_lapses_when_it_was_the_same_for_a_lease() {
        let watch = Watch::new(LEASE);
        let row = Bytes::from_static(b"row");
        let lapsed = |value: &'static str, second| {
            watch.has_lapsed(&row, &Bytes::from_static(value.as_bytes()), Duration::from_secs(second))
        };
        assert!(!lapsed("a", 100), "nothing is known of the time before");
        assert!(!lapsed("a", 109));
        assert!(!lapsed("b", 110), "a sign of life");
        assert!(!lapsed("b", 119));
        assert!(lapsed("b", 120));
    }

    #[test]
    fn rows_that_are_gone_are_forgotten() {
        let watch = Watch::new(LEASE);
        for second in 0..1_000_u64 {
            let row = Bytes::copy_from_slice(&second.to_be_bytes());
            watch.age(&row, &Bytes::new(), Duration::from_secs(second));
        }
        assert!(watch.rows.lock().len() <= 41);
    }
}
