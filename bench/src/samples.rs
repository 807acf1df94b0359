//! What was measured: rows of values by peer and round, their medians and ratios.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::peer::Peer;

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    MibPerSecond,
    Seconds,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "op/s",
            Self::MibPerSecond => "MiB/s",
            Self::Seconds => "s",
        }
    }
}

/// One thing that was measured, on every peer.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) title: String,
    pub(crate) unit: Unit,
    /// By peer, the value of each round.
    pub(crate) values: BTreeMap<Peer, BTreeMap<u32, f64>>,
}

impl Row {
    pub(crate) fn median(&self, peer: Peer) -> Option<f64> {
        median(self.values.get(&peer)?.values().copied().collect())
    }

    /// How many times as fast `ours` is as `other`: the median of the rounds that both ran, so
    /// that a disturbance which lasted a round counts against neither.
    pub(crate) fn ratio(&self, ours: Peer, other: Peer) -> Option<f64> {
        let (ours, other) = (self.values.get(&ours)?, self.values.get(&other)?);
        let ratios = ours.iter().filter_map(|(round, value)| {
            let other = other.get(round)?;
            Some(if self.unit == Unit::Seconds { other / value } else { value / other })
        });
        median(ratios.collect())
    }
}

/// The middle of some values.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let above = values.get(middle)?;
    Some(if values.len() % 2 == 1 { *above } else { f64::midpoint(values[middle - 1], *above) })
}

/// Everything that a run measured, and what it could not.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    pub(crate) rows: Vec<Row>,
    pub(crate) not_run: BTreeMap<Peer, String>,
    pub(crate) failures: Vec<(Peer, String)>,
}

impl Samples {
    pub(crate) fn not_run(&mut self, peer: Peer, why: String) {
        self.not_run.insert(peer, why);
    }

    /// Notes a failure, once however many rounds it comes back in.
    pub(crate) fn failed(&mut self, peer: Peer, why: String) {
        let failure = (peer, why);
        if !self.failures.contains(&failure) {
            self.failures.push(failure);
        }
    }

    /// The peers that ran, in their own order.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        let ran = |peer: &Peer| self.rows.iter().any(|row| row.values.contains_key(peer));
        Peer::ALL.into_iter().filter(ran).collect()
    }

    fn row(&mut self, title: &str, unit: Unit) -> &mut Row {
        let index = self.rows.iter().position(|row| row.title == title).unwrap_or_else(|| {
            self.rows.push(Row { title: title.to_owned(), unit, values: BTreeMap::new() });
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }
}

/// Takes the values of one peer in one round.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    pub(crate) peer: Peer,
    pub(crate) round: u32,
    pub(crate) samples: &'a mut Samples,
}

impl Meter<'_> {
    /// `count` operations took `elapsed`.
    pub(crate) fn operations(&mut self, title: &str, count: u64, elapsed: Duration) {
        self.record(title, Unit::PerSecond, count as f64 / elapsed.as_secs_f64());
    }

    /// `bytes` took `elapsed`.
    pub(crate) fn bytes(&mut self, title: &str, bytes: u64, elapsed: Duration) {
        self.record(title, Unit::MibPerSecond, bytes as f64 / f64::from(1 << 20) / elapsed.as_secs_f64());
    }

    /// The whole took `elapsed`.
    pub(crate) fn whole(&mut self, title: &str, elapsed: Duration) {
        self.record(title, Unit::Seconds, elapsed.as_secs_f64());
    }

    fn record(&mut self, title: &str, unit: Unit, value: f64) {
        self.samples.row(title, unit).values.entry(self.peer).or_default().insert(self.round, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(samples: &mut Samples, peer: Peer, round: u32) -> Meter<'_> {
        Meter { peer, round, samples }
    }

    #[test]
    fn a_ratio_above_one_means_ours_is_faster_whatever_the_unit() {
        let mut samples = Samples::default();
        meter(&mut samples, Peer::Farshore, 1).operations("rate", 200, Duration::from_secs(1));
        meter(&mut samples, Peer::Ext4, 1).operations("rate", 100, Duration::from_secs(1));
        meter(&mut samples, Peer::Farshore, 1).whole("time", Duration::from_secs(1));
        meter(&mut samples, Peer::Ext4, 1).whole("time", Duration::from_secs(2));
        let ratios: Vec<_> = samples.rows.iter().map(|row| row.ratio(Peer::Farshore, Peer::Ext4)).collect();
        assert_eq!(ratios, [Some(2.0), Some(2.0)]);
    }

    #[test]
    fn a_ratio_pairs_the_rounds_that_both_ran() {
        let mut samples = Samples::default();
        for (round, ours, other) in [(1, 10, 10), (2, 100, 20), (3, 40, 20)] {
            meter(&mut samples, Peer::Farshore, round).operations("rate", ours, Duration::from_secs(1));
            meter(&mut samples, Peer::Ext4, round).operations("rate", other, Duration::from_secs(1));
        }
        meter(&mut samples, Peer::Farshore, 4).operations("rate", 1, Duration::from_secs(1));
        assert_eq!(samples.rows[0].ratio(Peer::Farshore, Peer::Ext4), Some(2.0));
        assert_eq!(samples.rows[0].median(Peer::Farshore), Some(25.0));
        assert_eq!(samples.rows[0].ratio(Peer::Farshore, Peer::JuicefsRedis), None);
    }
}
