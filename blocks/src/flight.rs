//! Single flight: at most one fetch of the same groups is under way, however many readers wait.
//!
//! A flight is a task of its own, so a reader that goes away does not end it for the others.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use farshore_proto::BlockName;
use futures::future::{FutureExt, Shared};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::error::BlockError;
use crate::runs::RunSet;

/// How a flight ended: groups of the block, verified, and where they came from.
pub(crate) type Landed = Result<Cargo, BlockError>;

#[derive(Debug, Clone)]
pub(crate) struct Cargo {
    pub(crate) runs: Arc<RunSet>,
    pub(crate) from_origin: bool,
}

/// A wait for a flight's end. It errs only if the flight was dropped.
pub(crate) type Landing = Shared<oneshot::Receiver<Landed>>;

#[derive(Debug)]
struct Flight {
    number: u64,
    groups: Range<u32>,
    landing: Landing,
}

#[derive(Debug, Default)]
struct Table {
    flights: HashMap<BlockName, Vec<Flight>>,
    last_number: u64,
}

/// The flights under way.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<Table>);

/// What a reader does: wait for a flight that brings its groups, or fly.
pub(crate) enum Boarding {
    Wait(Landing),
    Fly(Landing, Ticket),
}

/// The duty to land: dropped without `land`, it ends the flight for those who wait.
pub(crate) struct Ticket {
    flights: Arc<Flights>,
    name: BlockName,
    number: u64,
    sender: Option<oneshot::Sender<Landed>>,
}

impl Flights {
    /// Joins a flight that brings all of `needed`, or begins one for `groups`.
    pub(crate) fn board(self: &Arc<Self>, name: BlockName, needed: &Range<u32>, groups: Range<u32>) -> Boarding {
        let mut table = self.0.lock();
        let brings = |flight: &&Flight| flight.groups.start <= needed.start && needed.end <= flight.groups.end;
        if let Some(flight) = table.flights.get(&name).and_then(|flights| flights.iter().find(brings)) {
            return Boarding::Wait(flight.landing.clone());
        }
        table.last_number += 1;
        let number = table.last_number;
        let (sender, receiver) = oneshot::channel();
        let landing = receiver.shared();
        table.flights.entry(name).or_default().push(Flight { number, groups, landing: landing.clone() });
        Boarding::Fly(landing, Ticket { flights: Arc::clone(self), name, number, sender: Some(sender) })
    }

    fn remove(&self, name: BlockName, number: u64) {
        let mut table = self.0.lock();
        if let Some(flights) = table.flights.get_mut(&name) {
            flights.retain(|flight| flight.number != number);
            if flights.is_empty() {
                table.flights.remove(&name);
            }
        }
    }
}

impl Ticket {
    /// Ends the flight. Its groups must be in memory by now: who comes later looks there.
    pub(crate) fn land(mut self, landed: Landed) {
        self.flights.remove(self.name, self.number);
        let sender = self.sender.take().expect("a ticket lands once");
        // Nobody may be waiting any more.
        drop(sender.send(landed));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.flights.remove(self.name, self.number);
    }
}
